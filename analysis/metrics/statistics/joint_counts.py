"""How often the values of two things meet, counted once for the language and once for every shuffled one.

Shuffling gives items other attributes while their symbols stay, so that most of the work is done beforehand. Tables are
given by their cells that are not 0: those of many symbols and many values are nearly empty.

What tables of these margins would share by luck is the correction in adjusted mutual information (metric sheet, M6;
Vinh, Epps and Bailey 2010, "Information theoretic measures for clusterings comparison", JMLR 11).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# Weights smaller than this, the largest being 1, no longer change a sum.
_NEGLIGIBLE = 1e-18

# Between two looks at which sums are complete.
_STEPS = 8

# Cells whose expectations are worked out at once: what that takes stays in the processor's cache.
_CELLS = 1 << 11
# Cells of several tables that are put together.
_MANY = 1 << 17

# Cells are counted in a table up to so many times the number of pairs, beyond it by sorting, so that memory and time
# stay linear in the number of pairs.
_TABLE = 4
_SMALL = 1 << 16

# Several attributes are counted at once, as a product of matrices, if that takes so many numbers at most, and if they
# have so many values on average at most: each is looked at whether an item has it or not.
_NUMBERS, _VALUES = 1 << 23, 48


class Counted(NamedTuple):
    """Which values meet, in ascending order of rows and columns, and how often: ``[cells]`` each."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def total(self) -> int:
        """How many pairs were counted."""
        return int(self.counts.sum())

    def dense(self, shape: tuple[int, int]) -> NDArray[np.int64]:
        """The whole table.

        Args:
            shape: rows and columns.

        Returns:
            int64 of this shape.
        """
        table = np.zeros(shape, dtype=np.int64)
        table[self.rows, self.columns] = self.counts
        return table


def count_pairs(first: ArrayLike, second: ArrayLike, width: int) -> Counted:
    """Counts pairs of values.

    Args:
        first: numbers from 0, ``[pairs]``.
        second: numbers from 0 to ``width`` - 1, ``[pairs]``; pairs with a negative one are left out.
        width: more than any of the second.

    Example:
        >>> found = count_pairs([0, 0, 1, 1], [2, 2, 0, -1], 3)
        >>> found.rows.tolist(), found.columns.tolist(), found.counts.tolist()
        ([0, 1], [2, 0], [2, 1])
    """
    one, other = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    if other.min(initial=0) < 0:
        known = other >= 0
        one, other = one[known], other[known]
    keys = one * width
    keys += other
    if (int(one.max(initial=-1)) + 1) * width <= max(_SMALL, _TABLE * len(keys)):
        table = np.bincount(keys)
        found = np.flatnonzero(table)
        counts = table[found]
    else:
        found, counts = np.unique(keys, return_counts=True)
    rows, columns = np.divmod(found, width)
    return Counted(rows, columns, counts)


def coded(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The values in use, ascending, and the number among them of each, of the same shape; -1, not known, stays -1."""
    names, codes = np.unique(np.append(values, -1), return_inverse=True)
    return names[1:], codes[:-1].reshape(values.shape) - 1


def without_gaps(
    numbers: NDArray[np.integer],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The numbers in use, ascending, the place among them of each, and how often each occurs.

    Args:
        numbers: from 0, ``[n]``; memory grows with the highest, where `coded` sorts.

    Example:
        >>> [part.tolist() for part in without_gaps(np.array([5, 2, 5]))]
        [[2, 5], [1, 0, 1], [1, 2]]
    """
    often = np.bincount(numbers)
    (found,) = np.nonzero(often)
    return found, (np.cumsum(often > 0) - 1)[numbers], often[found]


class Joint:
    """Counts what items have against several attributes, for any order of the items' attributes."""

    def __init__(
        self, items: NDArray[np.int64], contents: NDArray[np.int64], size: int,
        attributes: Sequence[NDArray[np.int64]], widths: Sequence[int],
    ) -> None:  # fmt: skip
        """Does what does not depend on the order.

        Args:
            items: which item has something, from 0 to N - 1, ``[pairs]``.
            contents: what it has, from 0 to ``size`` - 1, ``[pairs]``.
            size: how many different things there are.
            attributes: of each attribute the values of all items, ``[N]``; -1 where not known.
            widths: how many values each attribute has.
        """
        self.items, self.contents, self.size = items, contents, size
        self.attributes, self.widths = attributes, widths
        values, n = sum(widths), max(map(len, attributes), default=0)
        starts = np.cumsum([0, *widths])[:-1].tolist()
        self.held: csr_array | None = None
        self.bags: NDArray[np.floating] | None = None
        # Whole numbers up to 2^24 are exact in single precision.
        kind = np.float32 if len(items) < 2**24 else np.float64
        small = n * size <= _NUMBERS and values * size <= max(_SMALL, _TABLE * len(items) * len(widths))
        if small and len(widths) * n * size <= len(items) * values:
            bags = np.bincount(items * size + contents, minlength=n * size).reshape(n, size)
            self.bags = np.asarray(bags, dtype=kind)
            # Which row of all tables each attribute adds to; what is not known goes into one below them.
            rows = [np.where(codes < 0, values, codes + start) for codes, start in zip(attributes, starts, strict=True)]
            self.rows = np.stack(rows, axis=1)  # [N, attributes]
        elif max(n, size) * values <= _NUMBERS and values <= _VALUES * len(widths):
            # Loaded late: a run that counts pairs alone does without SciPy, which takes a while to import.
            from scipy.sparse import csr_array

            self.held = csr_array((np.ones(len(items), dtype=kind), (items, contents)), shape=(n, size)).T
            self.spelt = np.zeros((n, values), dtype=kind)
            for codes, start in zip(attributes, starts, strict=True):
                (known,) = np.nonzero(codes >= 0)
                self.spelt[known, start + codes[known]] = 1

    def tables(self, order: NDArray[np.int64] | slice) -> list[NDArray[np.int64]]:
        """A table of each attribute, ``[size, width]``."""
        if self.bags is not None:
            whole = self._added_up(order, self.bags)
        elif self.held is not None:
            whole = (self.held @ self.spelt[order]).astype(np.int64)
        else:
            return [found.dense((self.size, width)) for found, width in zip(self(order), self.widths, strict=True)]
        return np.split(whole, np.cumsum(self.widths)[:-1], axis=1)

    def __call__(self, order: NDArray[np.int64] | slice) -> list[Counted]:
        """The cells of these tables that are not 0."""
        if self.held is not None or self.bags is not None:
            found = []
            for table, width in zip(self.tables(order), self.widths, strict=True):
                cells = np.ascontiguousarray(table).ravel()
                places = np.flatnonzero(cells)
                rows, columns = np.divmod(places, width)
                found.append(Counted(rows, columns, cells[places]))
            return found
        return [
            count_pairs(self.contents, codes[order][self.items], width)
            for codes, width in zip(self.attributes, self.widths, strict=True)
        ]

    def _added_up(self, order: NDArray[np.int64] | slice, bags: NDArray[np.floating]) -> NDArray[np.int64]:
        """All tables side by side, ``[size, values]``, by adding up what items have."""
        from scipy.sparse import csr_array

        rows, many = self.rows[order], sum(self.widths)
        ends = np.arange(0, rows.size + 1, rows.shape[1])
        chosen = csr_array((np.ones(rows.size, dtype=bags.dtype), rows.ravel(), ends), shape=(len(rows), many + 1))
        return np.asarray((chosen.T @ bags)[:many].T.astype(np.int64))


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
    (found,) = expected_between([(table.sum(axis=1), table.sum(axis=0))])
    return found


def expected_between(margins: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> list[float]:
    """The same of several tables, from the sums of their rows and of their columns.

    Args:
        margins: how often each symbol occurs, int ``[V]``, and each concept, int ``[C]``; as many in all.
    """
    found = []
    # Some tables at once: what they have in common is worked out once, and memory stays bounded.
    batch: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    cells = 0
    for first, second in margins:
        batch.append((first, second))
        cells += len(first) * len(second)
        if cells > _MANY:
            found += _expected(batch)
            batch, cells = [], 0
    return found + _expected(batch)


def _expected(margins: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> list[float]:
    # Cells of the same margins have the same expectation, in whichever table of as many tokens.
    parts = []
    for table, (first, second) in enumerate(margins):
        rows, row_repeats = np.unique(first[first > 0], return_counts=True)
        columns, column_repeats = np.unique(second[second > 0], return_counts=True)
        a, b = (side.ravel() for side in np.meshgrid(rows, columns))
        repeats = np.outer(column_repeats, row_repeats).ravel()
        parts.append(np.stack([np.full(len(a), table), np.full(len(a), first.sum()), a, b, repeats]))
    if not parts:
        return []
    table, n, a, b, repeats = np.concatenate(parts, axis=1)
    which = np.unique(n, return_inverse=True)[1]
    high = int(b.max(initial=0)) + 1
    keys = (which.reshape(-1) * (int(a.max(initial=0)) + 1) + a) * high + b
    _, once, back = np.unique(keys, return_index=True, return_inverse=True)
    logs = np.empty(len(once))
    for start in range(0, len(once), _CELLS):
        some = once[start : start + _CELLS]
        one, other, total = (side[some].astype(float) for side in (a, b, n))
        logs[start : start + _CELLS] = _expected_log(one - 1, other - 1, total - 1) - np.log(one) - np.log(other)
    shared = np.bincount(table, repeats * (a / n) * (b / n) * logs[back.reshape(-1)], len(margins))
    whole = np.array([first.sum() for first, _ in margins])
    return np.where(whole > 0, shared + np.log(np.maximum(whole, 1)), 0.0).tolist()


def _expected_log(
    first: NDArray[np.float64], second: NDArray[np.float64], total: NDArray[np.float64]
) -> NDArray[np.float64]:
    """E[log(1 + Y)], Y being how many of ``first`` draws from ``total`` are among ``second`` marked, ``[cells]``."""
    mode = np.floor((first + 1) * (second + 1) / (total + 2))
    mode = np.clip(mode, np.maximum(first + second - total, 0), np.minimum(first, second))
    # Logarithms of whole numbers are looked up.
    logs = np.log1p(np.arange(float(np.minimum(first, second).max(initial=0)) + _STEPS + 1))
    sums, norms = logs[mode.astype(np.int64)], np.ones_like(mode)
    steps = np.arange(1.0, _STEPS + 1)[:, None]
    for upwards in (True, False):
        live = np.arange(len(mode))
        y, weight, drawn, marked, rest = mode, np.ones_like(mode), first, second, total - first - second
        while len(live):
            # Several steps at once, [steps, cells]; past the last value that is possible the weight is 0 and stays it.
            at = y + steps if upwards else y - steps
            if upwards:
                ratio = (drawn + 1 - at) * (marked + 1 - at) / (at * (rest + at))
            else:
                ratio = (at + 1) * (rest + at + 1) / ((drawn - at) * (marked - at))
            ratio[0] *= weight
            weights = np.cumprod(ratio, axis=0)
            known = logs[(at if upwards else np.maximum(at, 0)).astype(np.int64)]
            sums[live] += np.einsum("sc,sc->c", weights, known)
            norms[live] += weights.sum(axis=0)
            kept = weights[-1] > _NEGLIGIBLE
            y, weight = at[-1][kept], weights[-1][kept]
            live, drawn, marked, rest = live[kept], drawn[kept], marked[kept], rest[kept]
    return sums / norms
