"""The pictures of patches saved with a run: importance maps (Fig. 3) and a symbol gallery (Fig. 5).

PatchGame (Gupta et al., NeurIPS 2021), sections 4.1 and 4.3. Everything is a function of arrays.

Letters in shapes: N images, P patches in raster order (P = grid height * grid width; of several sizes, grid after grid,
the finest first), L symbols per patch.

Deviations: the paper lays its heat map over the colour photo. Here the photo below the map is grey and pale, so that
hue comes from the map alone, and red turns to blue through light yellow, an order that colour-blind readers see too.
The paper does not say which patches its gallery shows; here they are those whose symbol is most probable, one per
image, where images that are nearly the same count as one.

One file, because maps and gallery cut, shade and label the same patches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from analysis.corpus.near_duplicates import distinct, thumbnails
from analysis.plots.style import GREY, cell, fit, house_style, new_page, place, save, write
from patchgame_egg.patches import by_grid, patch_boxes

HEAT = mpl.colormaps["RdYlBu_r"]


def importance_maps(
    images: np.ndarray,
    importance: np.ndarray,
    spoken: np.ndarray,
    path: Path,
    *,
    grid: tuple[int, int],
    scales: int = 1,
    titles: Sequence[str] | None = None,
    note: str = "",
) -> Path:
    """Draws each image beside its map of patch importance, as Fig. 3 does: red is important, blue is not.

    Patches that stay silent are darkened, and a white line runs between them and those that speak. Patches of several
    sizes have a map for each size.

    Args:
        images: float ``[N, 3, H, W]`` in [0, 1].
        importance: float ``[N, P]`` in [0, 1], the probability with which each patch speaks (Eq. 8: its rank / P).
        spoken: bool ``[N, P]``, which patches did speak.
        path: where the picture goes; missing folders are made, the suffix says the format.
        grid: rows and columns of patches.
        scales: number of grids, of which that is the finest.
        titles: N class names, or None.
        note: a line above all of them.

    Returns:
        ``path``.

    Raises:
        ValueError: shapes or types are wrong, the grid does not divide the images, or an importance is not in [0, 1].
    """
    _check_images(images, grid, titles)
    patches = len(patch_boxes(grid, scales))
    _check("importance", importance, (len(images), patches), "f")
    _check("spoken", spoken, (len(images), patches), "b")
    if not (importance.min() >= -1e-4 and importance.max() <= 1 + 1e-4):
        least, most = importance.min(), importance.max()
        raise ValueError(f"importance runs from {least:.3g} to {most:.3g}: give probabilities in [0, 1]")
    height, width = cell(images.shape[2] / images.shape[3], longer=1.5)
    columns, margin, heading, foot = min(len(images), 4), 0.15, 0.26 if titles is not None else 0.08, 0.85
    block = width + scales * (width + 0.04)
    step_x, step_y = block + 0.16, height + heading + 0.06
    page_width = max(3.8, 2 * margin + columns * step_x - 0.16)
    left, top = (page_width - columns * step_x + 0.16) / 2, margin + 0.3 * bool(note)
    with house_style():
        figure, page = new_page(page_width, top + math.ceil(len(images) / columns) * step_y + foot)
        write(page, page_width / 2, margin + 0.12, note, 10)
        for i, image in enumerate(images):
            x, y = left + i % columns * step_x, top + i // columns * step_y + heading
            if titles is not None:
                write(page, x + block / 2, y - 0.07, fit(titles[i], block, 9), 9)
            place(page, image, x, y, width, height)
            maps = (by_grid(values[i], grid, scales) for values in (importance, spoken))
            for scale, (heat, speaks) in enumerate(zip(*maps, strict=True)):
                left_edge = x + (scale + 1) * (width + 0.04)
                place(page, heat_picture(image, heat, speaks), left_edge, y, width, height)
                _outline(page, speaks, left_edge, y, width, height)
        _draw_heat_legend(page, page_width / 2, page.get_ylim()[0] - foot + 0.08)
        return save(figure, path)


def heat_picture(image: np.ndarray, importance: np.ndarray, spoken: np.ndarray) -> np.ndarray:
    """Colours an image by the importance of its patches and darkens the silent ones.

    Args:
        image: float ``[3, H, W]`` in [0, 1].
        importance: float ``[h, w]`` in [0, 1]; h divides H and w divides W.
        spoken: bool ``[h, w]``.

    Returns:
        float ``[3, H, W]`` in [0, 1].
    """
    tall, wide = image.shape[1] // importance.shape[0], image.shape[2] // importance.shape[1]
    heat = HEAT(importance)[..., :3].transpose(2, 0, 1)  # [3, h, w]
    # Dark photos would swallow the colours of their patches.
    pale = 0.4 + 0.6 * np.clip(image, 0, 1).mean(0)  # [H, W]
    light = np.where(spoken, 1.0, 0.6)  # [h, w]
    heat, light = (np.kron(x, np.ones((tall, wide))) for x in (heat, light))  # [3, H, W] and [H, W]
    picture: np.ndarray = (0.6 * heat + 0.4 * pale) * light
    return picture


def _outline(page: Axes, spoken: np.ndarray, x: float, y: float, width: float, height: float) -> None:
    tall, wide = height / spoken.shape[0], width / spoken.shape[1]
    line = min(1.0, 6 * min(tall, wide))
    row, column = np.nonzero(spoken[:, 1:] != spoken[:, :-1])
    page.vlines(x + (column + 1) * wide, y + row * tall, y + (row + 1) * tall, color="white", linewidth=line)
    row, column = np.nonzero(spoken[1:] != spoken[:-1])
    page.hlines(y + (row + 1) * tall, x + column * wide, x + (column + 1) * wide, color="white", linewidth=line)


def _draw_heat_legend(page: Axes, middle: float, y: float) -> None:
    """Two bars, one for each kind of patch, in the colours that a half-grey image would get."""
    grey, ramp = np.full((3, 1, 256), 0.5), np.linspace(0, 1, 256)[None]
    left, width = middle - 1.0, 2.0
    for i, (name, speaks) in enumerate((("speaks", True), ("silent", False))):
        place(page, heat_picture(grey, ramp, np.full(ramp.shape, speaks)), left, y + i * 0.15, width, 0.12)
        write(page, left + width + 0.06, y + i * 0.15 + 0.1, name, 8, align="left")
    for value in (0.0, 0.5, 1.0):
        write(page, left + value * width, y + 0.42, f"{value:g}", 8)
    write(page, middle, y + 0.6, "probability of speaking (patch rank / number of patches)", 8)


@dataclass(frozen=True)
class SymbolExamples:
    """One symbol and where it is said with most confidence, best first.

    Attributes:
        symbol: its id.
        share: what part of all spoken symbols it is, in (0, 1].
        images: int64 ``[E]``, numbers of images, none twice.
        patches: int64 ``[E]``, which patch of each.
    """

    symbol: int
    share: float
    images: np.ndarray
    patches: np.ndarray


def confident_patches(
    symbols: np.ndarray,
    spoken: np.ndarray,
    confidence: np.ndarray,
    *,
    num_symbols: int = 16,
    per_symbol: int = 6,
    images: np.ndarray | None = None,
) -> list[SymbolExamples]:
    """Finds the most used symbols and, for each, the patches that say it most confidently, at most one per image.

    Equally used symbols go by id. Equal confidences, frequent once probabilities saturate at 1, go by a fixed shuffle
    of the images: in the data's own order, often sorted by class, the first class would fill the column.

    Args:
        symbols: int ``[N, P, L]``, not negative.
        spoken: bool ``[N, P]``.
        confidence: float ``[N, P, L]``, the probability of each symbol, or its logit: only the order counts.
        num_symbols: how many symbols at most, from 1.
        per_symbol: how many patches of each at most, from 1.
        images: bytes or floats ``[N, 3, H, W]``, or None: of images that are nearly the same (`near_duplicates`) a
            symbol shows only the one that says it most confidently.

    Returns:
        The symbols in use, most used first; empty if nothing is spoken.

    Raises:
        ValueError: shapes, types or limits are wrong.
    """
    if symbols.ndim != 3:
        raise ValueError(f"symbols has shape {symbols.shape}: expected [N, P, L]")
    if min(num_symbols, per_symbol) < 1:
        raise ValueError(f"asked for {per_symbol} patches of {num_symbols} symbols: both must be at least 1")
    _check("symbols", symbols, symbols.shape, "iu")
    _check("spoken", spoken, symbols.shape[:2], "b")
    _check("confidence", confidence, symbols.shape, "f")
    if images is not None and len(images) != len(symbols):
        raise ValueError(f"{len(images)} images for {len(symbols)} messages: give one each")
    small = None if images is None else thumbnails(images)
    image, patch, slot = np.nonzero(np.broadcast_to(spoken[..., None], symbols.shape))
    said, sure = symbols[image, patch, slot], confidence[image, patch, slot]
    ids, counts = np.unique(said, return_counts=True)
    turn = np.random.default_rng(0).permutation(len(symbols))
    found = []
    for number in np.argsort(-counts, kind="stable")[:num_symbols]:
        here = np.flatnonzero(said == ids[number])
        here = here[np.lexsort((patch[here], turn[image[here]], -sure[here]))]
        best = here[np.sort(np.unique(image[here], return_index=True)[1])]
        best = best[:per_symbol] if small is None else best[distinct(small[image[best]], per_symbol)]
        found.append(SymbolExamples(int(ids[number]), float(counts[number] / len(said)), image[best], patch[best]))
    return found


def symbol_gallery(
    images: np.ndarray,
    symbols: np.ndarray,
    spoken: np.ndarray,
    confidence: np.ndarray,
    path: Path,
    *,
    grid: tuple[int, int],
    scales: int = 1,
    num_symbols: int = 16,
    per_symbol: int = 6,
    titles: Sequence[str] | None = None,
    names: Mapping[int, str] | None = None,
) -> Path:
    """Draws the most used symbols and the patches that say each most confidently, as Fig. 5 does.

    A column per symbol, headed by its id and its share of all spoken symbols. Images that are nearly the same count as
    one; cells stay blank where a symbol is said in fewer images than there are cells. Of several sizes, the largest
    patches fill their cells, and those half as wide take half as much of the width.

    Args:
        images: float ``[N, 3, H, W]`` in [0, 1].
        symbols: int ``[N, P, L]``, not negative.
        spoken: bool ``[N, P]``.
        confidence: float ``[N, P, L]``, the probability of each symbol.
        path: where the picture goes; missing folders are made, the suffix says the format.
        grid: rows and columns of patches.
        scales: number of grids, of which that is the finest.
        num_symbols: how many symbols at most, from 1.
        per_symbol: how many patches of each at most, from 1.
        titles: N class names, written below the patches, or None.
        names: symbol id -> a line below the id, such as what the symbol co-occurs with; not every id needs one.

    Returns:
        ``path``.

    Raises:
        ValueError: shapes, types or limits are wrong, or the grid does not divide the images.
    """
    _check_images(images, grid, titles)
    boxes = patch_boxes(grid, scales)
    if symbols.shape[:2] != (len(images), len(boxes)):
        raise ValueError(f"symbols has shape {symbols.shape}: expected ({len(images)}, {len(boxes)}, L)")
    found = confident_patches(
        symbols, spoken, confidence, num_symbols=num_symbols, per_symbol=per_symbol, images=images
    )
    tall, wide = images.shape[2] // grid[0], images.shape[3] // grid[1]
    height, width = cell(tall / wide, longer=0.75)
    columns, line, top = max(1, min(len(found), 16)), 0.15 if names else 0.0, 0.4
    heading = 0.42 + line
    step_x, step_y = max(width, 0.5) + 0.12, height + (0.2 if titles is not None else 0.06)
    block = heading + per_symbol * step_y + 0.12
    page_width = max(6.0, columns * step_x + 0.2)
    if found:
        in_use = len(np.unique(symbols[spoken]))
        text = f"{len(found)} of {in_use} symbols in use: number, share of all that is said, most confident patches"
    else:
        text = "No patch speaks: there are no symbols to show."
    with house_style():
        figure, page = new_page(page_width, top + math.ceil(len(found) / columns) * block)
        write(page, page_width / 2, 0.24, text, 9)
        for i, example in enumerate(found):
            middle = page_width / 2 + (i % columns - (columns - 1) / 2) * step_x
            y = top + i // columns * block
            write(page, middle, y + 0.17, str(example.symbol), 10, weight="bold")
            if names:
                write(page, middle, y + 0.33, fit(names.get(example.symbol, ""), step_x, 7), 7)
            write(page, middle, y + 0.34 + line, f"{100 * example.share:.1f} %", 8, color=GREY)
            for k, (image, patch) in enumerate(zip(example.images, example.patches, strict=True)):
                at = y + heading + k * step_y
                row, column, side = boxes[patch]
                pixels = images[image, :, row * tall : (row + side) * tall, column * wide : (column + side) * wide]
                drawn = side / boxes[-1, 2]
                down = (height - drawn * height) / 2
                place(page, pixels, middle - drawn * width / 2, at + down, drawn * width, drawn * height)
                if titles is not None:
                    write(page, middle, at + height + 0.1, fit(titles[image], step_x, 6), 6, color=GREY)
        return save(figure, path)


def _check(name: str, array: np.ndarray, shape: tuple[int, ...], kinds: str) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}: expected {shape}")
    if array.dtype.kind not in kinds:
        expected = {"f": "floats", "b": "booleans", "iu": "integers"}[kinds]
        raise ValueError(f"{name} is of type {array.dtype}: expected {expected}")


def _check_images(images: np.ndarray, grid: tuple[int, int], titles: Sequence[str] | None) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"images has shape {images.shape}: expected [N, 3, H, W] with at least one image")
    if images.dtype.kind != "f":
        raise ValueError(f"images is of type {images.dtype}: expected floats in [0, 1]; divide bytes by 255")
    if min(grid) < 1 or images.shape[2] % grid[0] or images.shape[3] % grid[1]:
        raise ValueError(f"a grid of {grid} patches does not divide images of {images.shape[2:]} pixels evenly")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(titles)} titles for {len(images)} images: give one each")
