"""The figure of `scaling.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from analysis.plots.curves import BLUE, ORANGE
from analysis.plots.style import DPI, house_style, save

LABELS = {
    "batch": "images in a batch",
    "patches": "patches of an image (smaller patches)",
    "image": "patches of an image (larger image)",
    "vocab": "symbols in the vocabulary",
    "symbols": "symbols per patch",
    "ranks": "processes that share the batch",
}


def plot(rows: list[dict[str, Any]], title: str, path: Path) -> Path:
    """Draws time against each axis, both logarithmic, above the floors."""
    shown = [a for a in LABELS if sum(r["axis"] == a and "step_ms" in r for r in rows)]
    with house_style():
        columns = min(3, len(shown))
        height = -(-len(shown) // columns)
        figure = Figure(figsize=(3.7 * columns, 3.1 * height + 0.4), dpi=DPI, layout="constrained")
        panels = figure.subplots(height, columns, sharey=True, squeeze=False).flat
        for ax, axis in zip(panels, shown, strict=False):
            points = [r for r in rows if r["axis"] == axis and "step_ms" in r]
            values = [r["value"] for r in points]
            ax.plot(values, [r["step_ms"] for r in points], "o-", color=BLUE, markersize=5, label="measured")
            for kind, line, mark in (("operations", "--", "s"), ("memory", ":", "^")):
                floor = [r["floor_ms"][kind] for r in points]
                ax.plot(values, floor, mark + line, color=ORANGE, markersize=4, markerfacecolor="white",
                        label=f"floor: {kind}")  # fmt: skip
            ax.set(xscale="log", yscale="log", xlabel=LABELS[axis])
            ax.set_xticks(values, [f"{v:,}" for v in values])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.yaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:,g}"))
            ax.yaxis.set_minor_formatter(NullFormatter())
            ax.grid(axis="y", color="0.92")
            sns.despine(ax=ax)
        for ax in list(panels):
            ax.set_axis_off()
        axes = figure.axes
        for ax in axes[::columns]:
            ax.set_ylabel("one step (ms)")
        axes[0].legend(framealpha=0.85, edgecolor="none")
        figure.suptitle(title)
        return save(figure, path)
