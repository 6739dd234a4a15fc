"""What happens beside training: logs, checkpoints, schedules, a clean stop. Callbacks contain no maths.

The hooks are EGG's, and ``on_log``: the only place where numbers arrive, as plain records of finished steps
(``kind: train``), of validations (``kind: validation``), and of whatever else a callback hands to `Callback.log`.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from torch import Tensor
from tqdm import tqdm

from patchgame_egg import checkpoint
from patchgame_egg.distributed import is_rank_zero
from patchgame_egg.interaction import Interaction

if TYPE_CHECKING:
    from patchgame_egg.trainer import Trainer

Record = dict[str, Any]


class Callback:
    """Does nothing at every hook; subclasses override what they need. Epochs count from 1.

    Attributes:
        trainer: the trainer, from ``on_train_begin`` on; ``trainer.should_stop = True`` stops it.
    """

    trainer: Trainer

    def on_train_begin(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, epoch: int) -> None: ...

    def on_batch_end(self, logs: Interaction, loss: Tensor, batch_id: int, is_training: bool = True) -> None: ...

    def on_epoch_end(self, loss: float, logs: Interaction, epoch: int) -> None: ...

    def on_validation_begin(self, epoch: int) -> None: ...

    def on_validation_end(self, loss: float, logs: Interaction, epoch: int) -> None: ...

    def on_early_stopping(
        self,
        train_loss: float,
        train_logs: Interaction,
        epoch: int,
        test_loss: float | None = None,
        test_logs: Interaction | None = None,
    ) -> None: ...

    def on_log(self, records: Sequence[Record]) -> None: ...

    def log(self, record: Record) -> None:
        """Hands a record of a ``kind`` of one's own to all callbacks, with the step and the epoch."""
        whole = {"kind": record["kind"], "step": self.trainer.step, "epoch": self.trainer.epoch, **record}
        for callback in self.trainer.callbacks:
            callback.on_log([whole])

    def on_train_end(self) -> None: ...

    def close(self) -> None:
        """Called last, also where training ended by an error: gives back what the callback holds."""


class Schedule(Callback):
    """Sets something from the share of training that is done, before the first step and after every step.

    Args:
        apply: takes the value.
        value: from the share done, 0 to 1, to the value.
    """

    def __init__(self, apply: Callable[[float], None], value: Callable[[float], float]) -> None:
        self.apply, self.value = apply, value

    def on_train_begin(self, trainer: Trainer) -> None:
        super().on_train_begin(trainer)
        self.apply(self.value(trainer.progress))

    def on_batch_end(self, logs: Interaction, loss: Tensor, batch_id: int, is_training: bool = True) -> None:
        self.apply(self.value(self.trainer.progress))


class Checkpoint(Callback):
    """Saves the trainer every so many steps, after every epoch's validation, and at the end; rank zero writes.

    Args:
        path: the one file, replaced each time.
        every: optimizer steps.
    """

    def __init__(self, path: Path, every: int = 500) -> None:
        if every < 1:
            raise ValueError(f"checkpoints every {every} steps: at least 1")
        self.path, self.every, self._last = path, every, -1

    def on_train_begin(self, trainer: Trainer) -> None:
        super().on_train_begin(trainer)
        self._last = trainer.step

    def on_epoch_begin(self, epoch: int) -> None:
        if self.trainer.batch == 0:
            self._save()

    def on_batch_end(self, logs: Interaction, loss: Tensor, batch_id: int, is_training: bool = True) -> None:
        if self.trainer.step - self._last >= self.every:
            self._save()

    def on_train_end(self) -> None:
        self._save()

    def _save(self) -> None:
        state = self.trainer.state_dict()
        self._last = self.trainer.step
        if is_rank_zero():
            checkpoint.save(state, self.path)


class StopOnSignal(Callback):
    """Ctrl-C and SIGTERM stop training after the step under way; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.caught: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def on_train_begin(self, trainer: Trainer) -> None:
        super().on_train_begin(trainer)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.caught = signal.Signals(number)
        self.trainer.should_stop = True
        signal.signal(number, self._before[self.caught])

    def close(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class JsonLines(Callback):
    """Appends every record to a file, one JSON object a line.

    A resumed run first drops the lines written after its checkpoint, so that every step stands there once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, trainer: Trainer) -> None:
        super().on_train_begin(trainer)
        kept = [r for r in read_log(self.path) if self._is_past(r)] if self.path.exists() else []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(json.dumps(r) + "\n" for r in kept))

    def _is_past(self, record: Record) -> bool:
        if record["kind"] == "train":
            return record["step"] <= self.trainer.step
        return record["epoch"] <= self.trainer.epoch

    def on_log(self, records: Sequence[Record]) -> None:
        with self.path.open("a") as file:
            file.writelines(json.dumps(r) + "\n" for r in records)


def read_log(path: Path) -> list[Record]:
    """The records of a log file; a last line that was cut off by a crash is left out."""
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


class TensorBoard(Callback):
    """Writes every number of every record to TensorBoard, under its kind: ``train/``, ``validation/``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_begin(self, trainer: Trainer) -> None:
        super().on_train_begin(trainer)
        # Imported where used: it takes seconds, and not every run wants it.
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(self.folder), purge_step=trainer.step + 1 if trainer.step else None)

    def on_log(self, records: Sequence[Record]) -> None:
        for record in records:
            for name, value in record.items():
                if name not in ("kind", "step", "batch", "images"):
                    self.writer.add_scalar(f"{record['kind']}/{name}", value, record["step"])

    def close(self) -> None:
        self.writer.close()


class WeightsAndBiases(Callback):
    """Sends every record to Weights & Biases (an optional package).

    Args:
        project: the project's name there.
        name: the run's name; a resumed run goes on under it.
        config: the run's options.

    Raises:
        ValueError: the package is not installed.
    """

    def __init__(self, project: str, name: str, config: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ValueError("--wandb needs a package: pip install wandb") from error
        self.run = wandb.init(project=project, name=name, id=name, config=config, resume="allow")

    def on_log(self, records: Sequence[Record]) -> None:
        for record in records:
            self.run.log({f"{record['kind']}/{k}": v for k, v in record.items() if k != "kind"}, step=record["step"])

    def close(self) -> None:
        self.run.finish()


class Console(Callback):
    """A progress bar with rate and time left on a terminal, and one line per validation everywhere."""

    def on_train_begin(self, trainer: Trainer) -> None:
        super().on_train_begin(trainer)
        self.bar = tqdm(
            total=trainer.n_epochs * trainer.steps_per_epoch,
            initial=trainer.step,
            unit="step",
            dynamic_ncols=True,
            disable=None if is_rank_zero() else True,
            file=sys.stderr,
        )

    def on_log(self, records: Sequence[Record]) -> None:
        last = records[-1]
        if last["kind"] == "train":
            self.bar.set_postfix_str(f"loss {last['loss']:.3f}, {last['images_per_s']:.0f} images/s", refresh=False)
            self.bar.update(last["step"] - self.bar.n)
            return
        if last["kind"] != "validation" or not is_rank_zero():
            return
        shares = (
            ("top-1", "acc"),
            ("top-5", "acc_top5"),
            ("image to message", "acc_image_to_message"),
            ("error, of that of one colour", "relative_error"),
        )
        accuracy = ", ".join(f"{name} {100 * last[key]:.1f} %" for name, key in shares if key in last)
        extra = ""
        if "active_symbols" in last:
            extra = (
                f", {last['active_symbols']:.0f} of {last['vocab_size']:.0f} symbols, length {last['mean_length']:.1f}"
            )
        chance = f" (chance {100 / last['candidates']:.1f} %)" if "candidates" in last else ""
        self.bar.write(
            f"epoch {last['epoch']}/{self.trainer.n_epochs}: loss {last['loss']:.3f}, {accuracy}{chance}{extra}",
            file=sys.stdout,
        )

    def close(self) -> None:
        self.bar.close()
