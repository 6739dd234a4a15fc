"""How many images a second come from disk: files, a cache and shards beside the naive form.

    python tests/benchmarks/input.py --json input.json

Each row is a whole epoch of one loader, in turns within one run, medians over repeats after one epoch that is not
counted; nothing is remembered in memory, but the system keeps the files themselves there. The photos are 500 x 375
pieces of scikit-learn's two, as large as those of ImageNet, unless ``--root`` names a folder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from beside import compared
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor

from games.shards import main as write_shards
from patchgame_egg.data.cache import CachedImages
from patchgame_egg.data.folders import folder_sets
from patchgame_egg.data.images import ImageFiles, ImageSource
from patchgame_egg.data.loader import ImageLoader
from patchgame_egg.data.shards import ShardedImages


class Anew:
    """A source that does not say how large its images are, so that none is remembered."""

    def __init__(self, source: ImageSource) -> None:
        self.source, self.classes = source, source.classes

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.source[index]


class Naive(Anew):
    """Whole files decoded and resized by PIL."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        assert isinstance(self.source, ImageFiles)
        side = self.source.size
        with Image.open(self.source.paths[index]) as file:
            image = file.convert("RGB")
        scale = side / min(image.size)
        width, height = (max(side, round(length * scale)) for length in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - side) // 2, (height - side) // 2
        pixels = np.array(image.crop((left, top, left + side, top + side)))
        return torch.from_numpy(pixels).permute(2, 0, 1), self.source.labels[index]


def write_photos(folder: Path, count: int) -> None:
    """Pieces of two photos, a little larger or smaller, as files of JPEG quality 90."""
    photos, generator = load_sample_images().images, np.random.default_rng(0)
    for number in range(count + 2):
        zoom = generator.uniform(0.9, 1.1)
        photo = Image.fromarray(photos[number % 2])
        photo = photo.resize((round(640 * zoom), round(427 * zoom)), Image.Resampling.LANCZOS)
        left, top = generator.integers(photo.width - 499), generator.integers(photo.height - 374)
        path = folder / ("train" if number < count else "val") / "photo" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.crop((left, top, left + 500, top + 375)).save(path, quality=90)


def loaders(root: Path, scratch: Path, size: int, batch: int) -> dict[str, ImageLoader]:
    """What is compared."""
    files, _ = folder_sets(root, size)
    assert write_shards(["--root", str(root), "--out", str(scratch / "shards"), "--per-shard", "1000"]) == 0
    shards = ShardedImages(sorted((scratch / "shards").glob("train-*.tar")), size)
    cached = CachedImages(files, scratch / "cache")
    rows: dict[str, tuple[ImageSource, int]] = {"naive, 1 worker": (Naive(files), 1)}
    for name, source in (("files", Anew(files)), ("shards", Anew(shards)), ("cache", cached)):
        rows |= {f"{name}, {workers} workers": (source, workers) for workers in (0, 1, 2)}
    return {name: ImageLoader(source, batch, workers=workers) for name, (source, workers) in rows.items()}


def measure(compared: dict[str, ImageLoader], repeats: int) -> dict[str, list[float]]:
    """Images per second of every epoch."""
    rates: dict[str, list[float]] = {name: [] for name in compared}
    for epoch in range(repeats + 1):
        for name, loader in compared.items():
            loader.set_epoch(epoch + 1)
            began = time.perf_counter()
            count = sum(len(batch.sender_input) for batch in loader)
            if epoch:
                rates[name].append(count / (time.perf_counter() - began))
    return rates


def main(argv: list[str]) -> None:
    """Measures and prints a table; ``--json FILE`` writes the numbers."""
    if compared(__file__, argv):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=None)
    parser.add_argument("--photos", type=int, default=512)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = asked.root or Path(folder) / "photos"
        if asked.root is None:
            write_photos(root, asked.photos)
        rates = measure(loaders(root, Path(folder), asked.size, asked.batch), asked.repeats)
    base = statistics.median(rates["naive, 1 worker"])
    result: dict[str, Any] = {"size": asked.size, "cores": os.cpu_count(), "torch": torch.__version__, "rows": {}}
    print(f"squares of {asked.size} px, {os.cpu_count()} cores, medians of {asked.repeats}")
    for name, values in rates.items():
        middle = statistics.median(values)
        result["rows"][name] = {"images_per_s": middle, "lowest": min(values), "highest": max(values)}
        print(f"{name:20s}{middle:9.0f} images/s ({min(values):.0f} to {max(values):.0f})  x {middle / base:.2f}")
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
