"""Images in tar shards as the webdataset library names and groups them, read at any place through an index.

A sample is all files of one name: ``000123.jpg`` and ``000123.cls``, the class by number or name. Beside each shard
lies its index (``train-0000.index.json``): where the images are, and the size and time of change of the shard that it
was made of. With it a set of shards is a source like any other, so order, epochs and resume are those of the loader.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from braceexpand import braceexpand
from webdataset.tariterators import base_plus_ext

from patchgame_egg.atomic_write import write_text
from patchgame_egg.data.folders import left_out
from patchgame_egg.data.images import EncodedImages, Origin
from patchgame_egg.data.names import image_suffixes, is_system, printable
from patchgame_egg.text_files import split_lines

# Numbers of classes are below this: a list of names has to fit in memory.
_MOST_CLASSES = 1_000_000
# A class is a number or a name, not a file.
_LONGEST_CLASS = 1000

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\3\4": "zip"}

# Part of every index: one of another version is made anew.
_INDEX_VERSION = 3


class Entry(NamedTuple):
    """An image in a shard: its file's name, the bytes before it, its length in bytes, its class.

    A class is a number, a name, or -1 where there is none.
    """

    name: str
    offset: int
    length: int
    label: int | str


@dataclass
class Index:
    """What is in a shard.

    Attributes:
        images: in their order.
        suffixes: of the files that are neither images nor classes, counted.
        system: hidden and system names, counted.
        broken: what else is no image, counted by reason.
    """

    images: list[Entry]
    suffixes: Counter[str] = field(default_factory=Counter)
    system: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)


class ShardedImages(EncodedImages):
    """The images of tar shards, in the order of the shards.

    Args:
        paths: the shards, local or mounted files.
        size: side of the squares handed out, pixels.

        said: every class that any shard names, in order; None: those of these shards. Where ``classes.txt`` lies beside
            the first shard, its lines count.

    Attributes:
        groups: how many images each shard holds.
        labels: class numbers, -1 where there is none.

    Raises:
        ValueError: a shard is missing, damaged or without images, its index cannot be written, or a class is none of
            ``classes``.
    """

    def __init__(self, paths: Sequence[Path], size: int, said: Sequence[str] | None = None) -> None:
        self.paths, self.size = list(paths), size
        indexes = [read_index(path) for path in paths]
        entries = [index.images for index in indexes]
        self.groups = [len(shard) for shard in entries]
        # Columns, not a million tuples: these are shared with worker processes, which count references to objects.
        *columns, labels = zip(*(e for shard in entries for e in shard), strict=True)
        self.names, self.offsets, self.lengths = map(np.array, columns)
        self.shards = np.repeat(np.arange(len(entries)), self.groups)
        number: dict[int | str, int] = {}
        named = names_file(self.paths)
        if named is not None:
            self.classes = list(map(printable, split_lines(named.read_bytes().decode("utf-8-sig", "surrogateescape"))))
            number = {i: i for i in range(len(self.classes))}
        else:
            self.classes = list(class_names(labels) if said is None else said)
        by_name = {name: i for i, name in enumerate(self.classes)}
        # Without a file of names, a number is a name like any other.
        self.labels = np.array([-1 if x == -1 else number.get(x, by_name.get(str(x), -2)) for x in labels])
        counted = (
            sum((getattr(i, kind) for i in indexes), Counter[str]()) for kind in ("suffixes", "system", "broken")
        )
        classes_from = "by classes.txt and .cls" if named else "by .cls"
        self.origin = Origin(classes_from=classes_from, left_out=left_out(*counted))
        if (self.labels == -2).any():
            first = int((self.labels == -2).argmax())
            about = f"{self.name(first)} is of class {labels[first]}"
            raise ValueError(f"{about}, which is none of the {len(self.classes)} lines of {named}")

    def __len__(self) -> int:
        return len(self.offsets)

    def _shard(self, index: int) -> Path:
        return self.paths[self.shards[index]]

    def part(self, indices: Sequence[int]) -> ShardedImages:
        """Some of the images, in rising order."""
        some = copy(self)
        for name in ("names", "offsets", "lengths", "shards", "labels"):
            setattr(some, name, getattr(self, name)[indices])
        some.groups = [n for n in np.bincount(some.shards).tolist() if n]
        return some

    def encoded(self, index: int) -> tuple[bytes, int]:
        """An image's bytes and class number."""
        with open(self._shard(index), "rb", buffering=0) as file:
            return os.pread(file.fileno(), self.lengths[index], self.offsets[index]), int(self.labels[index])

    def name(self, index: int) -> str:
        """The shard and the file in it, as they can be printed."""
        return printable(f"{self._shard(index)}/{self.names[index]}")

    def made_of(self) -> tuple[object, Iterable[Path]]:
        """Where the images and what their classes are, and the shards."""
        return (self.groups, self.offsets.tolist(), self.labels.tolist()), self.paths

    def sizes(self) -> Iterable[tuple[str, int]]:
        """What the images are called in the shards, and how many bytes they have."""
        return zip(self.names.tolist(), self.lengths.tolist(), strict=True)


def index_path(shard: Path) -> Path:
    """Where a shard's index lies."""
    return shard.with_suffix(".index.json")


def shard_index(shard: Path) -> list[Entry]:
    """The images in a shard, see `read_index`."""
    return read_index(shard).images


def read_index(shard: Path) -> Index:
    """What is in a shard: from its index if that fits, else from the shard, and the index is written.

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
    version = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "index": _INDEX_VERSION}
    path = index_path(shard)
    try:
        known = json.loads(path.read_text())
        if known["shard"] == version:
            counted = (Counter[str](known[kind]) for kind in ("suffixes", "system", "broken"))
            return Index([Entry(*entry) for entry in known["images"]], *counted)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    index = _scan(shard)
    try:
        # Processes that meet here write the same.
        write_text(json.dumps({"shard": version, **vars(index)}), path, together=True)
    except OSError as error:
        raise ValueError(
            f"{shard} has no index that fits it, and {path.name} cannot be written beside it ({error.strerror}): "
            "start once where it can"
        ) from error
    return index


def _scan(shard: Path) -> Index:
    index = Index([])
    found: dict[str, dict[str, tuple[str, int, int]]] = {}
    labels: dict[tuple[str, str], int | str] = {}
    with open(shard, "rb") as file:
        start = file.read(6)
    for magic, packer in _COMPRESSED.items():
        if start.startswith(magic):
            raise ValueError(
                f"the shard {shard} is compressed by {packer}, and images are read at any place: unpack it"
            )
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if member.isdir():
                    continue
                if system := next(filter(is_system, PurePosixPath(member.name).parts), None):
                    index.system[system] += 1
                    continue
                key, extension = base_plus_ext(member.name)
                if not member.isreg():
                    index.broken["that are links or no files"] += 1
                elif key is None:
                    # Webdataset takes what has no suffix for no part of a sample.
                    index.suffixes[""] += 1
                else:
                    stem, _, suffix = extension.rpartition(".")
                    if f".{suffix.lower()}" in image_suffixes():
                        if stem in found.setdefault(key, {}):
                            index.broken["images of a name that was there already"] += 1
                        found[key].setdefault(stem, (member.name, member.offset_data, member.size))
                    elif suffix == "cls":
                        labels[key, stem] = _class(tar, member, shard)
                    else:
                        index.suffixes[f".{suffix.lower()}"] += 1
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"the shard {shard} is damaged after {len(found)} images ({error}): write it again") from error
    if not found:
        raise ValueError(f"no images in the shard {shard}: samples are files like 000123.jpg and 000123.cls")
    for key, images in found.items():
        # A sample has one image, and maybe others beside it (1.jpg, 1.mask.png); or all names were cut at their first
        # dot: 22.05.jpg is the file 05.jpg of the sample 22.
        kept = {"": images[""]} if "" in images else images
        if len(kept) < len(images):
            index.broken["further images of a sample"] += len(images) - len(kept)
        index.images += [
            Entry(*place, labels.get((key, stem), labels.get((key, ""), -1))) for stem, place in kept.items()
        ]
    return index


def _class(tar: tarfile.TarFile, member: tarfile.TarInfo, shard: Path) -> int | str:
    """What a ``.cls`` file says.

    Raises:
        ValueError: a number out of bounds, or more than a name.
    """
    about = f"{printable(member.name)} in the shard {shard}"
    if member.size > _LONGEST_CLASS:
        raise ValueError(f"{about} has {member.size} bytes: a class is a number or a name of at most {_LONGEST_CLASS}")
    file = tar.extractfile(member)
    text = file.read().decode("utf-8-sig", "surrogateescape").strip() if file else ""
    if not re.fullmatch("[+-]?[0-9]+", text):
        return printable(text) or -1
    if not -1 <= int(text) < _MOST_CLASSES:
        raise ValueError(f"{about} is {text}: numbers of classes go from 0 to {_MOST_CLASSES - 1:,}, -1 is none")
    return int(text)


def class_names(labels: Iterable[int | str]) -> list[str]:
    """Names of classes, by what is said of single images: sorted, if there are words, else all numbers from 0 on."""
    every = set(labels) - {-1}
    if any(isinstance(label, str) for label in every):
        return sorted(map(str, every))
    return [str(i) for i in range(max((int(i) for i in every), default=-1) + 1)]


def names_file(shards: Sequence[Path]) -> Path | None:
    """The file that names the classes of shards, if there is one."""
    path = shards[0].with_name("classes.txt")
    return path if path.exists() else None


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
    said = None
    if names_file(train) is None:
        said = class_names(entry.label for shard in (*train, *val) for entry in shard_index(shard))
    return ShardedImages(train, size, said), ShardedImages(val, size, said)
