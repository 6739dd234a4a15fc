"""Ranks of pairs by the levels of their distances, also of those that are left when some are taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.metrics.statistics.joint_counts import count_pairs
from analysis.metrics.statistics.pairwise import Floats, Ints

# To count how often levels meet saves time if there are so many times as many pairs as levels that could meet.
_FEW = 8

# Pairs that are looked at at once: what is worked out of them stays in the processor's cache.
_PART = 1 << 14


def ranks_of(counts: Ints) -> Floats:
    """Mean rank of what is on each level, less the mean rank of everything."""
    return np.cumsum(counts) - (counts + counts.sum()) / 2


@dataclass(frozen=True, eq=False)
class Ranked:
    """One side's levels: how many pairs are on each, and the mean rank there, less that of everything."""

    counts: Ints
    ranks: Floats

    @staticmethod
    def of(levels: Ints) -> Ranked:
        """From the level of each pair."""
        counts = np.bincount(levels)
        return Ranked(counts, ranks_of(counts))

    def without(self, gone: Ints) -> tuple[Floats, float]:
        """The mean ranks when some pairs are left out, given by their levels, and the sum of squares over all left."""
        if len(self.counts) <= len(gone):
            left = self.counts - np.bincount(gone, minlength=len(self.counts))
            ranks = ranks_of(left)
            return ranks, float(left @ ranks**2)
        # Of many levels few are gone: a pair that is left out lifts those above by one, and those of its level by half.
        levels, less = np.unique(gone, return_counts=True)
        ends = np.concatenate([[0], levels.astype(np.int64), [len(self.counts)]])
        lifted = len(gone) / 2 - np.concatenate([[0], np.cumsum(less)])
        ranks = np.repeat(lifted, np.diff(ends))
        ranks += self.ranks
        ranks[levels] += less / 2
        pairs, cubes = self._pairs_and_cubes
        touched = self.counts[levels]
        cubes += _cubes(touched - less) - _cubes(touched)
        # Of n ranks around 0 the squares add up to (n^3 - n) / 12, less (t^3 - t) / 12 for t that are equal.
        return ranks, max(float(pairs - len(gone)) ** 3 - cubes, 0.0) / 12

    @cached_property
    def _pairs_and_cubes(self) -> tuple[int, float]:
        return int(self.counts.sum()), _cubes(self.counts)


def how_often(a: Ints, b: Ints, a_levels: int, b_levels: int) -> Floats | None:
    """How often levels of two sides meet, ``[levels, levels]``; None where they are too many to count it."""
    if a_levels * b_levels * _FEW > len(a):
        return None
    return count_pairs(a, b, b_levels).dense((a_levels, b_levels)).astype(float)


def products(
    sides: Sequence[Ints], ranks: Sequence[Floats], compared: Sequence[tuple[int, int]], met: Sequence[Floats | None]
) -> Floats:
    """Sums over all pairs of the product of their ranks on two sides, ``[compared]``.

    Args:
        sides: the level of each pair on each side.
        ranks: of the levels of each side.
        compared: numbers of two sides each.
        met: of `how_often`, for each two.
    """
    found = np.array(
        [0.0 if often is None else ranks[a] @ often @ ranks[b] for (a, b), often in zip(compared, met, strict=True)]
    )
    wide = [(at, a, b) for at, ((a, b), often) in enumerate(zip(compared, met, strict=True)) if often is None]
    asked = {side for _, *both in wide for side in both}
    for start in range(0, len(sides[0]) if wide else 0, _PART):
        ranked = {side: ranks[side].take(sides[side][start : start + _PART]) for side in asked}
        for at, a, b in wide:
            found[at] += ranked[a] @ ranked[b]
    return found


def _cubes(counts: Ints) -> float:
    times = counts.astype(float)
    return float(times @ (times * times))
