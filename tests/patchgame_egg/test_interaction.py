"""The records: EGG's fields and order, concatenation, saving."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from patchgame_egg.interaction import Batch, Interaction, Message


def record(rows: int, **extra: torch.Tensor) -> Interaction:
    return Interaction(labels=torch.arange(rows), message=torch.ones(rows, 3, dtype=torch.int64), aux=extra)


def test_batch_unpacks_in_eggs_order() -> None:
    batch = Batch(torch.zeros(2), torch.ones(2), aux_input={"index": torch.tensor([4, 5])})
    sender_input, labels, receiver_input, aux_input = batch.to("cpu")
    assert torch.equal(sender_input, torch.zeros(2)) and torch.equal(labels, torch.ones(2))
    assert receiver_input is None
    assert aux_input["index"].tolist() == [4, 5]


def test_interaction_has_eggs_eight_fields() -> None:
    assert [f.name for f in fields(Interaction)] == [
        "sender_input", "receiver_input", "labels", "aux_input", "message", "receiver_output", "message_length", "aux",
    ]  # fmt: skip


def test_interactions_concatenate_along_the_batch() -> None:
    whole = record(2, acc=torch.tensor([1.0, 0.0])) + record(3, acc=torch.ones(3))
    assert whole.size == 5
    assert whole.labels.tolist() == [0, 1, 0, 1, 2]
    assert whole.aux["acc"].tolist() == [1, 0, 1, 1, 1]
    assert whole.receiver_output is None


def test_what_does_not_fit_together_is_named() -> None:
    with pytest.raises(ValueError, match="labels is missing in 1 of 2"):
        Interaction.from_iterable([record(2), Interaction(message=torch.ones(1, 3, dtype=torch.int64))])
    with pytest.raises(ValueError, match="aux has different keys"):
        record(1, acc=torch.ones(1)) + record(1)
    with pytest.raises(ValueError, match="at least one"):
        Interaction.from_iterable([])
    with pytest.raises(ValueError, match="empty"):
        _ = Interaction().size


def test_save_and_load_need_no_trust(tmp_path: Path) -> None:
    record(2, acc=torch.ones(2)).save(tmp_path / "i.pt")
    loaded = Interaction.load(tmp_path / "i.pt")
    assert loaded.labels.tolist() == [0, 1] and loaded.aux["acc"].tolist() == [1, 1]
    torch.load(tmp_path / "i.pt", weights_only=True)


def test_lengths_count_what_is_said_not_symbol_zero() -> None:
    mask = torch.tensor([[True, False, True], [False, False, False]])
    message = Message(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, 4), mask)
    assert message.lengths.tolist() == [2, 0]
