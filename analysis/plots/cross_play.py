"""The picture of cross-play: how well every listener of a population understands every speaker."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.plots.style import DPI, GREY, house_style, save

# Lightness alone orders it, for every kind of colour vision.
SCALE = mpl.colormaps["YlGnBu"]

# All in inches. The bar has one width, as that of one listener would be too narrow for its numbers.
_CELL, _BAR, _BAR_HEIGHT = 0.55, 3.2, 0.16
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.75, 0.3, 0.45, 1.45


def draw_cross_play(accuracy: np.ndarray, chance: float, path: Path) -> Path:
    """Draws a matrix with a row for each speaker and a column for each listener, and writes every value into its cell.

    Colours reach from 0 to the highest accuracy, so those of two pictures cannot be compared; the numbers can.

    Args:
        accuracy: of every pair, float ``[n, m]`` in [0, 1].
        chance: accuracy of a listener who guesses, above 0 and at most 1; marked on the scale.
        path: where the picture goes; missing folders are made, the suffix says the format.

    Returns:
        ``path``.

    Raises:
        ValueError: not a matrix, empty, or values out of their range.
    """
    accuracy = np.asarray(accuracy)
    if accuracy.ndim != 2 or not accuracy.size:
        raise ValueError(f"accuracy has shape {accuracy.shape}: expected [speakers, listeners], at least one of each")
    if accuracy.dtype.kind != "f":
        raise ValueError(f"accuracy is of type {accuracy.dtype}: expected floats in [0, 1]")
    if not ((accuracy >= 0) & (accuracy <= 1)).all():  # NaN is neither
        raise ValueError(f"accuracy lies in [{accuracy.min():g}, {accuracy.max():g}]: expected [0, 1], not percent")
    if not 0 < chance <= 1:
        raise ValueError(f"chance is {chance}: expected a share above 0 and at most 1, as 1 / candidates")
    speakers, listeners = accuracy.shape
    # Twice chance at least, so that failure does not look like success.
    norm = Normalize(0, 100 * min(1.0, max(float(accuracy.max()), 2 * chance)))
    width = max(_BAR + 1.2, _LEFT + listeners * _CELL + _RIGHT)
    height = _TOP + speakers * _CELL + _BOTTOM
    left = (width - listeners * _CELL) / 2 if listeners * _CELL < width - 2 * _LEFT else _LEFT
    with house_style():
        figure = Figure(figsize=(width, height), dpi=DPI)
        matrix = figure.add_axes((left / width, _BOTTOM / height, listeners * _CELL / width, speakers * _CELL / height))
        _draw_matrix(matrix, 100 * accuracy.astype(float), norm)
        figure.suptitle("Who understands whom", y=1 - 0.2 / height, va="center", fontsize=11)
        scale = figure.add_axes(((width - _BAR) / 2 / width, 0.5 / height, _BAR / width, _BAR_HEIGHT / height))
        _draw_scale(figure, scale, 100 * chance, norm)
        return save(figure, path)


def _draw_matrix(ax: Axes, percent: np.ndarray, norm: Normalize) -> None:
    ax.imshow(percent, cmap=SCALE, norm=norm, aspect="auto")
    for (speaker, listener), value in np.ndenumerate(percent):
        ax.text(listener, speaker, f"{value:.1f}", ha="center", va="center", fontsize=8.5, color=_ink(norm(value)))
    ax.set_xticks(range(percent.shape[1]))
    ax.set_yticks(range(percent.shape[0]))
    ax.set(xlabel="listener", ylabel="speaker")
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    # White between the cells: neighbours of nearly one colour stay apart.
    ax.set_xticks(np.arange(1, percent.shape[1]) - 0.5, minor=True)
    ax.set_yticks(np.arange(1, percent.shape[0]) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1)
    ax.tick_params(which="minor", length=0)


def _draw_scale(figure: Figure, ax: Axes, chance: float, norm: Normalize) -> None:
    bar = figure.colorbar(ScalarMappable(norm, SCALE), cax=ax, orientation="horizontal")
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.set_label("top-1 accuracy (%)")
    ax.axvline(chance, color=_ink(norm(chance)), linewidth=1.2)
    top = ax.secondary_xaxis("top")
    top.set_ticks([chance], [f"chance, {chance:.3g} %"])
    top.tick_params(colors=GREY, labelsize=8)
    top.spines["top"].set_visible(False)


def _ink(share: float) -> str:
    """Black or white, whichever stands out more from the colour of a share of the scale (WCAG 2.2, contrast ratio)."""
    rgb = np.array(SCALE(float(share))[:3])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return "black" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "white"
