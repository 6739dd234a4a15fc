"""Messages one after the other: pieces of them that are the same, and the same symbols in another order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.metrics.statistics.joint_counts import without_gaps

# Keys up to so many times their number are counted in a table, larger ones by hashing, which takes longer.
_TABLE = 8


class Text(NamedTuple):
    """Messages one after the other.

    Attributes:
        symbols: renamed 0 to V - 1, ``[n]``.
        ends: where the message of each ends, ``[n]``.
    """

    symbols: NDArray[np.int64]
    ends: NDArray[np.int64]


def place_numbers(text: Text, longest: int) -> list[NDArray[np.int64]]:
    """What begins at every place, as numbers: pieces of 1, 2, 4 and so on symbols, ``[n]`` each, the same for the same.

    Args:
        text: the messages.
        longest: no larger pieces.
    """
    if longest < 1:
        return []
    found, count, size = [text.symbols], len(text.symbols), 1
    while 2 * size <= longest:
        number = found[-1]
        later = number[np.minimum(np.arange(count) + size, count - 1)]
        found.append(tally(number * (int(number.max()) + 1) + later)[1])
        size *= 2
    return found


def piece_keys(
    numbers: list[NDArray[np.int64]], starts: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """One number per piece, the same for the same symbols.

    Args:
        numbers: of `place_numbers`, for pieces of at least these sizes.
        starts: where the pieces begin, ``[pieces]``.
        sizes: how many symbols they have, at least 1, ``[pieces]``.

    A piece is known by two numbers, of what begins at its start and of as much up to its end, and by its length.
    """
    keys = np.zeros(len(starts), dtype=np.int64)
    longest = int(sizes.max(initial=0))
    for exponent, number in enumerate(numbers):
        size = 2**exponent
        here = (size <= sizes) & (sizes < 2 * size)
        first, second = number[starts[here]], number[starts[here] + sizes[here] - size]
        keys[here] = (first * len(number) + second) * (longest + 1) + sizes[here]
    return keys


def tally(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The different keys, the number of each key among them, and how often each occurs.

    Args:
        keys: from 0, ``[n]``.
    """
    if int(keys.max(initial=-1)) >= _TABLE * len(keys):
        codes, found = pd.factorize(keys)
        return found, codes, np.bincount(codes)
    return without_gaps(keys)


def shuffled_within(lengths: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """An order of all that stands in rows of these lengths, one after the other, in which each keeps to its row.

    Args:
        lengths: of the rows, ``[N]``.
        rng: drawn from once for each.

    Returns:
        ``[lengths.sum()]``.
    """
    there = np.arange(lengths.max(initial=0)) < lengths[:, None]
    drawn = np.full(there.shape, np.inf)
    drawn[there] = rng.random(int(lengths.sum()))
    # Sorted row by row, which takes a quarter of the time of one long sorting.
    order = drawn.argsort(axis=1) + (np.cumsum(lengths) - lengths)[:, None]
    return np.asarray(order[there])
