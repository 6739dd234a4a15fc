"""Any data set of pictures as a source, any loader's batches as ours: tuples, dicts, PIL images, arrays, tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from patchgame_egg.data.images import NOT_SAID, Origin, centre_square
from patchgame_egg.data.pixels import read_rgb, scaled, to_rgb
from patchgame_egg.interaction import Batch

_PICTURES = ("image", "img", "images", "pixel_values", "picture", "jpg", "png", "webp")
_LABELS = ("label", "labels", "target", "class", "fine_label", "cls")

Key = str | int


class MapImages(Dataset[tuple[Tensor, int]]):
    """The adapter for any map-style data set: its pictures as squares, its labels as class numbers.

    Args:
        base: has a length and items: a picture, a tuple of picture and label, or a dict of them (Hugging Face). A
            picture is of PIL, a tensor ``[C, H, W]`` or an array ``[H, W, C]`` of bytes or of floats in [0, 1], grey or
            RGB, or a file: its path or bytes.
        size: side of the squares handed out, pixels.
        image: position or key of the picture in an item; None: the first of a tuple, ``image`` and the like in a dict.
        label: position or key of the class number; None: the second of a tuple, ``label`` and the like in a dict, -1
            where an item has none; False: there are no classes.
        classes: their names; None: as the data set says, in ``classes``, ``categories`` or ``features``.
        indices: which of the items, in this order; None: all.

    Raises:
        ValueError: an item has no picture or no class number, or not as described; it is not taken for unreadable.

    Example:
        >>> base = [(Image.new("L", (40, 30), 7), 0), (Image.new("RGB", (20, 20)), 1)]
        >>> source = MapImages(base, size=16, classes=["cat", "dog"])
        >>> tuple(source[0][0].shape), source[0][0].max().item(), source[1][1]
        ((3, 16, 16), 7, 1)
    """

    def __init__(
        self,
        base: Any,
        size: int,
        *,
        image: Key | None = None,
        label: Key | Literal[False] | None = None,
        classes: Sequence[str] | None = None,
        indices: Sequence[int] | None = None,
        origin: Origin = NOT_SAID,
    ) -> None:
        self.base, self.size, self.image, self.label, self.origin = base, size, image, label, origin
        self.indices = list(range(len(base)) if indices is None else indices)
        self.classes = list(_class_names(base, label) if classes is None else classes)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        item = self.base[self.indices[index]]
        picture, label = _taken(item, self.image, self.label)
        return centre_square(rgb_of(picture, self.size), self.size), self._number(label)

    def part(self, indices: Sequence[int]) -> MapImages:
        """Some of the images."""
        some = copy(self)
        some.indices = [self.indices[i] for i in indices]
        return some

    def _number(self, label: Any) -> int:
        if label is None:
            return -1
        if isinstance(label, str) and label in self.classes:
            return self.classes.index(label)
        values = np.asarray(label)
        if values.size == 1 and values.dtype.kind in "biuf" and values.item() % 1 == 0:
            return int(values.item())
        raise ValueError(
            f"the label {repr(label)[:80]} is no class number: label=KEY says which part of an item is, classes=[...] "
            "numbers words, label=False plays without classes"
        )


def _class_names(base: Any, label: object) -> Sequence[str]:
    names = getattr(base, "classes", None) or getattr(base, "categories", None)
    if isinstance(names, Sequence) and names:
        return [name if isinstance(name, str) else str(name[0]) for name in names]
    # Hugging Face: a feature of class numbers knows their names.
    features = getattr(base, "features", None)
    if isinstance(features, Mapping):
        for key in [label] if isinstance(label, str) else _LABELS:
            if names := getattr(features.get(key), "names", None):
                return list(names)
    return []


def _taken(item: object, image: Key | None, label: Key | Literal[False] | None) -> tuple[object, object]:
    """The picture and the label of an item."""
    if isinstance(item, Mapping):
        image = next((k for k in _PICTURES if k in item), None) if image is None else image
        label = next((k for k in _LABELS if k in item), False) if label is None else label
        if image not in item or (label is not False and label not in item):
            missing = f"image={image!r}, label={label!r}"
            raise ValueError(f"an item has {', '.join(map(str, item))}: image=KEY and label=KEY say which ({missing})")
        return item[image], None if label is False else item[label]
    if isinstance(item, (tuple, list)):
        place, second = image or 0, 1 if label is None else label
        if not isinstance(place, int) or not isinstance(second, int) or not place < len(item):
            raise ValueError(f"an item is a {type(item).__name__} of {len(item)}: its parts are numbered, from 0 on")
        return item[place], item[second] if second is not False and second < len(item) else None
    return item, None


def rgb_of(picture: object, least: int = 0) -> Tensor:
    """A picture of any kind as uint8 ``[3, H, W]``.

    Args:
        picture: as `MapImages` takes them.
        least: as for `patchgame_egg.data.pixels.read_rgb`.

    Raises:
        UnreadableImage: a file or a picture of PIL cannot be read.
        ValueError: it is no picture, or its numbers have no known range.
    """
    if isinstance(picture, Image.Image):
        if least:
            picture.draft("RGB", (least, least))
        return to_rgb(picture)
    if isinstance(picture, (bytes, str, Path)):
        return read_rgb(Path(picture) if isinstance(picture, str) else picture, least)
    # As Hugging Face keeps what is not to be decoded.
    if isinstance(picture, Mapping) and picture.keys() & {"bytes", "path"}:
        return rgb_of(picture.get("bytes") or picture.get("path"), least)
    if isinstance(picture, (Tensor, np.ndarray)) and picture.ndim in (2, 3):
        values = picture.detach().cpu().numpy() if isinstance(picture, Tensor) else picture
        first = isinstance(picture, Tensor) or values.shape[-1] not in (1, 3, 4)
        values = values if values.ndim == 2 or not first else values.transpose(1, 2, 0)
        if values.ndim == 2 or values.shape[2] in (1, 3, 4):
            return to_rgb(Image.fromarray(_bytes(values[..., 0] if values.shape[2:] == (1,) else values)))
    shape = f" of shape {tuple(picture.shape)}" if isinstance(picture, (Tensor, np.ndarray)) else ""
    raise ValueError(
        f"a {type(picture).__name__}{shape} is no picture: PIL images are, tensors [C, H, W], arrays [H, W, C], paths"
    )


def _bytes(values: np.ndarray) -> np.ndarray:
    """Numbers of pixels as bytes.

    Raises:
        ValueError: they have no known range.
    """
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype == np.uint16:
        return scaled(values, 0, 2**16 - 1)
    if values.dtype == bool or (values.dtype.kind == "f" and values.size and values.min() >= 0 and values.max() <= 1):
        return scaled(values, 0, 1)
    span = f"{values.min():.4g} to {values.max():.4g}" if values.size else "nothing"
    raise ValueError(
        f"pixels are bytes, 16-bit numbers or floats in [0, 1], got {values.dtype} from {span}: views are made and "
        "normalised here, leave that out before"
    )


def image_batch(given: object) -> Batch:
    """What any loader gives, as a `Batch` of uint8 images ``[B, 3, H, W]``.

    Args:
        given: a `Batch`, a tensor of images, a tuple or list in the order of `Batch` (images, labels, ...), as torch's
            DataLoader and EGG's give, or a dict (Hugging Face). Images are bytes, or floats in [0, 1]; grey or RGB.

    Raises:
        ValueError: it is something else.

    Example:
        >>> batch = image_batch([torch.ones(2, 1, 8, 8), torch.tensor([3, 1])])
        >>> tuple(batch.sender_input.shape), batch.sender_input.unique().tolist(), batch.labels.tolist()
        ((2, 3, 8, 8), [255], [3, 1])
    """
    if isinstance(given, Tensor):
        given = (given,)
    elif isinstance(given, Mapping):
        given = _taken(given, None, None)
    # EGG has a Batch of its own.
    ours = isinstance(given, (Batch, tuple, list)) or hasattr(given, "receiver_input")
    parts: list[Any] = list(given) if ours else []  # type: ignore[call-overload]
    images = parts[0] if 1 <= len(parts) <= 4 else None
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] not in (1, 3):
        kinds = ", ".join(f"{type(p).__name__}{list(p.shape) if isinstance(p, Tensor) else ''}" for p in parts)
        raise ValueError(
            f"the loader gives {type(given).__name__}({kinds}): images [B, 3, H, W] are needed, alone or first of "
            "(images, labels); ImageLoader(MapImages(data_set, size), batch_size) reads any data set of pictures"
        )
    if images.dtype != torch.uint8:
        images = torch.from_numpy(_bytes(images.detach().cpu().numpy()))
    return Batch(images.expand(-1, 3, -1, -1), *parts[1:])
