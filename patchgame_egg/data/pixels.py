"""Any picture that Pillow opens, as the RGB bytes of what is to be seen: the one place where files become pixels.

- 16 bits a pixel are scaled by their range: 0 to 65,535, or 0 to 4,095 of a 12-bit TIFF. Numbers of 32 bits, integers
  or floats, have no range by themselves: unless a float TIFF states one, they are `UnreadableImage`.
- What is transparent shows `BACKGROUND`.
- A photo is turned as its EXIF orientation asks, so that boxes drawn on the shown picture fit.
- Of an animation or a file of several pages, the first picture counts.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError
from torch import Tensor

# With this package Pillow reads what phones of Apple take.
with suppress(ImportError):
    from pillow_heif import register_heif_opener

    register_heif_opener()

BACKGROUND = (255, 255, 255)
"""The color behind transparent pixels, RGB."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = (5, 6, 7, 8)

# Tags of TIFF.
_BITS, _PHOTOMETRIC, _LOWEST, _HIGHEST = 258, 262, 340, 341
_WHITE_IS_ZERO = 0

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class UnreadableImage(OSError):
    """A file that is no image, or not a whole one, or one whose numbers have no known range."""


def is_exhausted(error: BaseException) -> bool:
    """Whether the machine is at its limits (files, memory), which says nothing about an image."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in _EXHAUSTED


UNREADABLE = (OSError, SyntaxError, EOFError, Image.DecompressionBombError)
"""What an item of a data set raises for an image that cannot be read, and is skipped for; nothing else is."""


def read_rgb(file: Path | str | bytes, least: int = 0) -> Tensor:
    """The pixels of an image file.

    Args:
        file: where it lies, or its bytes.
        least: a JPEG may be decoded smaller, as long as both sides keep this many pixels; 0: in full.

    Returns:
        uint8 ``[3, H, W]``.

    Raises:
        UnreadableImage: it cannot be read; the message says why.
    """
    with _unreadable(), Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
        if least:
            image.draft("RGB", (least, least))
        return to_rgb(image)


def to_rgb(image: Image.Image) -> Tensor:
    """The pixels of a picture, as uint8 ``[3, H, W]``.

    Raises:
        UnreadableImage: its file is broken, or its numbers have no known range.

    Example:
        >>> import numpy as np
        >>> to_rgb(Image.fromarray(np.array([[0, 3000, 65535]], dtype=np.uint16)))[0].tolist()
        [[0, 12, 255]]
    """
    with _unreadable():
        image.load()  # Pillow turns a TIFF here, and forgets its orientation
        shown, turn = _eight_bits(image), _TURNS.get(orientation(image))
        return torch.from_numpy(np.array(shown if turn is None else shown.transpose(turn))).permute(2, 0, 1)


def shown_size(file: Path | str | bytes) -> tuple[int, int]:
    """Width and height of an image file in pixels, as `read_rgb` gives it.

    Raises:
        UnreadableImage: it is no image.
    """
    with _unreadable(), Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
        if image.format == "TIFF":
            image.load()
        width, height = image.size
        return (height, width) if orientation(image) in _ON_ITS_SIDE else (width, height)


def orientation(image: Image.Image) -> int:
    """How EXIF says that a picture is to be turned, 1 to 8; 1, not at all, if it does not say."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow's parser raises whatever it stumbles over; broken notes are no reason to lose a photo
        return 1
    return found if found in _TURNS else 1


def scaled(values: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    """Numbers from ``low`` to ``high`` as bytes, rounded; what lies outside is clipped, NaN is 0."""
    share = (values.astype(np.float64) - low) / (high - low)
    return np.round(np.nan_to_num(share, posinf=1.0, neginf=0.0).clip(0, 1) * 255).astype(np.uint8)


@contextmanager
def _unreadable() -> Iterator[None]:
    try:
        yield
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage("it is no image that Pillow knows") from error
    # On hostile bytes Pillow's decoders raise anything: IndexError, struct.error, zlib.error, ...
    except Exception as error:
        if is_exhausted(error):
            raise
        raise UnreadableImage(f"{error}" or type(error).__name__) from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """The picture in mode RGB."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_of_wide_numbers(image)).convert("RGB")
    if image.mode == "LAB":
        spaces = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        turned = ImageCms.profileToProfile(image, *spaces, outputMode="RGB")
        assert turned is not None
        return turned
    if image.has_transparency_data:
        whole = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (*BACKGROUND, 255)), whole).convert("RGB")
    return image.convert("RGB")


def _of_wide_numbers(image: Image.Image) -> NDArray[np.uint8]:
    """Grey of more than 8 bits as bytes, ``[H, W]``, or ``[H, W, 3]`` if a part is transparent."""
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    grey = scaled(values, *_range(image, tags))
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        return np.where((values == clear)[..., None], np.array(BACKGROUND, dtype=np.uint8), grey[..., None])
    return grey


def _range(image: Image.Image, tags: Mapping[int, Any]) -> tuple[float, float]:
    """The numbers of black and white."""
    if image.mode.startswith("I;16"):
        bits = tags.get(_BITS, 16)
        return 0, 2 ** int(bits[0] if isinstance(bits, tuple) else bits) - 1
    # Pillow 10 opens PNG of 16 bits like this, and every one PGM, scaled to 16 bits.
    if image.mode == "I" and image.format in ("PNG", "PPM"):
        return 0, 2**16 - 1
    low, high = (np.ravel(np.array(tags.get(tag, np.nan), dtype=float))[0] for tag in (_LOWEST, _HIGHEST))
    if np.isfinite([low, high]).all() and low < high:
        return float(low), float(high)
    kind = "floats" if image.mode == "F" else "32-bit or signed integers"
    raise UnreadableImage(f"its pixels are {kind} without a known range: save it with 8 or 16 bits")
