"""Checkpoint files that survive a crash while being written, and load without trusting them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch


def save(state: dict[str, Any], path: Path) -> None:
    """Writes under a temporary name, flushes to disk, then renames: the old file stays until the new one is whole.

    Args:
        state: tensors, plain values, and lists and dicts of them.
        path: the file to replace.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


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
