"""Recorded interactions, of our trainer or of EGG, as a corpus.

Letters in shapes: N items, T message slots, V vocabulary, A attributes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.corpus.corpus import Corpus
from analysis.corpus.json_lines import vocabulary
from analysis.corpus.recording import unit_length, with_labels
from patchgame_egg.egg.records import Layout, from_egg, vocabulary_of
from patchgame_egg.interaction import Interaction
from patchgame_egg.patches import square_grid


def from_interaction(record: Interaction, vocab_size: int | None = None) -> Corpus:
    """A recorded exchange as a corpus.

    Args:
        record: whose message is ids ``[N, T]``. ``aux["message_mask"]`` says which slots speak; without it, all do.
            Labels ``[N, A]`` are taken as attributes.
        vocab_size: V; None: one more than the largest symbol that is said.

    Raises:
        ValueError: its message is something else.
    """
    record = record.map(Tensor.detach)
    message, aux, output = record.message, record.aux, record.receiver_output
    if message is None or message.dim() != 2 or message.is_floating_point():
        shape = "missing" if message is None else f"{message.dtype} of shape {tuple(message.shape)}"
        raise ValueError(f"the message is {shape}: expected ids [N, T]; what EGG wrote goes through from_egg first")
    symbols = message.cpu().numpy().astype(np.int64)
    mask = (
        aux["message_mask"].cpu().numpy().astype(bool) if "message_mask" in aux else np.ones_like(symbols, dtype=bool)
    )
    found: dict[str, Any] = {}
    if output is not None and output.dim() == 3 and output.shape[1] == 2:
        found["text"], found["image"] = unit_length(output.float()).cpu().numpy().swapaxes(0, 1)
    if "keep_prob" in aux:
        found["keep_prob"] = aux["keep_prob"].float().cpu().numpy()
        found["grid"] = square_grid(aux["keep_prob"].shape[1])
    if "acc" in aux and aux["acc"].dim() == 1:
        found["probes"] = {"as played": aux["acc"].cpu().numpy() > 0.5}
    if record.aux_input is not None and "index" in record.aux_input:
        found["info"] = {"index": record.aux_input["index"].tolist()}
    corpus = Corpus(symbols, mask, vocab_size or vocabulary(symbols, mask), **found)
    if record.labels is None or record.labels.is_floating_point() or record.labels.dim() > 2:
        return corpus
    return with_labels(corpus, record.labels.cpu().numpy())


def load_interaction(path: Path, layout: Layout | None) -> tuple[Interaction, int | None]:
    """What a file of interactions holds, and V where its messages are vectors.

    Args:
        path: written by `Interaction.save` or by EGG's InteractionSaver.
        layout: how EGG's messages are laid out; None: found by their dimensions.

    Raises:
        ValueError: it holds something else; and whatever torch raises on files that are none of its own.
    """
    with torch.serialization.safe_globals([(Interaction, "egg.core.interaction.Interaction")]):
        saved = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(saved, Interaction):
        return from_egg(saved, layout), vocabulary_of(saved, layout)
    if not isinstance(saved, dict) or not saved.keys() <= vars(Interaction()).keys():
        raise ValueError("it holds something else")
    return Interaction(**saved), None
