"""The same game in many ways: every channel, or one channel at many message lengths, over several seeds.

    python -m games.compare channels --seeds 3 --data folder --root photos
    python -m games.compare lengths --data folder --root photos

Whatever follows is passed on to `games.patchgame` for every run. Runs that are finished are not repeated, and one that
was interrupted goes on, so the command can be stopped and given again; with other options for runs of the same name it
is refused. It leaves ``table.csv``, ``table.md`` and pictures in its folder.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from games.options.command_line import fail, failures
from games.options.config_file import load_config
from games.reproduce.runner.setting import Setting, Training
from games.runs.files import CONFIG, LOG, METRICS
from patchgame_egg import __version__
from patchgame_egg.text_files import read_text

if TYPE_CHECKING:
    import pandas as pd

CHANNELS = {
    "patch, Gumbel": [],
    "patch, REINFORCE": ["--channel", "reinforce"],
    "patch, quantised": ["--channel", "quantised"],
    "patch, continuous": ["--channel", "continuous"],
    "LSTM, Gumbel": ["--speaker", "lstm"],
    "LSTM, REINFORCE": ["--speaker", "lstm", "--channel", "reinforce"],
    "LSTM, continuous": ["--speaker", "lstm", "--channel", "continuous"],
    "transformer, Gumbel": ["--speaker", "transformer"],
    "transformer, REINFORCE": ["--speaker", "transformer", "--channel", "reinforce"],
}
LENGTHS = {
    **{f"keep {share:.0%}": ["--keep-fraction", str(share)] for share in (0.0625, 0.125, 0.25, 0.5, 1.0)},
    **{f"cost {cost}": ["--gate", "free", "--speak-cost", str(cost)] for cost in (0.0, 0.003, 0.01, 0.03)},
    "ranks": [],
}


@dataclass(frozen=True)
class Comparison(Setting):
    """One folder for runs and results, and only the options that were asked for."""

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.out

    @property
    def runs(self) -> Path:
        """Where the runs lie."""
        return self.out

    def words(self, training: Training) -> list[str]:
        """The options of a run; a variant's own count over those that were asked for."""
        place = ["--out", str(self.out), "--name", self.folder_of(training).name, "--seed", str(training.seed)]
        return [*self.options, *training.words, *place, "--no-pictures"]


def run_name(variant: str) -> str:
    """What the folders of a variant's runs are called, without the seed."""
    return variant.replace(", ", "-").replace(" ", "-").replace("%", "")


def trainings(variants: dict[str, list[str]], seeds: Sequence[int]) -> list[tuple[str, Training]]:
    """All runs by variant, seed by seed, so that every variant has a first result early."""
    return [(name, Training(run_name(name), seed, tuple(own))) for seed in seeds for name, own in variants.items()]


def columns(setting: Setting, training: Training) -> dict[str, Any]:
    """What the last validation of a run found, and its median rate."""
    from games.reproduce.runner.training import train
    from patchgame_egg.training.log_file import iterate_log, retrieval_key

    run = train(setting, training)
    last = json.loads(read_text(run / METRICS))
    rates, images = [], 0
    for record in iterate_log(run / LOG):
        if record["kind"] == "train":
            rates.append(record["images_per_s"])
            images += record["images"]
    discrete = load_config(run / CONFIG)[0].channel.channel != "continuous"
    return {
        "retrieval": 100 * last[retrieval_key([last])],
        "one_view": 100 * last["acc"],
        "symbols": last["active_symbols"] if discrete else None,
        # Runs of 0.1.0 have it under another name.
        "message_entropy": last.get("message_entropy", last.get("message_bits")) if discrete else None,
        "length": last["mean_length"] if discrete else None,
        "images_per_s": median(rates),
        "images": images,
        "chance": 100 / last["candidates"],
    }


def tabulate(frame: pd.DataFrame) -> str:
    """Markdown: the mean over seeds, and the standard deviation of the accuracy; which runs diverged."""
    import pandas as pd

    from games.reproduce.runner.tables import fate, markdown, mean_and_spread

    rows = []
    for name, runs in frame.groupby("variant", sort=False):
        cells = [f"{name}{fate(runs)}", mean_and_spread(runs.retrieval), mean_and_spread(runs.one_view)]
        for column, digits in (("symbols", 0), ("message_entropy", 1), ("length", 1), ("images_per_s", 0)):
            mean = runs[column].astype(float).mean()
            cells.append("" if pd.isna(mean) else f"{mean:.{digits}f}")
        rows.append(cells)
    head = [
        "retrieval, two views, %",
        "one view, %",
        "symbols used",
        "message entropy, bits",
        "mean length",
        "images/s",
    ]
    return markdown(["", *head], rows)


@failures()
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the comparison; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m games.compare", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"patchgame_egg {__version__}")
    parser.add_argument("what", choices=["channels", "lengths"])
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, with seeds 0, 1, ...")
    parser.add_argument("--folder", type=Path, default=None, help="where the runs go; runs/WHAT if not given")
    asked, options = parser.parse_known_args(argv)
    if asked.seeds < 1:
        fail(f"--seeds {asked.seeds}: must be at least 1")
    folder = asked.folder or Path("runs") / asked.what
    variants = CHANNELS if asked.what == "channels" else LENGTHS
    setting = Comparison(asked.what, "", folder, seeds=tuple(range(asked.seeds)), options=tuple(options))
    wanted = trainings(variants, setting.seeds)
    # Only now: torch takes seconds to import, help and mistakes do without.
    from games.reproduce.runner.tables import table_rows, write_table
    from games.reproduce.runner.training import train_all
    from patchgame_egg.training.log_file import CURVE_STEPS, read_log

    try:
        train_all(setting, [training for _, training in wanted])
        frame = table_rows([({"variant": name}, training) for name, training in wanted], partial(columns, setting))
    except (ValueError, RuntimeError) as error:
        fail(error)
    # Rows of a variant stand together.
    frame = frame.sort_values("variant", key=lambda names: names.map(list(variants).index), kind="stable")
    write_table(setting, frame, tabulate(frame))
    # Plotting packages take seconds to import.
    from analysis.plots.ablations import draw_accuracy_against_length, draw_learning

    logs: dict[str, list[list[dict[str, Any]]]] = {}
    for name, training in wanted:
        logs.setdefault(name, []).append(read_log(setting.folder_of(training) / LOG, CURVE_STEPS))
    print(f"wrote {draw_learning(logs, folder / 'learning.png')}")
    if asked.what == "lengths":
        print(f"wrote {draw_accuracy_against_length(frame, folder / 'lengths.png')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
