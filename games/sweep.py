"""A grid of options, played: every combination is a run, and all runs are one table.

    python -m games.sweep --lr 1e-4 5e-4 --vocab 64 128 --seed 0 1 2 --epochs 10
    python -m games.sweep grid.json --jobs 2 --data folder --root photos

An option with several values is varied, one with one value is the same in all runs; all are options of games.patchgame.
A file holds the same as JSON, {"lr": [1e-4, 5e-4], "vocab": [64, 128]}, as EGG's grids do; options given beside it
count over it. Runs that are finished are not repeated, and one that was interrupted goes on, so the command can be
stopped and given again. It leaves a table, learning curves, and the languages compared in the folder of the runs.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from games.compare import Comparison, columns, tabulate
from games.options.command_line import fail, failures
from games.options.config import Config
from games.reproduce.runner.setting import Training, command_of, share_of
from games.runs.files import CORPUS, LOG
from patchgame_egg import __version__
from patchgame_egg.text_files import read_text

Grid = dict[str, list[tuple[str, ...]]]
"""Options without their hyphens -> their values, each the words that stand behind the option."""

# What EGG's grids call them.
EGG = {"random_seed": "seed", "n_epochs": "epochs", "vocab_size": "vocab"}

_DEFAULTS = {f.name: f.default for section in fields(Config) for f in fields(type(getattr(Config(), section.name)))}
# Set by the sweep for each run.
_OURS = ("name", "out", "resume")


def read_grid(path: Path) -> Grid:
    """Reads a grid from a file: a JSON object of options, each with a value or a list of values.

    Options are called as on the command line, with hyphens or underscores, or as EGG calls them (`EGG`). An option that
    takes several numbers has lists in its list. ``true`` sets a switch, ``false`` unsets it.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    try:
        found = json.loads(read_text(path))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): give a file of a grid, as JSON") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f'{path} holds a {type(found).__name__}: a grid is an object, {{"lr": [1e-4, 5e-4]}}')
    grid: Grid = {}
    for key, values in found.items():
        name = _name(key)
        many = values if isinstance(values, list) else [values]
        if name in grid:
            raise ValueError(f"{path} gives --{name} twice")
        if not many:
            raise ValueError(f"{path}: {key} has no value")
        grid[name] = [_words_of(name, value, f"{path}: {key}") for value in many]
    return grid


def _name(key: str) -> str:
    plain = key.removeprefix("--").replace("-", "_")
    return EGG.get(plain, plain).replace("_", "-")


def _words_of(name: str, value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(word for part in value for word in _words_of(name, part, where))
    if isinstance(value, bool):
        return ("true" if value else "false",)
    if value is None or isinstance(value, int | float | str):
        return (str(value),)
    raise ValueError(f"{where} is {json.dumps(value)[:60]}: values are numbers, texts, true, false or null")


def split_words(words: Sequence[str]) -> Grid:
    """A grid from a command line: what stands behind an option are its values.

    Raises:
        ValueError: a word that belongs to no option, or an option that is given twice.
    """
    grid: Grid = {}
    name = ""
    given: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            name = _name(name)
            if name in given:
                raise ValueError(f"--{name} is given twice: put all its values behind one")
            given[name] = [value] if value else []
        elif name:
            given[name].append(word)
        else:
            raise ValueError(f"{word} belongs to no option: files of grids come first, then options with their values")
    for name, values in given.items():
        default = _DEFAULTS.get(name.replace("-", "_"))
        size = len(default) if isinstance(default, tuple) else 1
        if len(values) % size:
            raise ValueError(f"--{name} takes {size} numbers at a time, given are {len(values)}")
        grid[name] = [tuple(values[i : i + size]) for i in range(0, len(values), size)] or [("true",)]
        if name.startswith("no-") and not values:
            grid[name.removeprefix("no-")] = [("false",)]
            del grid[name]
    return grid


def trainings(grid: Mapping[str, Sequence[tuple[str, ...]]]) -> list[tuple[dict[str, str], Training]]:
    """Every combination, seed by seed, so that each has a first result early.

    Returns:
        Of each its ``variant``, the options in which runs differ but for the seed, and the training.

    Raises:
        ValueError: a seed is not a number, or two runs would have one name.
    """
    seeds = [" ".join(value) for value in grid.get("seed", [("0",)])]
    if wrong := [seed for seed in seeds if not seed.isdigit()]:
        raise ValueError(f"--seed {wrong[0]}: a whole number from 0 is needed")
    others = {name: values for name, values in grid.items() if name != "seed"}
    varied = [name for name, values in others.items() if len(values) > 1]
    found: list[tuple[dict[str, str], Training]] = []
    for seed in seeds:
        for values in product(*others.values()):
            chosen = dict(zip(others, values, strict=True))
            parts = {name: " ".join(chosen[name]) for name in varied}
            variant = ", ".join(f"{name} {value}" for name, value in parts.items()) or "all"
            folder = "_".join(f"{name}-{re.sub(r'[^A-Za-z0-9.+-]+', '-', value)}" for name, value in parts.items())
            words = tuple(word for name, value in chosen.items() for word in _option(name, value))
            found.append(({"variant": variant, **parts}, Training(folder or "all", int(seed), words)))
    names = [(training.name, training.seed) for _, training in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two runs would be called {twice[0]}-{twice[1]}: a value is given twice, or differs in signs")
    return found


def _option(name: str, value: tuple[str, ...]) -> list[str]:
    default = _DEFAULTS.get(name.replace("-", "_"))
    if isinstance(default, bool) and value in (("true",), ("false",)):
        return [f"--{name}" if value == ("true",) else f"--no-{name}"]
    return [f"--{name}", *value]


@failures()
def main(argv: Sequence[str] | None = None) -> int:
    """Plays a grid; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="python -m games.sweep", description=__doc__, allow_abbrev=False, exit_on_error=False,
        usage="python -m games.sweep [GRID.json ...] [--OPTION VALUE ...] [options below]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"patchgame_egg {__version__}")
    parser.add_argument("--folder", type=Path, default=Path("runs/sweep"), help="where the runs and the table go")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, in processes of their own")
    parser.add_argument("--task", default="", help="I/N: only play every N-th run from number I on (SLURM arrays)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--permutations", type=int, default=100, help="shuffled languages behind every p")
    parser.add_argument("--dry-run", action="store_true", help="list the commands of all runs, and play none")
    first = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    try:
        asked, rest = parser.parse_known_args(words[first:])
        if asked.jobs < 1 or asked.permutations < 0:
            name, least = ("--jobs", 1) if asked.jobs < 1 else ("--permutations", 0)
            raise ValueError(f"{name} {getattr(asked, name[2:])}: must be at least {least}")
        grid: Grid = {}
        for path in words[:first]:
            grid |= read_grid(Path(path))
        grid |= split_words(rest)
        for name in _OURS:
            if name in grid:
                raise ValueError(f"--{name} is set for each run here: --folder says where they go")
        if not grid:
            raise ValueError("nothing to sweep: give a file of a grid, or options with values, --lr 1e-4 5e-4")
        wanted = trainings(grid)
        setting = Comparison(
            "sweep", "", asked.folder, device=asked.device, jobs=asked.jobs, task=share_of(asked.task),
            options=("--device", asked.device),
        )  # fmt: skip
        # A wrong value anywhere ends the command before anything is played.
        for _, training in wanted:
            setting.config(training)
        if asked.dry_run:
            print("".join(f"{shlex.join(command_of(setting, training))}\n" for _, training in wanted), end="")
            print(f"{len(wanted)} runs in {asked.folder}")
            return 0
        # Only now: torch takes seconds to import, help and mistakes do without.
        from games.reproduce.runner.training import train_all

        train_all(setting, [training for _, training in wanted])
        if setting.task is None:
            _conclude(setting, wanted, asked.permutations)
    except argparse.ArgumentError as error:
        fail(error)
    except (ValueError, RuntimeError) as error:
        fail(error)
    return 0


def _conclude(setting: Comparison, wanted: Sequence[tuple[dict[str, str], Training]], permutations: int) -> None:
    """Writes the table, the learning curves and, of runs with symbols, their languages side by side."""
    from games.reproduce.runner.tables import table_rows, write_table
    from patchgame_egg.training.loggers import read_log

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
