"""The learning curves saved with a run: loss, retrieval, vocabulary and message length, from the lines of its log."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from analysis.plots.style import DPI, GREY, house_style, save

BLUE, ORANGE = sns.color_palette("colorblind").as_hex()[:2]

PANELS = ("loss", "retrieval", "vocabulary", "length")

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
    with house_style():
        figure = Figure(figsize=(11, 8), dpi=DPI, layout="constrained")
        axes = figure.subplots(2, 2, sharex=True)
        for ax, panel in zip(axes.flat, PANELS, strict=True):
            draw_panel(ax, panel, records)
        for ax in axes[0]:
            ax.set_xlabel("")
            _epochs_on_top(ax, train, validation)
        return save(figure, path)


def draw_panel(ax: Axes, panel: str, records: Sequence[Record]) -> None:
    """Draws one of the four curves of `learning_curves`.

    Args:
        ax: empty axes.
        panel: one of `PANELS`.
        records: as in `learning_curves`.
    """
    train, validation = _of_kind(records, "train"), _of_kind(records, "validation")
    if panel == "loss":
        _draw_loss(ax, train, validation)
    else:
        {"retrieval": _draw_accuracy, "vocabulary": _draw_vocabulary, "length": _draw_length}[panel](ax, validation)
    last = max((_number(r["step"]) for r in (*train, *validation)), default=1)
    ax.set_xlim(0, max(last, 1) * 1.02)
    ax.set_xlabel("training step")
    ax.grid(axis="y", color="0.92")
    sns.despine(ax=ax)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best", framealpha=0.85, edgecolor="none")
    else:
        ax.text(0.5, 0.5, "no values yet", transform=ax.transAxes, ha="center", color=GREY)
        ax.tick_params(axis="y", which="both", left=False, labelleft=False)
        ax.grid(visible=False)


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
    told = _distinct(validation, "chance_loss")
    for chance in told or [math.log(candidates) for candidates in _distinct(validation, "candidates")]:
        label = f"chance in validation, {'' if told else f'ln {math.exp(chance):.0f} = '}{chance:.3g}"
        ax.axhline(chance, color=GREY, linestyle="--", label=label)
        levels.append(chance)
    # Limits from the smoothed curve: one spike must not flatten everything else.
    span = max(levels) - min(levels) or 1.0
    ax.set_ylim(min(levels) - (0.05 * span if min(levels) < 0 else 0), max(levels) + 0.08 * span)
    ax.set(title="Loss", ylabel="loss (nats)")


def _draw_accuracy(ax: Axes, validation: Sequence[Record]) -> None:
    shown = (("two_views_acc", "two views", BLUE, "-"), ("acc", "one view", ORANGE, "--"))
    for key, name, color, line in shown:
        steps, values = _curve(validation, key)
        _draw(ax, (steps, 100 * values), f"message to image, {name}", color, line, unit=" %", hollow=key == "acc")
    for share in _distinct(validation, "two_views_thumbnail"):
        label = f"two views by a thumbnail alone ({100 * share:.3g} %)"
        ax.axhline(100 * share, color=GREY, linestyle="-.", linewidth=1.2, label=label)
    for candidates in _distinct(validation, "candidates"):
        chance = 100 / candidates
        label = f"chance, one of {candidates:.0f} ({chance:.2g} %)"
        ax.axhline(chance, color=GREY, linestyle=":", linewidth=1.2, label=label)
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
