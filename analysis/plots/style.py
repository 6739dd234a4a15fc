"""What all pictures are drawn with: one style, a page measured in inches, and a way to save.

Figures are built without pyplot: nothing stays open in a notebook, and the reader's own settings neither matter nor
change.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from patchgame_egg.atomic_write import replacing

DPI = 150
INK, GREY = "0.15", "0.45"


@contextmanager
def house_style() -> Iterator[None]:
    """Lets matplotlib's defaults and our few changes hold inside the ``with`` block, whatever the reader's settings."""
    ours = {"font.size": 9, "axes.titlesize": 11, "text.color": INK, "axes.labelcolor": INK}
    with style.context(["default", ours]):
        yield


def new_page(width: float, height: float) -> tuple[Figure, Axes]:
    """Makes a figure under one pair of axes whose units are inches from the top left.

    Args:
        width: width of the page, in inches.
        height: height of the page, in inches.

    Returns:
        The figure and its axes, the page.
    """
    figure = Figure(figsize=(width, height), dpi=DPI)
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    page.set_axis_off()
    return figure, page


def place(page: Axes, image: np.ndarray, x: float, y: float, width: float, height: float) -> None:
    """Puts an image on a page, in a thin frame.

    Args:
        page: of `new_page`.
        image: float ``[3, h, w]`` in [0, 1]; what lies outside is clipped.
        x: of its left edge, in inches.
        y: of its upper edge, in inches from the top.
        width: width that it takes on the page, in inches.
        height: height that it takes on the page, in inches.
    """
    pixels = np.clip(image, 0, 1).transpose(1, 2, 0)  # [h, w, 3]
    page.imshow(pixels, extent=(x, x + width, y + height, y), aspect="auto")
    # White pictures would vanish into the page.
    page.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor="0.8", linewidth=0.4))


def write(
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
    """Writes a line on a page.

    Args:
        page: of `new_page`.
        x: of its middle or, aligned left, of its beginning, in inches.
        y: of its base line, in inches from the top.
        text: as it is to be read, dollar signs included.
        points: size of the letters.
        color: as matplotlib names it.
        weight: font weight, as matplotlib names it.
        align: ``"left"`` or ``"center"``.
    """
    # Class names may hold dollar signs.
    page.text(x, y, text, fontsize=points, color=color, fontweight=weight, ha=align, parse_math=False)


def fit(text: str, width: float, points: float) -> str:
    """Cuts a label to a width.

    Args:
        text: the label.
        width: that it may take, in inches.
        points: size of the letters.

    Returns:
        The label, or its beginning and an ellipsis.
    """
    # A letter is about 0.6 of its height wide.
    room = max(1, int(width * 72 / (0.6 * points)))
    return text if len(text) <= room else text[: room - 1] + "…"


def cell(aspect: float, longer: float) -> tuple[float, float]:
    """Sizes a cell of which the longer side is given.

    Args:
        aspect: height / width.
        longer: in any unit.

    Returns:
        Height and width, in that unit.
    """
    return longer * min(1.0, aspect), longer * min(1.0, 1 / aspect)


def save(figure: Figure, path: Path) -> Path:
    """Saves a figure; missing folders are made, the suffix says the format. Returns ``path``."""
    FigureCanvasAgg(figure)
    with replacing(path) as file:
        figure.savefig(file, dpi=DPI, format=path.suffix.removeprefix(".") or None)
    return path
