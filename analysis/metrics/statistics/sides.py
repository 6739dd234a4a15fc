"""What items are compared by: their meanings, their vectors, their messages; each may lack some of the items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.metrics.checks import check_messages
from analysis.metrics.result import Result
from analysis.metrics.statistics.distances import MeaningKind, MessageKind, known_items, meaning_pairs, message_pairs
from analysis.metrics.statistics.rank_correlation import Comparison, Take, correlate


@dataclass(frozen=True, eq=False)
class Side:
    """One kind of distances between items.

    Attributes:
        known: which items have what they are compared by, bool ``[N]``.
        take: from numbers of items to the distances between them.
    """

    known: NDArray[np.bool_]
    take: Take


def meaning_side(meanings: ArrayLike, kind: MeaningKind) -> Side:
    """Attributes or vectors, as `meaning_distances` takes them.

    Args:
        meanings: attributes ``[N, A]`` or vectors ``[N, D]``.
        kind: of distance.
    """
    table = np.asarray(meanings)
    return Side(known_items(table, kind), lambda rows: meaning_pairs(table[rows], kind))


def message_side(symbols: ArrayLike, mask: ArrayLike, kind: MessageKind) -> Side:
    """Messages, as `message_distances` takes them.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.
        kind: of distance.
    """
    ids, said = check_messages(symbols, mask)
    return Side(np.ones(len(ids), dtype=bool), lambda rows: message_pairs(ids[rows], said[rows], kind))


def correlate_sides(
    sides: Sequence[Side], compared: Sequence[Comparison], *, permutations: int, max_items: int, seed: int
) -> list[Result]:
    """`correlate`, each comparison over the items that both sides know; those of the same items are made together.

    Args:
        sides: kinds of distances. Of two of unequal length the first items are compared.
        compared: which with which.
        permutations: 0 for the values alone.
        max_items: how many items null and interval rest on at most.
        seed: seed of the sample, the permutations and the groups.

    Returns:
        A result for each comparison.
    """
    alike: dict[bytes, list[int]] = {}
    kept: dict[bytes, NDArray[np.int64]] = {}
    for at, asked in enumerate(compared):
        one, other = (sides[number].known for number in (asked.first, asked.second))
        both = min(len(one), len(other))
        rows = np.flatnonzero(one[:both] & other[:both])
        alike.setdefault(rows.tobytes(), []).append(at)
        kept[rows.tobytes()] = rows
    found: dict[int, Result] = {}
    for key, numbers in alike.items():
        used = list(dict.fromkeys(side for at in numbers for side in (compared[at].first, compared[at].second)))
        results = correlate(
            [_of(sides[side].take, kept[key]) for side in used],
            [
                Comparison(used.index(compared[at].first), used.index(compared[at].second), compared[at].names)
                for at in numbers
            ],
            len(kept[key]),
            permutations=permutations,
            max_items=max_items,
            seed=seed,
        )
        found |= zip(numbers, results, strict=True)
    return [found[at] for at in range(len(compared))]


def _of(take: Take, kept: NDArray[np.int64]) -> Take:
    """The same, by numbers among those kept."""
    return lambda rows: take(kept[rows])
