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
from scipy.spatial.distance import squareform
from scipy.special import stdtrit

from analysis.metrics.result import Result, against_null, undefined
from analysis.metrics.statistics.pairwise import Floats, Ints, Pairs
from analysis.metrics.statistics.ranks import Ranked, how_often, products, ranks_of

# From row numbers to the distances between those rows.
Take = Callable[[Ints], Pairs]
# Starts over the levels of all pairs, some rows at a time.
Blocks = Callable[[], Iterable[Ints]]

_GROUPS = 50

# A table of so many counts stays in the processor's cache.
_TABLE = 1 << 16

# Rows of a matrix of all pairs that are shuffled at once, for so many languages.
_ROWS, _DRAWS = 16, 10

# A table of so many ranks stays in the processor's first cache.
_NARROW = 1024

# The value is of all pairs of so many items, 50 million pairs; time grows with their number.
VALUE_ITEMS = 10_000


def correlate(
    first: Take, seconds: Sequence[Take], n: int, names: tuple[str, str],
    *, permutations: int, max_items: int, seed: int,
) -> list[Result]:  # fmt: skip
    """Spearman correlation between distances of one kind and each of others, with null and interval.

    What these rest on is said at `analysis.metrics.topsim.topographic_similarity`.

    Args:
        first: distances between the items of these numbers.
        seconds: the same of the other kinds.
        n: how many items there are.
        names: what the first and the others compare, for reasons.
        permutations: 0 for the values alone.
        max_items: how many items null and interval rest on at most.
        seed: seed of the sample, the permutations and the groups.

    Returns:
        A result for each of the others.
    """
    if n < 3:
        return [undefined("too_few_items", n) for _ in seconds]
    rng = np.random.default_rng(seed)
    rows = np.arange(n)
    if n > VALUE_ITEMS:
        rows, n = np.sort(rng.choice(n, VALUE_ITEMS, replace=False)), VALUE_ITEMS
    one, others = first(rows), [second(rows) for second in seconds]
    values, counts_one, counts_others = _spearman(
        one.blocks, [other.blocks for other in others], len(one.levels), [len(other.levels) for other in others]
    )
    reasons = [
        _why_level(one, counts_one, names[0]) or _why_level(other, counts, names[1])
        for other, counts in zip(others, counts_others, strict=True)
    ]
    results = [
        undefined(reason, n) if reason else Result(value, n) for value, reason in zip(values, reasons, strict=True)
    ]
    unlike = [number for number, reason in enumerate(reasons) if not reason]
    if not permutations or not unlike:
        return results
    size = min(n, max_items)
    if size < n:
        rows = rows[np.sort(rng.choice(n, size, replace=False))]
        one = first(rows)
    others = [seconds[number](rows) if size < n else others[number] for number in unlike]
    sample = _Sample(size, _narrow(one.indices()), [_narrow(other.indices()) for other in others])
    observed = sample.correlations()
    # Without variety in the sample there is nothing to shuffle.
    varied = [at for at, value in enumerate(observed) if not math.isnan(value)]
    if not varied:
        return results
    sample = replace(sample, others=[sample.others[at] for at in varied])
    nulls, margins = sample.null(permutations, rng), sample.margins(rng) * math.sqrt(size / n)
    for at, null, margin in zip(varied, nulls, margins, strict=True):
        value = results[unlike[at]].value
        low, high = np.clip([value - margin, value + margin], -1.0, 1.0).tolist()
        against = against_null(Result(observed[at], n), null)
        results[unlike[at]] = replace(against, value=value, low=low, high=high)
    return results


def _why_level(pairs: Pairs, counts: Ints, name: str) -> str:
    """Why distances have no ranks: all pairs are on one level; empty if they are not."""
    (used,) = np.nonzero(counts)
    if len(used) > 1:
        return ""
    return f"equidistant_{name}" if pairs.levels[used[0]] > 0 else f"constant_{name}"


def _narrow(levels: Ints) -> Ints:
    # To shuffle a matrix takes as long as to move its bytes.
    return levels.astype(np.min_scalar_type(int(levels.max(initial=0))))


def _spearman(
    first: Blocks, seconds: Sequence[Blocks], levels: int, others_levels: Sequence[int]
) -> tuple[list[float], Ints, list[Ints]]:
    """Correlations of ranks, NaN without variety, and how many pairs are on each level of the first and of the others.

    What the first costs is paid twice, what the others cost once: edit distances, which take longest, are of these. The
    first is paid once, too, where levels are few: how often they meet then says all.
    """
    few = [levels * size <= _TABLE for size in others_levels]
    counts_a = np.zeros(levels, dtype=np.int64)
    for a in [] if few and all(few) else first():
        counts_a += np.bincount(a, minlength=levels)
    ranks_a = ranks_of(counts_a)
    tables = [
        np.zeros(levels * size * counted, dtype=np.int64) for size, counted in zip(others_levels, few, strict=True)
    ]
    counts: list[Ints] = [np.zeros(size, dtype=np.int64) for size in others_levels]
    sums = [np.zeros(size) for size in others_levels]
    for a, *others in zip(first(), *(second() for second in seconds), strict=True):
        ranked = np.zeros(0) if all(few) else ranks_a[a]
        for table, count, total, b, counted in zip(tables, counts, sums, others, few, strict=True):
            if counted:
                table += np.bincount(a.astype(np.int64) * len(count) + b, minlength=len(table))
            else:
                count += np.bincount(b, minlength=len(count))
                total += np.bincount(b, ranked, minlength=len(count))
    for at in np.flatnonzero(few):
        met = tables[at].reshape(levels, -1)
        counts_a = met.sum(axis=1)
        counts[at], sums[at] = met.sum(axis=0), ranks_of(counts_a) @ met
    ranks_a = ranks_of(counts_a)
    values = []
    for count, total in zip(counts, sums, strict=True):
        ranks_b = ranks_of(count)
        spread = np.sqrt((counts_a @ ranks_a**2) * (count @ ranks_b**2))
        values.append(float(np.clip(ranks_b @ total / spread, -1.0, 1.0)) if spread else math.nan)
    return values, counts_a, counts


@dataclass(frozen=True, eq=False)
class _Sample:
    """Few enough items to hold all their pairs: levels of the pairs of the first and of the others, in SciPy's
    condensed order."""

    items: int
    a: Ints
    others: Sequence[Ints]

    def correlations(self) -> list[float]:
        """With each of the others, NaN where either side has no variety."""
        sizes = [int(levels.max(initial=0)) + 1 for levels in (self.a, *self.others)]
        return _spearman(lambda: [self.a], [partial(list, [b]) for b in self.others], sizes[0], sizes[1:])[0]

    def null(self, permutations: int, rng: np.random.Generator) -> Floats:
        """The correlations when whole items change meanings, ``[others, permutations]``."""
        # Ranks of all pairs stay what they are, and are worked out once.
        ranks_a, norm_a = _with_norm(self.a)
        halves = []
        for b in self.others:
            ranks_b, norm_b = _with_norm(b)
            # Each pair counts once: the diagonal and what lies below it is 0 on one side.
            halves.append(np.triu(squareform(ranks_b[b] / (norm_a * norm_b)), 1))
        few = len(ranks_a) <= _NARROW
        # To shuffle a matrix takes as long as to move its bytes; a large table of ranks is not looked up at random.
        held = squareform(self.a if few else ranks_a[self.a], checks=False)
        orders = [rng.permutation(self.items) for _ in range(permutations)]
        found = np.zeros((len(halves), permutations))
        # Some rows, for some languages at once, so that what is multiplied stays in the processor's cache.
        for start in range(0, self.items, _ROWS):
            some = [x[start : start + _ROWS, start:].ravel() for x in halves]
            for draw in range(0, permutations, _DRAWS):
                blocks = [
                    held.take(order[start : start + _ROWS], axis=0).take(order[start:], axis=1).ravel()
                    for order in orders[draw : draw + _DRAWS]
                ]
                shuffled = np.stack([ranks_a.take(x) if few else x for x in blocks])
                for row, half in zip(found, some, strict=True):
                    row[draw : draw + _DRAWS] += shuffled @ half
        return found

    def margins(self, rng: np.random.Generator) -> Floats:
        """Half the widths of 95 % intervals ``[others]``, NaN where one group holds all that is unlike the rest."""
        # Groups of several items are of unequal size, from 100 items by a half at most; weights make up for it.
        groups = self.items if self.items < 2 * _GROUPS else _GROUPS
        group = (rng.permutation(self.items) % groups).astype(np.uint8)
        row, column = (group[end] for end in np.triu_indices(self.items, 1))
        held, others = self.a, list(self.others)
        one, sides = Ranked.of(held), [Ranked.of(b) for b in others]
        met = [how_often(held, b, len(one.counts), len(side.counts)) for b, side in zip(others, sides, strict=True)]
        if any(often is None for often in met):
            # Neighbors in this order have neighboring ranks, which are then read one after the other.
            order = np.argsort(held)
            row, column = row[order], column[order]
            held, *others = (x[order] for x in (held, *others))
        # Pairs with a member in each group, group after group; of most groups they are few, and all others stay.
        ends = np.concatenate([np.arange(len(row)), np.flatnonzero(row != column)])
        of = np.concatenate([row, column[row != column]])
        touched = np.split(ends[np.argsort(of, kind="stable")], np.cumsum(np.bincount(of, minlength=groups))[:-1])
        values = np.empty((len(others), groups))
        for left_out, pairs in enumerate(touched):
            a, bs = held[pairs], [b[pairs] for b in others]
            ranks_a, squares_a = one.without(a)
            ranks, squares = zip(*(side.without(b) for side, b in zip(sides, bs, strict=True)), strict=True)
            shared = products(held, ranks_a, others, ranks, met) - [
                ranks_a.take(a) @ ranks_b.take(b) for ranks_b, b in zip(ranks, bs, strict=True)
            ]
            spreads = np.sqrt(squares_a * np.array(squares))
            found = np.divide(shared, spreads, out=np.full(len(others), math.nan), where=spreads > 0)
            values[:, left_out] = np.clip(found, -1.0, 1.0)
        weights = (self.items / np.bincount(group) - 1) / groups
        errors = np.sqrt([weights @ (found - found.mean()) ** 2 for found in values])
        return np.asarray(stdtrit(groups - 1, 0.975) * errors)


def _with_norm(levels: Ints) -> tuple[Floats, float]:
    """The rank of each level, less the mean, and the root of the sum of squares over all pairs."""
    counts = np.bincount(levels)
    ranks = ranks_of(counts)
    return ranks, math.sqrt(counts @ ranks**2)
