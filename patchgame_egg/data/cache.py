"""Decoded images in a memory-mapped file, made once and shared by all processes and runs.

A cache is a folder named after a digest of all that its pixels depend on: the files with their sizes and times of
change, the labels, the size, the version of the code that decodes. A source that changed thus has another cache, and
an old one is never mistaken for it. It is built under a lock and a temporary name, and is there only once it is whole.

    4959-images-256px-1f0c9a7be2d4/images.npy    uint8 [N, 3, S, S]
                                   labels.npy    int64 [N], -2 where an image could not be read
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from patchgame_egg.counted import counted
from patchgame_egg.data.images import PIXELS_VERSION, ImageSource, side
from patchgame_egg.data.pixels import UNREADABLE, is_exhausted

_BATCH = 64

_OWN_FILE = re.compile(r"/\d+-images-\d+px-[0-9a-f]{12}[./]")

# Data sets give -1 to images without a label.
_UNREAD = -2


class CachedImages(Dataset[tuple[Tensor, int]]):
    """A source whose decoded images lie in a file; the first to ask makes the file.

    Args:
        source: the images, from files.
        folder: where caches lie. Several processes, runs and sources may share it.
        workers: processes that decode while the file is made.

    Raises:
        ValueError: the source is not made of files, or there is no room for the cache.
    """

    def __init__(self, source: ImageSource, folder: Path | str, workers: int = 0) -> None:
        self.source, self.classes, self.groups = source, source.classes, getattr(source, "groups", None)
        try:
            self.folder = Path(folder) / f"{len(source)}-images-{side(source)}px-{digest(source)}"
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with _lock(self.folder.with_suffix(".lock")):
                if not _is_whole(self.folder):
                    _build(source, self.folder, workers)
        except OSError as error:
            raise ValueError(f"no cache in {folder}: {error}") from error

    @cached_property
    def images(self) -> np.ndarray:
        """All images, uint8 ``[N, 3, S, S]``, read from disk where they are looked at."""
        # Copy-on-write, as torch wants arrays that can be written; what is only read is never copied.
        return np.load(self.folder / "images.npy", mmap_mode="c")

    @cached_property
    def labels(self) -> np.ndarray:
        """All class numbers, -2 where an image could not be read."""
        return np.load(self.folder / "labels.npy")

    def __getstate__(self) -> dict[str, Any]:
        """Without the images: a process that is not a fork maps them again."""
        return {k: v for k, v in vars(self).items() if k not in ("images", "labels")}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.labels[index] == _UNREAD:
            raise OSError(f"{self.name(index)} could not be read when the cache was made")
        return torch.from_numpy(self.images[index]), int(self.labels[index])

    def name(self, index: int) -> str:
        """What the source calls the image."""
        name = getattr(self.source, "name", lambda i: f"image {i}")
        return name(index)


def digest(source: ImageSource) -> str:
    """Twelve hexadecimal digits that stand for all that a source's pixels depend on.

    Args:
        source: with a method ``made_of()``, which gives plain values and files. Caches among the files do not count.

    Raises:
        ValueError: the source has no such method.
    """
    if not hasattr(source, "made_of"):
        raise ValueError(f"a cache keeps images that are read from files, not {type(source).__name__}: leave it out")
    values, files = source.made_of()
    parts = hashlib.sha256()
    for part in (values, source.classes, side(source), PIXELS_VERSION):
        parts.update(f"{part}\n".encode(errors="surrogateescape"))
    for path in map(os.path.abspath, files):
        if os.path.isfile(path) and not _OWN_FILE.search(path):
            status = os.stat(path)
            parts.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return parts.hexdigest()[:12]


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # freed at the latest when the process ends
        yield


def _is_whole(folder: Path) -> bool:
    try:
        # Both fail on files that are shorter than they say.
        np.load(folder / "images.npy", mmap_mode="r")
        np.load(folder / "labels.npy")
    except (OSError, ValueError, EOFError):
        return False
    return True


class _OrNothing(Dataset[tuple[Tensor, int]]):
    """Black images in the place of those that cannot be read."""

    def __init__(self, source: ImageSource) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        try:
            return self.source[index]
        except UNREADABLE as error:
            if is_exhausted(error):
                raise
            return torch.zeros(3, side(self.source), side(self.source), dtype=torch.uint8), _UNREAD


def _build(source: ImageSource, folder: Path, workers: int) -> None:
    shape = (len(source), 3, side(source), side(source))
    size, free = int(np.prod(shape)), shutil.disk_usage(folder.parent).free
    if size > free:
        needed, there = f"{size / 2**30:.1f} GiB are needed", f"{free / 2**30:.1f} GiB are free"
        raise ValueError(f"no room in {folder.parent}: {needed}, {there}: give another folder, or make room")
    print(f"caching {shape[0]} images of {shape[2]} px in {folder} ({size / 2**30:.2f} GiB)", flush=True)
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    partial.mkdir()
    labels = []
    with open(partial / "images.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        # Whether the cache was there already must not show in what a game draws.
        loader = DataLoader(_OrNothing(source), _BATCH, num_workers=workers, generator=torch.Generator())
        for images, numbers in counted(loader, "caching, in batches"):
            # In order and not through the map: a disk that fills up is then an error, not a crash.
            file.write(images.numpy().data)
            labels.append(numbers.numpy())
        _flush(file)
    with open(partial / "labels.npy", "wb") as file:
        np.save(file, np.concatenate(labels))
        _flush(file)
    os.rename(partial, folder)


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
