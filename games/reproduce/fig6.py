"""Figure 6: what learning rate, vocabulary, message length and our other choices do to the success of communication."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

import pandas as pd

from analysis.plots.ablations import draw_panels
from games.options.config import Config
from games.reproduce.runner.results import images_seen
from games.reproduce.runner.setting import Setting, Training, lasting, ours
from games.reproduce.runner.tables import fate, markdown, mean_and_spread, table_rows, write_table
from games.reproduce.runner.training import train
from games.runs.files import LOG, METRICS
from patchgame_egg.training.log_file import read_log, retrieval_key


def panels(setting: Setting) -> dict[str, dict[str, tuple[str, ...]]]:
    """Panel -> name of each variant -> the options that make it."""
    coarse, fine = str(setting.patch_size(32)), str(setting.patch_size(16))
    base, channel = setting.config(Training("", 0)), Config().channel
    lr, vocab = base.training.lr, base.speaker.vocab
    rates = [f"{factor * lr:.3g}" for factor in (0.1, 1, 10)]
    sizes = [str(size) for size in sorted({max(2, size) for size in (vocab // 8, vocab // 2, vocab, 2 * vocab)})]
    return {
        "learning rate": {rate: ("--lr", rate) for rate in rates},
        "vocabulary V": {size: ("--vocab", size) for size in sizes},
        "symbols per patch l": {count: ("--symbols-per-patch", count) for count in ("1", "2", "4")},
        "patch size S": {
            f"{coarse} px": ("--patch-size", coarse),
            f"{fine} px": ("--patch-size", fine),
            f"{fine} and {coarse} px": ("--patch-size", fine, "--patch-scales", "2"),
        },
        "ranking": {
            "scores standardised": (
                *("--rank-strength", str(channel.rank_strength), "--rank-spread", str(channel.rank_spread)),
            ),
            **{f"strength {value}": ("--rank-strength", value, "--rank-spread", "0") for value in ("0.1", "1", "10")},
        },
        "who speaks": {
            "rank / K, equation 8": ("--gate", "rank"),
            "each for itself": ("--gate", "free"),
            "the best half": ("--keep-fraction", "0.5"),
            "all, softly: the release": ("--gate", "released"),
        },
        "silent patches": {
            "skipped": ("--silence", "skip"),
            "skipped, gate learns": ("--silence", "gate"),
            "attended to": ("--silence", "attend"),
        },
    }


def grid(setting: Setting) -> list[tuple[str, str, Training]]:
    """Panel, variant and its training, seed by seed; what several panels have in common is trained once."""
    found = []
    for seed in setting.seeds:
        base = ours(setting, seed)
        known = {lasting(setting.config(base)): base}
        for panel, variants in panels(setting).items():
            for variant, words in variants.items():
                name = re.sub(r"[^\w.+]+", "-", f"{panel}-{variant}").strip("-")
                training = Training(name, seed, (*base.words, "--no-corpus", *words))
                found.append((panel, variant, known.setdefault(lasting(setting.config(training)), training)))
    return found


def trainings(setting: Setting) -> list[Training]:
    """Everything that has to be trained."""
    return list(dict.fromkeys(training for _, _, training in grid(setting)))


def run(setting: Setting) -> None:
    """Draws the figure and writes the table.

    Raises:
        RuntimeError: all trainings diverged.
    """
    wanted = grid(setting)
    names = [({"panel": panel, "variant": variant}, training) for panel, variant, training in wanted]
    frame = table_rows(names, partial(columns, setting))
    folders = [setting.folder_of(training) for _, _, training in wanted]
    frame["images_seen"] = [images_seen(folder) for folder in folders]
    write_table(setting, frame, tabulate(frame))
    logs: dict[str, dict[str, list[list[dict[str, Any]]]]] = {}
    for (panel, variant), part in frame.groupby(["panel", "variant"], sort=False):
        found = [read_log(folders[row] / LOG) for row in part.index]
        logs.setdefault(str(panel), {})[f"{variant}{fate(part)}"] = found
    print(f"wrote {draw_panels(logs, setting.folder / 'fig6.png')}")


def columns(setting: Setting, training: Training) -> dict[str, Any]:
    """A training's row, in percent."""
    last = json.loads((train(setting, training) / METRICS).read_text())
    return {
        "retrieval": 100 * last[retrieval_key([last])],
        "one_view": 100 * last["acc"],
        "symbols": last["active_symbols"],
        "length": last["mean_length"],
        "chance": 100 / last["candidates"],
    }


def tabulate(frame: pd.DataFrame) -> str:
    """Markdown: held-out accuracy at the end, symbols in use and length of a message, means over seeds."""
    rows = [
        [
            str(panel),
            f"{variant}{fate(part)}",
            mean_and_spread(part.retrieval),
            mean_and_spread(part.one_view),
            mean_and_spread(part.symbols, 0),
            mean_and_spread(part.length),
        ]
        for (panel, variant), part in frame.groupby(["panel", "variant"], sort=False)
    ]
    head = ["", "", "retrieval, two views, %", "one view, %", "symbols in use", "mean length"]
    return markdown(head, rows) + f"\nChance: {frame.chance.max():.1f} %.\n"
