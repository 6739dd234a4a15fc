"""Where the numbers of a training go: console, JSON lines, TensorBoard, Weights & Biases."""

from __future__ import annotations

import json
import mmap
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from patchgame_egg.atomic_write import errors_of
from patchgame_egg.distributed.processes import is_rank_zero
from patchgame_egg.training.callback import Callback
from patchgame_egg.training.log_file import Record, record_of
from patchgame_egg.training.progress import Progress


class JsonLines(Callback):
    """Appends every record to a file, one JSON object a line.

    A resumed run first drops the lines written after its checkpoint, so that every step stands there once.
    """

    in_egg = "core.ConsoleLogger(as_json=True)"

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, trainer: Progress) -> None:
        super().on_train_begin(trainer)
        with errors_of(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
            # Cut and not written anew: a process that is killed here has lost no line, and a long log costs nothing.
            os.truncate(self.path, self._end_of_past())

    def _end_of_past(self) -> int:
        """Bytes up to the end of the last record that the checkpoint knows of, read from the end."""
        if not self.path.stat().st_size:
            return 0
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            end, kept = len(text), 0
            while end:
                start = text.rfind(b"\n", 0, end - 1) + 1
                record = record_of(text[start:end]) if text[end - 1 : end] == b"\n" else None
                if record is None or not self._is_past(record):
                    kept = 0
                else:
                    kept = kept or end
                    # Records of other kinds may carry a step of their own.
                    if record["kind"] in ("train", "validation"):
                        break
                end = start
            return kept

    def _is_past(self, record: Record) -> bool:
        # A batch of a step that is under way has the number of that step.
        if record["step"] > self.trainer.step:
            return False
        return record["kind"] == "train" or record.get("epoch", 0) <= self.trainer.epoch

    def on_log(self, records: Sequence[Record]) -> None:
        with errors_of(self.path), self.path.open("a") as file:
            file.write("".join(json.dumps(r) + "\n" for r in records))


class TensorBoard(Callback):
    """Writes every number of every record to TensorBoard, under its kind: ``train/``, ``validation/``."""

    in_egg = "core.TensorboardLogger"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_begin(self, trainer: Progress) -> None:
        super().on_train_begin(trainer)
        # Imported where used: it takes seconds, and not every run wants it.
        from torch.utils.tensorboard import SummaryWriter

        with errors_of(self.folder):
            self.writer = SummaryWriter(str(self.folder), purge_step=trainer.step + 1 if trainer.step else None)

    def on_log(self, records: Sequence[Record]) -> None:
        with errors_of(self.folder):
            for record in records:
                for name, value in record.items():
                    if name not in ("kind", "step", "batch", "images"):
                        self.writer.add_scalar(f"{record['kind']}/{name}", value, record["step"])

    def close(self) -> None:
        with errors_of(self.folder):
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

    in_egg = "core.callbacks.WandbLogger"

    def __init__(self, project: str, name: str, config: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ValueError("wandb is not installed: pip install wandb") from error
        self.run = wandb.init(project=project, name=name, id=name, config=config, resume="allow")

    def on_log(self, records: Sequence[Record]) -> None:
        for record in records:
            self.run.log({f"{record['kind']}/{k}": v for k, v in record.items() if k != "kind"}, step=record["step"])

    def close(self) -> None:
        self.run.finish()


class Console(Callback):
    """A progress bar with rate and time left on a terminal, and one line per validation everywhere."""

    in_egg = "core.ConsoleLogger or core.ProgressBarLogger"

    def on_train_begin(self, trainer: Progress) -> None:
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
            ("retrieval of two views", "two_views_acc"),
            ("of one view" if "two_views_acc" in last else "accuracy", "acc"),
            ("error, of that of one colour", "relative_error"),
        )
        accuracy = ", ".join(f"{name} {100 * last[key]:.1f} %" for name, key in shares if key in last)
        extra = ""
        if "active_symbols" in last:
            extra = (
                f", {last['active_symbols']:.0f} of {last['vocab_size']:.0f} symbols, length {last['mean_length']:.1f}"
            )
        chance = f" (chance {100 / last['candidates']:.1f} %)" if "candidates" in last else ""
        if "acc_distractors" in last and last["candidates"] > 1 + last["distractors"]:
            own = 100 * last["two_views_acc_distractors" if "two_views_acc_distractors" in last else "acc_distractors"]
            among = 1 + last["distractors"]
            chance += f", among its own {among:.0f} alone {own:.1f} % (chance {100 / among:.1f} %)"
        self.bar.write(
            f"epoch {last['epoch']}/{self.trainer.n_epochs}: loss {last['loss']:.3f}, {accuracy}{chance}{extra}",
            file=sys.stdout,
        )

    def close(self) -> None:
        self.bar.close()
