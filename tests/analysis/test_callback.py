"""Metrics during training: when, of what, where they are logged, and that nothing stops a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from analysis.callback import DEFAULT, LanguageAnalysis, Messages, ami
from analysis.metrics.concept_association import association
from analysis.metrics.result import Result, undefined
from games.patchgame import main
from patchgame_egg.interaction import Interaction
from patchgame_egg.training.callback import Callback
from patchgame_egg.training.log_file import Record, read_log
from tests.support.tiny import FEW_HELD_OUT


class Trainer:
    """What the callback needs of one."""

    def __init__(self, *callbacks: Callback) -> None:
        self.callbacks, self.step, self.epoch = callbacks, 40, 3
        for callback in callbacks:
            callback.trainer = self  # type: ignore[assignment]


class Kept(Callback):
    def __init__(self) -> None:
        self.records: list[Record] = []

    def on_log(self, records: Sequence[Record]) -> None:
        self.records += records


def validation(rows: int = 60, labels: bool = True) -> Interaction:
    """Symbols that say the label, in a half of the slots."""
    rng = np.random.default_rng(0)
    label = torch.tensor(rng.integers(0, 3, rows))
    symbols = 3 * torch.tensor(rng.integers(0, 2, (rows, 5))) + label[:, None]
    mask = torch.tensor(rng.random((rows, 5)) < 0.5)
    return Interaction(labels=label if labels else None, message=symbols, aux={"message_mask": mask})


def logged(analysis: LanguageAnalysis, logs: Interaction, epoch: int = 3) -> list[Record]:
    kept = Kept()
    Trainer(analysis, kept)
    analysis.on_validation_end(0.0, logs, epoch)
    return kept.records


def test_the_defaults() -> None:
    logs = validation()
    (record,) = logged(LanguageAnalysis(), logs)
    assert logs.message is not None and logs.labels is not None
    symbols, mask = logs.message.numpy(), logs.aux["message_mask"].numpy()
    found = association(symbols, mask, logs.labels.numpy(), permutations=20).ami
    assert record["kind"] == "analysis" and (record["step"], record["epoch"], record["images"]) == (40, 3, 60)
    assert record["ami"] == found.value > 0.4 > 0.1 > record["ami_null"] and record["ami_p"] == pytest.approx(1 / 21)
    said = symbols[mask]
    share = np.bincount(said) / len(said)
    assert record["symbol_entropy"] == pytest.approx(-(share[share > 0] * np.log2(share[share > 0])).sum())
    whole = {tuple(row) for row in np.where(mask, symbols, -1).tolist()}
    assert record["collisions"] == 60 - len(whole)


def test_metrics_of_ones_own_at_ones_own_pace() -> None:
    seen: list[Messages] = []

    def count(messages: Messages) -> float:
        seen.append(messages)
        return len(messages.symbols)

    own = LanguageAnalysis(
        2, {"count": count, "none": lambda _: undefined("why_not"), "r": lambda _: Result(1.5, 3)}, 20
    )
    assert logged(own, validation(), epoch=3) == []
    (record,) = logged(own, validation(), epoch=4)
    assert record.keys() == {"kind", "step", "epoch", "images", "count", "r"} and record["count"] == 20
    (messages,) = seen
    assert messages.symbols.shape == messages.mask.shape == (20, 5) and messages.labels is not None
    assert messages.mask.dtype == bool and messages.symbols.tolist() == validation().message[:20].tolist()  # type: ignore[index]
    for every, most in ((0, 5), (1, 0)):
        with pytest.raises(ValueError, match="must be at least 1"):
            LanguageAnalysis(every, most=most)


@pytest.mark.parametrize(
    ("logs", "left"),
    [
        (Interaction(labels=torch.tensor([0, 1])), None),
        (Interaction(message=torch.rand(2, 3)), None),
        (Interaction(message=torch.rand(2, 3, 4)), None),
        (validation(labels=False), {"collisions", "symbol_entropy"}),
        (Interaction(message=torch.zeros(4, 3).long(), labels=torch.zeros(4).long()), {"collisions", "symbol_entropy"}),
        (Interaction(message=torch.zeros(4, 3).long(), labels=torch.rand(4)), {"collisions", "symbol_entropy"}),
        (Interaction(message=torch.zeros(1, 1).long(), labels=torch.tensor([-1])), {"collisions", "symbol_entropy"}),
        (Interaction(message=torch.zeros(0, 3).long(), labels=torch.zeros(0).long()), {"collisions"}),
        (
            Interaction(
                message=torch.arange(4)[:, None], labels=torch.arange(4), aux={"message_mask": torch.zeros(4, 1).bool()}
            ),
            {"collisions"},
        ),
    ],
)  # fmt: skip
def test_nothing_stops_a_run(logs: Interaction, left: set[str] | None) -> None:
    records = logged(LanguageAnalysis(), logs)
    assert (left is None and records == []) or {*records[0]} == {"kind", "step", "epoch", "images"} | (left or set())


def test_it_is_cheap() -> None:
    rng = np.random.default_rng(0)
    messages = Messages(rng.integers(0, 128, (1024, 36)), rng.random((1024, 36)) < 0.5, rng.integers(0, 10, 1024))
    ami(messages)
    began = time.process_time()
    for metric in DEFAULT.values():
        metric(messages)
    assert time.process_time() - began < 1  # an epoch of the small preset takes a minute


@pytest.mark.slow
def test_a_run_logs_it(tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*tiny, "--no-pictures", "--out", str(tmp_path), "--epochs", "3", "--analyse-every", "2"]
    assert main([*options, "--name", "run"]) == 0
    log = read_log(tmp_path / "run" / "log.jsonl")
    (record,) = [r for r in log if r["kind"] == "analysis"]
    assert (record["epoch"], record["step"], record["images"]) == (2, 8, FEW_HELD_OUT)
    assert {"ami", "ami_null", "ami_p", "collisions", "symbol_entropy"} <= record.keys()
    before = next(r for r in log if r["kind"] == "validation" and r["epoch"] == 2)
    assert record["collisions"] == FEW_HELD_OUT - before["distinct_messages"]
    assert record["symbol_entropy"] == pytest.approx(before["symbol_entropy"], abs=1e-6)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    (scalar,) = events.Scalars("analysis/ami")
    assert scalar.step == 8 and scalar.value == pytest.approx(record["ami"], abs=1e-6)
    assert "analysis/images" not in events.Tags()["scalars"]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert len(lines) == 3
    # A resumed run keeps what was logged, once.
    assert main(["--resume", str(tmp_path / "run"), "--epochs", "4"]) == 0
    again = [r["epoch"] for r in read_log(tmp_path / "run" / "log.jsonl") if r["kind"] == "analysis"]
    assert again == [2, 4]


@pytest.mark.slow
def test_it_can_be_switched_off_and_needs_symbols(tiny: list[str], tmp_path: Path) -> None:
    options = [*tiny, "--no-pictures", "--no-tensorboard", "--out", str(tmp_path), "--epochs", "1"]
    assert main([*options, "--name", "off", "--analyse-every", "0"]) == 0
    assert main([*options, "--name", "numbers", "--corpus", "--channel", "continuous"]) == 0
    for name in ("off", "numbers"):
        assert {r["kind"] for r in read_log(tmp_path / name / "log.jsonl")} == {"train", "validation"}
        assert not (tmp_path / name / "corpus.npz").exists()
    with pytest.raises(SystemExit):
        main([*options, "--name", "wrong", "--analyse-every", "-1"])
