"""Photos to train on for a moment, and options that do so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 pictures of noise to train on and 8 held out: the built-in scenes hold out a thousand."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for part, count in (("train", 32), ("val", 8)):
        (folder / part).mkdir()
        for i in range(count):
            coarse = Image.fromarray(rng.integers(256, size=(4, 4, 3), dtype=np.uint8))
            coarse.resize((40, 40)).save(folder / part / f"{i:02d}.png")
    return folder


@pytest.fixture
def quick(tiny: list[str], photos: Path, tmp_path: Path) -> list[str]:
    """Four steps an epoch, agents of every kind tiny, nothing written that is not asked for."""
    return [
        *tiny, "--max-len", "4", "--encoder-width", "4", "--decoder-dim", "12", "--code-dim", "4", "--epochs", "1",
        "--data", "folder", "--root", str(photos), "--out", str(tmp_path), "--no-tensorboard", "--no-pictures",
    ]  # fmt: skip
