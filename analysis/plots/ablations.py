"""Several ways of playing side by side: learning curves, and accuracy against what was said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.curves import Record
from analysis.plots.style import DPI, GREY, house_style, save
from patchgame_egg.training.log_file import retrieval_key

MARKS = "osD^vPX*<>hp"


_LABELS = {"two_views_acc": "retrieval of two views (%)", "acc": "retrieval of one view (%)"}


def draw_learning(logs: Mapping[str, Sequence[Sequence[Record]]], path: Path) -> Path:
    """Held-out accuracy against images trained on and, where a speaker samples by REINFORCE, its entropy.

    Args:
        logs: the records of every run, by the name of what was varied; one log per seed. Lines are means over the
            seeds, bands reach from the lowest to the highest.
        path: where the picture goes.

    Returns:
        ``path``.

    Raises:
        ValueError: there is no run, or no validation in any.
    """
    key = retrieval_key(r for runs in logs.values() for log in runs for r in log)
    accuracy = _tidy(logs, "validation", key, 100.0)
    if accuracy.empty:
        raise ValueError(f"no validation in the logs of {len(logs)} variants: nothing to draw")
    entropy = _tidy(logs, "train", "entropy", 1.0)
    with house_style():
        panels = 1 if entropy.empty else 2
        figure = Figure(figsize=(6.5 * panels, 5), dpi=DPI, layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, panels))
        look = {
            name: (color, MARKS[i % len(MARKS)])
            for i, (name, color) in enumerate(zip(logs, _colours(len(logs)), strict=True))
        }
        _draw_bands(axes[0], accuracy, look, marked=True)
        for chance in sorted({_chance(r) for runs in logs.values() for log in runs for r in log} - {0.0}):
            axes[0].axhline(chance, color=GREY, linestyle=":", label=f"chance ({chance:.1f} %)")
        axes[0].set(title="Held-out retrieval", ylabel=_LABELS[key], ylim=(0, None))
        axes[0].legend(loc="upper left", framealpha=0.85, edgecolor="none", fontsize=8)
        if panels == 2:
            _draw_bands(axes[1], entropy, look, marked=False)
            room_for_legend = 1.25 * axes[1].get_ylim()[1]
            axes[1].set(
                title="How freely REINFORCE still chooses",
                ylabel="entropy of a message (nats)",
                ylim=(0, room_for_legend),
            )
            axes[1].legend(loc="upper right", framealpha=0.85, edgecolor="none", fontsize=8)
        for ax in axes:
            ax.set_xlabel("images trained on")
            ax.set_xlim(0, None)
            ax.grid(axis="y", color="0.92")
            sns.despine(ax=ax)
        return save(figure, path)


def draw_panels(logs: Mapping[str, Mapping[str, Sequence[Sequence[Record]]]], path: Path) -> Path:
    """Held-out accuracy against images trained on, a panel for each thing that was varied, as in Fig. 6 of the paper.

    Args:
        logs: panel -> variant -> the records of its runs, one log per seed. Lines are means over the seeds, bands
            reach from the lowest to the highest.
        path: where the picture goes.

    Returns:
        ``path``.

    Raises:
        ValueError: there is no run, or no validation in any.
    """
    key = retrieval_key(r for variants in logs.values() for runs in variants.values() for log in runs for r in log)
    tidy = {panel: _tidy(variants, "validation", key, 100.0) for panel, variants in logs.items()}
    if not tidy or all(frame.empty for frame in tidy.values()):
        raise ValueError(f"no validation in the logs of {len(logs)} panels: nothing to draw")
    chances = {_chance(r) for variants in logs.values() for runs in variants.values() for log in runs for r in log}
    top = 1.05 * max(frame.value.max() for frame in tidy.values())
    with house_style():
        columns = min(4, len(logs))
        lines = math.ceil(len(logs) / columns)
        figure = Figure(figsize=(3.6 * columns, 3.4 * lines), dpi=DPI, layout="constrained")
        axes = np.atleast_1d(figure.subplots(lines, columns)).ravel()
        for ax, (panel, frame) in zip(axes, tidy.items(), strict=False):
            names = list(logs[panel])
            look = {
                name: (color, MARKS[i]) for i, (name, color) in enumerate(zip(names, _colours(len(names)), strict=True))
            }
            _draw_bands(ax, frame, look, marked=True)
            for name in names:
                if name not in set(frame.name):
                    # It ended before it was ever validated.
                    ax.plot([], [], color=look[name][0], marker=look[name][1], label=name)
            for chance in sorted(chances - {0.0}):
                ax.axhline(chance, color=GREY, linestyle=":", label=f"chance ({chance:.1f} %)")
            ax.set(title=panel, xlabel="images trained on", ylabel=_LABELS[key])
            ax.set(xlim=(0, None), ylim=(0, top))
            ax.ticklabel_format(axis="x", style="plain")
            ax.tick_params(axis="x", labelsize=8)
            ax.grid(axis="y", color="0.92")
            ax.legend(loc="upper left", framealpha=0.85, edgecolor="none", fontsize=7)
            sns.despine(ax=ax)
        for ax in axes[len(logs) :]:
            ax.set_axis_off()
        return save(figure, path)


def draw_accuracy_against_length(frame: pd.DataFrame, path: Path) -> Path:
    """Retrieval accuracy against the mean number of symbols that were said, one line per way of choosing them.

    Args:
        frame: a row per run: ``variant``, whose first word names the way; ``length``, mean symbols per message;
            ``retrieval``, of two views where it is known, and ``chance``, percent.
        path: where the picture goes.

    Returns:
        ``path``.
    """
    means = frame.groupby("variant", sort=False).agg(
        length=("length", "mean"), retrieval=("retrieval", "mean"), low=("retrieval", "min"), high=("retrieval", "max")
    )
    ways = {name: str(name).split()[0] for name in means.index}
    with house_style():
        figure = Figure(figsize=(7, 5), dpi=DPI, layout="constrained")
        ax = figure.subplots()
        for i, (way, color) in enumerate(
            zip(dict.fromkeys(ways.values()), _colours(len(set(ways.values()))), strict=True)
        ):
            part = means[[ways[n] == way for n in means.index]].sort_values("length")
            errors = np.abs(part[["low", "high"]].to_numpy().T - part.retrieval.to_numpy())
            ax.errorbar(
                part.length, part.retrieval, errors, marker=MARKS[i], color=color, capsize=2, markersize=6,
                label=f"{way} ({', '.join(str(n).removeprefix(way).strip() for n in part.index)})".replace(" ()", ""),
            )  # fmt: skip
        ax.axhline(frame.chance.iloc[0], color=GREY, linestyle=":", label=f"chance ({frame.chance.iloc[0]:.1f} %)")
        ax.set(
            title="What silence costs", xlabel="symbols per held-out message (mean)",
            ylabel="retrieval accuracy, message to image (%)", ylim=(0, None), xlim=(0, None),
        )  # fmt: skip
        ax.grid(color="0.92")
        sns.despine(ax=ax)
        ax.legend(loc="upper left", framealpha=0.85, edgecolor="none", fontsize=8)
        return save(figure, path)


def _colours(count: int) -> list[tuple[float, float, float]]:
    # Its yellow is lost on white.
    seen = [c for i, c in enumerate(sns.color_palette("colorblind")) if i != 8]
    return [seen[i % len(seen)] for i in range(count)]


def _chance(record: Record) -> float:
    candidates = record.get("candidates")
    return 100.0 / float(candidates) if isinstance(candidates, (int, float)) else 0.0


def _tidy(logs: Mapping[str, Sequence[Sequence[Record]]], kind: str, key: str, scale: float) -> pd.DataFrame:
    rows = []
    for name, runs in logs.items():
        for seed, log in enumerate(runs):
            images = 0.0
            for record in log:
                if record.get("kind") == "train":
                    images += float(str(record["images"]))
                if record.get("kind") == kind and key in record:
                    rows.append((name, seed, images, scale * float(str(record[key]))))
    return pd.DataFrame(rows, columns=["name", "seed", "images", "value"])


def _draw_bands(ax: Axes, frame: pd.DataFrame, look: Mapping[str, tuple[object, str]], marked: bool) -> None:
    for name, part in frame.groupby("name", sort=False):
        color, mark = look[str(name)]
        each = part.pivot(index="images", columns="seed", values="value")
        if not marked:
            each = each.rolling(25, min_periods=1, center=True).mean()
        mean = each.mean(axis=1)
        ax.plot(mean.index, mean, color=color, marker=mark if marked else "", markersize=4.5, label=str(name))
        ax.fill_between(each.index, each.min(axis=1), each.max(axis=1), color=color, alpha=0.15, linewidth=0)
