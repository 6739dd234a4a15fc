"""Many runs of games.patchgame: every combination of options, or a search among them; all runs are one table.

    python -m games.sweep --lr 1e-4 5e-4 --vocab 64 128 --seed 0 1 2 --epochs 10
    python -m games.sweep grid.json --jobs 2 --data folder --root photos
    python -m games.sweep grid.json --slurm time=120 partition=gpu gpus-per-node=1
    python -m games.sweep --search 30 --lr 1e-5..1e-2:log --vocab 64 128 256

An option with several values is varied, one with one value is the same in all runs; all are options of games.patchgame.
A file holds the same as JSON, {"lr": [1e-4, 5e-4], "vocab": [64, 128]}, as EGG's grids do; options given beside it
count over it. Runs that are finished are not repeated, and one that was interrupted goes on, so the command can be
stopped and given again. It leaves a table, learning curves, and the languages compared in the folder of the runs.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from games.compare import Comparison, columns, tabulate
from games.options.command_line import fail, failures
from games.reproduce.runner.setting import Training, command_of, share_of
from games.runs.files import CORPUS, LOG
from games.sweep.grid import Grid, read_grid, split_words, trainings
from games.sweep.slurm import Cluster, read_cluster
from games.sweep.space import Search, read_search
from patchgame_egg import __version__

# Set by the sweep for each run.
_OURS = ("name", "out", "resume")

Wanted = list[tuple[dict[str, str], Training]]


@failures()
def main(argv: Sequence[str] | None = None) -> int:
    """Plays a grid or a search; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    first = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    try:
        asked, rest = _parser().parse_known_args(words[first:])
        _check(asked)
        grid: Grid = {}
        for path in words[:first]:
            grid |= read_grid(Path(path))
        grid |= split_words(rest)
        for name in _OURS:
            if name in grid:
                raise ValueError(f"--{name} is set for each run here: --folder says where they go")
        if not grid:
            raise ValueError("nothing to sweep: give a file of a grid, or options with values, --lr 1e-4 5e-4")
        setting = Comparison(
            "sweep", "", asked.folder, device=asked.device, jobs=asked.jobs or 1, task=share_of(asked.task),
            options=("--device", asked.device),
        )  # fmt: skip
        if asked.search is not None:
            return _play_search(setting, read_search(grid, asked.search), asked.dry_run)
        wanted = trainings(grid)
        # A wrong value anywhere ends the command before anything is played.
        for _, training in wanted:
            setting.config(training)
        cluster = read_cluster(asked.slurm) if asked.slurm else None
        if asked.dry_run:
            print("".join(f"{shlex.join(command_of(setting, training))}\n" for _, training in wanted), end="")
            print(f"{len(wanted)} runs in {asked.folder}")
            return 0
        return _play_grid(setting, wanted, cluster, asked.jobs, asked.permutations)
    except argparse.ArgumentError as error:
        fail(error)
    except (ValueError, RuntimeError) as error:
        fail(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m games.sweep", description=__doc__, allow_abbrev=False, exit_on_error=False,
        usage="python -m games.sweep [GRID.json ...] [--OPTION VALUE ...] [options below]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"patchgame_egg {__version__}")
    parser.add_argument("--folder", type=Path, default=Path("runs/sweep"), help="where the runs and the table go")
    parser.add_argument("--jobs", type=int, default=None, help="runs at a time, in processes of their own")
    parser.add_argument("--task", default="", help="I/N: only play every N-th run from number I on (SLURM arrays)")
    parser.add_argument(
        "--slurm", nargs="+", default=[], metavar="KEY=VALUE",
        help="submit each run as a SLURM job with these options of sbatch, time= among them (the extra slurm); "
        "cluster=local tries it on this machine",
    )  # fmt: skip
    parser.add_argument(
        "--search", type=int, default=None, metavar="N",
        help="play N trials that optuna picks among the values, or from ranges LOW..HIGH and LOW..HIGH:log, and stop "
        "those early that do worse than most (the extra search)",
    )  # fmt: skip
    parser.add_argument("--device", default="auto")
    parser.add_argument("--permutations", type=int, default=100, help="shuffled languages behind every p")
    parser.add_argument("--dry-run", action="store_true", help="list the commands of all runs, and play none")
    return parser


def _check(asked: argparse.Namespace) -> None:
    if asked.jobs is not None and asked.jobs < 1:
        raise ValueError(f"--jobs {asked.jobs}: must be at least 1")
    if asked.permutations < 0:
        raise ValueError(f"--permutations {asked.permutations}: must be at least 0")
    if asked.slurm and asked.task:
        raise ValueError("--slurm makes an array of its own: leave --task out")
    if asked.search is not None and (asked.slurm or asked.task):
        other = "--slurm" if asked.slurm else "--task"
        raise ValueError(
            f"--search picks each trial by those before: leave {other} out, --jobs plays several at a time"
        )


def _play_search(setting: Comparison, wanted: Search, dry_run: bool) -> int:
    corners = wanted.corners()
    for training in corners:
        setting.config(training)
    if dry_run:
        print("".join(f"{shlex.join(command_of(setting, training))}\n" for training in corners), end="")
        print(f"{wanted.trials} trials in {setting.folder}, between these")
        return 0
    if importlib.util.find_spec("optuna") is None:
        raise ValueError("--search needs optuna: pip install 'patchgame-egg[search]'")
    # Only now: torch takes seconds to import, help and mistakes do without.
    from games.reproduce.runner.dry_run import check_images
    from games.sweep.search import search

    check_images(setting, corners)
    search(setting, wanted)
    return 0


def _play_grid(
    setting: Comparison, wanted: Wanted, cluster: Cluster | None, at_once: int | None, permutations: int
) -> int:
    # Only now: torch takes seconds to import, help and mistakes do without.
    from games.reproduce.runner.training import is_over, train_all
    from games.sweep.slurm import jobs_of, submit

    left = [training for _, training in wanted if not is_over(setting, training)]
    waiting, ended = jobs_of(setting, left)
    those = f"{len(waiting)} of {len(wanted)} runs are queued or running in SLURM, as {', '.join(waiting.values())}"
    if cluster is None:
        if waiting:
            raise ValueError(f"{those}: give the command again when they have ended, or scancel them first")
        train_all(setting, [training for _, training in wanted])
    elif left:
        if waiting:
            print(those)
        if ended:
            print(f"{len(ended)} jobs ended early, see {setting.runs}/NAME.txt: {', '.join(ended)}")
        new = [training for training in left if setting.folder_of(training).name not in waiting]
        if new:
            submit(setting, new, cluster, at_once)
        if cluster.name == "slurm":
            print("when they have ended, the same command makes the table")
            return 0
    if setting.task is None:
        _conclude(setting, wanted, permutations)
    return 0


def _conclude(setting: Comparison, wanted: Wanted, permutations: int) -> None:
    """Writes the table, the learning curves and, of runs with symbols, their languages side by side."""
    from games.reproduce.runner.tables import table_rows, write_table
    from patchgame_egg.training.log_file import read_log

    frame = table_rows(wanted, partial(columns, setting))
    order = list(dict.fromkeys(names["variant"] for names, _ in wanted))
    frame = frame.sort_values("variant", key=lambda names: names.map(order.index), kind="stable")
    write_table(setting, frame, tabulate(frame))
    best = frame.groupby("variant", sort=False).retrieval.mean()
    if len(best) > 1:
        print(f"best: {best.idxmax()}, {best.max():.1f} % of messages found their image (two views, mean over seeds)")
    # Plotting packages take seconds to import.
    from analysis.compare import compare_runs
    from analysis.plots.ablations import draw_learning

    logs: dict[str, list[list[dict[str, Any]]]] = {}
    for names, training in wanted:
        logs.setdefault(names["variant"], []).append(read_log(setting.folder_of(training) / LOG))
    print(f"wrote {draw_learning(logs, setting.folder / 'learning.png')}")
    languages = [run for _, training in wanted if ((run := setting.folder_of(training)) / CORPUS).exists()]
    if len(languages) > 1:
        for path in compare_runs(languages, setting.folder / "comparison", permutations=permutations):
            print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
