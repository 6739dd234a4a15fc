"""Spearman correlation between distances of all pairs of items: value, null and interval.

Mantel 1967 for the permutations; Busing, Meijer & van der Leeden 1999, "Delete-m jackknife for unequal m", for the
interval. What the pairs are of, and which distances, is up to topographic and representational similarity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from analysis.metrics.result import Result, against_null, undefined
from analysis.metrics.statistics.joint_counts import without_gaps
from analysis.metrics.statistics.pair_sample import PairSample
from analysis.metrics.statistics.pairwise import Ints, Pairs, above_diagonal
from analysis.metrics.statistics.ranks import ranks_of

# From row numbers to the distances between those rows.
Take = Callable[[NDArray[np.int64]], Pairs]
# Starts over the levels of all pairs, some rows at a time.
Blocks = Callable[[], Iterable[Ints]]

# A table of so many counts stays in the processor's cache.
_TABLE = 1 << 16

# Of so many items the levels of all pairs are kept, two million of each kind; of more they are worked out again.
_HELD = 2048

# The value is of all pairs of so many items, 50 million pairs; time grows with their number.
VALUE_ITEMS = 10_000


@dataclass(frozen=True)
class Comparison:
    """Two kinds of distances between the same items.

    Attributes:
        first: number of the kind whose items are shuffled.
        second: number of the other kind.
        names: what the two compare, for reasons.
    """

    first: int
    second: int
    names: tuple[str, str]


def correlate(
    takes: Sequence[Take], compared: Sequence[Comparison], n: int, *, permutations: int, max_items: int, seed: int
) -> list[Result]:
    """Spearman correlations between distances of several kinds, with null and interval.

    What these rest on is said at `analysis.metrics.topsim.topographic_similarity`. The numbers do not depend on what
    else is asked for: all comparisons have the same sample, shuffles and groups.

    Args:
        takes: of each kind, distances between the items of these numbers.
        compared: which kinds with which.
        n: how many items there are.
        permutations: 0 for the values alone.
        max_items: how many items null and interval rest on at most.
        seed: seed of the sample, the permutations and the groups.

    Returns:
        A result for each comparison.
    """
    if n < 3:
        return [undefined("too_few_items", n) for _ in compared]
    rng = np.random.default_rng(seed)
    rows = np.arange(n)
    if n > VALUE_ITEMS:
        rows, n = np.sort(rng.choice(n, VALUE_ITEMS, replace=False)), VALUE_ITEMS
    held: list[Ints] = []
    blocks: list[Blocks] = []
    scales: list[tuple[int, float]] = []
    for take in takes:
        pairs = take(rows)
        # How many levels there are, and the least of them.
        scales.append((len(pairs.levels), float(pairs.levels[0])))
        if n <= _HELD:
            held.append(_narrow(pairs.indices()))
            blocks.append(partial(list, [held[-1]]))
        else:
            blocks.append(pairs.blocks)
        del pairs
    values, counts = spearman(blocks, [size for size, _ in scales], [(x.first, x.second) for x in compared])
    reasons = [
        _why_level(scales[x.first][1], counts[x.first], x.names[0])
        or _why_level(scales[x.second][1], counts[x.second], x.names[1])
        for x in compared
    ]
    del blocks, counts
    results = [
        undefined(reason, n) if reason else Result(value, n) for value, reason in zip(values, reasons, strict=True)
    ]
    unlike = [number for number, reason in enumerate(reasons) if not reason]
    if not permutations or not unlike:
        return results
    size = min(n, max_items)
    chosen = np.sort(rng.choice(n, size, replace=False)) if size < n else np.arange(n)
    within = _within(chosen, n) if held else slice(0)
    used = list(dict.fromkeys(side for at in unlike for side in (compared[at].first, compared[at].second)))
    sides = [
        _narrow(without_gaps(held[side][within] if held else takes[side](rows[chosen]).indices())[1]) for side in used
    ]
    del held
    asked = [(used.index(compared[at].first), used.index(compared[at].second)) for at in unlike]
    observed, _ = spearman([partial(list, [x]) for x in sides], [int(x.max()) + 1 for x in sides], asked)
    # Without variety in the sample there is nothing to shuffle.
    varied = [at for at, value in enumerate(observed) if not math.isnan(value)]
    if not varied:
        return results
    sample = PairSample(size, sides, [asked[at] for at in varied])
    nulls, margins = sample.null(permutations, rng), sample.margins(rng) * math.sqrt(size / n)
    for at, null, margin in zip(varied, nulls, margins, strict=True):
        value = results[unlike[at]].value
        low, high = np.clip([value - margin, value + margin], -1.0, 1.0).tolist()
        against = against_null(Result(observed[at], n), null)
        results[unlike[at]] = replace(against, value=value, low=low, high=high)
    return results


def spearman(
    blocks: Sequence[Blocks], sizes: Sequence[int], compared: Sequence[tuple[int, int]]
) -> tuple[list[float], list[Ints]]:
    """Correlations of the ranks of all pairs, NaN without variety, and how many pairs are on each level of each side.

    Most sides are gone through once. The first of two is gone through twice where levels are too many to count how
    often they meet, which then says all.

    Args:
        blocks: of each side, the levels of all pairs.
        sizes: how many levels each side has.
        compared: numbers of two sides each.
    """
    few = [sizes[a] * sizes[b] <= _TABLE for a, b in compared]
    twice = {a for (a, _), counted in zip(compared, few, strict=True) if not counted}
    counts: list[Ints] = [np.zeros(size, dtype=np.int64) for size in sizes]
    for side in twice:
        for levels in blocks[side]():
            counts[side] += np.bincount(levels, minlength=sizes[side])
    ranks = {side: ranks_of(counts[side]) for side in twice}
    # How often levels meet, or the sums of the first's ranks on each level of the second.
    sums = [
        np.zeros(sizes[a] * sizes[b], dtype=np.int64) if counted else np.zeros(sizes[b])
        for (a, b), counted in zip(compared, few, strict=True)
    ]
    for block in zip(*(start() for start in blocks), strict=True):
        for side, levels in enumerate(block):
            if side not in twice:
                counts[side] += np.bincount(levels, minlength=sizes[side])
        ranked = {side: ranks[side][block[side]] for side in twice}
        for (a, b), counted, total in zip(compared, few, sums, strict=True):
            keys = block[a].astype(np.int64) * sizes[b] + block[b] if counted else block[b]
            total += np.bincount(keys, None if counted else ranked[a], minlength=len(total))
    values = []
    every = [ranks_of(count) for count in counts]
    spreads = [count @ of_levels**2 for count, of_levels in zip(counts, every, strict=True)]
    for (a, b), counted, total in zip(compared, few, sums, strict=True):
        spread = math.sqrt(spreads[a] * spreads[b])
        shared = every[a] @ total.reshape(sizes[a], sizes[b]) if counted else total
        values.append(float(np.clip(every[b] @ shared / spread, -1.0, 1.0)) if spread else math.nan)
    return values, counts


def _why_level(least: float, counts: Ints, name: str) -> str:
    """Why distances have no ranks: all pairs are on one level; empty if they are not."""
    (used,) = np.nonzero(counts)
    if len(used) > 1:
        return ""
    return f"equidistant_{name}" if used[0] > 0 or least > 0 else f"constant_{name}"


def _narrow(levels: Ints) -> Ints:
    return levels.astype(np.min_scalar_type(int(levels.max(initial=0))))


def _within(chosen: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    """Which of all pairs of N items are pairs of these."""
    there = np.zeros(n, dtype=bool)
    there[chosen] = True
    return above_diagonal(there[:, None] & there)
