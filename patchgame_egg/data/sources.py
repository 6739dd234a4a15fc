"""Where images come from: folders, torchvision's data sets, tar shards, and the built-in scenes.

Each function returns two sources, the training images and the held-out ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from patchgame_egg.data.images import IMG_EXTENSIONS, ImageFiles, ImageSource, square
from patchgame_egg.data.scenes import Scenes

HELD_OUT = ("val", "valid", "validation", "test")
"""What a folder of held-out images may be called."""

LEAST_HELD_OUT = 1024
"""Scenes that are held out, of however few to train on."""


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

    def made_of(self) -> tuple[object, Iterable[Path]]:
        """What the images depend on, for a cache: plain values, and all files below the root."""
        return (repr(self.base), self.indices), sorted(Path(self.base.root).rglob("*"))  # type: ignore[attr-defined]


def _images_below(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMG_EXTENSIONS and p.is_file())


def _split(count: int) -> tuple[list[int], list[int]]:
    """95 % and 5 % of ``count`` items, each at least one (section 3.4): drawn, but the same ones every time."""
    order = np.random.default_rng(0).permutation(count)
    held_out = max(1, round(0.05 * count))
    return sorted(order[held_out:].tolist()), sorted(order[:held_out].tolist())


def _parts(root: Path | str) -> tuple[Path | None, Path | None]:
    """The folders of a folder's training and held-out images; (all of it, None) where it has no parts.

    Raises:
        ValueError: no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"no folder root={str(root)!r}: give a folder of images, one sub-folder per class")
    train = root / "train"
    held_out = next((root / name for name in HELD_OUT if (root / name).is_dir()), None)
    if train.is_dir():
        return train, held_out
    # A class may be called test.
    alone = held_out is not None and all(p.name in HELD_OUT for p in root.iterdir() if p.is_dir())
    return (None, held_out) if alone else (root, None)


def _files(parts: Sequence[Path], size: int) -> list[ImageFiles]:
    """The images below each folder; classes are numbered over all of them.

    Raises:
        ValueError: fewer than two images in a folder.
    """
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
    return [ImageFiles(p, [number[n] for n in ns], classes, size) for p, ns in zip(found, names, strict=True)]


def folder_sets(root: Path | str, size: int) -> tuple[ImageFiles, ImageFiles]:
    """Images in folders named after their classes, as (training, held out).

    Args:
        root: holds ``train`` and one of ``val``, ``valid``, ``validation``, ``test``, each with a folder per class;
            or ``train`` alone, or a folder per class, or images, which are split 95 to 5, always in the same way.
        size: side of the squares handed out, pixels.

    Raises:
        ValueError: no such folder, too few images in it, or held-out ones alone.
    """
    train, held_out = _parts(root)
    if train is None:
        raise ValueError(
            f"{root} has {held_out} and no train/ beside it: root={str(held_out)!r} splits those images 95 to 5"
        )
    if held_out is not None:
        first, second = _files([train, held_out], size)
        return first, second
    (whole,) = _files([train], size)
    first, second = (
        ImageFiles([whole.paths[i] for i in part], [whole.labels[i] for i in part], whole.classes, size)
        for part in _split(len(whole))
    )
    return first, second


def unseen_folder(root: Path | str, size: int) -> ImageFiles:
    """Images in folders named after their classes, of which none is to be trained on.

    Args:
        root: as for `folder_sets`; of its parts the held-out one counts, and all images where it has none.
        size: side of the squares handed out, pixels.

    Raises:
        ValueError: no such folder, or too few images in it.
    """
    train, held_out = _parts(root)
    part = held_out or train
    assert part is not None
    return _files([part], size)[0]


def _of_torchvision(kind: str) -> Callable[..., Dataset]:  # type: ignore[type-arg]
    """A class of ``torchvision.datasets``, which is imported when a set is opened: it takes seconds."""

    def make(*args: Any, **options: Any) -> Dataset:  # type: ignore[type-arg]
        from torchvision import datasets

        return getattr(datasets, kind)(*args, **options)

    return make


# Name -> (class, arguments of the training part, arguments of the held-out part, None: split the former 95 to 5).
_Arguments = dict[str, str | bool]
TORCHVISION: dict[str, tuple[Callable[..., Dataset], _Arguments, _Arguments | None]] = {  # type: ignore[type-arg]
    "caltech101": (_of_torchvision("Caltech101"), {}, None),
    "cifar10": (_of_torchvision("CIFAR10"), {"train": True}, {"train": False}),
    "cifar100": (_of_torchvision("CIFAR100"), {"train": True}, {"train": False}),
    "dtd": (_of_torchvision("DTD"), {"split": "train"}, {"split": "test"}),
    "eurosat": (_of_torchvision("EuroSAT"), {}, None),
    "flowers102": (_of_torchvision("Flowers102"), {"split": "train"}, {"split": "test"}),
    "food101": (_of_torchvision("Food101"), {"split": "train"}, {"split": "test"}),
    "gtsrb": (_of_torchvision("GTSRB"), {"split": "train"}, {"split": "test"}),
    "imagenet": (_of_torchvision("ImageNet"), {"split": "train"}, {"split": "val"}),
    "pets": (_of_torchvision("OxfordIIITPet"), {"split": "trainval"}, {"split": "test"}),
    "stl10": (_of_torchvision("STL10"), {"split": "train+unlabeled"}, {"split": "test"}),
    "sun397": (_of_torchvision("SUN397"), {}, None),
    "svhn": (_of_torchvision("SVHN"), {"split": "train"}, {"split": "test"}),
}

NAMES = ("scenes", "folder", "shards", *TORCHVISION)


def torchvision_sets(
    name: str, root: Path | str, size: int, download: bool = False
) -> tuple[TorchvisionSet, TorchvisionSet]:
    """A torchvision data set by name, as (training, held out).

    Args:
        name: a key of `TORCHVISION`.
        root: where its files lie, or go.
        size: side of the squares handed out, pixels.
        download: fetch the files if they are missing; ImageNet's cannot be fetched.

    Raises:
        ValueError: the files are missing.
    """
    make, train_options, val_options = TORCHVISION[name]
    fetch = {} if name == "imagenet" else {"download": download}

    def open_part(options: _Arguments) -> Dataset:  # type: ignore[type-arg]
        try:
            return make(str(root), **options, **fetch)
        except (RuntimeError, OSError) as error:
            hint = (
                "torchvision cannot fetch it; where it lies in train/ and val/, name='folder' reads it"
                if name == "imagenet"
                else "download=True fetches it"
            )
            reason = str(error).split("\n")[0]
            raise ValueError(f"{name} is not in root={str(root)!r}: {hint} ({reason})") from error

    train = open_part(train_options)
    if val_options is not None:
        val = open_part(val_options)
        return TorchvisionSet(train, range(len(train)), size), TorchvisionSet(val, range(len(val)), size)  # type: ignore[arg-type]
    kept, held_out = _split(len(train))  # type: ignore[arg-type]
    return TorchvisionSet(train, kept, size), TorchvisionSet(train, held_out, size)


def image_sets(
    name: str,
    root: Path | str,
    size: int,
    *,
    val_root: str = "",
    download: bool = False,
    seed: int = 0,
    scenes: int = 8192,
) -> tuple[ImageSource, ImageSource]:
    """Images by the name of their source, as (training, held out).

    Args:
        name: one of `NAMES`.
        root: folder of the images, or pattern of the shards; the built-in scenes need none.
        size: side of the squares handed out, pixels.
        val_root: pattern of the held-out shards; empty: ``val-*.tar`` beside the others.
        download: fetch a torchvision set that is missing.
        seed: seed of the scenes.
        scenes: how many scenes to train on; an eighth as many, at least 1024, are held out.

    Raises:
        ValueError: unknown name, or the images are not there.
    """
    if name == "scenes":
        held_out = max(LEAST_HELD_OUT, scenes // 8)
        return Scenes(scenes, size, seed, "train"), Scenes(held_out, size, seed, "val")
    if name == "folder":
        if not str(root):
            raise ValueError("name='folder' needs root='DIR', a folder of images")
        return folder_sets(root, size)
    if name == "shards":
        from patchgame_egg.data.shards import shard_sets

        if not str(root):
            raise ValueError("name='shards' needs root='DIR/train-{0000..0146}.tar', the shards to train on")
        return shard_sets(str(root), val_root, size)
    if name not in TORCHVISION:
        raise ValueError(f"unknown data {name!r}: one of {', '.join(NAMES)}")
    return torchvision_sets(name, str(root) or "data", size, download)
