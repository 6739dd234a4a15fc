"""Where images come from: folders, torchvision's data sets, tar shards, and the built-in scenes.

Each function returns two sources, the training images and the held-out ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from patchgame_egg.data.folders import VAL_SHARE, folder_sets, listing, refuse_split, split
from patchgame_egg.data.images import ImageSource, Origin
from patchgame_egg.data.map_style import MapImages
from patchgame_egg.data.scenes import Scenes

LEAST_HELD_OUT = 1024
"""Scenes that are held out, of however few to train on."""


class TorchvisionSet(MapImages):
    """A torchvision data set of PIL images and labels, or a part of one."""

    def made_of(self) -> tuple[object, Iterable[Path]]:
        """What the images depend on, for a cache: plain values, and all files below the root."""
        return (repr(self.base), self.indices), sorted(listing(self.base.root).files)


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
    name: str, root: Path | str, size: int, download: bool = False, val_share: float | None = None
) -> tuple[MapImages, MapImages]:
    """A torchvision data set by name, as (training, held out).

    Args:
        name: a key of `TORCHVISION`.
        root: where its files lie, or go.
        size: side of the squares handed out, pixels.
        download: fetch the files if they are missing; ImageNet's cannot be fetched.
        val_share: how much is held out of a set without a held-out part; None: `VAL_SHARE`.

    Raises:
        ValueError: the files are missing, or a share is asked for of a set that has a held-out part.
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

    if val_options is not None:
        refuse_split(val_share, f"{name}'s own")
        parts = (open_part(options) for options in (train_options, val_options))
        first, second = (TorchvisionSet(part, size, origin=Origin(f"{name}'s own part")) for part in parts)
        return first, second
    drawn = Origin(f"drawn, val_share={VAL_SHARE if val_share is None else val_share:g}")
    whole = TorchvisionSet(open_part(train_options), size, origin=drawn)
    kept, held_out = split(len(whole), val_share)
    return whole.part(kept), whole.part(held_out)


def image_sets(
    name: str,
    root: Path | str,
    size: int,
    *,
    val_root: str = "",
    download: bool = False,
    seed: int = 0,
    scenes: int = 8192,
    class_level: int = 1,
    val_share: float | None = None,
    limit: int | None = None,
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
        class_level: of a folder, which folder on the way to an image names its class: see `folder_sets`.
        val_share: how much is held out of images without a held-out part; None: `VAL_SHARE`.
        limit: the most images to train on, and to hold out, drawn but always the same ones; None: all.

    Raises:
        ValueError: unknown name, the images are not there, or an option does not fit them.
    """
    if name != "folder" and class_level != 1:
        raise ValueError(f"class_level={class_level} counts folders: it goes with name='folder', not {name}")
    if limit is not None and limit < 2:
        raise ValueError(f"limit={limit}: at least 2 images are needed")
    sets: tuple[Any, Any]
    if name == "scenes":
        refuse_split(val_share, "drawn as well")
        # Fewer scenes are the first ones of more.
        count, held_out = (min(n, limit or n) for n in (scenes, max(LEAST_HELD_OUT, scenes // 8)))
        sets = Scenes(count, size, seed, "train"), Scenes(held_out, size, seed, "val")
    elif name == "folder":
        if not str(root):
            raise ValueError("name='folder' needs root='DIR', a folder of images")
        sets = folder_sets(root, size, class_level=class_level, val_share=val_share)
    elif name == "shards":
        if not str(root):
            raise ValueError("name='shards' needs root='DIR/train-{0000..0146}.tar', the shards to train on")
        from patchgame_egg.data.shards import shard_sets

        refuse_split(val_share, "in shards of its own")
        sets = shard_sets(str(root), val_root, size)
    elif name in TORCHVISION:
        sets = torchvision_sets(name, str(root) or "data", size, download, val_share)
    else:
        raise ValueError(f"unknown data {name!r}: one of {', '.join(NAMES)}")
    first, second = (limited(source, limit) for source in sets)
    return first, second


def limited(source: Any, limit: int | None) -> ImageSource:
    """At most so many of the images, drawn but always the same ones; the source must have ``part(indices)``."""
    if limit is not None and len(source) > limit:
        source = source.part(sorted(np.random.default_rng(0).permutation(len(source))[:limit].tolist()))
    return source  # type: ignore[no-any-return]
