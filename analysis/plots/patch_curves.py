"""Figure 4: accuracy of a Vision Transformer over the patches that it sees, and what that saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.plots.style import DPI, GREY, house_style, save

# Ours stand out: everything else is thin.
_BOLD = ("PatchRank, trained", "PatchRank, untrained", "PatchRank, distilled")
_MARKS = "osD^vPX*<>hp"


@dataclass(frozen=True)
class VitPanel:
    """What one Vision Transformer did.

    Attributes:
        title: its name.
        kept: k from 0 to K.
        curves: ranking -> accuracy, a row for each seed, ``[seeds, len(kept)]``, shares.
        speeds: ranking -> images a second at the k from 1 on, ``[len(kept) - 1]``.
        full_speed: of the untouched ViT.
    """

    title: str
    kept: NDArray[np.int64]
    curves: Mapping[str, NDArray[np.float64]]
    speeds: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    full_speed: float = float("nan")


def draw_patch_curves(panels: Sequence[VitPanel], path: Path) -> Path:
    """Draws, for each ViT, accuracy over k and, where it was timed, over images a second.

    Lines are means over the seeds, bands reach from the lowest to the highest.

    Args:
        panels: one for each ViT.
        path: where the picture goes.

    Returns:
        ``path``.
    """
    names = list(dict.fromkeys(name for panel in panels for name in panel.curves))
    # Its yellow is lost on white, its grey is chance's; black takes their place.
    colours = [*(c for i, c in enumerate(sns.color_palette("colorblind")) if i not in (7, 8)), (0.0, 0.0, 0.0)]
    look = {n: (colours[i % len(colours)], _MARKS[i % len(_MARKS)]) for i, n in enumerate(names)}
    timed = any(panel.speeds for panel in panels)
    with house_style():
        columns = 2 if timed else 1
        figure = Figure(figsize=(6.8 * columns, 5 * len(panels)), dpi=DPI, layout="constrained")
        axes = figure.subplots(len(panels), columns, squeeze=False)
        for row, panel in zip(axes, panels, strict=True):
            _draw_accuracy(row[0], panel, look)
            if timed:
                _draw_speed(row[1], panel, look)
        return save(figure, path)


def _draw_accuracy(ax: Axes, panel: VitPanel, look: Mapping[str, tuple[object, str]]) -> None:
    _draw_levels(ax, panel)
    for name, values in panel.curves.items():
        colour, mark = look[name]
        bold = name in _BOLD
        ax.plot(
            panel.kept, 100 * values.mean(axis=0), color=colour, marker=mark, markersize=5 if bold else 3.5,
            linewidth=2.2 if bold else 1.1, linestyle="-" if bold else (0, (4, 1)), label=name, zorder=3 if bold else 2,
        )  # fmt: skip
        if len(values) > 1:
            low, high = 100 * values.min(axis=0), 100 * values.max(axis=0)
            ax.fill_between(panel.kept, low, high, color=colour, alpha=0.15, linewidth=0)
    ax.set(title=panel.title, xlabel=f"patches that the ViT sees, of {panel.kept[-1]}", ylabel="top-1 (%)")
    ax.set_xlim(0, panel.kept[-1] * 1.01)
    _finish(ax)


def _draw_speed(ax: Axes, panel: VitPanel, look: Mapping[str, tuple[object, str]]) -> None:
    _draw_levels(ax, panel)
    for name, speed in panel.speeds.items():
        colour, mark = look[name]
        accuracy = 100 * panel.curves[name].mean(axis=0)[1:]
        ax.plot(speed / panel.full_speed, accuracy, color=colour, marker=mark, markersize=5, linewidth=2, label=name)
        for x, y, k in zip(speed / panel.full_speed, accuracy, panel.kept[1:], strict=True):
            ax.annotate(str(k), (x, y), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=6, color=GREY)
    ax.axvline(1, color=GREY, linewidth=0.8, linestyle="--")
    ax.set(
        title=f"What it saves (all patches: {panel.full_speed:.3g} images/s)",
        xlabel="images a second, ranking included; whole ViT = 1",
        ylabel="top-1 (%)",
    )
    ax.set_xlim(0, None)
    _finish(ax)


def _draw_levels(ax: Axes, panel: VitPanel) -> None:
    first = next(iter(panel.curves.values()))
    full, chance = 100 * first[0, -1], 100 * first[0, 0]
    ax.axhline(full, color="0.25", linestyle="--", linewidth=1, label=f"all patches ({full:.1f} %)")
    ax.axhline(chance, color=GREY, linestyle=":", linewidth=1.2, label=f"chance ({chance:.2g} %)")


def _finish(ax: Axes) -> None:
    ax.set_ylim(0, None)
    ax.grid(axis="y", color="0.92")
    ax.legend(loc="lower right", framealpha=0.85, edgecolor="none", fontsize=8)
    sns.despine(ax=ax)
