"""Distances between every two messages and every two meanings, some rows at a time (metric sheet, M1).

Deviations from EGG: distances that are equal on paper are equal here, where its float arithmetic may tell them apart;
``edit`` is not divided by a length, ``edit_mean`` is; ``jaccard`` compares sets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from analysis.metrics.checks import check_messages
from analysis.metrics.statistics.pairwise import (
    Floats,
    Ints,
    Measure,
    Pairs,
    above_diagonal,
    ratios,
    rounded,
    row_blocks,
)

# Of so many different tokens at most, full matrices are multiplied faster than sparse ones.
_SPELT_OUT = 512

MessageKind = Literal["edit", "edit_mean", "edit_max", "hamming", "bag", "jaccard"]
MeaningKind = Literal["hamming", "jaccard", "cosine", "euclidean"]


def message_distances(symbols: ArrayLike, mask: ArrayLike, kind: MessageKind = "edit") -> Floats:
    """Distances between every two messages.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.
        kind: ``edit``: insertions, deletions and substitutions, 0 to T. ``edit_mean``: these over the mean length of
            the two, 0 to 2. ``edit_max``: over the longer length, 0 to 1. ``hamming``: share of the T slots that
            differ, silence being a value, 0 to 1. ``bag``: share of the symbols of both without a partner in the
            other, in whatever order, 0 to 1. ``jaccard``: share of the different symbols of both that one alone has, 0
            to 1.

    Returns:
        Float ``[N (N - 1) / 2]``, in SciPy's condensed order.

    Raises:
        ValueError: messages are malformed, or there is no such kind.

    Example:
        >>> symbols, said = [[1, 2, 3], [1, 3, 0], [0, 0, 0]], [[1, 1, 1], [1, 1, 0], [0, 0, 0]]
        >>> message_distances(symbols, said).tolist()
        [1.0, 3.0, 2.0]
        >>> message_distances(symbols, said, "bag").round(3).tolist()
        [0.2, 1.0, 1.0]
    """
    pairs = message_pairs(symbols, mask, kind)
    return pairs.levels[pairs.indices()]


def meaning_distances(meanings: ArrayLike, kind: MeaningKind = "hamming") -> Floats:
    """Distances between every two meanings.

    Args:
        meanings: attributes ``[N, A]``, integers, -1 where an item's is not known; or vectors, float ``[N, D]``.
        kind: ``hamming``: share of the attributes known of both that differ, 0 to 1. ``jaccard``: one minus
            intersection over union of the sets of known (attribute, value) pairs, 0 to 1. ``cosine``: one minus the
            cosine, 0 to 2. ``euclidean``.

    Returns:
        Float ``[N (N - 1) / 2]``, in SciPy's condensed order.

    Raises:
        ValueError: meanings are malformed or not finite, or there is no such kind.

    Example:
        >>> meaning_distances([[0, 1], [0, 2], [3, 2]]).tolist()
        [0.5, 1.0, 0.5]
        >>> meaning_distances([[1.0, 0.0], [2.0, 0.0], [0.0, 5.0]], "cosine").round(3).tolist()
        [0.0, 1.0, 1.0]
    """
    table = _check_meanings(meanings, kind)
    if kind in ("hamming", "jaccard"):
        pairs = meaning_pairs(table, kind)
        return pairs.levels[pairs.indices()]
    measure, reach = _measure(table, kind)
    return np.concatenate([np.zeros(0), *(reach * above_diagonal(measure(rows)) for rows in row_blocks(len(table)))])


def message_pairs(symbols: ArrayLike, mask: ArrayLike, kind: MessageKind = "edit") -> Pairs:
    """Distances between every two messages.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.
        kind: ``edit``: insertions, deletions and substitutions from one sequence of spoken symbols to the other, 0 to
            T. ``edit_mean``: the same over the mean length of the two, 0 to 2; EGG's, which takes messages with what
            follows their end, so that the values agree where all messages fill their slots. ``edit_max``: over the
            longer length, 0 to 1. ``hamming``: share of the T slots that differ, silence being a value like any
            other, 0 to 1. ``bag``: share of the symbols of both messages without a partner in the other, in whatever
            order (one minus the overlap of multisets, Bray and Curtis), 0 to 1. ``jaccard``: of the different symbols
            that either message has, the share that one of them lacks (one minus intersection over union of sets), 0 to
            1: how often a symbol is repeated does not matter. Two silent messages are equal.

    Raises:
        ValueError: messages are malformed, or there is no such kind.
    """
    if kind not in get_args(MessageKind):
        raise ValueError(f"message distance {kind!r}: choose from {get_args(MessageKind)}")
    ids, said = check_messages(symbols, mask)
    n, slots = ids.shape
    lengths = said.sum(axis=1)
    longest = int(lengths.max(initial=0))
    if kind == "hamming":
        same = _agreements(ids + 1)
        return ratios(n, lambda rows: (slots - same(rows), np.array(slots)), slots, slots)
    if kind == "bag":
        shared = _overlaps(ids, said)

        def partnerless(rows: slice) -> tuple[Ints, Ints]:
            total = lengths[rows, None] + lengths[rows.start :]
            return total - 2 * shared(rows), total

        return ratios(n, partnerless, 2 * longest, 2 * longest)
    if kind == "jaccard":
        has = _sets(ids, said)
        sizes, in_both = np.asarray(has.sum(axis=1)), _shared(has)

        def alone(rows: slice) -> tuple[Ints, Ints]:
            shared = in_both(rows)
            either = sizes[rows, None] + sizes[rows.start :] - shared
            return either - shared, either

        return ratios(n, alone, 2 * longest, 2 * longest)
    edits = _edits(ids, said)
    if kind == "edit":
        return ratios(n, lambda rows: (edits(rows), np.array(1)), longest, 1)
    if kind == "edit_max":
        return ratios(
            n, lambda rows: (edits(rows), np.maximum(lengths[rows, None], lengths[rows.start :])), longest, longest
        )
    return ratios(
        n, lambda rows: (edits(rows), lengths[rows, None] + lengths[rows.start :]), longest, 2 * longest, scale=2.0
    )


def meaning_pairs(meanings: ArrayLike, kind: MeaningKind = "hamming") -> Pairs:
    """Distances between every two meanings.

    Args:
        meanings: attributes ``[N, A]``, integers, -1 where an item's is not known; or vectors, float ``[N, D]``.
        kind: ``hamming``: share of the attributes known of both that differ, 0 to 1; 1 if there is none. ``jaccard``:
            one minus intersection over union of the sets of known (attribute, value) pairs, 0 to 1, so that booleans
            are membership, and two empty sets are equal. ``cosine``: one minus the cosine, 0 to 2; a vector of zeros
            is 1 from all. ``euclidean``. Vectors of more than 2,048 items are told apart to 2^-20 (a millionth) of
            the farthest distance possible, of fewer to 1e-12, so that rounding does not break ties.

    Raises:
        ValueError: meanings are malformed or not finite, or there is no such kind.
    """
    table = _check_meanings(meanings, kind)
    n, width = table.shape
    if kind in ("cosine", "euclidean"):
        return rounded(n, *_measure(table, kind))
    same, sizes = _agreements(table), (table >= 0).sum(axis=1)
    if kind == "hamming":
        # Where everything is known, no pair has to be asked what it shares.
        both = _agreements(np.where(table < 0, -1, 0)) if (table < 0).any() else lambda rows: np.array(width)

        def differing(rows: slice) -> tuple[Ints, Ints]:
            known = np.maximum(both(rows).astype(np.int32), 1)
            return known - same(rows), known

        return ratios(n, differing, max(width, 1), max(width, 1))

    def unshared(rows: slice) -> tuple[Ints, Ints]:
        shared = same(rows)
        union = sizes[rows, None] + sizes[rows.start :] - shared
        return union - shared, union

    return ratios(n, unshared, 2 * width, 2 * width)


def known_items(meanings: ArrayLike, kind: MeaningKind) -> NDArray[np.bool_]:
    """Which items have a meaning that can be compared, bool ``[N]``.

    An attribute is known (``hamming``), all of a vector is finite (``euclidean``), and not all is zero (``cosine``).
    """
    table = np.asarray(meanings)
    if table.ndim != 2:
        raise ValueError(f"meanings have shape {table.shape}: expected [N, attributes] or [N, width]")
    if kind == "jaccard" or table.dtype == bool:
        return np.ones(len(table), dtype=bool)
    if kind == "hamming":
        return np.asarray((table >= 0).any(axis=1))
    finite = np.isfinite(table).all(axis=1)
    return np.asarray(finite & (table != 0).any(axis=1) if kind == "cosine" else finite)


def _check_meanings(meanings: ArrayLike, kind: MeaningKind) -> NDArray:
    if kind not in get_args(MeaningKind):
        raise ValueError(f"meaning distance {kind!r}: choose from {get_args(MeaningKind)}")
    table = np.asarray(meanings)
    if table.ndim != 2:
        raise ValueError(f"meanings have shape {table.shape}: expected [N, attributes] or [N, width]")
    if kind in ("cosine", "euclidean"):
        if not np.isfinite(table).all():
            raise ValueError(f"{(~np.isfinite(table)).any(axis=1).sum()} meanings are not finite: leave them out first")
        return table.astype(np.float64)
    if table.dtype == bool:
        return np.where(table, 0, -1) if kind == "jaccard" else table.astype(np.int64)
    if table.dtype.kind not in "iu":
        raise ValueError(f"meanings are of type {table.dtype}: {kind!r} takes integers, see 'cosine' and 'euclidean'")
    return np.maximum(table.astype(np.int64), -1)


def _measure(vectors: Floats, kind: MeaningKind) -> tuple[Measure, float]:
    if kind == "euclidean":
        centred = vectors - vectors.mean(axis=0) if len(vectors) else vectors
        reach = 2 * float(np.linalg.norm(centred, axis=1).max(initial=0.0)) or 1.0
        return lambda rows: np.minimum(cdist(centred[rows], centred[rows.start :]) / reach, 1.0), reach
    # By the largest entry first: squares of very large or small numbers leave the range of floats.
    scaled = vectors / np.maximum(np.abs(vectors).max(axis=1, keepdims=True, initial=0.0), np.finfo(float).tiny)
    unit = scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), np.finfo(float).tiny)
    return lambda rows: np.clip((1 - unit[rows] @ unit[rows.start :].T) / 2, 0.0, 1.0), 2.0


def _edits(ids: Ints, said: NDArray[np.bool_]) -> Callable[[slice], Ints]:
    # Numbered from 0, up to 256 symbols make strings of one byte per symbol, which compare fastest.
    active, numbers = np.unique(ids, return_inverse=True)
    numbers = numbers.reshape(ids.shape) - int(-1 in active)
    spoken = ["".join(map(chr, row[kept])) for row, kept in zip(numbers, said, strict=True)]
    return lambda rows: process.cdist(
        spoken[rows], spoken[rows.start :], scorer=Levenshtein.distance, dtype=np.int32, workers=-1
    )


def _agreements(table: Ints) -> Callable[[slice], Ints]:
    """In how many columns two rows hold the same number, where negative ones equal nothing."""
    narrow = np.promote_types(np.min_scalar_type(int(table.max(initial=0))), np.int8)
    columns = np.ascontiguousarray(table.T.astype(narrow))
    others = np.where(columns < 0, np.array(-2, dtype=narrow), columns)

    def count(rows: slice) -> Ints:
        same = np.zeros((rows.stop - rows.start, len(table) - rows.start), np.min_scalar_type(len(columns)))
        for one, other in zip(columns, others, strict=True):
            same += one[rows, None] == other[rows.start :]
        return same.astype(np.int32)

    return count


def _overlaps(ids: Ints, said: NDArray[np.bool_]) -> Callable[[slice], Ints]:
    """How many symbols two messages share as multisets: the k-th `v` of one goes with the k-th of the other."""
    _, numbers = np.unique(ids, return_inverse=True)
    order = np.argsort(ids, axis=1, kind="stable")
    kept = np.take_along_axis(said, order, axis=1)
    numbers = np.take_along_axis(numbers.reshape(ids.shape), order, axis=1)
    slots = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    starts = np.where(np.diff(numbers, axis=1, prepend=-1) != 0, slots, 0)
    repeat = slots - np.maximum.accumulate(starts, axis=1)
    # What is said again is rare: first times are told apart by the symbol alone.
    again = kept & (repeat > 0)
    once, rows = _sets(ids, said), np.nonzero(again)[0]
    _, tokens = np.unique((numbers * ids.shape[1] + repeat)[again], return_inverse=True)
    shape = (len(ids), int(tokens.max(initial=0)) + 1)
    counts = [_shared(once), _shared(csr_array((np.ones(len(tokens), dtype=np.int32), (rows, tokens)), shape=shape))]
    return lambda rows: counts[0](rows) + counts[1](rows)


def _shared(has: csr_array) -> Callable[[slice], Ints]:
    """How many of what one message has, zeros and ones ``[N, tokens]``, the other has as well."""
    if has.shape[1] <= _SPELT_OUT:
        # Whole numbers up to 2^24 are exact in single precision.
        spelt = has.toarray().astype(np.float32)
        return lambda rows: (spelt[rows] @ spelt[rows.start :].T).astype(np.int32)
    return lambda rows: (has[rows] @ has[rows.start :].T).toarray()


def _sets(ids: Ints, said: NDArray[np.bool_]) -> csr_array:
    """Whether each message has each symbol, 0 or 1, ``[N, symbols in use]``."""
    rows, slots = np.nonzero(said)
    kinds, numbers = np.unique(ids[rows, slots], return_inverse=True)
    cells = np.unique(rows * max(len(kinds), 1) + numbers)
    entries = (np.ones(len(cells), dtype=np.int32), (cells // max(len(kinds), 1), cells % max(len(kinds), 1)))
    return csr_array(entries, shape=(len(ids), max(len(kinds), 1)))
