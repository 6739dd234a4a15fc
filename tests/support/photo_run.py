"""A run of a tiny game on a few photos of two classes."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from games.patchgame import main
from patchgame_egg.data.scenes import Scenes
from tests.support.tiny import TINY


def photo_run(root: Path, *options: str, height: int = 60, dog: str = "dog") -> Path:
    """Puts photos into ``photos`` and trains ``run`` on them, with its language; returns the folder of both.

    Args:
        root: where.
        options: further ones of the run.
        height: of the photos, which are 60 pixels wide.
        dog: name of the class beside cat.
    """
    for part, count in (("train", 16), ("val", 12)):
        scenes = Scenes(count, 60, split=part)
        for i in range(count):
            path = root / "photos" / part / ("cat" if i % 2 else dog) / f"{i:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(scenes.scene(i).image.transpose(1, 2, 0)[:height]).save(path)
    words = ["--data", "folder", "--root", str(root / "photos"), "--epochs", "1", "--candidates", "4", "--corpus"]
    words += ["--no-pictures", "--no-tensorboard", "--out", str(root), "--name", "run"]
    assert main([*TINY, *words, *options]) == 0
    return root
