"""The pictures of a report as text: JPEG data URIs of images and of sheets of patches."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from analysis.corpus.corpus import Corpus
from analysis.plots.patch_maps import SymbolExamples, confident_patches

MAPS, PER_SYMBOL, PER_ROW = 64, 8, 4
# Of all sheets together, as text.
_SHEET_BYTES = 1_900_000
SIDE, _GAP, _THUMB = 76, 4, 160

Pixels = NDArray[np.uint8]


def data_uri(picture: Image.Image, quality: int = 82) -> str:
    """A picture as a JPEG inside a URI."""
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def thumbnail(image: Pixels) -> str:
    """One image, at most 160 pixels wide, as a data URI.

    Args:
        image: uint8 ``[3, H, W]``.
    """
    picture = Image.fromarray(image.transpose(1, 2, 0))
    picture.thumbnail((_THUMB, _THUMB))
    return data_uri(picture)


def symbol_sheets(corpus: Corpus) -> dict[int, tuple[str, int]]:
    """For each symbol the patches that say it most confidently, with what is around them, one per image.

    Images that are nearly the same count as one. Where the speaker has no patches, whole images whose message has the
    symbol.

    Args:
        corpus: with images.

    Returns:
        Symbol -> data URI of a sheet of up to 8 squares, 4 in a row, and their number; the most used symbols first, as
        many as fit into a page of bounded size.
    """
    assert corpus.images is not None
    count = len(corpus.images)
    said = corpus.mask[:count]
    if not said.any():
        return {}
    symbols = np.where(said, corpus.symbols[:count], 0)
    sure = np.zeros(symbols.shape) if corpus.confidence is None else corpus.confidence[:count].astype(float)
    examples = confident_patches(
        symbols[..., None], said, sure[..., None], num_symbols=corpus.vocab_size, per_symbol=PER_SYMBOL,
        images=corpus.images,
    )  # fmt: skip
    sheets: dict[int, tuple[str, int]] = {}
    room = _SHEET_BYTES
    for example in examples:
        uri = data_uri(_sheet(corpus, example))
        room -= len(uri)
        if room < 0:
            break
        sheets[example.symbol] = uri, len(example.images)
    return sheets


def _sheet(corpus: Corpus, example: SymbolExamples) -> Image.Image:
    assert corpus.images is not None
    count = len(example.images)
    # The grey of the gaps stands out from most pictures, on light and on dark pages.
    sheet = Image.new("RGB", (SIDE * min(count, PER_ROW), SIDE * -(-count // PER_ROW)), (128, 128, 128))
    for i, (image, slot) in enumerate(zip(example.images, example.patches, strict=True)):
        whole = Image.fromarray(corpus.images[image].transpose(1, 2, 0))
        view = _around(whole, corpus, int(slot) // corpus.symbols_per_patch) if corpus.grid else whole
        row, column = divmod(i, PER_ROW)
        sheet.paste(view.resize((SIDE - _GAP, SIDE - _GAP)), (column * SIDE + _GAP // 2, row * SIDE + _GAP // 2))
    return sheet


def _around(whole: Image.Image, corpus: Corpus, patch: int) -> Image.Image:
    """A patch with half a patch on each side, framed; at the edge of the image the view moves inwards."""
    assert corpus.grid is not None
    side = int(corpus.boxes[patch, 2])
    # In patches of this one's size.
    row, column = (int(place) // side for place in corpus.boxes[patch, :2])
    wide, tall = side * whole.width / corpus.grid[1], side * whole.height / corpus.grid[0]
    across, down = min(2 * wide, whole.width), min(2 * tall, whole.height)
    x = min(max((column - 0.5) * wide, 0), whole.width - across)
    y = min(max((row - 0.5) * tall, 0), whole.height - down)
    view = whole.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(x, y, x + across, y + down))
    left, top = (column * wide - x) * SIDE / across, (row * tall - y) * SIDE / down
    right, bottom = left + wide * SIDE / across - 1, top + tall * SIDE / down - 1
    pen = ImageDraw.Draw(view)
    pen.rectangle((left, top, right, bottom), outline="white")
    # A second frame in black: one of the two stands out from any picture.
    pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="black")
    return view
