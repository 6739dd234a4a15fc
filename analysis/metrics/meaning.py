"""Do messages mean the same wherever they are said, and close messages like things? (metric sheet, M12).

Ben Zion et al. 2024, "Semantics and spatiality of emergent communication" (NeurIPS; arXiv:2411.10173). Matching symbols
to concepts one to one is in `analysis.metrics.concept_matching`.

One file, because both hold messages against the same points, and leave the same items out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.spatial.distance import squareform

from analysis.metrics.checks import check_messages
from analysis.metrics.result import Result, against_null, undefined
from analysis.metrics.statistics.distances import MessageKind, message_pairs
from analysis.metrics.statistics.joint_counts import without_gaps
from analysis.metrics.statistics.pairwise import is_above_diagonal, upper_half

# Numbers of one block of columns: bounds the memory.
_BLOCK = 1 << 22

# Share of all pairs that count as close.
_CLOSE = 0.1


@dataclass(frozen=True)
class MessageVariance:
    """How alike items with the same message are.

    Attributes:
        explained: share of the variance that lies between messages, 0 to 1, beside that of shuffled languages; ``n``
            counts items.
        unexplained: mean squared distance of an item from the mean of its message, 0 to ``variance``; NaN if undefined.
        variance: mean squared distance from the mean of all.
        by_chance: ``unexplained`` expected of a shuffled language, in closed form: variance (N - M) / (N - 1).
        messages: M, how many different messages there are. If all are, everything is explained, and by chance too.
    """

    explained: Result
    unexplained: float
    variance: float
    by_chance: float
    messages: int


def message_variance(
    symbols: ArrayLike, mask: ArrayLike, points: ArrayLike, *, permutations: int = 100, seed: int = 0
) -> MessageVariance:
    """Are items with the same message alike? Variance within messages against variance at large (semantic consistency).

    The explained share is 0 to 1: 1 if equal messages mean equal points, 0 for constant messages. Chance is
    (M - 1) / (N - 1) for M different messages, which is high if few are said twice: the null keeps how often each
    message is said and shuffles the items. Linear in N, in bounded memory.

    Args:
        symbols: ids from 0, ``[N, T]``. Messages are equal if they say the same in the same slots.
        mask: true where a symbol was said, ``[N, T]``.
        points: what the items are like, ``[N, D]``: a frozen perceptual embedding, or pixels. Items whose numbers are
            not all finite are left out.
        permutations: shuffled languages.
        seed: seed of the shuffling.

    Returns:
        Undefined: ``too_few_items`` (below 2), ``constant_points``.

    Raises:
        ValueError: messages are malformed, or points are no matrix of as many rows.

    Example:
        >>> said, points = np.ones((4, 1), dtype=bool), [[0.0], [0.0], [1.0], [1.0]]
        >>> message_variance([[5], [5], [3], [3]], said, points).explained.value
        1.0
        >>> found = message_variance([[5], [3], [5], [3]], said, points)
        >>> found.explained.value, found.unexplained, round(found.by_chance, 3)
        (0.0, 0.25, 0.167)
    """
    ids, _ = check_messages(symbols, mask)
    rows = _known(points, len(ids))
    table, n = np.asarray(points)[rows], len(rows)
    if reason := _unfit(table):
        return MessageVariance(undefined(reason, n), math.nan, math.nan, math.nan, len(np.unique(ids[rows], axis=0)))
    _, message, sizes = np.unique(ids[rows], axis=0, return_inverse=True, return_counts=True)
    # What is said once explains itself: only what is said again has to be looked at.
    members = np.argsort(message.reshape(-1), kind="stable")
    members = members[sizes[message.reshape(-1)[members]] > 1]
    repeated = sizes[sizes > 1]
    rng = np.random.default_rng(seed)
    orders = [members, *(rng.permutation(n)[: len(members)] for _ in range(permutations))]
    within, total = np.zeros(len(orders)), 0.0
    for block in _centred(table):
        squares = (block**2).sum(axis=1)
        total += float(squares.sum())
        for i, order in enumerate(orders):
            sums = _gather(order, repeated, n) @ block
            within[i] += squares[order].sum() - ((sums**2).sum(axis=1) / repeated).sum()
    shares = 1 - np.clip(within / total, 0, 1)
    return MessageVariance(
        explained=against_null(Result(float(shares[0]), n), shares[1:]),
        unexplained=float((1 - shares[0]) * total / n),
        variance=total / n,
        by_chance=total / n * (n - len(sizes)) / (n - 1),
        messages=len(sizes),
    )


@dataclass(frozen=True, eq=False)
class SpatialMeaningfulness:
    """How different items are whose messages are close.

    Attributes:
        close: the ratio of the closest pairs, up to a tenth of all, or those at the least distance if they are more;
            small values speak against chance. ``n`` counts items.
        distances: of messages, increasing, float ``[K]``; each occurs.
        pairs: how many pairs are that close or closer, int64 ``[K]``.
        ratios: mean squared distance of the points of these pairs over that of all pairs, float ``[K]``; ends at 1.
        null_mean: of the ratios in shuffled languages, float ``[K]``; NaN without shuffles.
        null_std: their standard deviation, float ``[K]``; NaN with fewer than two shuffles.
    """

    close: Result
    distances: NDArray[np.float64]
    pairs: NDArray[np.int64]
    ratios: NDArray[np.float64]
    null_mean: NDArray[np.float64]
    null_std: NDArray[np.float64]


def spatial_meaningfulness(
    symbols: ArrayLike,
    mask: ArrayLike,
    points: ArrayLike,
    *,
    message_distance: MessageKind = "edit",
    permutations: int = 100,
    max_items: int = 1000,
    seed: int = 0,
) -> SpatialMeaningfulness:
    """Are items whose messages are at most so far apart more alike than any two items? A curve over that distance.

    Ratios are 0 or more. Chance level 1, of unrelated messages; below it, close messages mean like things. Limits: at
    distance 0 it is 0 if equal messages mean equal points; at the largest distance it is 1 for every language.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.
        points: what the items are like, ``[N, D]``; items whose numbers are not all finite are left out.
        message_distance: one of `message_distances`.
        permutations: shuffled languages.
        max_items: how many items it rests on at most, drawn without replacement: time and memory grow with the square.
        seed: seed of the sample and the shuffling.

    Returns:
        Undefined: ``too_few_items`` (below 3), ``constant_points``, ``equidistant_messages``; arrays are then empty.

    Raises:
        ValueError: messages are malformed, or points are no matrix of as many rows.

    Example:
        >>> points = np.array([[a, b] for a in range(4) for b in range(4)])
        >>> said = np.ones((16, 2), dtype=bool)
        >>> found = spatial_meaningfulness(points, said, points)
        >>> found.distances.tolist(), found.ratios.round(3).tolist()
        ([1.0, 2.0], [0.625, 1.0])
        >>> drawn = np.random.default_rng(0).integers(4, size=(16, 2))
        >>> round(spatial_meaningfulness(drawn, said, points).close.value, 3)
        1.179
    """
    pairs, rng = _pairs(symbols, mask, points, message_distance, max_items, seed)
    if isinstance(pairs, Result):
        none = np.zeros(0)
        return SpatialMeaningfulness(pairs, none, none.astype(np.int64), none, none, none)
    levels, n = len(pairs.distances), len(pairs.apart)
    # Each pair counts once: the diagonal and what lies below it is on a level of its own.
    blocks = [
        np.where(is_above_diagonal(x.shape), x, levels).ravel()
        for x in upper_half(squareform(pairs.level, checks=False))
    ]

    def ratios(order: NDArray[np.int64]) -> NDArray[np.float64]:
        shuffled = zip(blocks, upper_half(pairs.apart, order), strict=True)
        parts = [np.bincount(at, weights=x.ravel(), minlength=levels + 1) for at, x in shuffled]
        sums = np.cumsum(np.sum(parts, axis=0)[:-1])
        return np.asarray(sums / pairs.count / (sums[-1] / pairs.count[-1]))

    curve = ratios(np.arange(n))
    null = np.array([ratios(rng.permutation(n)) for _ in range(permutations)]).reshape(-1, levels)
    unknown = np.full(levels, math.nan)
    return SpatialMeaningfulness(
        close=against_null(Result(float(curve[pairs.near]), n), null[:, pairs.near], "low"),
        distances=pairs.distances,
        pairs=pairs.count,
        ratios=curve,
        null_mean=null.mean(axis=0) if len(null) else unknown,
        null_std=null.std(axis=0, ddof=1) if len(null) > 1 else unknown,
    )


def close_messages(
    symbols: ArrayLike,
    mask: ArrayLike,
    points: ArrayLike,
    *,
    message_distance: MessageKind = "edit",
    permutations: int = 100,
    max_items: int = 1000,
    seed: int = 0,
) -> Result:
    """`SpatialMeaningfulness.close` alone: the same number in a tenth of the time, as far pairs are not looked at.

    Args:
        symbols: as in `spatial_meaningfulness`, like all that follows.
        mask: true where a symbol was said, ``[N, T]``.
        points: what the items are like, ``[N, D]``.
        message_distance: one of `message_distances`.
        permutations: shuffled languages.
        max_items: how many items it rests on at most.
        seed: seed of the sample and the shuffling.

    Raises:
        ValueError: messages are malformed, or points are no matrix of as many rows.

    Example:
        >>> points = np.array([[a, b] for a in range(4) for b in range(4)])
        >>> found = close_messages(points, np.ones((16, 2), dtype=bool), points)
        >>> round(found.value, 3), found.p
        (0.625, 0.009900990099009901)
    """
    pairs, rng = _pairs(symbols, mask, points, message_distance, max_items, seed)
    if isinstance(pairs, Result):
        return pairs
    n = len(pairs.apart)
    place = np.flatnonzero(pairs.level <= pairs.near)
    one, other = (end[place] for end in np.triu_indices(n, 1))
    # The distances of all pairs are the same in every order.
    usual = squareform(pairs.apart, checks=False).mean()
    apart = pairs.apart.ravel()

    def ratio(order: NDArray[np.int64]) -> float:
        return float(apart.take(order[one] * n + order[other]).mean() / usual)

    null = [ratio(rng.permutation(n)) for _ in range(permutations)]
    return against_null(Result(ratio(np.arange(n)), n), null, "low")


@dataclass(frozen=True, eq=False)
class _Pairs:
    """All pairs of some items.

    Attributes:
        level: which distance the messages of each pair have, in SciPy's condensed order.
        distances: of messages, increasing; each occurs.
        count: how many pairs are that close or closer.
        near: the last of the distances that count as close.
        apart: squared distances of the points, ``[N, N]``.
    """

    level: NDArray[np.int64]
    distances: NDArray[np.float64]
    count: NDArray[np.int64]
    near: int
    apart: NDArray[np.float64]


def _pairs(
    symbols: ArrayLike, mask: ArrayLike, points: ArrayLike, kind: MessageKind, max_items: int, seed: int
) -> tuple[_Pairs | Result, np.random.Generator]:
    """The pairs of a sample, or why there is nothing to measure; and the generator, for the shuffles."""
    ids, said = check_messages(symbols, mask)
    rng = np.random.default_rng(seed)
    rows = _known(points, len(ids))
    if len(rows) > max_items:
        rows = np.sort(rng.choice(rows, max_items, replace=False))
    table, n = np.asarray(points)[rows], len(rows)
    if reason := "too_few_items" if n < 3 else _unfit(table):
        return undefined(reason, n), rng
    messages = message_pairs(ids[rows], said[rows], kind)
    found, level, often = without_gaps(messages.indices())
    if len(found) < 2:
        return undefined("equidistant_messages", n), rng
    count = np.cumsum(often)
    near = max(int(np.searchsorted(count, _CLOSE * count[-1], side="right")) - 1, 0)
    return _Pairs(level, messages.levels[found], count, near, _squared_distances(table)), rng


def _known(points: ArrayLike, count: int) -> NDArray[np.int64]:
    """Which items have points that are numbers."""
    table = np.asarray(points)
    if table.ndim != 2 or len(table) != count:
        raise ValueError(f"expected points [N, D] with N = {count}, got shape {table.shape}")
    if table.dtype.kind not in "fiub":
        raise ValueError(f"points are of type {table.dtype}: expected numbers")
    return np.flatnonzero(np.isfinite(table).all(axis=1))


def _unfit(table: NDArray) -> str:
    if len(table) < 2:
        return "too_few_items"
    return "constant_points" if (table == table[0]).all() else ""


def _centred(table: NDArray) -> Iterator[NDArray[np.float64]]:
    """Some columns at a time, less their mean."""
    width = max(1, _BLOCK // len(table))
    for start in range(0, table.shape[1], width):
        block = table[:, start : start + width].astype(np.float64)
        yield block - block.mean(axis=0)


def _gather(order: NDArray[np.int64], sizes: NDArray[np.int64], count: int) -> csr_array:
    """Sums the first of these items, as many as the first size says, then the next: ``[messages, N]``."""
    ends = np.concatenate([[0], np.cumsum(sizes)])
    return csr_array((np.ones(len(order)), order, ends), shape=(len(sizes), count))


def _squared_distances(table: NDArray) -> NDArray[np.float64]:
    n = len(table)
    norms, products = np.zeros(n), np.zeros((n, n))
    for block in _centred(table):
        norms += (block**2).sum(axis=1)
        products += block @ block.T
    return np.maximum(norms[:, None] + norms - 2 * products, 0)
