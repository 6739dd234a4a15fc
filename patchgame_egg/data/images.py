"""What a source of images is, and how files become uint8 squares."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from patchgame_egg.data.names import printable
from patchgame_egg.data.pixels import read_rgb, to_rgb

# Part of the name of every cache of decoded images. Add one whenever `to_rgb` or `centre_square` is changed so that the
# same file gives other pixels, and only then: a new number decodes the images of every user's caches once more.
PIXELS_VERSION = 2

# A drive on a network may answer a thousand questions for the size of a file a second.
_ASKED = 20_000


class ImageSource(Protocol):
    """What the loader needs to know of a set of images."""

    classes: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, int]: ...


@dataclass(frozen=True)
class Origin:
    """How a source was understood, for its user to check.

    Attributes:
        held_out: what was held out: a folder, or a share that was drawn.
        classes_from: where the classes come from; empty: there are none.
        left_out: what was not taken for an image, counted, with reasons.
        notes: what makes one doubt the rest, in sentences.
    """

    held_out: str = ""
    classes_from: str = ""
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


NOT_SAID = Origin()


def centre_square(pixels: Tensor, size: int) -> Tensor:
    """Resizes the shorter side to ``size`` (bicubic) and cuts out the middle.

    Args:
        pixels: ``[3, H, W]``, uint8 on a CPU, or floats.
        size: side of the square.

    Returns:
        ``[3, size, size]`` of the same type; floats may leave their range a little.
    """
    scale = size / min(pixels.shape[1:])
    height, width = (max(size, round(side * scale)) for side in pixels.shape[1:])
    if (height, width) != tuple(pixels.shape[1:]):
        # The values of PIL but for a level here and there; of bytes, in a fifth of its time.
        pixels = F.interpolate(pixels[None], (height, width), mode="bicubic", antialias=True)[0]
    top, left = (height - size) // 2, (width - size) // 2
    return pixels[:, top : top + size, left : left + size].contiguous()


def square(image: Image.Image, size: int) -> Tensor:
    """RGB, shorter side resized to ``size`` (bicubic), centre square: uint8 ``[3, size, size]``."""
    image.draft("RGB", (size, size))  # lets the JPEG decoder skip resolution that nobody will see
    return centre_square(to_rgb(image), size)


class EncodedImages(Dataset[tuple[Tensor, int]]):
    """A source whose images lie encoded somewhere, decoded when asked for.

    Attributes:
        classes: the classes' names.
        size: side of the squares handed out, pixels.
    """

    classes: list[str]
    size: int

    def encoded(self, index: int) -> tuple[bytes, int]:
        """An image as it is stored, and its class number."""
        raise NotImplementedError

    def name(self, index: int) -> str:
        """The file behind an index."""
        raise NotImplementedError

    def made_of(self) -> tuple[object, Iterable[Path]]:
        """What the images depend on, for a cache: plain values, and files."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        data, label = self.encoded(index)
        return centre_square(read_rgb(data, self.size), self.size), label


class ImageFiles(EncodedImages):
    """Image files with labels.

    Args:
        paths: the files.
        labels: one class number each, -1 where there is none.
        classes: the classes' names.
        size: side of the squares handed out, pixels.
        origin: how they were found.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Sequence[int],
        classes: list[str],
        size: int,
        origin: Origin = NOT_SAID,
    ) -> None:
        self.paths, self.labels, self.classes, self.size = list(paths), list(labels), classes, size
        self.origin = origin

    def __len__(self) -> int:
        return len(self.paths)

    def encoded(self, index: int) -> tuple[bytes, int]:
        """A file's bytes and class number."""
        return self.paths[index].read_bytes(), self.labels[index]

    def name(self, index: int) -> str:
        """The file's path, as it can be printed."""
        return printable(str(self.paths[index]))

    def part(self, indices: Sequence[int]) -> ImageFiles:
        """Some of the images."""
        paths, labels = [self.paths[i] for i in indices], [self.labels[i] for i in indices]
        return ImageFiles(paths, labels, self.classes, self.size, self.origin)

    def made_of(self) -> tuple[object, Iterable[Path]]:
        """The labels and the files."""
        return self.labels, self.paths

    def sizes(self) -> Iterator[tuple[str, int]]:
        """What the files are called, without the beginning that all share, and how many bytes they have.

        Of more than 20,000, evenly spread ones are asked for their size, and that of the others is -1.
        """
        names = [os.fspath(path) for path in self.paths]
        # Characters, not folders: relative and absolute paths may be mixed.
        shared = len(os.path.commonprefix([min(names), max(names)])) if names else 0  # noqa: RUF071
        stride = -(-len(names) // _ASKED)
        for index, name in enumerate(names):
            size = -1
            if index % stride == 0:
                # Only a file that is there has one.
                with suppress(OSError):
                    size = os.stat(name).st_size
            yield name[shared:], size


def side(source: ImageSource) -> int:
    """The side of a source's images in pixels, 0 if it does not say."""
    return int(getattr(source, "size", 0) or getattr(source, "image_size", 0))
