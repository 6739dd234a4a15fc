"""Topographic similarity: do similar meanings have similar messages? (metric sheet, M1)

Brighton & Kirby 2006, "Understanding linguistic evolution by visualizing the emergence of topographic mappings";
Lazaridou et al. 2018 (arXiv:1804.03984), section 4. Mantel 1967 for the permutations; Busing, Meijer & van der Leeden
1999, "Delete-m jackknife for unequal m", for the interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import squareform
from scipy.special import stdtrit

from analysis.metrics.checks import check_messages
from analysis.metrics.result import Result, against_null, undefined
from analysis.metrics.statistics.distances import MeaningKind, MessageKind, known_items, meaning_pairs, message_pairs
from analysis.metrics.statistics.joint_counts import count_pairs
from analysis.metrics.statistics.pairwise import Floats, Ints, Pairs, upper_half

# From row numbers to the distances between those rows.
Take = Callable[[Ints], Pairs]
# Starts over the levels of all pairs, some rows at a time.
Blocks = Callable[[], Iterable[Ints]]

_GROUPS = 50

# A table of so many ranks stays in the processor's first cache.
_NARROW = 1024

# The value is of all pairs of so many items, 50 million pairs; time grows with their number.
VALUE_ITEMS = 10_000


def topographic_similarity(
    symbols: ArrayLike,
    mask: ArrayLike,
    *,
    meanings: ArrayLike,
    meaning_distance: MeaningKind = "hamming",
    message_distance: MessageKind = "edit",
    permutations: int = 100,
    max_items: int = 1000,
    seed: int = 0,
) -> Result:
    """Spearman correlation between the distances of meanings and of messages, over all pairs of items.

    Range -1 to 1. Chance level 0. A perfect compositional language (one slot per attribute, one symbol per value) has
    1 with Hamming distances. With edit distances it has 1 if no two slots share a symbol or there are two attributes;
    with three or more attributes that share symbols an edit may shift a message, and it has less (0.942 for three
    attributes of five values). A random language has 0 up to noise; a constant one has no value, nor one in which all
    messages are equally far apart.

    The value is of all N (N - 1) / 2 pairs, in time that grows with N squared and memory that does not; of more than
    10,000 items, of all pairs of 10,000 of them, drawn without replacement. Null, p and interval come from
    min(N, ``max_items``) items, drawn likewise; the spread of the null is that of so many items.

    - p: whole items change meanings, so that pairs which share an item stay dependent (Mantel test, one-sided).
      Languages without structure get p < 0.05 in 5 % of cases, where a test that takes pairs as independent gives it
      in up to 64 % (metric sheet, M1).
    - 95 % interval: value +- t x standard error of a jackknife that deletes up to 50 random groups of items in turn
      (no item is ever repeated, which would push the value up), scaled to N items and cut at -1 and 1. In simulations
      with 16 to 200 items it held the true value 93 to 99 % of the time where there was structure, and 95 to 100 %
      where there was none, when it is up to 1.7 times too wide. It speaks of other items from the same source, not of
      other seeds in training.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.
        meanings: attributes ``[N, A]``, -1 where not known, or vectors ``[N, D]``. Items without any meaning
            (nothing known, not finite, or zero for ``cosine``) are left out.
        meaning_distance: ``hamming`` or ``jaccard`` of attributes, ``cosine`` or ``euclidean`` of vectors, as
            `meaning_distances` defines them.
        message_distance: one of `message_distances`. The value depends on it: lossless codes can have 1 by one and -1
            by another, so no number means anything without its name. ``edit`` suits messages whose order was chosen.
            In patches it compares an order that nobody chose: there, ``bag`` and ``jaccard`` ask which symbols are
            said, and ``hamming`` asks at which places.
        permutations: how many shuffled languages the null rests on; 0 for the value alone, without an interval.
        max_items: how many items null and interval rest on at most.
        seed: seed of the sample, the permutations and the groups.

    Returns:
        ``n`` counts the items that the value rests on, those with a meaning. Reasons: ``too_few_items`` (below 3),
        ``constant_meanings``, ``constant_messages``, ``equidistant_meanings``, ``equidistant_messages``.

    Raises:
        ValueError: meanings or messages are malformed, or not as many.

    Example:
        >>> grid = np.array([[a, b] for a in range(4) for b in range(4)])
        >>> said = np.ones((16, 2), dtype=bool)
        >>> found = topographic_similarity(grid + [0, 4], said, meanings=grid)
        >>> round(found.value, 3), round(found.p, 3)
        (1.0, 0.01)
        >>> drawn = np.random.default_rng(0).integers(8, size=(16, 2))
        >>> round(topographic_similarity(drawn, said, meanings=grid).value, 3)
        -0.02
    """
    ids, said = check_messages(symbols, mask)
    table = np.asarray(meanings)
    kept = known_items(table, meaning_distance)
    if len(table) != len(ids):
        raise ValueError(f"{len(table)} meanings and {len(ids)} messages: expected one meaning per message")
    table, ids, said = table[kept], ids[kept], said[kept]
    return correlate(
        lambda rows: meaning_pairs(table[rows], meaning_distance),
        lambda rows: message_pairs(ids[rows], said[rows], message_distance),
        len(table),
        ("meanings", "messages"),
        permutations=permutations,
        max_items=max_items,
        seed=seed,
    )


def correlate(
    first: Take, second: Take, n: int, names: tuple[str, str], *, permutations: int, max_items: int, seed: int
) -> Result:
    """Spearman correlation between two kinds of distances, with null and interval as in `topographic_similarity`.

    Args:
        first: distances between the items of these numbers.
        second: the same of the other kind.
        n: how many items there are.
        names: what the two compare, for reasons.
        permutations: 0 for the value alone.
        max_items: how many items null and interval rest on at most.
        seed: seed of the sample, the permutations and the groups.
    """
    if n < 3:
        return undefined("too_few_items", n)
    rng = np.random.default_rng(seed)
    rows = np.arange(n)
    if n > VALUE_ITEMS:
        rows, n = np.sort(rng.choice(n, VALUE_ITEMS, replace=False)), VALUE_ITEMS
    pairs = first(rows), second(rows)
    value, *counts = _spearman(pairs[0].blocks, pairs[1].blocks, (len(pairs[0].levels), len(pairs[1].levels)))
    for found, count, name in zip(pairs, counts, names, strict=True):
        (used,) = np.nonzero(count)
        if len(used) < 2:
            return undefined(f"equidistant_{name}" if found.levels[used[0]] > 0 else f"constant_{name}", n)
    result = Result(value, n)
    if not permutations:
        return result
    size = min(n, max_items)
    if size < n:
        rows = rows[np.sort(rng.choice(n, size, replace=False))]
        pairs = first(rows), second(rows)
    sample = _Sample(size, *(_narrow(p.indices()) for p in pairs))
    if math.isnan(observed := sample.correlation()):
        return result
    result = replace(against_null(Result(observed, n), sample.null(permutations, rng)), value=value)
    margin = sample.margin(rng) * math.sqrt(size / n)
    low, high = np.clip([value - margin, value + margin], -1.0, 1.0).tolist()
    return replace(result, low=low, high=high)


def _narrow(levels: Ints) -> Ints:
    # To shuffle a matrix takes as long as to move its bytes.
    return levels.astype(np.min_scalar_type(int(levels.max(initial=0))))


def _ranks(counts: Ints) -> Floats:
    """Mean rank of what is on each level, less the mean rank of everything."""
    return np.cumsum(counts) - (counts + counts.sum()) / 2


def _spearman(first: Blocks, second: Blocks, levels: tuple[int, int]) -> tuple[float, Ints, Ints]:
    """Correlation of ranks, NaN without variety, and how many pairs are on each level of the first and the second.

    What the first costs is paid twice, what the second costs once: edit distances, which take longest, come second.
    """
    counts_a, counts_b = (np.zeros(size, dtype=np.int64) for size in levels)
    for a in first():
        counts_a += np.bincount(a, minlength=levels[0])
    ranks_a, sums = _ranks(counts_a), np.zeros(levels[1])
    for a, b in zip(first(), second(), strict=True):
        counts_b += np.bincount(b, minlength=levels[1])
        sums += np.bincount(b, ranks_a[a], minlength=levels[1])
    ranks_b = _ranks(counts_b)
    spread = np.sqrt((counts_a @ ranks_a**2) * (counts_b @ ranks_b**2))
    value = float(np.clip(ranks_b @ sums / spread, -1.0, 1.0)) if spread else math.nan
    return value, counts_a, counts_b


@dataclass(frozen=True, eq=False)
class _Ranked:
    """One side's levels: how many pairs are on each, and the mean rank there, less that of everything."""

    counts: Ints
    ranks: Floats

    @staticmethod
    def of(levels: Ints) -> _Ranked:
        counts = np.bincount(levels)
        return _Ranked(counts, _ranks(counts))

    def without(self, gone: Ints) -> tuple[Floats, float]:
        """The mean ranks when some pairs are left out, given by their levels, and the sum of squares over all left."""
        levels, less = np.unique(gone, return_counts=True)
        # A pair that is left out lifts those above it by one, and those of its level by half.
        ends = np.concatenate([[0], levels.astype(np.int64), [len(self.counts)]])
        lifted = len(gone) / 2 - np.concatenate([[0], np.cumsum(less)])
        ranks = self.ranks + np.repeat(lifted, np.diff(ends))
        ranks[levels] += less / 2
        touched = self.counts[levels]
        cubes = self._cubes - float((touched**3.0 - (touched - less) ** 3.0).sum())
        # Of n ranks around 0 the squares add up to (n^3 - n) / 12, less (t^3 - t) / 12 for t that are equal.
        left = float(self.counts.sum() - len(gone))
        return ranks, max(left**3 - cubes, 0.0) / 12

    @cached_property
    def _cubes(self) -> float:
        return float((self.counts**3.0).sum())


@dataclass(frozen=True, eq=False)
class _Sample:
    """Few enough items to hold all their pairs: levels of the pairs on either side, in SciPy's condensed order."""

    items: int
    a: Ints
    b: Ints

    def correlation(self) -> float:
        levels = int(self.a.max(initial=0)) + 1, int(self.b.max(initial=0)) + 1
        return _spearman(lambda: [self.a], lambda: [self.b], levels)[0]

    def null(self, permutations: int, rng: np.random.Generator) -> Floats:
        """The correlation when whole items change meanings, `permutations` times."""
        # Ranks of all pairs stay what they are, and are worked out once.
        (ranks_a, norm_a), (ranks_b, norm_b) = (
            (ranks := _ranks(counts), math.sqrt(counts @ ranks**2)) for counts in map(np.bincount, (self.a, self.b))
        )
        # Each pair counts once: the diagonal and what lies below it is 0 on one side.
        halves = [np.triu(x, 1) for x in upper_half(squareform(ranks_b[self.b] / (norm_a * norm_b)))]
        few = len(ranks_a) <= _NARROW
        # To shuffle a matrix takes as long as to move its bytes; a large table of ranks is not looked up at random.
        held = squareform(self.a if few else ranks_a[self.a], checks=False)
        found = np.empty(permutations)
        for draw in range(permutations):
            shuffled = upper_half(held, rng.permutation(self.items))
            found[draw] = sum(
                np.vdot(ranks_a.take(one) if few else one, other) for one, other in zip(shuffled, halves, strict=True)
            )
        return found

    def margin(self, rng: np.random.Generator) -> float:
        """Half the width of a 95 % interval, NaN where one group holds all that is unlike the rest."""
        # Groups of several items are of unequal size, from 100 items by a half at most; weights make up for it.
        groups = self.items if self.items < 2 * _GROUPS else _GROUPS
        group = (rng.permutation(self.items) % groups).astype(np.uint8)
        row, column = (group[end] for end in np.triu_indices(self.items, 1))
        # Pairs with a member in each group, group after group; of most groups they are few, and all others stay.
        ends = np.concatenate([np.arange(len(row)), np.flatnonzero(row != column)])
        of = np.concatenate([row, column[row != column]])
        touched = np.split(ends[np.argsort(of, kind="stable")], np.cumsum(np.bincount(of, minlength=groups))[:-1])
        sides = _Ranked.of(self.a), _Ranked.of(self.b)
        met = count_pairs(self.a, self.b, len(sides[1].counts))
        often = met.counts.astype(float)
        values = np.empty(groups)
        for left_out, pairs in enumerate(touched):
            a, b = self.a[pairs], self.b[pairs]
            (ranks_a, squares_a), (ranks_b, squares_b) = (
                side.without(gone) for side, gone in zip(sides, (a, b), strict=True)
            )
            shared = often @ (ranks_a[met.rows] * ranks_b[met.columns]) - ranks_a[a] @ ranks_b[b]
            spread = math.sqrt(squares_a * squares_b)
            values[left_out] = np.clip(shared / spread, -1.0, 1.0) if spread else math.nan
        weights = (self.items / np.bincount(group) - 1) / groups
        error = np.sqrt(weights @ (values - values.mean()) ** 2)
        return float(stdtrit(groups - 1, 0.975) * error)
