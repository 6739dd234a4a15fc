"""How often the values of two things meet, counted once for the language and once for every shuffled one.

Shuffling gives items other attributes while their symbols stay, so that most of the work is done beforehand. Tables are
given by their cells that are not 0: those of many symbols and many values are nearly empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

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
        self.held: csr_array | None = None
        if max(n, size) * values <= _NUMBERS and values <= _VALUES * len(widths):
            # Whole numbers up to 2^24 are exact in single precision.
            kind = np.float32 if len(items) < 2**24 else np.float64
            self.held = csr_array((np.ones(len(items), dtype=kind), (items, contents)), shape=(n, size)).T
            self.spelt = np.zeros((n, values), dtype=kind)
            for codes, start in zip(attributes, np.cumsum([0, *widths]).tolist(), strict=False):
                (known,) = np.nonzero(codes >= 0)
                self.spelt[known, start + codes[known]] = 1

    def tables(self, order: NDArray[np.int64] | slice) -> list[NDArray[np.int64]]:
        """A table of each attribute, ``[size, width]``."""
        if self.held is None:
            return [found.dense((self.size, width)) for found, width in zip(self(order), self.widths, strict=True)]
        whole = (self.held @ self.spelt[order]).astype(np.int64)
        return np.split(whole, np.cumsum(self.widths)[:-1], axis=1)

    def __call__(self, order: NDArray[np.int64] | slice) -> list[Counted]:
        """The cells of these tables that are not 0."""
        if self.held is not None:
            found = []
            for table in self.tables(order):
                rows, columns = np.nonzero(table)
                found.append(Counted(rows, columns, table[rows, columns]))
            return found
        return [
            count_pairs(self.contents, codes[order][self.items], width)
            for codes, width in zip(self.attributes, self.widths, strict=True)
        ]
