"""Images as their owner has them, made into a source: files, a folder, PIL images, tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from patchgame_egg.data.folders import unseen_folder
from patchgame_egg.data.images import ImageFiles, centre_square, square
from patchgame_egg.data.pixels import shown_size

GivenImage = str | Path | Image.Image | Tensor
"""One image; of paths also a folder, of tensors also a batch."""


class GivenImages(Dataset[tuple[Tensor, int]]):
    """A source of whatever images are given, in their order; they have no classes.

    Args:
        images: one of these, or a sequence of them: the path of a file; the path of a folder, of whose images those in
            its ``val`` count if it has parts, as for `unseen_folder`; a PIL image; a tensor ``[3, H, W]`` or
            ``[B, 3, H, W]``, uint8 or float in [0, 1].
        size: side of the squares handed out, pixels.

    Attributes:
        classes: empty.
        size: see above.
        items: the images; where a folder was given, the paths of its files.
        found: of each, whether it was found in a folder, and not given by itself.

    Raises:
        ValueError: there is no image, no such file, or something that is none; says what is expected.
    """

    def __init__(self, images: GivenImage | Sequence[GivenImage], size: int) -> None:
        self.classes: list[str] = []
        self.size = size
        many = images if isinstance(images, Sequence) and not isinstance(images, str) else [images]
        each = [(item, _is_folder(image)) for image in many for item in _items(image, size)]
        self.items = [item for item, _ in each]
        self.found = [found for _, found in each]
        if not self.items:
            raise ValueError("there are no images: give at least one")

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        item = self.items[index]
        if isinstance(item, Path):
            return ImageFiles([item], [-1], [], self.size)[0]
        # An image that is still a file would be made smaller, in its owner's hands, while it is decoded.
        pixels = square(item.copy(), self.size) if isinstance(item, Image.Image) else centre_square(item, self.size)
        return pixels, -1

    def name(self, index: int) -> str:
        """The file behind an index; of an image that is none, its number."""
        item = self.items[index]
        return str(item) if isinstance(item, Path) else f"image {index}"

    def shape(self, index: int) -> tuple[int, int]:
        """Width and height of the image as it is shown, pixels."""
        item = self.items[index]
        if isinstance(item, Path):
            return shown_size(item)
        return item.size if isinstance(item, Image.Image) else (item.shape[2], item.shape[1])


def _is_folder(image: GivenImage) -> bool:
    return isinstance(image, str | Path) and Path(image).is_dir()


def _items(image: GivenImage, size: int) -> Iterator[Path | Image.Image | Tensor]:
    """What a given thing holds: files, PIL images, and uint8 tensors ``[3, H, W]`` on the CPU."""
    if isinstance(image, str | Path):
        path = Path(image)
        if _is_folder(path):
            yield from unseen_folder(path, size).paths
        elif path.is_file():
            yield path
        else:
            raise ValueError(f"there is no file {path}: give the path of an image or of a folder of images")
    elif isinstance(image, Image.Image):
        yield image
    elif isinstance(image, Tensor):
        yield from _bytes(image)
    else:
        raise ValueError(
            f"images are paths, PIL images or tensors, not {type(image).__name__}; of an array, "
            "PIL.Image.fromarray(array) makes an image"
        )


def _bytes(images: Tensor) -> Tensor:
    if images.dim() not in (3, 4) or images.shape[-3] != 3:
        raise ValueError(f"a tensor of images is [3, H, W] or [B, 3, H, W], got one of shape {tuple(images.shape)}")
    images = images.detach().cpu()
    if images.is_floating_point():
        # NaN is in no range either.
        if images.numel() and not bool(((images >= 0) & (images <= 1)).all()):
            raise ValueError(
                f"floats of images are in [0, 1], got {float(images.min()):.3g} to {float(images.max()):.3g}; give "
                "them before they are normalised, or as uint8 from 0 to 255"
            )
        images = (images.float() * 255).round().to(torch.uint8)
    elif images.dtype != torch.uint8:
        raise ValueError(f"a tensor of images holds uint8 from 0 to 255 or floats in [0, 1], got {images.dtype}")
    return images if images.dim() == 4 else images[None]
