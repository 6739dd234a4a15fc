"""How far a loop has come, for whoever waits: the one way in which everything says so that may take seconds.

On a terminal a bar with counts and the time left, which goes when the loop ends; elsewhere, as in the log of a job,
plain lines on stderr, ever more seldom, also over all times that the same is done again. Loops that take less than two
seconds say nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import suppress
from typing import TypeVar

from patchgame_egg.distributed.processes import is_rank_zero

_Item = TypeVar("_Item")

PATIENCE = 2.0
"""Seconds of silence."""
# Lines of a log come after 2, 6, 14, ... seconds, then once in so many.
_SELDOM = 300.0
# What is done again and again -> the seconds of silence before its next line in a log.
_silence: dict[str, float] = {}


def counted(items: Iterable[_Item], what: str, total: int | None = None, *, again: bool = False) -> Iterator[_Item]:
    """Goes through items, and says how many of them are done.

    Args:
        items: whatever is gone through.
        what: is done with them, as the beginning of a line.
        total: how many there are; None: as many as ``len(items)`` says, or it is not known.
        again: the same is done many times, as validation is after every epoch. A log that has lines of the first times
            gets none of later ones, unless they take longer.

    Yields:
        The items. On several processes the first one alone says anything.

    Example:
        >>> sum(counted(range(4), "adds numbers"))
        6
    """
    if total is None and isinstance(items, Sized):
        # Loaders of data sets without a length have one that raises.
        with suppress(TypeError, NotImplementedError):
            total = len(items)
    if not is_rank_zero():
        yield from items
    elif sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(iter(items), what, total, leave=False, delay=PATIENCE, dynamic_ncols=True, file=sys.stderr)
    else:
        yield from _in_lines(items, what, total, _silence if again else {})


def _in_lines(items: Iterable[_Item], what: str, total: int | None, silence: dict[str, float]) -> Iterator[_Item]:
    begin, wait, last = time.monotonic(), silence.get(what, PATIENCE), 0.0
    for done, item in enumerate(items):
        passed = time.monotonic() - begin
        if done and passed - last >= wait:
            print(f"{what}: {_how_far(done, total, passed)}", file=sys.stderr, flush=True)
            wait, last = min(2 * wait, _SELDOM), passed
            silence[what] = wait
        yield item


def _how_far(done: int, total: int | None, passed: float) -> str:
    """The count, and how long the rest takes if it takes as long as what is done.

    Example:
        >>> _how_far(30, 90, 60.0), _how_far(5, None, 10.0)
        ('30 of 90, about 2 minutes left', '5')
    """
    if total is None:
        return f"{done:,}"
    left = max(1.0, passed / done * max(total - done, 0))
    if left < 90:
        return f"{done:,} of {total:,}, about {left:.0f} second{'s' * (round(left) != 1)} left"
    if left < 90 * 60:
        return f"{done:,} of {total:,}, about {left / 60:.0f} minutes left"
    return f"{done:,} of {total:,}, about {left / 3600:.1f} hours left"
