"""Images in tar shards as the webdataset library names and groups them, read at any place through an index.

A sample is all files of one name: ``000123.jpg`` and ``000123.cls``, the class number in digits. Beside each shard lies
its index (``train-0000.index.json``): where the images are, and the size and time of change of the shard that it was
made of. With it a set of shards is a source like any other, so order, epochs and resume are those of the loader.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from braceexpand import braceexpand
from webdataset.tariterators import base_plus_ext

from patchgame_egg.data.images import IMG_EXTENSIONS, EncodedImages


class Entry(NamedTuple):
    """An image in a shard: its file's name, the bytes before it, its length in bytes, its class number."""

    name: str
    offset: int
    length: int
    label: int


class ShardedImages(EncodedImages):
    """The images of tar shards, in the order of the shards.

    Args:
        paths: the shards, local or mounted files.
        size: side of the squares handed out, pixels.

    Attributes:
        groups: how many images each shard holds.
        classes: the lines of ``classes.txt`` beside the first shard, or else the class numbers.

    Raises:
        ValueError: a shard is missing, damaged or without images, or its index cannot be written.
    """

    def __init__(self, paths: Sequence[Path], size: int) -> None:
        self.paths, self.size = list(paths), size
        entries = [shard_index(path) for path in paths]
        self.groups = [len(shard) for shard in entries]
        self._ends = np.cumsum(self.groups)
        # Columns, not a million tuples: these are shared with worker processes, which count references to objects.
        columns = [np.array(column) for column in zip(*(e for shard in entries for e in shard), strict=True)]
        self.names, self.offsets, self.lengths, self.labels = columns
        names = self.paths[0].with_name("classes.txt")
        count = int(self.labels.max()) + 1
        self.classes = names.read_text().splitlines() if names.exists() else [str(i) for i in range(count)]

    def __len__(self) -> int:
        return len(self.offsets)

    def _shard(self, index: int) -> Path:
        return self.paths[int(np.searchsorted(self._ends, index, side="right"))]

    def encoded(self, index: int) -> tuple[bytes, int]:
        """An image's bytes and class number."""
        with open(self._shard(index), "rb", buffering=0) as file:
            return os.pread(file.fileno(), self.lengths[index], self.offsets[index]), int(self.labels[index])

    def name(self, index: int) -> str:
        """The shard and the file in it."""
        return f"{self._shard(index)}/{self.names[index]}"

    def made_of(self) -> tuple[object, Iterable[Path]]:
        """How many images each shard holds, and the shards."""
        return self.groups, self.paths


def index_path(shard: Path) -> Path:
    """Where a shard's index lies."""
    return shard.with_suffix(".index.json")


def shard_index(shard: Path) -> list[Entry]:
    """The images in a shard: from its index if that fits, else from the shard, and the index is written.

    Raises:
        ValueError: no such shard, or it is damaged, or the index cannot be written.
    """
    try:
        status = shard.stat()
        with open(shard, "rb"):
            pass
    except OSError as error:
        raise ValueError(
            f"no shard {shard} ({error.strerror}): give files that are there, as pattern='DIR/train-{{0000..0146}}.tar'"
        ) from error
    version = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    path = index_path(shard)
    try:
        known = json.loads(path.read_text())
        if known["shard"] == version:
            return [Entry(*entry) for entry in known["images"]]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    entries = _scan(shard)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps({"shard": version, "images": entries}))
        os.replace(temporary, path)  # processes that meet here write the same
    except OSError as error:
        raise ValueError(
            f"{shard} has no index that fits it, and {path.name} cannot be written beside it ({error.strerror}): "
            "start once where it can"
        ) from error
    return entries


def _scan(shard: Path) -> list[Entry]:
    found: dict[str, tuple[str, int, int]] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                key, extension = base_plus_ext(member.name)
                if key is None or not member.isreg():
                    continue
                if f".{extension.lower()}" in IMG_EXTENSIONS:
                    found.setdefault(key, (member.name, member.offset_data, member.size))
                elif extension == "cls":
                    file = tar.extractfile(member)
                    labels[key] = int(file.read()) if file else 0
    except (tarfile.TarError, OSError, ValueError) as error:
        raise ValueError(f"the shard {shard} is damaged after {len(found)} images ({error}): write it again") from error
    if not found:
        raise ValueError(f"no images in the shard {shard}: samples are files like 000123.jpg and 000123.cls")
    return [Entry(*place, labels.get(key, 0)) for key, place in found.items()]


def shard_sets(pattern: str, val_pattern: str, size: int) -> tuple[ShardedImages, ShardedImages]:
    """Shards to train on and held-out ones.

    Args:
        pattern: like ``DIR/train-{0000..0146}.tar``.
        val_pattern: the same for the held-out images; empty: ``val-*.tar`` beside the first shard.
        size: side of the squares handed out, pixels.

    Raises:
        ValueError: shards are missing or damaged.
    """
    train = [Path(p) for p in braceexpand(pattern)]
    val = [Path(p) for p in braceexpand(val_pattern)] if val_pattern else sorted(train[0].parent.glob("val-*.tar"))
    if not val:
        pattern = "val_pattern='DIR/val-{0000..0006}.tar'"
        raise ValueError(f"no held-out shards val-*.tar beside {train[0]}: {pattern} says where they are")
    return ShardedImages(train, size), ShardedImages(val, size)
