"""Checkpoint files that survive a crash while being written, and load without trusting them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from patchgame_egg.whole_file import replacing


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
