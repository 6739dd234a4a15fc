"""Null and interval of rank correlations between distances, of few enough items to hold all their pairs.

Several kinds of distances are looked at together: what an order of the items, or leaving some out, asks of each kind is
worked out once, whatever it is compared with.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import squareform
from scipy.special import stdtrit

from analysis.metrics.statistics.pairwise import Floats, Ints, is_above_diagonal, pairs_of
from analysis.metrics.statistics.ranks import Ranked, how_often, products, ranks_of

_GROUPS = 50

# Rows of a matrix of all pairs that are shuffled at once, for so many languages.
_ROWS, _DRAWS = 16, 10

# A table of so many ranks stays in the processor's first cache.
_NARROW = 1024


@dataclass(frozen=True, eq=False)
class PairSample:
    """All pairs of some items, and which kinds of distances are compared.

    Attributes:
        items: how many there are.
        sides: of each kind of distance the level of each pair, in SciPy's condensed order and in few bytes.
        compared: numbers of two sides each: the first's items are shuffled.
    """

    items: int
    sides: Sequence[Ints]
    compared: Sequence[tuple[int, int]]

    def null(self, permutations: int, rng: np.random.Generator) -> Floats:
        """The correlations when whole items change meanings, ``[compared, permutations]``."""
        orders = [rng.permutation(self.items) for _ in range(permutations)]
        found = np.zeros((len(self.compared), permutations))
        # Ranks of all pairs stay what they are, and are worked out once.
        ranked = {side: _normalized(self.sides[side]) for side in dict.fromkeys(itertools.chain(*self.compared))}
        held = {}
        for a in dict.fromkeys(a for a, _ in self.compared):
            # To shuffle a matrix takes as long as to move its bytes; a large table of ranks is not looked up at random.
            few = len(ranked[a]) <= _NARROW
            held[a] = squareform(self.sides[a] if few else ranked[a][self.sides[a]], checks=False), few
        # Some rows, for some languages at once, so that what is multiplied stays in the processor's cache.
        for start in range(0, self.items, _ROWS):
            halves = {b: self._half(b, ranked[b], start) for b in dict.fromkeys(b for _, b in self.compared)}
            for a, (matrix, few) in held.items():
                asked = [(row, halves[b]) for row, (first, b) in zip(found, self.compared, strict=True) if first == a]
                for draw in range(0, permutations, _DRAWS):
                    blocks = [
                        matrix.take(order[start : start + _ROWS], axis=0).take(order[start:], axis=1).ravel()
                        for order in orders[draw : draw + _DRAWS]
                    ]
                    shuffled = np.stack([ranked[a].take(x) if few else x for x in blocks])
                    for row, half in asked:
                        row[draw : draw + _DRAWS] += shuffled @ half
        return found

    def _half(self, side: int, ranks: Floats, start: int) -> Floats:
        """Ranks of the pairs of some rows with what follows; the diagonal and what lies left of it is 0."""
        stop = min(start + _ROWS, self.items)
        block = np.zeros((stop - start, self.items - start))
        pairs = pairs_of(slice(start, stop), self.items)
        block[is_above_diagonal(block.shape)] = ranks.take(self.sides[side][pairs])
        return block.ravel()

    def margins(self, rng: np.random.Generator) -> Floats:
        """Half the widths of 95 % intervals ``[compared]``, NaN where one group holds all that is unlike the rest."""
        # Groups of several items are of unequal size, from 100 items by a half at most; weights make up for it.
        groups = self.items if self.items < 2 * _GROUPS else _GROUPS
        group = (rng.permutation(self.items) % groups).astype(np.uint8)
        row, column = (group[end] for end in np.triu_indices(self.items, 1))
        sides = [Ranked.of(levels) for levels in self.sides]
        met = [
            how_often(self.sides[a], self.sides[b], len(sides[a].counts), len(sides[b].counts))
            for a, b in self.compared
        ]
        # Pairs with a member in each group, group after group; of most groups they are few, and all others stay.
        ends = np.concatenate([np.arange(len(row)), np.flatnonzero(row != column)]).astype(np.int32)
        of = np.concatenate([row, column[row != column]])
        touched = np.split(ends[np.argsort(of, kind="stable")], np.cumsum(np.bincount(of, minlength=groups))[:-1])
        values = np.empty((len(self.compared), groups))
        # What tables are looked up by would else be widened each time.
        places = [levels.astype(np.intp) for levels in self.sides]
        for left_out, pairs in enumerate(touched):
            gone = [levels[pairs] for levels in self.sides]
            ranks, squares = zip(*(side.without(x) for side, x in zip(sides, gone, strict=True)), strict=True)
            lost = [of_levels.take(x) for of_levels, x in zip(ranks, gone, strict=True)]
            shared = products(places, ranks, self.compared, met) - [lost[a] @ lost[b] for a, b in self.compared]
            spreads = np.sqrt([squares[a] * squares[b] for a, b in self.compared])
            found = np.divide(shared, spreads, out=np.full(len(shared), math.nan), where=spreads > 0)
            values[:, left_out] = np.clip(found, -1.0, 1.0)
        weights = (self.items / np.bincount(group) - 1) / groups
        errors = np.sqrt([weights @ (found - found.mean()) ** 2 for found in values])
        return np.asarray(stdtrit(groups - 1, 0.975) * errors)


def _normalized(levels: Ints) -> Floats:
    """The rank of each level, less the mean, over the root of the sum of squares over all pairs."""
    counts = np.bincount(levels)
    ranks = ranks_of(counts)
    return ranks / math.sqrt(counts @ ranks**2)
