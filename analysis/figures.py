"""The three pictures saved with a run: learning curves, importance maps (Fig. 3) and a symbol gallery (Fig. 5).

PatchGame (Gupta et al., NeurIPS 2021), sections 4.1 and 4.3. Everything is a function of arrays or log lines. Figures
are built without pyplot: nothing stays open in a notebook, and the reader's own settings neither matter nor change.

Letters in shapes: N images, P patches in raster order (P = grid height * grid width), L symbols per patch.

Deviations: the paper lays its heat map over the colour photo. Here the photo below the map is grey and pale, so that
hue comes from the map alone, and red turns to blue through light yellow, an order that colour-blind readers see too.
The paper does not say which patches its gallery shows; here they are those whose symbol is most probable, one per
image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

DPI = 150
BLUE, ORANGE = sns.color_palette("colorblind").as_hex()[:2]
INK, GREY = "0.15", "0.45"
HEAT = mpl.colormaps["RdYlBu_r"]

Record = Mapping[str, object]
Curve = tuple[np.ndarray, np.ndarray]


def learning_curves(records: Sequence[Record], path: Path) -> Path:
    """Draws loss, retrieval accuracy, vocabulary and message length against the training step.

    Where a step occurs twice (a run resumed from an earlier checkpoint) the later line counts. A key that no record has
    leaves its curve out; a value that is missing or not finite leaves its point out.

    Args:
        records: lines of a run's ``log.jsonl`` of the kinds ``train`` and ``validation``; others are ignored.
        path: where the picture goes; missing folders are made, the suffix says the format.

    Returns:
        ``path``.

    Raises:
        ValueError: no record is of either kind, or one of them has no step.
    """
    train, validation = _of_kind(records, "train"), _of_kind(records, "validation")
    if not train and not validation:
        raise ValueError(f"none of the {len(records)} records is of kind 'train' or 'validation': nothing to draw")
    with _house_style():
        figure = Figure(figsize=(11, 8), dpi=DPI, layout="constrained")
        (loss, accuracy), (vocabulary, length) = figure.subplots(2, 2, sharex=True)
        _draw_loss(loss, train, validation)
        _draw_accuracy(accuracy, validation)
        _draw_vocabulary(vocabulary, validation)
        _draw_length(length, validation)
        last = max(_number(r["step"]) for r in (*train, *validation))
        for ax in (loss, accuracy, vocabulary, length):
            ax.set_xlim(0, max(last, 1) * 1.02)
            ax.grid(axis="y", color="0.92")
            sns.despine(ax=ax)
            if ax.get_legend_handles_labels()[0]:
                ax.legend(loc="best", framealpha=0.85, edgecolor="none")
            else:
                ax.text(0.5, 0.5, "no values yet", transform=ax.transAxes, ha="center", color=GREY)
                ax.tick_params(axis="y", which="both", left=False, labelleft=False)
                ax.grid(visible=False)
        for ax in (vocabulary, length):
            ax.set_xlabel("training step")
        for ax in (loss, accuracy):
            _epochs_on_top(ax, train, validation)
        return _save(figure, path)


def _draw_loss(ax: Axes, train: Sequence[Record], validation: Sequence[Record]) -> None:
    steps, values = _curve(train, "loss")
    levels = [0.0]
    if len(steps):
        window = 2 * max(1, len(steps) // 40) + 1 if len(steps) >= 5 else 1
        name = f"train, mean of {window} records" if window > 1 else "train"
        smooth = running_mean(values, window)
        ax.plot(steps, values, color=BLUE, alpha=0.3, linewidth=0.6)
        _draw(ax, (steps, smooth), name, BLUE, most_marks=4)
        levels += [smooth.min(), smooth.max()]
    _draw(ax, _curve(validation, "loss"), "validation", ORANGE)
    levels += list(_curve(validation, "loss")[1])
    for candidates in _distinct(validation, "candidates"):
        chance = math.log(candidates)
        label = f"chance in validation, ln {candidates:.0f} = {chance:.3g}"
        ax.axhline(chance, color=GREY, linestyle="--", label=label)
        levels.append(chance)
    # Limits from the smoothed curve: one spike must not flatten everything else.
    span = max(levels) - min(levels) or 1.0
    ax.set_ylim(min(levels) - (0.05 * span if min(levels) < 0 else 0), max(levels) + 0.08 * span)
    ax.set(title="Loss", ylabel="loss (nats)")


def _draw_accuracy(ax: Axes, validation: Sequence[Record]) -> None:
    for key, name, color in (("acc", "message to image", BLUE), ("acc_image_to_message", "image to message", ORANGE)):
        for suffix, top, line in (("", "top-1", "-"), ("_top5", "top-5", "--")):
            steps, values = _curve(validation, key + suffix)
            _draw(ax, (steps, 100 * values), f"{name}, {top}", color, line, unit=" %", hollow=top == "top-5")
    for candidates in _distinct(validation, "candidates"):
        for k, line in ((1, ":"), (5, "-.")):
            chance = 100 * min(1.0, k / candidates)
            label = f"chance, top-{k} of {candidates:.0f} ({chance:.2g} %)"
            ax.axhline(chance, color=GREY, linestyle=line, linewidth=1.2, label=label)
    ax.set_ylim(0, min(102, max(1.0, 1.05 * ax.get_ylim()[1])))
    ax.set(title="Retrieval", ylabel="accuracy (%)")


def _draw_vocabulary(ax: Axes, validation: Sequence[Record]) -> None:
    _draw(ax, _curve(validation, "active_symbols"), "symbols in use", BLUE)
    _draw(ax, _curve(validation, "perplexity"), "perplexity", ORANGE, "--", hollow=True)
    top = 2.0
    for size in _distinct(validation, "vocab_size"):
        ax.axhline(size, color=GREY, linestyle=":", label=f"vocabulary ({size:.0f})")
        top = max(top, size)
    # Logarithmic, as a perplexity is the exponential of an entropy: equal steps are equal amounts of information.
    ax.set_yscale("log", base=2)
    ax.set_ylim(0.9, top * 1.3)
    ax.yaxis.set_major_locator(LogLocator(base=2, numticks=9))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set(title="Vocabulary", ylabel="number of symbols (log scale)")


def _draw_length(ax: Axes, validation: Sequence[Record]) -> None:
    _draw(ax, _curve(validation, "mean_length"), "mean length", BLUE)
    for slots in _distinct(validation, "slots"):
        ax.axhline(slots, color=GREY, linestyle=":", label=f"every slot speaks ({slots:.0f})")
    ax.set_ylim(0, max(1.0, 1.05 * ax.get_ylim()[1]))
    ax.set(title="Message length", ylabel="symbols per message")


def _draw(
    ax: Axes,
    curve: Curve,
    name: str,
    color: str,
    line: str = "-",
    unit: str = "",
    hollow: bool = False,
    most_marks: int = 40,
) -> None:
    """Draws a curve with its last value in the legend, or nothing if it is empty."""
    steps, values = curve
    if len(steps):
        last = f"{values[-1]:.3g}" if abs(values[-1]) < 1000 else f"{values[-1]:.0f}"
        ax.plot(
            steps,
            values,
            line,
            color=color,
            label=f"{name} (last {last}{unit})",
            marker="o" if len(steps) <= most_marks else "",
            markersize=4.5,
            markerfacecolor="white" if hollow else color,
        )


def _epochs_on_top(ax: Axes, train: Sequence[Record], validation: Sequence[Record]) -> None:
    """Marks the ends of a few epochs; an epoch under way has no end yet."""
    ends: dict[int, float] = {}
    for step, epoch in (*zip(*_curve(train, "epoch"), strict=True), *zip(*_curve(validation, "epoch"), strict=True)):
        ends[int(epoch)] = max(step, ends.get(int(epoch), 0.0))
    if ends and max(ends) not in _curve(validation, "epoch")[1]:
        del ends[max(ends)]
    if not ends:
        return
    wanted = MaxNLocator(nbins=6, integer=True).tick_values(0, max(ends))
    shown = {epoch: step for epoch, step in ends.items() if epoch in wanted} or {max(ends): ends[max(ends)]}
    top = ax.secondary_xaxis("top")
    top.set_ticks(list(shown.values()), [str(epoch) for epoch in shown])
    top.set_xlabel("epoch", color=GREY)
    top.tick_params(colors=GREY)
    top.spines["top"].set_visible(False)


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """The mean over ``window`` neighbours, centred so that the curve does not lag; over fewer at the ends.

    Args:
        values: float ``[n]``.
        window: odd.

    Returns:
        float ``[n]``.
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    middle = np.arange(len(values))
    first, last = np.maximum(middle - window // 2, 0), np.minimum(middle + window // 2 + 1, len(values))
    mean: np.ndarray = (sums[last] - sums[first]) / (last - first)
    return mean


def _of_kind(records: Iterable[Record], kind: str) -> list[Record]:
    latest: dict[float, Record] = {}
    for record in records:
        if record.get("kind") == kind:
            step = _number(record.get("step"))
            if not math.isfinite(step):
                raise ValueError(f"a record of kind {kind!r} has step {record.get('step')!r}: expected a number")
            latest[step] = record
    return [latest[step] for step in sorted(latest)]


def _number(value: object) -> float:
    return float(value) if isinstance(value, Real) else math.nan


def _curve(records: Sequence[Record], key: str) -> Curve:
    points = [(_number(r["step"]), _number(r.get(key))) for r in records]
    kept = np.array([p for p in points if math.isfinite(p[1])], dtype=float).reshape(-1, 2)
    return kept[:, 0], kept[:, 1]


def _distinct(records: Sequence[Record], key: str) -> list[float]:
    return [float(value) for value in np.unique(_curve(records, key)[1])]


def importance_maps(
    images: np.ndarray,
    importance: np.ndarray,
    spoken: np.ndarray,
    path: Path,
    *,
    grid: tuple[int, int],
    titles: Sequence[str] | None = None,
) -> Path:
    """Draws each image beside its map of patch importance, as Fig. 3 does: red is important, blue is not.

    Patches that stay silent are darkened, and a white line runs between them and those that speak.

    Args:
        images: float ``[N, 3, H, W]`` in [0, 1].
        importance: float ``[N, P]`` in [0, 1], the probability with which each patch speaks (Eq. 8: its rank / P).
        spoken: bool ``[N, P]``, which patches did speak.
        path: where the picture goes; missing folders are made, the suffix says the format.
        grid: rows and columns of patches.
        titles: N class names, or None.

    Returns:
        ``path``.

    Raises:
        ValueError: shapes or types are wrong, the grid does not divide the images, or an importance is not in [0, 1].
    """
    _check_images(images, grid, titles)
    _check("importance", importance, (len(images), grid[0] * grid[1]), "f")
    _check("spoken", spoken, (len(images), grid[0] * grid[1]), "b")
    if not (importance.min() >= -1e-4 and importance.max() <= 1 + 1e-4):
        least, most = importance.min(), importance.max()
        raise ValueError(f"importance runs from {least:.3g} to {most:.3g}: give probabilities in [0, 1]")
    height, width = _cell(images.shape[2] / images.shape[3], longer=1.5)
    columns, margin, heading, foot = min(len(images), 4), 0.15, 0.26 if titles is not None else 0.08, 0.85
    pair = 2 * width + 0.04
    step_x, step_y = pair + 0.16, height + heading + 0.06
    page_width = max(3.8, 2 * margin + columns * step_x - 0.16)
    left = (page_width - columns * step_x + 0.16) / 2
    with _house_style():
        figure, page = _page(page_width, margin + math.ceil(len(images) / columns) * step_y + foot)
        for i, image in enumerate(images):
            x, y = left + i % columns * step_x, margin + i // columns * step_y + heading
            if titles is not None:
                _write(page, x + pair / 2, y - 0.07, _fit(titles[i], pair, 9), 9)
            speaks = spoken[i].reshape(grid)
            _place(page, image, x, y, width, height)
            _place(page, heat_picture(image, importance[i].reshape(grid), speaks), x + pair - width, y, width, height)
            _outline(page, speaks, x + pair - width, y, width, height)
        _draw_heat_legend(page, page_width / 2, page.get_ylim()[0] - foot + 0.08)
        return _save(figure, path)


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
        _place(page, heat_picture(grey, ramp, np.full(ramp.shape, speaks)), left, y + i * 0.15, width, 0.12)
        _write(page, left + width + 0.06, y + i * 0.15 + 0.1, name, 8, align="left")
    for value in (0.0, 0.5, 1.0):
        _write(page, left + value * width, y + 0.42, f"{value:g}", 8)
    _write(page, middle, y + 0.6, "probability of speaking (patch rank / number of patches)", 8)


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
    symbols: np.ndarray, spoken: np.ndarray, confidence: np.ndarray, *, num_symbols: int = 16, per_symbol: int = 6
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
    image, patch, slot = np.nonzero(np.broadcast_to(spoken[..., None], symbols.shape))
    said, sure = symbols[image, patch, slot], confidence[image, patch, slot]
    counts = np.bincount(said)
    turn = np.random.default_rng(0).permutation(len(symbols))
    found = []
    for symbol in np.argsort(-counts, kind="stable")[:num_symbols]:
        if counts[symbol] == 0:
            break
        here = np.flatnonzero(said == symbol)
        here = here[np.lexsort((patch[here], turn[image[here]], -sure[here]))]
        best = here[np.sort(np.unique(image[here], return_index=True)[1])[:per_symbol]]
        found.append(SymbolExamples(int(symbol), float(counts[symbol] / len(said)), image[best], patch[best]))
    return found


def symbol_gallery(
    images: np.ndarray,
    symbols: np.ndarray,
    spoken: np.ndarray,
    confidence: np.ndarray,
    path: Path,
    *,
    grid: tuple[int, int],
    num_symbols: int = 16,
    per_symbol: int = 6,
    titles: Sequence[str] | None = None,
) -> Path:
    """Draws the most used symbols and the patches that say each most confidently, as Fig. 5 does.

    A column per symbol, headed by its id and its share of all spoken symbols. Cells stay blank where a symbol is said
    in fewer images than there are cells.

    Args:
        images: float ``[N, 3, H, W]`` in [0, 1].
        symbols: int ``[N, P, L]``, not negative.
        spoken: bool ``[N, P]``.
        confidence: float ``[N, P, L]``, the probability of each symbol.
        path: where the picture goes; missing folders are made, the suffix says the format.
        grid: rows and columns of patches.
        num_symbols: how many symbols at most, from 1.
        per_symbol: how many patches of each at most, from 1.
        titles: N class names, written below the patches, or None.

    Returns:
        ``path``.

    Raises:
        ValueError: shapes, types or limits are wrong, or the grid does not divide the images.
    """
    _check_images(images, grid, titles)
    if symbols.shape[:2] != (len(images), grid[0] * grid[1]):
        raise ValueError(f"symbols has shape {symbols.shape}: expected ({len(images)}, {grid[0] * grid[1]}, L)")
    found = confident_patches(symbols, spoken, confidence, num_symbols=num_symbols, per_symbol=per_symbol)
    tall, wide = images.shape[2] // grid[0], images.shape[3] // grid[1]
    height, width = _cell(tall / wide, longer=0.75)
    columns, heading, top = max(1, min(len(found), 16)), 0.42, 0.4
    step_x, step_y = max(width, 0.5) + 0.12, height + (0.2 if titles is not None else 0.06)
    block = heading + per_symbol * step_y + 0.12
    page_width = max(6.0, columns * step_x + 0.2)
    if found:
        in_use = len(np.unique(symbols[spoken]))
        text = f"{len(found)} of {in_use} symbols in use: number, share of all that is said, most confident patches"
    else:
        text = "No patch speaks: there are no symbols to show."
    with _house_style():
        figure, page = _page(page_width, top + math.ceil(len(found) / columns) * block)
        _write(page, page_width / 2, 0.24, text, 9)
        for i, example in enumerate(found):
            middle = page_width / 2 + (i % columns - (columns - 1) / 2) * step_x
            y = top + i // columns * block
            _write(page, middle, y + 0.17, str(example.symbol), 10, weight="bold")
            _write(page, middle, y + 0.34, f"{100 * example.share:.1f} %", 8, color=GREY)
            for k, (image, patch) in enumerate(zip(example.images, example.patches, strict=True)):
                at = y + heading + k * step_y
                row, column = divmod(int(patch), grid[1])
                pixels = images[image, :, row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
                _place(page, pixels, middle - width / 2, at, width, height)
                if titles is not None:
                    _write(page, middle, at + height + 0.1, _fit(titles[image], step_x, 6), 6, color=GREY)
        return _save(figure, path)


@contextmanager
def _house_style() -> Iterator[None]:
    ours = {"font.size": 9, "axes.titlesize": 11, "text.color": INK, "axes.labelcolor": INK}
    with style.context(["default", ours]):
        yield


def _page(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure under one pair of axes whose units are inches from the top left."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    page.set_axis_off()
    return figure, page


def _place(page: Axes, image: np.ndarray, x: float, y: float, width: float, height: float) -> None:
    pixels = np.clip(image, 0, 1).transpose(1, 2, 0)  # [h, w, 3]
    page.imshow(pixels, extent=(x, x + width, y + height, y), aspect="auto")
    # White pictures would vanish into the page.
    page.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor="0.8", linewidth=0.4))


def _write(
    page: Axes,
    x: float,
    y: float,
    text: str,
    points: float,
    *,
    color: str = INK,
    weight: str = "normal",
    align: Literal["left", "center"] = "center",
) -> None:
    # Class names may hold dollar signs.
    page.text(x, y, text, fontsize=points, color=color, fontweight=weight, ha=align, parse_math=False)


def _fit(text: str, width: float, points: float) -> str:
    """Cuts a label to a width in inches; a letter is about 0.6 of its height wide."""
    room = max(1, int(width * 72 / (0.6 * points)))
    return text if len(text) <= room else text[: room - 1] + "…"


def _cell(aspect: float, longer: float) -> tuple[float, float]:
    """Height and width of a cell whose longer side is given."""
    return longer * min(1.0, aspect), longer * min(1.0, 1 / aspect)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DPI)
    return path


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
