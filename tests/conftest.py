"""Fixtures of all tests, and one thread per process. Helpers that are no fixtures are in tests/support."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
import torch

from patchgame_egg.data import sources
from tests.support.tiny import FEW_HELD_OUT, TINY

# Two workers of pytest-xdist on two cores: more threads would only wait for each other.
torch.set_num_threads(1)
# Or else a tiny run would spend most of its time on held-out scenes. Processes that tests start have as many as users.
sources.LEAST_HELD_OUT = FEW_HELD_OUT
# Files are written as always, but nobody waits for the disk: no test cuts the power.
os.fsync = lambda descriptor: None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that take longest come first: then no worker plays a last long one while the other has nothing to do."""
    seconds: Counter[Path] = Counter()
    for item in items:
        seconds[item.path] += 100 if any(map(item.get_closest_marker, ("slow", "process", "docs"))) else 1
    items.sort(key=lambda item: -seconds[item.path])


@pytest.fixture(autouse=True)
def _same_weights_in_every_run() -> None:
    torch.manual_seed(0)


@pytest.fixture
def tiny() -> list[str]:
    """The tiny options."""
    return list(TINY)


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """An ImageFolder of rendered scenes: train/ and val/, two classes, one corrupt and one empty file in train/."""
    from PIL import Image

    from patchgame_egg.data.scenes import Scenes

    for part, count in (("train", 24), ("val", 12)):
        scenes = Scenes(count, 40, split=part)
        for index in range(count):
            folder = tmp_path / "photos" / part / ("cat" if index % 2 else "dog")
            folder.mkdir(parents=True, exist_ok=True)
            picture = scenes.scene(index).image.transpose(1, 2, 0)
            Image.fromarray(picture).save(folder / f"{index:03d}.jpg", quality=95)
    whole = (tmp_path / "photos/train/cat/001.jpg").read_bytes()
    (tmp_path / "photos/train/cat/003.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "photos/train/dog/000.jpg").write_bytes(b"")
    return tmp_path / "photos"
