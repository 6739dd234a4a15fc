"""What independent tokens would share by luck: the correction in adjusted mutual information (metric sheet, M6).

Vinh, Epps and Bailey 2010, "Information theoretic measures for clusterings comparison" (JMLR 11).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Weights smaller than this, the largest being 1, no longer change a sum.
_NEGLIGIBLE = 1e-18

# Between two looks at which sums are complete.
_STEPS = 8


def expected_mutual_information(counts: ArrayLike) -> float:
    """What independent tokens with the same marginal counts would share on average, in nats.

    With X hypergeometric in each cell, E[X log X] = (a b / n) E[log(1 + Y)] where Y is what the other tokens add, again
    hypergeometric. Its probabilities are followed outwards from the largest until they vanish, which takes some
    multiple of the standard deviation, not of the counts.

    Args:
        counts: contingency table, int ``[V, C]``.

    Returns:
        0 to the smaller entropy; 0 for an empty table.

    Example:
        >>> round(expected_mutual_information([[2, 0], [0, 2]]), 3)
        0.231
        >>> round(expected_mutual_information([[200, 0], [0, 200]]), 3)
        0.001
    """
    table = np.asarray(counts)
    return expected_between(table.sum(axis=1), table.sum(axis=0))


def expected_between(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """The same from the sums of the table's rows and columns.

    Args:
        first: how often each symbol occurs, int ``[V]``.
        second: how often each concept occurs, int ``[C]``; as many in all.
    """
    # Cells of the same margins have the same expectation.
    rows, row_repeats = np.unique(first, return_counts=True)
    columns, column_repeats = np.unique(second, return_counts=True)
    a, b = (side.ravel().astype(float) for side in np.meshgrid(rows, columns))
    cells = np.outer(column_repeats, row_repeats).ravel()
    n, real = float(first.sum()), (a > 0) & (b > 0)
    if not n:
        return 0.0
    a, b, cells = a[real], b[real], cells[real]
    weights = cells * (a / n) * (b / n)
    return float((weights * (_expected_log(a - 1, b - 1, n - 1) - np.log(a) - np.log(b))).sum() + np.log(n))


def _expected_log(first: NDArray[np.float64], second: NDArray[np.float64], total: float) -> NDArray[np.float64]:
    """E[log(1 + Y)], Y being how many of ``first`` draws from ``total`` are among ``second`` marked, ``[cells]``."""
    mode = np.floor((first + 1) * (second + 1) / (total + 2))
    mode = np.clip(mode, np.maximum(first + second - total, 0), np.minimum(first, second))
    # Logarithms of whole numbers are looked up.
    logs = np.log1p(np.arange(float(np.minimum(first, second).max(initial=0)) + _STEPS + 1))
    sums, norms = logs[mode.astype(np.int64)], np.ones_like(mode)
    for upwards in (True, False):
        live = np.arange(len(mode))
        y, weight, drawn, marked = mode.copy(), np.ones_like(mode), first, second
        while len(live):
            rest = total - drawn - marked
            sum_, norm = np.zeros_like(y), np.zeros_like(y)
            for _ in range(_STEPS):
                if upwards:
                    weight *= (drawn - y) * (marked - y)
                    y += 1
                    weight /= y * (rest + y)
                else:
                    weight *= y * (rest + y)
                    y -= 1
                    weight /= (drawn - y) * (marked - y)
                sum_ += weight * logs[np.maximum(y, 0).astype(np.int64)]
                norm += weight
            sums[live] += sum_
            norms[live] += norm
            kept = weight > _NEGLIGIBLE
            live, y, weight, drawn, marked = live[kept], y[kept], weight[kept], drawn[kept], marked[kept]
    return sums / norms
