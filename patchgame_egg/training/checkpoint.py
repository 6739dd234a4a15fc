"""Checkpoint files that survive a crash while being written, and load without trusting them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from patchgame_egg.atomic_write import replacing
from patchgame_egg.distributed.processes import is_rank_zero
from patchgame_egg.interaction import Interaction
from patchgame_egg.training.callback import Callback
from patchgame_egg.training.progress import Progress


def save(state: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint; the old one stays until the new one is whole.

    Args:
        state: tensors, plain values, and lists and dicts of them.
        path: the file to replace.
    """
    with replacing(path) as file:
        torch.save(state, file)


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads what `save` wrote.

    Raises:
        ValueError: no such file, or not a checkpoint of tensors and plain values.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, OSError) as error:
        raise ValueError(
            f"{path} is not a readable checkpoint: {(str(error) or 'it is empty').splitlines()[0]}"
        ) from error


class Checkpoint(Callback):
    """Saves the trainer every so many steps, after every epoch's validation, and at the end; rank zero writes.

    Args:
        path: the one file, replaced each time.
        every: optimizer steps.
    """

    in_egg = "core.CheckpointSaver"

    def __init__(self, path: Path, every: int = 500) -> None:
        if every < 1:
            raise ValueError(f"checkpoints every {every} steps: at least 1")
        self.path, self.every, self._last = path, every, -1

    def on_train_begin(self, trainer: Progress) -> None:
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
            save(state, self.path)
