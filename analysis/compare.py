"""Several runs side by side: one table and one figure, with the mean and the spread over seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.corpus.corpus import Corpus, dotted
from analysis.corpus.csv_export import csv_text
from analysis.corpus.human_text import random_corpus, read_sentences, text_corpus
from analysis.corpus.loading import gone_on, load
from analysis.evaluation.glossary import GLOSSARY
from analysis.evaluation.table import measure
from analysis.plots.style import DPI, GREY, house_style, save
from analysis.transfer.language_model import transfer_score
from patchgame_egg.atomic_write import write_text
from patchgame_egg.text_files import read_text

# Options that do not change the game, beside those on what is written where.
_NO_MATTER = {"preset", "training.seed", "training.device", "images.workers", "images.download"}
_STILL_MATTER = {"run.frozen_speaker", "run.init_from"}
# What earlier runs did where they had no option yet, and today's do not: as games.options.config_file reads them.
_FORMER: dict[str, Any] = {
    "speaker.rank_padding": "zeros",
    "speaker.rank_mirrored": False,
    "images.view_ramp": 0.0,
}
_PANELS = ("retrieval", "active_symbols", "mean_length", "message_entropy", "ami", "topographic_similarity")


def compare_runs(
    runs: Sequence[Path],
    folder: Path,
    *,
    permutations: int = 100,
    seed: int = 0,
    controls: bool = False,
    text: Path | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> list[Path]:
    """Measures several languages and puts them side by side.

    Runs whose options differ in nothing but the seed are one variant, named by the options in which variants differ.

    Args:
        runs: whatever `analysis.corpus.loading.load` reads; what knows no options is a variant of its own.
        folder: where the files go.
        permutations: shuffled languages behind every p.
        seed: seed of the shuffling.
        controls: whether human text and noise stand beside them: for each language as many sentences as it has
            messages, and as many messages, as long, of symbols drawn alike from those in use.
        text: the human text, as `analysis.corpus.human_text.read_sentences` takes it.
        say: is told, a line each, what is done next.

    Returns:
        ``table.csv``, as `tabulate` writes it, and ``metrics.png``.

    Raises:
        ValueError: fewer than two runs, or one that cannot be read.
    """
    if len(runs) < 2:
        raise ValueError(f"{len(runs)} run: give two or more to compare")
    corpora = [load(run) for run in runs]
    variants = name_variants(runs, corpora)
    names = [str(run) for run in runs]
    if controls or text is not None:
        sentences = read_sentences(text)
        for run, corpus in zip(runs, list(corpora), strict=True):
            names += [f"{text or 'sentences about scenes'} beside {run}", f"random beside {run}"]
            corpora += [text_corpus(sentences, len(corpus)), random_corpus(corpus, seed)]
            variants += ["human-like text", "random"]
    found = []
    for name, corpus, variant in zip(names, corpora, variants, strict=True):
        say(f"{name}, as {variant}: {len(corpus):,} messages")
        if note := gone_on(corpus, Path(name)):
            say(f"note: {note}")
        frame = measure(corpus, permutations=permutations, seed=seed)
        found.append(frame.assign(run=name, variant=variant))
    frame = pd.concat(found, ignore_index=True)
    table = folder / "table.csv"
    write_text(csv_text(tabulate(frame)), table)
    return [table, draw_comparison(frame, folder / "metrics.png")]


def compare_transfer(
    runs: Sequence[Path],
    out: Path,
    *,
    text: Path | None = None,
    seeds: int = 3,
    say: Callable[[str], object] = lambda line: None,
) -> list[str]:
    """Measures what several languages are worth to a reader of human text, and writes a table.

    Args:
        runs: whatever `analysis.corpus.loading.load` reads.
        out: the file, CSV: a row per language.
        text: the human text, as `analysis.corpus.human_text.read_sentences` takes it.
        seeds: how often.
        say: is told, a line each, what is done next.

    Returns:
        What to say.

    Raises:
        ValueError: a language or the text cannot be read or are too short, or there is no seed.
    """
    if seeds < 1:
        raise ValueError(f"{seeds} seeds: give at least 1")
    if out.is_dir():
        raise ValueError(f"{out} is a folder: give a file in it")
    sentences = read_sentences(text)
    rows, lines = [], [f"{len(sentences):,} sentences of {text or 'a rule about scenes'}, a fifth of them held out"]
    for run, corpus in [(run, load(run)) for run in runs]:
        say(f"{run}: {len(corpus):,} messages")
        try:
            found = transfer_score(corpus, sentences, seeds=seeds)
        except ValueError as error:
            raise ValueError(f"{run}: {error}") from error
        beyond, low, high = found.beyond
        rows.append(
            {
                "run": str(run), "messages": len(corpus), "symbols": int(corpus.mask.sum()), "seeds": seeds,
                "bits_without": found.without.mean(), "gain": found.gain.mean(), "control": found.control.mean(),
                "beyond_control": beyond, "low": low, "high": high,
            }
        )  # fmt: skip
        lines.append(
            f"{run}: a word costs {found.without.mean():.3f} bits, {found.gain.mean():.3f} less after the messages, "
            f"{found.control.mean():.3f} less after shuffled ones; their order is worth {beyond:.3f} bits "
            f"({low:.3f} to {high:.3f}, {seeds} seeds)"
        )
    write_text(csv_text(pd.DataFrame(rows)), out)
    return [*lines, f"wrote {out}"]


def name_variants(runs: Sequence[Path], corpora: Sequence[Corpus] | None = None) -> list[str]:
    """Names each run by the options that set it apart from others; runs that differ in their seed share a name.

    Args:
        runs: the folders or files.
        corpora: their languages. The options are those that a language was learnt with, as it knows them itself; the
            run may have gone on with others. None, or a language that does not know: those of the run's folder.
    """
    known = [None] * len(runs) if corpora is None else [_options_of_language(corpus) for corpus in corpora]
    options = [_options(run) if own is None else own for run, own in zip(runs, known, strict=True)]
    keys = dict.fromkeys(key for of_run in options for key in of_run)
    apart = [k for k in keys if len({json.dumps(of_run.get(k)) for of_run in options if of_run}) > 1]
    names = []
    for run, of_run in zip(runs, options, strict=True):
        told = ", ".join(f"{key.split('.')[-1]} {of_run.get(key)}" for key in apart)
        names.append(told or "all alike" if of_run else run.name)
    return names


def _options_of_language(corpus: Corpus) -> dict[str, Any] | None:
    options = corpus.info.get("config")
    return _that_matter(dotted(options)) if isinstance(options, dict) else None


def _that_matter(flat: dict[str, Any]) -> dict[str, Any]:
    if "speaker.vocab" in flat:
        flat = _FORMER | flat
    return {k: v for k, v in flat.items() if k not in _NO_MATTER and (k[:4] != "run." or k in _STILL_MATTER)}


def _options(run: Path) -> dict[str, Any]:
    """The options that make a game what it is; empty where there are none."""
    path = run / "config.json"
    if not path.is_file():
        return {}
    try:
        flat = dotted(json.loads(read_text(path)))
    except (ValueError, AttributeError, OSError) as error:
        raise ValueError(f"{path} does not hold the options of a run: {error}") from error
    return _that_matter(flat)


def tabulate(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per variant and number.

    Args:
        frame: rows of `analysis.evaluation.table.measure` with ``variant`` and ``run``.

    Returns:
        ``variant``, ``group``, ``metric``, ``of``, ``unit``; ``runs``, how many have a value; ``mean``, ``std`` (with
        ``runs - 1``; NaN for one run), ``min`` and ``max`` over them; ``chance`` and ``null_mean``, means over them;
        ``beyond_luck``, in how many p is at most 0.05; ``reason`` why there is no value where no run has one.
    """
    keys = ["variant", "group", "metric", "of", "unit"]
    table = frame.assign(lucky=frame.p <= 0.05).groupby(keys, sort=False, as_index=False).agg(
        runs=("value", "count"), mean=("value", "mean"), std=("value", "std"), min=("value", "min"),
        max=("value", "max"), chance=("chance", "mean"), null_mean=("null_mean", "mean"), beyond_luck=("lucky", "sum"),
        reason=("reason", lambda reasons: "" if (reasons == "").any() else reasons.iloc[0]),
    )  # fmt: skip
    return table


def draw_comparison(frame: pd.DataFrame, path: Path) -> Path:
    """Draws the headline numbers: a dot per run, a bar from mean - sd to mean + sd, chance in grey.

    Args:
        frame: rows of `analysis.evaluation.table.measure` with ``variant`` and ``run``.
        path: where the picture goes.

    Returns:
        ``path``.
    """
    chosen = [(metric, of) for metric in _PANELS if (of := _clearest(frame, metric)) is not None]
    variants = list(dict.fromkeys(frame.variant))
    across = max(1, min(3, len(chosen)))
    down = -(-len(chosen) // across)
    with house_style():
        figure = Figure(
            figsize=(2.2 + 3.2 * across, down * (1.3 + 0.36 * len(variants))), dpi=DPI, layout="constrained"
        )
        axes = figure.subplots(down, across, squeeze=False, sharey=True).flat
        for ax, (metric, of) in zip(axes, chosen, strict=False):
            rows = frame[(frame.metric == metric) & (frame.of == of) & (frame.reason == "")]
            _draw_panel(ax, rows, variants)
            term = GLOSSARY[metric]
            ax.set(title=term.name, xlabel=", ".join(part for part in (of, term.unit) if part) or "share of messages")
        for ax in list(axes)[len(chosen) :]:
            ax.set_visible(False)
        note = "a dot is a run; where there are several, the line is their mean and the bar their standard deviation"
        figure.supxlabel(note, fontsize=8, color=GREY)
        return save(figure, path)


def _clearest(frame: pd.DataFrame, metric: str) -> str | None:
    """Among what most runs are measured for, what the metric is highest for, over its null; None without a value.

    Of topographic similarity, which has many distances, the one that stands first.
    """
    rows = frame[(frame.metric == metric) & (frame.reason == "")]
    if rows.empty:
        return None
    if metric == "topographic_similarity":
        return str(rows.of.value_counts(sort=False).idxmax())
    above = (rows.value - rows.null_mean.fillna(0)).groupby(rows.of).agg(["count", "mean"])
    return str(above.sort_values(["count", "mean"]).index[-1])


def _draw_panel(ax: Axes, rows: pd.DataFrame, variants: list[str]) -> None:
    colours = sns.color_palette("colorblind")
    for y, variant in enumerate(variants):
        here = rows[rows.variant == variant]
        if len(here) > 1:
            mean, spread = here.value.mean(), here.value.std()
            ax.plot([mean - spread, mean + spread], [y, y], color=colours[0], linewidth=5, alpha=0.35, zorder=1)
            ax.plot([mean, mean], [y - 0.22, y + 0.22], color=colours[0], linewidth=2)
        ax.scatter(
            here.value, np.full(len(here), y), s=26, color=colours[0], edgecolor="white", linewidth=0.6, zorder=3
        )
        by_luck = here.null_mean.fillna(here.chance).dropna()
        if len(by_luck):
            x, around = [by_luck.mean()] * 2, [y - 0.35, y + 0.35]
            named = bool(ax.get_legend_handles_labels()[0])
            ax.plot(x, around, color=GREY, linestyle=":", label=None if named else "by luck")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=8, loc="best")
    low, high = ax.get_xlim()
    ax.set_xlim(min(0.0, low), high + 0.04 * (high - min(0.0, low)))
    ax.set_yticks(range(len(variants)), [name if len(name) <= 40 else f"{name[:39]}…" for name in variants])
    ax.set_ylim(len(variants) - 0.5, -0.5)
    ax.grid(axis="x", color="0.92")
    ax.set_axisbelow(True)
    sns.despine(ax=ax)
