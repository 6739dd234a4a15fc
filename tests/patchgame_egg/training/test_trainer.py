"""The training loop: accumulation, clipping, resume bit for bit, stopping, NaN, logs."""

from __future__ import annotations

import itertools
import json
import math
import signal
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from patchgame_egg.interaction import Batch, Interaction
from patchgame_egg.training import checkpoint
from patchgame_egg.training.callback import Callback, Schedule, StopOnSignal
from patchgame_egg.training.checkpoint import Checkpoint
from patchgame_egg.training.log_file import read_log
from patchgame_egg.training.loggers import JsonLines
from patchgame_egg.training.trainer import NonFiniteLoss, Trainer


class Regression(nn.Module):
    """A game in all but name: predicts 3x from x, with noise from torch's own generator."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.drop = nn.Dropout(0.1)

    def forward(
        self, x: Tensor, labels: Any = None, receiver_input: Any = None, aux_input: Any = None
    ) -> tuple[Tensor, Interaction]:
        per_sample = (self.layer(self.drop(x)) - 3 * x).square().squeeze(1)
        aux = {"loss": per_sample.detach(), "acc": (per_sample < 1).float()}
        return per_sample.mean(), Interaction(message=torch.zeros(len(x), 1, dtype=torch.int64), aux=aux)


class Data:
    """Batches that depend on the epoch and the position alone."""

    def __init__(self, batches: int = 6, rows: int = 4, bad: tuple[int, int] | None = None) -> None:
        self.batches, self.rows, self.bad = batches, rows, bad
        self.epoch, self.start = 1, 0

    def __len__(self) -> int:
        return self.batches

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        self.epoch, self.start = epoch, start

    def __iter__(self) -> Any:
        for i in range(self.start, self.batches):
            generator = torch.Generator().manual_seed(100 * self.epoch + i)
            x = torch.randn(self.rows, 1, generator=generator)
            yield Batch(x * math.nan if self.bad == (self.epoch, i) else x)


def make(callbacks: list[Callback] | None = None, data: Data | None = None, **options: Any) -> Trainer:
    torch.manual_seed(0)
    game = Regression()
    optimizer = torch.optim.SGD(game.parameters(), 0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    return Trainer(
        game, optimizer, data or Data(), scheduler, Data(2), "cpu", callbacks, **{"grad_norm": None, **options}
    )


class Losses(Callback):
    def __init__(self) -> None:
        self.values: list[tuple[int, float]] = []

    def on_batch_end(self, logs: Interaction, loss: Tensor, batch_id: int, is_training: bool = True) -> None:
        self.values.append((self.trainer.step, loss.item()))


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_batch_end(self, logs: Interaction, loss: Tensor, batch_id: int, is_training: bool = True) -> None:
        self.trainer.should_stop = self.trainer.step == self.step


def test_hooks_come_in_eggs_order_with_epochs_from_1() -> None:
    calls: list[Any] = []

    class Spy(Callback):
        def __getattribute__(self, name: str) -> Any:
            if name.startswith("on_"):
                return lambda *a: calls.append((name, a))
            return super().__getattribute__(name)

    make([Spy()], Data(1)).train(2)
    names = [name for name, _ in calls if name != "on_log"]
    epoch = ["on_epoch_begin", "on_batch_end", "on_epoch_end", "on_validation_begin", "on_validation_end"]
    assert names == ["on_train_begin", *epoch, *epoch, "on_train_end"]
    assert [a[0] for name, a in calls if name == "on_epoch_begin"] == [1, 2]
    loss, logs, number = next(a for name, a in calls if name == "on_validation_end")
    assert number == 1 and loss == pytest.approx(logs.aux["loss"].mean().item()) and logs.size == 8


@pytest.mark.parametrize("stop", [1, 4, 6, 7, 11])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resume_is_bit_for_bit(tmp_path: Path, stop: int, accumulate: int) -> None:
    whole = Losses()
    straight = make([whole], accumulate=accumulate)
    straight.train(4)

    before, after = Losses(), Losses()
    make([before, StopAt(stop), Checkpoint(tmp_path / "c.pt")], accumulate=accumulate).train(4)
    torch.manual_seed(99)
    resumed = make([after], accumulate=accumulate)
    resumed.load_state_dict(checkpoint.load(tmp_path / "c.pt"))
    resumed.train(4)
    assert before.values + after.values == whole.values
    for a, b in zip(straight.game.parameters(), resumed.game.parameters(), strict=True):
        assert torch.equal(a, b)


def test_epoch_means_survive_a_resume(tmp_path: Path) -> None:
    class Mean(Callback):
        def on_epoch_end(self, loss: float, logs: Interaction, epoch: int) -> None:
            means.append((epoch, loss, logs.size))

    means: list[Any] = []
    make([Mean()]).train(1)
    make([StopAt(3), Checkpoint(tmp_path / "c.pt")]).train(1)
    resumed = make([Mean()])
    resumed.load_state_dict(checkpoint.load(tmp_path / "c.pt"))
    resumed.train(1)
    assert means[0] == means[1] and means[0][2] == 24


def batches_of(rows: list[Tensor]) -> Batch:
    return Batch(torch.stack(rows))


@pytest.mark.parametrize("stop", [2, 6, 8])
def test_loaders_that_know_no_epochs_resume_bit_for_bit_too(tmp_path: Path, stop: int) -> None:
    def loader() -> Any:
        return DataLoader(torch.arange(24.0)[:, None] / 24, 4, shuffle=True, collate_fn=batches_of)

    whole = Losses()
    make([whole], loader()).train(3)
    before, after = Losses(), Losses()
    make([before, StopAt(stop), Checkpoint(tmp_path / "c.pt")], loader()).train(3)
    torch.manual_seed(99)
    resumed = make([after], loader())
    resumed.load_state_dict(checkpoint.load(tmp_path / "c.pt"))
    resumed.train(3)
    assert before.values + after.values == whole.values
    assert len({value for _, value in whole.values}) == 18


def test_dropout_does_not_depend_on_how_often_loaders_are_begun() -> None:
    class Look(Callback):
        def on_batch_end(self, logs: Interaction, loss: Tensor, batch_id: int, is_training: bool = True) -> None:
            trainer.eval()

    whole, watched = Losses(), Losses()
    make([whole]).train(2)
    trainer = make([watched, Look()])
    trainer.validation_data = DataLoader(torch.ones(8, 1), 4, shuffle=True, collate_fn=batches_of)  # type: ignore[assignment]
    trainer.train(2)
    assert watched.values == whole.values


def test_all_callbacks_are_closed_and_the_first_error_counts() -> None:
    closed: list[str] = []

    class Bad(Callback):
        def close(self) -> None:
            raise OSError("full")

    class Good(Callback):
        def close(self) -> None:
            closed.append("good")

    with pytest.raises(OSError, match="full"):
        make([Bad(), Good()]).train(1)
    with pytest.raises(NonFiniteLoss):
        make([Bad(), Good()], Data(bad=(1, 0))).train(1)
    assert closed == ["good", "good"]


def test_accumulation_gives_the_gradient_of_the_larger_batch() -> None:
    one, many = make(data=Data(1, 12)), make(data=Data(3, 4), accumulate=3)
    for trainer in (one, many):
        trainer.game.drop.p = 0.0
    batches = [b.sender_input for b in Data(3, 4)]
    one.train_data = [Batch(torch.cat(batches))]
    one.train(1)
    many.train(1)
    assert one.step == many.step == 1
    for a, b in zip(one.game.parameters(), many.game.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_short_last_group_is_averaged_over_itself() -> None:
    trainer = make(data=Data(5), accumulate=4)
    trainer.train(1)
    assert trainer.step == 2 == trainer.steps_per_epoch


def test_gradients_are_clipped() -> None:
    free, clipped = make(data=Data(1)), make(data=Data(1), grad_norm=1e-3)
    start = [p.detach().clone() for p in free.game.parameters()]
    for trainer in (free, clipped):
        trainer.train(1)

    def moved(trainer: Trainer) -> float:
        pairs = zip(trainer.game.parameters(), start, strict=True)
        return math.sqrt(sum((p - s).square().sum().item() for p, s in pairs))

    assert moved(clipped) == pytest.approx(0.05 * 1e-3, rel=1e-2)
    assert moved(free) > 10 * moved(clipped)


def test_a_nan_loss_names_its_step_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    trainer = make([JsonLines(tmp_path / "log.jsonl"), Checkpoint(tmp_path / "c.pt", every=2)], Data(bad=(2, 3)))
    with pytest.raises(NonFiniteLoss, match=r"nan at step 10 \(epoch 2, batch 4\)"):
        trainer.train(4)
    state = checkpoint.load(tmp_path / "c.pt")
    assert state["position"]["step"] == 8
    assert [r["step"] for r in read_log(tmp_path / "log.jsonl") if r["kind"] == "train"] == list(range(1, 10))
    assert read_log(tmp_path / "log.jsonl")[-1] == {"kind": "diverged", "step": 10, "epoch": 2}
    assert all(value.isfinite().all() for value in state["game"].values())


def test_a_validation_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    trainer = make([JsonLines(tmp_path / "log.jsonl")])
    trainer.validation_data = Data(2, bad=(1, 0))
    with pytest.raises(NonFiniteLoss, match="the validation loss is nan after epoch 1"):
        trainer.train(4)
    last = read_log(tmp_path / "log.jsonl")[-1]
    assert last == {"kind": "diverged", "step": trainer.step, "epoch": 1}
    assert "NaN" not in (tmp_path / "log.jsonl").read_text()


def test_logs_hold_every_step_once_also_after_a_crash(tmp_path: Path) -> None:
    log, file = tmp_path / "log.jsonl", tmp_path / "c.pt"

    class Crash(Callback):
        def on_batch_end(self, logs: Interaction, loss: Tensor, batch_id: int, is_training: bool = True) -> None:
            if self.trainer.step == 9:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make([JsonLines(log), Checkpoint(file, every=5), Crash()]).train(3)
    with log.open("a") as f:
        f.write('{"kind": "tra')
    resumed = make([JsonLines(log), Checkpoint(file, every=5)])
    resumed.load_state_dict(checkpoint.load(file))
    assert resumed.step == 6  # after the first epoch's validation
    resumed.train(3)
    make([JsonLines(tmp_path / "whole.jsonl")]).train(3)
    timeless = [
        [{k: v for k, v in r.items() if k != "images_per_s"} for r in read_log(p)]
        for p in (log, tmp_path / "whole.jsonl")
    ]
    assert timeless[0] == timeless[1]
    assert [r["step"] for r in timeless[0] if r["kind"] == "train"] == list(range(1, 19))
    assert all(json.dumps(r, allow_nan=False) for r in timeless[0])


def test_accumulated_batches_are_logged_once_after_a_crash(tmp_path: Path) -> None:
    log, file = tmp_path / "log.jsonl", tmp_path / "c.pt"

    class Crash(Callback):
        def on_batch_end(self, logs: Interaction, loss: Tensor, batch_id: int, is_training: bool = True) -> None:
            if batch_id == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make([JsonLines(log), Checkpoint(file, every=1), Crash()], accumulate=2).train(1)
    resumed = make([JsonLines(log)], accumulate=2)
    resumed.load_state_dict(checkpoint.load(file))
    resumed.train(1)
    train = [(r["step"], r["batch"]) for r in read_log(log) if r["kind"] == "train"]
    assert train == [(1, 1), (1, 2), (2, 3), (2, 4), (3, 5), (3, 6)]


def lines(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(r) + "\n" for r in records)


def test_a_broken_line_costs_that_line_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.jsonl"
    step = {"kind": "train", "step": 1, "epoch": 1, "note": "\u2028 is no end of a line"}
    text = json.dumps(step, ensure_ascii=False) + "\n"
    log.write_text("\ufeff" + text + '{"kind": "tra\n5\n' + text + '{"kind"', encoding="utf-8")
    assert read_log(log) == [step, step]
    said = capsys.readouterr().err
    assert said == f"note: {log}: 2 lines that hold no record are left out, the first is line 2\n"


def test_a_resume_drops_what_came_after_and_nothing_else(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    kept = lines(
        *({"kind": "train", "step": n, "epoch": 1} for n in (1, 2)),
        {"kind": "validation", "step": 2, "epoch": 1},
        {"kind": "mine", "step": 2, "epoch": 1},
    )
    after = lines({"kind": "mine", "step": 3, "epoch": 1}, {"kind": "train", "step": 3, "epoch": 2})
    trainer = make()
    trainer.epoch, trainer.step = 1, 2
    for text in (kept + after, kept + after + '{"kind": "tra', "broken\n" + kept + after, kept):
        log.write_text(text)
        JsonLines(log).on_train_begin(trainer)
        assert log.read_text() == text[: text.index(kept) + len(kept)]
    # A checkpoint from before the validation of the last step.
    trainer.epoch = 0
    JsonLines(log).on_train_begin(trainer)
    assert [r["step"] for r in read_log(log)] == [1, 2]
    trainer.step = 0
    JsonLines(log).on_train_begin(trainer)
    assert log.read_text() == ""


def test_a_long_log_costs_a_resume_and_its_curves_little(tmp_path: Path) -> None:
    log, many = tmp_path / "log.jsonl", 100_000
    with log.open("w") as file:
        for n in range(1, many + 1):
            file.write(f'{{"kind": "train", "step": {n}, "epoch": 1, "loss": 0.5}}\n')
        file.write(lines({"kind": "validation", "step": many, "epoch": 1}))
    trainer = make()
    trainer.epoch, trainer.step = 0, many - 10
    tracemalloc.start()
    JsonLines(log).on_train_begin(trainer)
    assert tracemalloc.get_traced_memory()[1] < 2**17
    records = read_log(log, most_steps=100)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    steps = [r["step"] for r in records]
    assert 100 <= len(steps) <= 200 and len({b - a for a, b in itertools.pairwise(steps)}) == 1
    assert steps[0] == 1 and steps[-1] > many - 2 * (steps[1] - steps[0])


def test_the_log_holds_the_learning_rate_that_the_step_used(tmp_path: Path) -> None:
    make([JsonLines(tmp_path / "log.jsonl")], Data(3)).train(1)
    rates = [r["lr"] for r in read_log(tmp_path / "log.jsonl") if r["kind"] == "train"]
    assert rates == pytest.approx([0.05, 0.05 / 2, 0.05 / 3])


def test_a_long_validation_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("patchgame_egg.counted.PATIENCE", 0.0)
    monkeypatch.setattr("patchgame_egg.counted._silence", {})
    game = Regression()
    trainer = Trainer(game, torch.optim.SGD(game.parameters(), 0.1), Data(), None, Data(3), "cpu")
    trainer.train(1)
    said = capsys.readouterr().err.splitlines()
    assert [line.split(", about")[0] for line in said] == [f"validates, in batches: {i} of 3" for i in (1, 2)]


def test_an_error_gives_signal_handlers_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(NonFiniteLoss):
        make([StopOnSignal()], Data(bad=(1, 0))).train(1)
    assert signal.getsignal(signal.SIGTERM) is before


def test_schedule_follows_progress_and_resumes(tmp_path: Path) -> None:
    seen: list[float] = []
    make([Schedule(seen.append, lambda done: 5 - 4 * done), StopAt(3), Checkpoint(tmp_path / "c.pt")]).train(2)
    trainer = make([Schedule(seen.append, lambda done: 5 - 4 * done)])
    trainer.load_state_dict(checkpoint.load(tmp_path / "c.pt"))
    trainer.train(2)
    expected = [5 - 4 * step / 12 for step in (0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)]
    assert seen == pytest.approx(expected)


def test_checkpoints_survive_a_crash_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "c.pt"
    checkpoint.save({"a": torch.ones(2)}, path)

    def crash(state: object, file: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save({"a": torch.zeros(2)}, path)
    assert checkpoint.load(path)["a"].tolist() == [1, 1]


def test_checkpoint_errors_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "none.pt")
    for content, reason in ((b"PK not a zip", ""), (b"", "it is empty|EOF|Ran out")):
        (tmp_path / "bad.pt").write_bytes(content)
        with pytest.raises(ValueError, match=f"not a readable checkpoint: .*({reason})"):
            checkpoint.load(tmp_path / "bad.pt")
    state = make().state_dict()
    state["game"]["layer.weight"] = torch.zeros(2, 2)
    with pytest.raises(ValueError, match=r"does not fit this game: .*layer.weight") as error:
        make().load_state_dict(state)
    assert "\n" not in str(error.value)


def test_bf16_trains() -> None:
    losses = Losses()
    make([losses], precision="bf16").train(3)
    assert losses.values[-1][1] < losses.values[0][1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, "at least 1 batch, got 0"),
        ({"grad_norm": 0.0}, "above 0, got 0.0"),
        ({"precision": "fp16"}, "fp16 needs a CUDA GPU, the device is cpu"),
    ],
)
def test_errors_say_what_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_several_trainers_live_in_one_process() -> None:
    first, second = make(), make()
    first.train(2)
    torch.manual_seed(0)
    second.train(1)
    second.train(2)
    assert second.epoch == first.epoch == 2
