"""Checkpoint files that survive a crash while being written, show when they were damaged, and load without trust.

A checkpoint is a file of ``torch.save``, which is a zip archive. Its comment, the last bytes of the file, is a SHA-256
of all bytes before it, so that one flipped bit is found.
"""

from __future__ import annotations

import hashlib
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from patchgame_egg.atomic_write import replacing
from patchgame_egg.distributed.processes import is_rank_zero
from patchgame_egg.interaction import Interaction
from patchgame_egg.training.callback import Callback
from patchgame_egg.training.progress import Progress

_MARK = b"sha256:"
_COMMENT = len(_MARK) + 64
_CHUNK = 2**20
# What readers raise on bytes that are no archive, or no pickle.
_UNREADABLE = (
    OSError, RuntimeError, ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError, EOFError,
    OverflowError, struct.error, pickle.UnpicklingError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class _Hashed:
    """A file that is written once from its beginning, its SHA-256 so far, and the error that ended it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha, self.error = file, hashlib.sha256(), None

    error: OSError | None

    def write(self, data: Any) -> int:
        self.sha.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            # Torch makes another of it.
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def save(state: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint; the old one stays until the new one is whole.

    Args:
        state: tensors, plain values, and lists and dicts of them.
        path: the file to replace.

    Raises:
        OSError: it cannot be written; the message says how much room there is.
    """
    with replacing(path) as file:
        hashed = _Hashed(file)
        try:
            torch.save(state, hashed)  # type: ignore[arg-type]
        except Exception:
            if hashed.error is not None:
                raise hashed.error from None
            raise
        # An archive ends with the length of its comment, which is still 0 in what was hashed.
        file.seek(-2, 2)
        file.write(struct.pack("<H", _COMMENT) + _MARK + hashed.sha.hexdigest().encode())


def states(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The state of each part of a training.

    Args:
        parts: by name: generators of torch, and whatever has a ``state_dict``.

    Example:
        >>> parts = {"layer": torch.nn.Linear(1, 1), "generator": torch.Generator().manual_seed(3)}
        >>> saved = states(parts)
        >>> drawn = torch.rand(1, generator=parts["generator"])
        >>> restore(parts, saved)
        >>> bool(torch.rand(1, generator=parts["generator"]) == drawn)
        True
    """
    return {
        name: part.get_state() if isinstance(part, torch.Generator) else part.state_dict()
        for name, part in parts.items()
    }


def restore(parts: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Gives parts of a training their `states` back.

    Args:
        parts: by name.
        saved: holds the state of each.
    """
    for name, part in parts.items():
        if isinstance(part, torch.Generator):
            # Of any device, a state is a tensor on the CPU.
            part.set_state(saved[name].cpu())
        else:
            part.load_state_dict(saved[name])


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads what `save` wrote.

    Raises:
        ValueError: no such file, not a checkpoint of tensors and plain values, or one that was damaged.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}")
    try:
        _check(path)
        found = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}")
        return found
    except _UNREADABLE as error:
        first = (str(error) or "it is empty").splitlines()[0]
        raise ValueError(f"{path} is not a readable checkpoint: {first}") from error


def _check(path: Path) -> None:
    """Compares a file with its checksum; one of version 0.1.0 has only those of zip, one for each tensor.

    Raises:
        ValueError: it is no such file, or was damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if size == 0:
            raise ValueError("it is empty")
        if file.read(4) != b"PK\x03\x04":
            raise ValueError("it does not begin as a file of torch.save does")
        file.seek(max(0, size - _COMMENT))
        comment = file.read()
        if not comment.startswith(_MARK):
            _check_parts(file)
            return
        file.seek(0)
        left, sha = size - _COMMENT - 2, hashlib.sha256()
        while left > 0 and (part := file.read(min(_CHUNK, left))):
            sha.update(part)
            left -= len(part)
        length = file.read(2)
        sha.update(b"\0\0")
        if length != struct.pack("<H", _COMMENT) or comment != _MARK + sha.hexdigest().encode():
            raise ValueError("it was damaged after it was written, its checksum is another: use a copy")


def _check_parts(file: BinaryIO) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            bad = "its checksum" if archive.comment else archive.testzip()
    except _UNREADABLE as error:
        raise ValueError(f"it was cut off or damaged after it was written ({error}): use a copy") from error
    if bad is not None:
        raise ValueError(f"it was damaged after it was written, in {bad}: use a copy")


class Checkpoint(Callback):
    """Saves the trainer before the first step, every so many steps, after every epoch's validation, and at the end.

    Rank zero writes.

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
