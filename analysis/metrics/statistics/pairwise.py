"""Distances between every two of N items, some rows at a time, as one of a limited number of levels.

Ranks then come from counting the levels: neither N x N numbers nor a sort are needed, and memory does not grow with
the number of pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]
# Both take rows [a, b) to a matrix [b - a, N - a]: nothing left of column a is needed, as distances are symmetric.
Count = Callable[[slice], tuple[Ints, Ints]]
Measure = Callable[[slice], Floats]

# Small enough for a processor's cache.
_PAIRS_PER_BLOCK = 2**19
# Rows of a matrix of all pairs that are shuffled at a time, for the same reason.
_ROWS = 64
# Floats of this many items are told apart to 1e-12 of the farthest distance possible, of more items to 2^-20.
_EXACT_ITEMS = 2048
_STEPS = 2**20


@dataclass(frozen=True, eq=False)
class Pairs:
    """Distances between every two of N items, worked out when asked for.

    Attributes:
        n: N.
        levels: the distances that can occur, and maybe others, strictly increasing, float64 ``[levels]``.
        upper: from rows [a, b) to which level each pair (i, j > i) with i in these rows has, row by row, ``[pairs]``.
    """

    n: int
    levels: Floats
    upper: Callable[[slice], Ints]

    def blocks(self) -> Iterator[Ints]:
        """Which level each pair has, a block of rows at a time, in SciPy's condensed order."""
        return (self.upper(rows) for rows in row_blocks(self.n))

    def indices(self) -> Ints:
        """Which level each pair has, ``[N (N - 1) / 2]``, in SciPy's condensed order."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *self.blocks()])


def row_blocks(n: int) -> Iterator[slice]:
    """All N rows in turn, as many at a time as memory allows."""
    height = max(1, _PAIRS_PER_BLOCK // max(n, 1))
    return (slice(start, min(start + height, n)) for start in range(0, n, height))


def pairs_of(rows: slice, n: int) -> slice:
    """Where the pairs of rows [a, b) with what follows stand among all pairs of N items, in SciPy's condensed order."""
    first, last = (row * n - row * (row + 1) // 2 for row in (rows.start, rows.stop))
    return slice(first, last)


def above_diagonal(block: NDArray) -> NDArray:
    """What lies right of the diagonal of rows [a, b) and columns [a, N), row by row."""
    return block[is_above_diagonal(block.shape)]


def is_above_diagonal(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where a matrix of this shape lies right of its diagonal."""
    return np.arange(shape[1]) > np.arange(shape[0])[:, None]


def upper_half(matrix: NDArray, order: NDArray[np.int64] | None = None) -> Iterator[NDArray]:
    """All pairs of a symmetric matrix once, some rows at a time, without what lies left of each block's diagonal.

    Args:
        matrix: ``[N, N]``.
        order: in which items take each other's places; None: as they are.

    Returns:
        Blocks of rows [a, b) and columns [a, N). The diagonal and what lies below it are in them, too.
    """
    for start in range(0, len(matrix), _ROWS):
        stop = start + _ROWS
        if order is None:
            yield matrix[start:stop, start:]
        else:
            yield matrix.take(order[start:stop], axis=0).take(order[start:], axis=1)


def ratios(n: int, count: Count, most: int, most_parts: int, scale: float = 1.0) -> Pairs:
    """Distances that are a count over a count, nothing over nothing being 0.

    Args:
        n: N.
        count: numerators and denominators of some rows.
        most: largest numerator.
        most_parts: largest denominator.
        scale: a whole number that multiplies every ratio.
    """
    # Equal ratios are equal floats, as division is rounded correctly.
    table = scale * np.arange(most + 1)[:, None] / np.maximum(np.arange(most_parts + 1), 1)
    levels, which = np.unique(table, return_inverse=True)
    which = which.reshape(-1).astype(np.int32)

    def upper(rows: slice) -> Ints:
        above, below = count(rows)
        return which[above_diagonal(above.astype(np.int32) * (most_parts + 1) + below)]

    return Pairs(n, levels, upper)


def rounded(n: int, measure: Measure, reach: float) -> Pairs:
    """Distances that are floats, rounded so that arithmetic breaks no ties.

    Args:
        n: N.
        measure: distances of some rows as shares of ``reach``, in [0, 1].
        reach: the farthest distance possible.
    """
    if n > _EXACT_ITEMS:
        return Pairs(
            n,
            np.linspace(0.0, reach, _STEPS + 1),
            lambda rows: np.rint(above_diagonal(measure(rows)) * _STEPS).astype(np.int32),
        )
    shares = np.concatenate([np.zeros(0), *(above_diagonal(measure(rows)) for rows in row_blocks(n))])
    levels, which = np.unique(np.round(shares, 12), return_inverse=True)

    def upper(rows: slice) -> Ints:
        return which[pairs_of(rows, n)]

    return Pairs(n, reach * levels, upper)
