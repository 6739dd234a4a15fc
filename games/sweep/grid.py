"""Grids of options: read from files and command lines, and unfolded into trainings."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

from games.options.config import Config
from games.reproduce.runner.setting import Training
from patchgame_egg.text_files import read_json, read_text

Grid = dict[str, list[tuple[str, ...]]]
"""Options without their hyphens -> their values, each the words that stand behind the option."""

# What EGG's grids call them.
EGG = {"random_seed": "seed", "n_epochs": "epochs", "vocab_size": "vocab"}

_FIELDS = {f.name: f for section in fields(Config) for f in fields(type(getattr(Config(), section.name)))}
_DEFAULTS = {name: field.default for name, field in _FIELDS.items()}


@dataclass(frozen=True)
class Range:
    """Numbers from which a search picks, both ends among them.

    Attributes:
        low: the least, as it was given.
        high: the largest, as it was given.
        log: whether a factor is as likely anywhere, and not a difference.
        whole: whether only whole numbers are meant.
    """

    low: str
    high: str
    log: bool
    whole: bool

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{':log' if self.log else ''}"

    def word(self, value: float) -> str:
        """A number as it is played and called, with three digits."""
        if self.whole:
            return str(int(value))
        short = f"{value:.3g}"
        return self.low if float(short) < float(self.low) else self.high if float(short) > float(self.high) else short


def range_of(name: str, values: Sequence[tuple[str, ...]]) -> Range | None:
    """The range that an option is given in the place of values, ``1e-5..1e-2`` or ``1e-5..1e-2:log``, or None.

    Raises:
        ValueError: it is none, or does not stand alone.

    Example:
        >>> range_of("lr", [("1e-5..1e-2:log",)])
        Range(low='1e-5', high='1e-2', log=True, whole=False)
    """
    field = _FIELDS.get(name.replace("-", "_"))
    kind = str(field.type).removesuffix(" | None") if field else ""
    words = [word for value in values for word in value]
    # Of texts, such as names of folders, dots mean nothing; of what is no option, whoever reads it says so.
    if not any(".." in word for word in words) or kind in ("", "str"):
        return None
    option = f"--{name} {' '.join(words)}"
    if kind not in ("int", "float"):
        raise ValueError(f"{option}: only an option that is one number has a range")
    if len(words) > 1:
        raise ValueError(f"{option}: a range stands alone behind its option, without other values")
    found = re.fullmatch(r"(?P<low>.+?)\.\.(?P<high>.+?)(?P<log>:log)?", words[0])
    try:
        read = int if kind == "int" else float
        low, high = (read(found[end]) for end in ("low", "high")) if found else (1, 0)
    except ValueError:
        low, high = 1, 0
    if not (found and -math.inf < low < high < math.inf):
        number = "whole numbers" if kind == "int" else "numbers"
        raise ValueError(f"{option}: a range is LOW..HIGH or LOW..HIGH:log, two {number} of which the second is larger")
    if found["log"] and low <= 0:
        raise ValueError(f"{option}: with :log a range begins above 0")
    return Range(found["low"], found["high"], bool(found["log"]), kind == "int")


def read_grid(path: Path) -> Grid:
    """Reads a grid from a file: a JSON object of options, each with a value or a list of values.

    Options are called as on the command line, with hyphens or underscores, or as EGG calls them (`EGG`). An option that
    takes several numbers has lists in its list. ``true`` sets a switch, ``false`` unsets it.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    try:
        found = read_json(read_text(path))
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
        ValueError: a seed is not a number, two runs would have one name, or a range was given.
    """
    for name, values in grid.items():
        if wide := range_of(name, values):
            raise ValueError(f"--{name} {wide} is a range, from which --search N picks: a grid needs its values")
    others = {name: values for name, values in grid.items() if name != "seed"}
    varied = [name for name, values in others.items() if len(values) > 1]
    found = [
        training_of(dict(zip(others, values, strict=True)), varied, seed)
        for seed in seeds_of(grid)
        for values in product(*others.values())
    ]
    names = [(training.name, training.seed) for _, training in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two runs would be called {twice[0]}-{twice[1]}: a value is given twice, or differs in signs")
    return found


def seeds_of(grid: Mapping[str, Sequence[tuple[str, ...]]]) -> list[int]:
    """The seeds in a grid, 0 if there is none.

    Raises:
        ValueError: one is not a number.
    """
    seeds = [" ".join(value) for value in grid.get("seed", [("0",)])]
    if wrong := [seed for seed in seeds if not seed.isdigit()]:
        raise ValueError(f"--seed {wrong[0]}: a whole number from 0 is needed")
    return [int(seed) for seed in seeds]


def training_of(
    chosen: Mapping[str, tuple[str, ...]], varied: Sequence[str], seed: int
) -> tuple[dict[str, str], Training]:
    """One training of a grid, called by its values of the options that are varied.

    Args:
        chosen: option -> its words, of all options but the seed.
        varied: the options in which runs differ.
        seed: the training's.

    Returns:
        Its ``variant`` and its values of the options that are varied, and the training.
    """
    parts = {name: " ".join(chosen[name]) for name in varied}
    variant = ", ".join(f"{name} {value}" for name, value in parts.items()) or "all"
    folder = "_".join(f"{name}-{re.sub(r'[^A-Za-z0-9.+-]+', '-', value)}" for name, value in parts.items())
    words = tuple(word for name, value in chosen.items() for word in option_words(name, value))
    return {"variant": variant, **parts}, Training(folder or "all", seed, words)


def option_words(name: str, value: tuple[str, ...]) -> list[str]:
    """An option with one of its values, as on a command line."""
    default = _DEFAULTS.get(name.replace("-", "_"))
    if isinstance(default, bool) and value in (("true",), ("false",)):
        return [f"--{name}" if value == ("true",) else f"--no-{name}"]
    return [f"--{name}", *value]
