"""Where the numbers of a training go: console, JSON lines, TensorBoard, Weights & Biases."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from patchgame_egg.distributed.processes import is_rank_zero
from patchgame_egg.text_files import read_lines
from patchgame_egg.training.callback import Callback, Record
from patchgame_egg.training.progress import Progress


def retrieval_key(records: Iterable[Mapping[str, Any]]) -> str:
    """Under which name validation records have the retrieval accuracy by which runs are compared.

    Args:
        records: of all the runs to compare.

    Returns:
        ``two_views_acc``, the game itself, where every validation has it; else, as of runs of version 0.1.0 and of
        other games, ``acc``, for which both agents see the same view.
    """
    validations = [record for record in records if record.get("kind", "validation") == "validation"]
    return "two_views_acc" if validations and all("two_views_acc" in record for record in validations) else "acc"


class JsonLines(Callback):
    """Appends every record to a file, one JSON object a line.

    A resumed run first drops the lines written after its checkpoint, so that every step stands there once.
    """

    in_egg = "core.ConsoleLogger(as_json=True)"

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, trainer: Progress) -> None:
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
    for line in read_lines(path):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


class TensorBoard(Callback):
    """Writes every number of every record to TensorBoard, under its kind: ``train/``, ``validation/``."""

    in_egg = "core.TensorboardLogger"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_begin(self, trainer: Progress) -> None:
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
        self.bar.write(
            f"epoch {last['epoch']}/{self.trainer.n_epochs}: loss {last['loss']:.3f}, {accuracy}{chance}{extra}",
            file=sys.stdout,
        )

    def close(self) -> None:
        self.bar.close()
