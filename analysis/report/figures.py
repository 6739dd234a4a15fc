"""The figures of a report: small drawings that take their colours and letters from the page around them."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import numpy as np
import seaborn as sns
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.plots.curves import BLUE, ORANGE, PANELS, Record, draw_panel
from analysis.plots.style import GREY, INK, house_style
from patchgame_egg.patches import by_grid

# Wide enough for letters of 9 points to stay readable on a phone that shows the figure over its whole width.
_SIZE = (5.0, 3.1)

_FROM_THE_PAGE = {
    to_hex(INK): "var(--ink)",
    to_hex("black"): "var(--ink)",
    to_hex("white"): "var(--card)",
    to_hex(GREY): "var(--quiet)",
    to_hex("0.92"): "var(--line)",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
}


def svg(figure: Figure, description: str) -> Markup:
    """A figure as part of a page, in the page's colours and letters.

    Args:
        figure: drawn in the colours of `analysis.plots.style` and `analysis.plots.curves`.
        description: for readers who do not see it.
    """
    file = io.StringIO()
    for patch in (figure.patch, *(ax.patch for ax in figure.axes)):
        patch.set(facecolor="none", edgecolor="none")
    # Not by `savefig`, which draws a figure twice, the first time only to lay it out.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # Identifiers must be unique in a page. Only those of shapes that are used again are needed, and these are hashes.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    for colour, variable in _FROM_THE_PAGE.items():
        text = text.replace(colour, variable)
    size = re.search(r'viewBox="[^"]*"', text)
    assert size is not None
    head = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {size[0]} role="img"'
    return Markup(re.sub(r"<svg[^>]*>", f'{head} aria-label="{escape(description)}">', text, count=1))


@house_style()
def draw_learning(records: Sequence[Record]) -> list[Markup]:
    """The curves of a run's log, one figure each."""
    drawn = []
    for panel in PANELS:
        figure, ax = _new()
        draw_panel(ax, panel, records)
        if ax.get_legend() is not None:
            _legend_below(ax)
        drawn.append(svg(figure, f"learning curve: {panel}"))
    return drawn


@house_style()
def draw_usage(counts: NDArray[np.int64]) -> Markup:
    """How often each symbol was said, the most frequent first."""
    figure, ax = _new()
    share = 100 * np.sort(counts)[::-1] / max(counts.sum(), 1)
    if len(share) <= 64:
        ax.bar(np.arange(1, len(share) + 1), share, color=BLUE)
    else:
        # Thousands of bars would take seconds and megabytes.
        ax.stairs(share, np.arange(len(share) + 1) + 0.5, fill=True, color=BLUE)
    ax.axhline(100 / len(share), color=ORANGE, linestyle="--", label=f"all {len(share)} equally often")
    ax.set(xlabel="symbol, by rank", ylabel="share of all symbols said (%)", xlim=(0.4, len(share) + 0.6))
    _legend_below(ax)
    return _finish(figure, ax, "how often each symbol was said")


@house_style()
def draw_lengths(lengths: NDArray[np.int64], slots: int) -> Markup:
    """How many messages have how many symbols."""
    figure, ax = _new()
    counts = np.bincount(lengths, minlength=slots + 1)
    ax.bar(np.arange(len(counts)), counts, width=0.85, color=BLUE)
    mean = float(lengths.mean())
    ax.axvline(mean, color=ORANGE, linestyle="--", label=f"mean {mean:.3g}")
    ax.set(xlabel=f"symbols in a message (at most {slots})", ylabel="messages")
    _legend_below(ax)
    return _finish(figure, ax, "lengths of the messages")


@house_style()
def draw_position_entropy(
    entropy: NDArray[np.float64], limit: float, grid: tuple[int, int] | None, scales: int = 1
) -> Markup:
    """How varied the symbols are at each place of a message.

    Args:
        entropy: nats, ``[T]``, or ``[P]`` where there is a grid; NaN where nothing was ever said.
        limit: the entropy of symbols that are all equally frequent.
        grid: rows and columns of patches.
        scales: number of grids, of which that is the finest.
    """
    if grid is None:
        figure, ax = _new()
        ax.bar(np.arange(1, len(entropy) + 1), entropy, width=0.85, color=BLUE)
        ax.axhline(limit, color=ORANGE, linestyle="--", label=f"all symbols equally often ({limit:.2f})")
        ax.set(xlabel="place in the message", ylabel="entropy of its symbol (nats)")
        _legend_below(ax)
        return _finish(figure, ax, "entropy of the symbol at each place")
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots(1, scales, squeeze=False)[0]
    for ax, values in zip(axes, by_grid(entropy, grid, scales), strict=True):
        tiles = ax.pcolormesh(values[::-1], cmap="cividis", vmin=0, vmax=limit)
        ax.set(aspect="equal", xticks=[], yticks=[], xlabel="patches of the image")
        sns.despine(ax=ax, left=True, bottom=True)
    bar = figure.colorbar(tiles, ax=axes)
    bar.set_label("entropy of the patch's symbol (nats)")
    return svg(figure, "entropy of the symbol at each patch")


@house_style()
def draw_entropies(entropy: NDArray[np.float64], limit: float, concept: str) -> Markup:
    """How precise the symbols are: a histogram of what remains unknown once each is heard.

    Args:
        entropy: of the concept given each symbol in use, nats, ``[n]``.
        limit: the entropy of the concept where no symbol is known.
        concept: its name.
    """
    figure, ax = _new()
    ax.hist(entropy, bins=np.linspace(0, max(limit, entropy.max(initial=0), 1e-9), 25).tolist(), color=BLUE)
    ax.axvline(limit, color=ORANGE, linestyle="--", label=f"symbol unknown ({limit:.2f})")
    ax.set(xlabel=f"entropy of {concept}, given the symbol (nats)", ylabel="symbols")
    _legend_below(ax)
    return _finish(figure, ax, f"entropy of {concept}, given each symbol")


def _new() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    return figure, figure.subplots()


def _legend_below(ax: Axes) -> None:
    """Over the curves there is no room for it in so small a figure."""
    for columns in (2, 1):
        legend = ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.19), ncols=columns, frameon=False, fontsize=7.5)
        # A browser's letters may be a little wider.
        if legend.get_window_extent().width <= 0.95 * ax.figure.bbox.width:
            break


def _finish(figure: Figure, ax: Axes, description: str) -> Markup:
    ax.grid(axis="y", color="0.92")
    ax.set_axisbelow(True)
    sns.despine(ax=ax)
    return svg(figure, description)
