"""What is searched: ranges and lists of values, and the trainings among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from games.reproduce.runner.setting import Training
from games.sweep.grid import Grid, Range, range_of, seeds_of, training_of


@dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes:
        fixed: options that are the same in all runs -> their words.
        space: options that are searched -> their range, or their values.
        seed: of all runs, and of the search.
        trials: how many are finished or stopped early in the end.
    """

    fixed: Mapping[str, tuple[str, ...]]
    space: Mapping[str, Range | list[tuple[str, ...]]]
    seed: int
    trials: int

    def words(self, params: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        """All options of the trial that has these values in optuna's words -> their words on a command line."""
        picked = {
            name: (part.word(params[name]),)
            if isinstance(part, Range)
            else next(value for value in part if " ".join(value) == params[name])
            for name, part in self.space.items()
        }
        return {**self.fixed, **picked}

    def training(self, params: Mapping[str, Any]) -> tuple[dict[str, str], Training]:
        """The training of a trial, and what it is called in a table."""
        return training_of(self.words(params), list(self.space), self.seed)

    def corners(self) -> list[Training]:
        """Trainings in which every value and every end of a range occurs, the other options at their first."""
        ends = {name: [(p.low,), (p.high,)] if isinstance(p, Range) else p for name, p in self.space.items()}
        first = {**self.fixed, **{name: values[0] for name, values in ends.items()}}
        return [
            training_of({**first, name: value}, list(self.space), self.seed)[1]
            for name, values in ends.items()
            for value in values
        ]


def read_search(grid: Grid, trials: int) -> Search:
    """What ``--search`` makes of a grid: options with several values or a range are searched.

    Raises:
        ValueError: there is nothing to search, or less than that many combinations; several seeds; a wrong range.
    """
    if trials < 1:
        raise ValueError(f"--search {trials}: must be at least 1 trial")
    seeds = seeds_of(grid)
    if len(seeds) > 1:
        raise ValueError("--search plays one seed: give one --seed, and play the best options with others afterwards")
    ranges = {name: range_of(name, values) for name, values in grid.items() if name != "seed"}
    space = {name: ranges[name] or grid[name] for name in ranges if ranges[name] or len(grid[name]) > 1}
    if not space:
        raise ValueError("--search has nothing to search: give an option several values, or a range, --lr 1e-5..1e-2")
    lists = [values for values in space.values() if isinstance(values, list)]
    if len(lists) == len(space) and prod(map(len, lists)) <= trials:
        raise ValueError(
            f"--search {trials}: there are only {prod(map(len, lists))} combinations, leave it out to play them all"
        )
    for name, values in space.items():
        if isinstance(values, list) and len(set(values)) < len(values):
            raise ValueError(f"--{name} gives a value twice")
    fixed = {name: grid[name][0] for name in ranges if name not in space}
    return Search(fixed, space, seeds[0], trials)
