"""Does each place, or each symbol, stand for one attribute? (metric sheet, M2).

Positional and bag-of-symbols disentanglement: Chaabouni et al. 2020, "Compositionality and generalization in emergent
languages" (arXiv:2004.09124); with the roles swapped, after Denamganaï and Walker 2020.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from analysis.corpus.corpus import Corpus
from analysis.metrics.checks import check_attributes, check_messages
from analysis.metrics.family import Family, Term
from analysis.metrics.result import Result, against_null, undefined

# Pairs of values are counted in a table up to this many cells, beyond it by sorting: memory stays linear in N.
_TABLE_CELLS = 1 << 20


class _Column(NamedTuple):
    """Values renamed 0 to ``size`` - 1, ``[N]``; ``size`` itself where the value is not known."""

    codes: NDArray[np.unsignedinteger]
    size: int


def positional_disentanglement(
    symbols: ArrayLike, mask: ArrayLike, *, attributes: ArrayLike, permutations: int = 100, seed: int = 0
) -> Result:
    """Positional disentanglement (posdis): is each place in the message about one attribute and no other?

    For each slot that varies, the information that it shares with its best attribute less that with the second best,
    over the entropy of the slot; the mean over these slots. Silence is a symbol of its own here. Linear in N.

    Range 0 to 1. Limits: 1 if every slot spells one attribute, given enough items (estimated from counts, 1,000 items
    of two attributes with ten values get 0.979); 0 for a code in which a slot tells as much of two attributes. Chance
    is near 0, above it for few items; the null says how much. Equal to EGG's ``Disent.posdis`` if the end symbol, and
    zeros after it, are either kept or silent: names do not matter, and silence varies with them.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.
        attributes: of the items, int ``[N, A]``; -1 where not known, and those items are then left out of that
            attribute's information and of the entropy that it is divided by. Attributes that do not vary cannot
            compete: at least two must.
        permutations: shuffled languages, in which items swap their attributes.
        seed: of the shuffling.

    Returns:
        ``n`` is N. Undefined: ``too_few`` items, ``no_attributes``, ``constant_attributes``, ``constant_messages``;
        ``single_attribute`` if fewer than two vary.
    """
    values = check_attributes(attributes, symbols)
    ids, _ = check_messages(symbols, mask)
    return _disentanglement(_columns(ids.T), values, 1, permutations, seed)


def bag_of_symbols_disentanglement(
    symbols: ArrayLike, mask: ArrayLike, *, attributes: ArrayLike, permutations: int = 100, seed: int = 0
) -> Result:
    """Bag-of-symbols disentanglement (bosdis): is each symbol, wherever it stands, about one attribute and no other?

    As `positional_disentanglement`, with how often a symbol occurs in the message in place of what a slot holds, and
    the mean over the symbols whose number varies. Silence is no symbol here. Linear in N, for each symbol.

    Range 0 to 1. Limits: 1 if every symbol belongs to one attribute, in any order; 0 if two attributes share all their
    symbols. Chance is near 0. EGG reserves symbol 0 for the end of the message and leaves it out; here 0 is a symbol as
    any other. For EGG's value, take the zeros, and all that follows the first of them, out of the mask.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.
        attributes: of the items, int ``[N, A]``; -1 where not known.
        permutations: shuffled languages, in which items swap their attributes.
        seed: of the shuffling.

    Returns:
        As `positional_disentanglement`; ``constant_messages`` if no symbol's number varies.
    """
    values = check_attributes(attributes, symbols)
    ids, said = check_messages(symbols, mask)
    return _disentanglement(_columns(_occurrences(ids, said)), values, 1, permutations, seed)


def attribute_disentanglement(
    symbols: ArrayLike, mask: ArrayLike, *, attributes: ArrayLike, permutations: int = 100, seed: int = 0
) -> Result:
    """Positional disentanglement with the roles swapped: is each attribute told by one place and no other?

    For each attribute that varies, the information that it shares with its best slot less that with the second best,
    over the entropy of the attribute; the mean over these attributes.

    Range 0 to 1. Limits: 1 if every attribute has a slot that spells it and no other slot tells of it; 0 if two slots
    repeat each other. A slot may tell of many attributes. Chance is near 0.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``; silence is a symbol of its own.
        attributes: of the items, int ``[N, A]``; -1 where not known.
        permutations: shuffled languages, in which items swap their attributes.
        seed: of the shuffling.

    Returns:
        ``n`` is N. Undefined: ``too_few`` items, ``no_attributes``, ``constant_attributes``, ``constant_messages``;
        ``single_slot`` if fewer than two slots vary, since then there is no second best.
    """
    values = check_attributes(attributes, symbols)
    ids, _ = check_messages(symbols, mask)
    return _disentanglement(_columns(ids.T), values, 0, permutations, seed)


def why_unfit(values: NDArray[np.int64]) -> str:
    """Why nothing can be held against these attributes, in snake case; empty if something can.

    Args:
        values: of `check_attributes`.
    """
    if len(values) < 2:
        return "too_few"
    if not (values >= 0).any():
        return "no_attributes"
    return "" if _columns(values.T, unknown=-1) else "constant_attributes"


def _disentanglement(
    places: list[_Column], values: NDArray[np.int64], axis: int, permutations: int, seed: int
) -> Result:
    """The mean gap between the best and the second best along an axis of `_shares`; 1 are attributes, 0 are places."""
    count, unfit = len(values), why_unfit(values)
    if unfit or not places:
        return undefined(unfit or "constant_messages", count)
    wanted = _columns(values.T, unknown=-1)
    if (len(places), len(wanted))[axis] < 2:
        return undefined("single_attribute" if axis else "single_slot", count)
    logs = xlogy(np.arange(count + 1.0), np.arange(count + 1.0))

    def gap(order: NDArray[np.int64] | slice) -> float:
        shares = np.sort(_shares(places, [_Column(c.codes[order], c.size) for c in wanted], axis, logs), axis)
        best, second = np.take(shares, -1, axis), np.take(shares, -2, axis)
        return float((best - second).mean())

    rng = np.random.default_rng(seed)
    null = [gap(rng.permutation(count)) for _ in range(permutations)]
    return against_null(Result(gap(slice(None)), count), null)


def _shares(
    places: list[_Column], attributes: list[_Column], axis: int, logs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Information over the entropy of the place (axis 1) or of the attribute (axis 0), ``[places, attributes]``."""
    shares = np.zeros((len(places), len(attributes)))
    for i, place in enumerate(places):
        for j, attribute in enumerate(attributes):
            joint, rows, columns = _counts(place, attribute)
            whole = logs[rows.sum()]
            # Each of the three is n log n - sum c log c: n times an entropy.
            first, second, both = (whole - logs[c].sum() for c in (rows, columns, joint))
            entropy = first if axis else second
            if np.count_nonzero(rows if axis else columns) > 1:
                shares[i, j] = min(max(float((first + second - both) / entropy), 0.0), 1.0)
    return shares


def _counts(place: _Column, attribute: _Column) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """How often each pair of values occurs, each value of the first, each of the second, where both are known."""
    width = attribute.size + 1
    pairs = np.multiply(place.codes, width, dtype=np.int64) + attribute.codes
    if place.size * width <= _TABLE_CELLS:
        table = np.bincount(pairs, minlength=place.size * width).reshape(place.size, width)[:, :-1]
        return table, table.sum(1), table.sum(0)
    known = attribute.codes < attribute.size
    return (
        np.unique(pairs[known], return_counts=True)[1],
        np.bincount(place.codes[known]),
        np.bincount(attribute.codes[known]),
    )


def _columns(rows: Iterable[NDArray[np.int64]], unknown: int | None = None) -> list[_Column]:
    """The rows that take at least two values besides ``unknown``."""
    columns = []
    for row in rows:
        known = np.ones(len(row), dtype=bool) if unknown is None else row != unknown
        names, codes = np.unique(row[known], return_inverse=True)
        if len(names) > 1:
            column = np.full(len(row), len(names), dtype=np.min_scalar_type(len(names)))
            column[known] = codes
            columns.append(_Column(column, len(names)))
    return columns


def _occurrences(ids: NDArray[np.int64], said: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """How often each symbol occurs in each message, one symbol ``[N]`` after the other."""
    order = np.argsort(ids[said], kind="stable")
    items = np.nonzero(said)[0][order]
    ends = np.cumsum(np.unique(ids[said], return_counts=True)[1])
    for of_symbol in np.split(items, ends[:-1]):
        yield np.bincount(of_symbol, minlength=len(ids))


def _rows(corpus: Corpus, permutations: int, seed: int) -> Iterator[tuple[str, str, Result]]:
    if corpus.attributes is not None:
        for metric in (positional_disentanglement, bag_of_symbols_disentanglement, attribute_disentanglement):
            found = metric(
                corpus.symbols, corpus.mask, attributes=corpus.attributes, permutations=permutations, seed=seed
            )
            yield metric.__name__, "", found


FAMILY = Family(
    "structure",
    {
        "positional_disentanglement": Term(
            "positional disentanglement",
            "Whether each place in the message is about one attribute and no other.",
            0,
            1,
        ),
        "bag_of_symbols_disentanglement": Term(
            "symbol disentanglement",
            "Whether each symbol, wherever it stands, is about one attribute and no other.",
            0,
            1,
        ),
        "attribute_disentanglement": Term(
            "attribute disentanglement",
            "Whether each attribute is told by one place in the message and no other.",
            0,
            1,
        ),
    },
    _rows,
)
