"""From files to batches of uint8 images: sources, then one loader for training and validation.

A source is a map-style data set of ``(uint8 image [3, S, S], label)`` with ``classes``. What the loader yields depends
on the seed, the epoch and the position alone, whatever the number of workers and ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torchvision.datasets as tv
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS

from patchgame_egg.distributed import rank, world_size
from patchgame_egg.interaction import Batch
from patchgame_egg.scenes import Scenes

# Decoded images are kept while all of them fit in this much memory.
_MEMORY_BYTES = 2**30

# What decoders raise on files that are not what they seem; each is worth skipping, none is worth a lost run.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


class ImageSource(Protocol):
    """What the loader needs to know of a set of images."""

    classes: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, int]: ...


def square(image: Image.Image, size: int) -> Tensor:
    """RGB, shorter side resized to ``size`` (bicubic), centre square: uint8 ``[3, size, size]``."""
    image.draft("RGB", (size, size))  # lets the JPEG decoder skip resolution that nobody will see
    image = image.convert("RGB")
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.crop((left, top, left + size, top + size))
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """Image files with labels, decoded when first asked for.

    Args:
        paths: the files.
        labels: one class number each.
        classes: the classes' names.
        size: side of the squares handed out, pixels.
    """

    def __init__(self, paths: Sequence[Path], labels: Sequence[int], classes: list[str], size: int) -> None:
        self.paths, self.labels, self.classes, self.size = list(paths), list(labels), classes, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[index]) as image:
            return square(image, self.size), self.labels[index]

    def name(self, index: int) -> str:
        """The file behind an index."""
        return str(self.paths[index])


class TorchvisionSet(Dataset[tuple[Tensor, int]]):
    """A torchvision data set of PIL images and labels, or a part of one."""

    def __init__(self, base: Dataset, indices: Sequence[int], size: int) -> None:  # type: ignore[type-arg]
        self.base, self.indices, self.size = base, list(indices), size
        names = getattr(base, "classes", None) or getattr(base, "categories", None)
        self.classes = [n if isinstance(n, str) else n[0] for n in names] if names else []

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.base[self.indices[index]]
        return square(image, self.size), int(label)


def _images_below(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMG_EXTENSIONS and p.is_file())


def _split(count: int, seed: int) -> tuple[list[int], list[int]]:
    """95 % and 5 % of ``count`` items at random, each at least one (section 3.4)."""
    order = np.random.default_rng(seed).permutation(count)
    held_out = max(1, round(0.05 * count))
    return sorted(order[held_out:].tolist()), sorted(order[:held_out].tolist())


def folder_sets(root: Path | str, size: int, seed: int = 0) -> tuple[ImageFiles, ImageFiles]:
    """Images in folders named after their classes.

    Args:
        root: holds ``train`` and one of ``val``, ``valid``, ``validation``, ``test``, each with a folder per class;
            or ``train`` alone, or a folder per class, or images, which are split 95 to 5.
        size: side of the squares handed out, pixels.
        seed: of the split.

    Raises:
        ValueError: no such folder, or too few images in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"no folder {root}: --root takes a folder of images, one sub-folder per class")
    held_out = next((root / n for n in ("val", "valid", "validation", "test") if (root / n).is_dir()), None)
    train_folder = root / "train" if (root / "train").is_dir() else root
    parts = [train_folder] if train_folder == root or held_out is None else [train_folder, held_out]
    found = [_images_below(part) for part in parts]
    for part, paths in zip(parts, found, strict=True):
        if len(paths) < 2:
            raise ValueError(f"{len(paths)} images in {part}: at least 2 are needed ({', '.join(IMG_EXTENSIONS)})")

    def class_of(path: Path, part: Path) -> str:
        inside = path.relative_to(part).parts
        return inside[0] if len(inside) > 1 else "image"

    names = [[class_of(p, part) for p in paths] for part, paths in zip(parts, found, strict=True)]
    classes = sorted({n for part_names in names for n in part_names})
    number = {name: i for i, name in enumerate(classes)}
    sets = [ImageFiles(p, [number[n] for n in ns], classes, size) for p, ns in zip(found, names, strict=True)]
    if len(sets) == 2:
        return sets[0], sets[1]
    train, val = ([(found[0][i], number[names[0][i]]) for i in part] for part in _split(len(found[0]), seed))
    return tuple(ImageFiles([p for p, _ in part], [n for _, n in part], classes, size) for part in (train, val))  # type: ignore[return-value]


# Name -> (class, arguments of the training part, arguments of the held-out part, None: split the former 95 to 5).
_Arguments = dict[str, str | bool]
TORCHVISION: dict[str, tuple[Callable[..., Dataset], _Arguments, _Arguments | None]] = {  # type: ignore[type-arg]
    "caltech101": (tv.Caltech101, {}, None),
    "cifar10": (tv.CIFAR10, {"train": True}, {"train": False}),
    "cifar100": (tv.CIFAR100, {"train": True}, {"train": False}),
    "dtd": (tv.DTD, {"split": "train"}, {"split": "test"}),
    "eurosat": (tv.EuroSAT, {}, None),
    "flowers102": (tv.Flowers102, {"split": "train"}, {"split": "test"}),
    "food101": (tv.Food101, {"split": "train"}, {"split": "test"}),
    "gtsrb": (tv.GTSRB, {"split": "train"}, {"split": "test"}),
    "imagenet": (tv.ImageNet, {"split": "train"}, {"split": "val"}),
    "pets": (tv.OxfordIIITPet, {"split": "trainval"}, {"split": "test"}),
    "stl10": (tv.STL10, {"split": "train+unlabeled"}, {"split": "test"}),
    "sun397": (tv.SUN397, {}, None),
    "svhn": (tv.SVHN, {"split": "train"}, {"split": "test"}),
}

NAMES = ("scenes", "folder", *TORCHVISION)


def torchvision_sets(
    name: str, root: Path | str, size: int, download: bool = False, seed: int = 0
) -> tuple[TorchvisionSet, TorchvisionSet]:
    """A torchvision data set by name, as (training, held out).

    Args:
        name: a key of `TORCHVISION`.
        root: where its files lie, or go.
        size: side of the squares handed out, pixels.
        download: fetch the files if they are missing; ImageNet's cannot be fetched.
        seed: of the split of sets that have none.

    Raises:
        ValueError: the files are missing.
    """
    make, train_options, val_options = TORCHVISION[name]
    fetch = {} if name == "imagenet" else {"download": download}

    def open_part(options: _Arguments) -> Dataset:  # type: ignore[type-arg]
        try:
            return make(str(root), **options, **fetch)
        except (RuntimeError, OSError) as error:
            hint = "torchvision cannot fetch it" if name == "imagenet" else "--download fetches it"
            reason = str(error).split("\n")[0]
            raise ValueError(f"{name} is not in {root} ({hint}; --root says where else to look): {reason}") from error

    train = open_part(train_options)
    if val_options is not None:
        val = open_part(val_options)
        return TorchvisionSet(train, range(len(train)), size), TorchvisionSet(val, range(len(val)), size)  # type: ignore[arg-type]
    kept, held_out = _split(len(train), seed)  # type: ignore[arg-type]
    return TorchvisionSet(train, kept, size), TorchvisionSet(train, held_out, size)


def image_sets(
    name: str, root: Path | str, size: int, *, download: bool = False, seed: int = 0, scenes: int = 8192
) -> tuple[ImageSource, ImageSource]:
    """The images behind ``--data``, as (training, held out).

    Args:
        name: one of `NAMES`.
        root: folder of the images; the built-in scenes need none.
        size: side of the squares handed out, pixels.
        download: fetch a torchvision set that is missing.
        seed: of the scenes, or of a split.
        scenes: how many scenes to train on; an eighth as many, at least 1024, are held out.

    Raises:
        ValueError: unknown name, or the images are not there.
    """
    if name == "scenes":
        return Scenes(scenes, size, seed, "train"), Scenes(max(1024, scenes // 8), size, seed, "val")
    if name == "folder":
        if not str(root):
            raise ValueError("--data folder needs --root DIR, a folder of images")
        return folder_sets(root, size, seed)
    if name not in TORCHVISION:
        raise ValueError(f"unknown data {name!r}: one of {', '.join(NAMES)}")
    return torchvision_sets(name, str(root) or "data", size, download, seed)


class _Readable(Dataset[tuple[Tensor, int, int]]):
    """Puts the next readable image in the place of one that cannot be read, and remembers decoded ones.

    Items are (image, label, index of the image that it really is).
    """

    def __init__(self, source: ImageSource, shared: bool = False) -> None:
        self.source = source
        size = int(getattr(source, "size", 0) or getattr(source, "image_size", 0))
        self.images: Tensor | None = None
        if 0 < len(source) * 3 * size * size <= _MEMORY_BYTES:
            self.images = torch.empty(len(source), 3, size, size, dtype=torch.uint8)
            # A slot is marked here after it is filled.
            self.labels = torch.full((len(source),), -2, dtype=torch.int64)
            if shared:
                try:
                    # Worker processes fill one memory.
                    self.images.share_memory_()
                    self.labels.share_memory_()
                except RuntimeError:  # containers often have little shared memory; images are decoded anew then
                    self.images = None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        if self.images is not None and self.labels[index] != -2:
            return self.images[index], int(self.labels[index]), index
        for actual in replacements(index, len(self)):
            try:
                image, label = self.source[actual]
            except _UNREADABLE:
                continue
            if self.images is not None:
                self.images[actual] = image
                self.labels[actual] = label
            return image, label, actual
        raise RuntimeError(f"none of {min(len(self), 100)} images in a row can be read, the first is number {index}")


def replacements(index: int, count: int) -> Iterator[int]:
    """The indices tried in turn for an image: itself, then up to 99 others far from it in the list."""
    # Neighbours in a list often share a fate, and a batch: a stride near the golden section of the list meets neither.
    stride = next(s for s in range(max(1, round(count * 0.618)), 2 * count + 2) if np.gcd(s, count) == 1)
    for k in range(min(count, 100)):
        yield (index + k * stride) % count


def readable(source: ImageSource, indices: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Images and labels at the given places, another image in the place of each that cannot be read.

    Returns:
        uint8 ``[N, 3, S, S]`` and N class numbers.
    """
    images = _Readable(source)
    items = [images[i] for i in indices]
    return torch.stack([image for image, _, _ in items]), [label for _, label, _ in items]


class _Order:
    """Index lists of one epoch's batches, this rank's share of each; the rest of the last one is left out."""

    def __init__(self, count: int, batch_size: int, seed: int, shuffle: bool) -> None:
        self.count, self.batch_size, self.seed, self.shuffle = count, batch_size, seed, shuffle
        self.epoch, self.start = 1, 0

    def __len__(self) -> int:
        return self.count // self.batch_size - self.start

    def __iter__(self) -> Iterator[list[int]]:
        # Held-out images come in one fixed shuffled order: sorted by class, all candidates would be of one kind.
        order = np.random.default_rng((self.seed, self.epoch if self.shuffle else 0)).permutation(self.count)
        share = self.batch_size // world_size()
        for batch in range(self.start, self.count // self.batch_size):
            begin = batch * self.batch_size + rank() * share
            yield order[begin : begin + share].tolist()


class ImageLoader:
    """Batches of uint8 images; the same ones in the same order for a seed, whatever the workers and ranks.

    Args:
        source: the images.
        batch_size: over all ranks.
        seed: of the order.
        shuffle: a new order every epoch (training), or one fixed order (validation).
        workers: processes that decode; 0 decodes in this one.
        pin_memory: page-locked batches, for faster copies to a GPU.

    Attributes:
        skipped: the unreadable images met so far, by name where the source has names.

    Raises:
        ValueError: fewer images than one batch, or a batch that the ranks cannot share evenly.
    """

    def __init__(
        self,
        source: ImageSource,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        if batch_size > len(source):
            raise ValueError(f"a batch of {batch_size} needs at least as many images, got {len(source)}")
        if batch_size % world_size():
            raise ValueError(f"a batch of {batch_size} does not divide among {world_size()} processes")
        self.source = source
        self.order = _Order(len(source), batch_size, seed, shuffle)
        self.skipped: dict[int, str] = {}
        self.loader = DataLoader(
            _Readable(source, shared=workers > 0),
            batch_sampler=self.order,  # type: ignore[arg-type]
            num_workers=workers,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
        )

    def __len__(self) -> int:
        """Batches per epoch."""
        return self.order.count // self.order.batch_size

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Which epoch comes next, counted from 1, and from which of its batches on."""
        self.order.epoch, self.order.start = epoch, start

    def __iter__(self) -> Iterator[Batch]:
        asked = iter(self.order)
        for images, labels, index in self.loader:
            for want, got in zip(next(asked), index.tolist(), strict=True):
                if want != got:
                    self._note_skipped(want, got)
            yield Batch(images, labels, aux_input={"index": index})

    def _note_skipped(self, want: int, got: int) -> None:
        name = getattr(self.source, "name", lambda i: f"image {i}")
        for bad in replacements(want, len(self.source)):
            if bad == got:
                return
            self.skipped[bad] = name(bad)
