"""Does each place, or each symbol, stand for one attribute? (metric sheet, M2).

Positional and bag-of-symbols disentanglement: Chaabouni et al. 2020, "Compositionality and generalization in emergent
languages" (arXiv:2004.09124); with the roles swapped, after Denamganaï and Walker 2020.

One file, because the measures differ in a line each and are read side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from analysis.corpus.corpus import Corpus
from analysis.metrics.checks import check_attributes, check_messages
from analysis.metrics.family import Family, Term
from analysis.metrics.result import Result, against_null, undefined
from analysis.metrics.statistics.joint_counts import Counted, Joint, count_pairs


class _Places(NamedTuple):
    """What stands at the places of messages, but for one value of each place that items have without being listed.

    Silence, or a symbol that a message lacks, is by far the most frequent value: leaving it out saves most of the work.

    Attributes:
        items: of which something is listed, ``[entries]``.
        contents: what it is, a number of its own for each value of each place, ``[entries]``.
        owner: which place each such number is of, ``[contents]``.
        size: how many places there are.
    """

    items: NDArray[np.int64]
    contents: NDArray[np.int64]
    owner: NDArray[np.int64]
    size: int


def positional_disentanglement(
    symbols: ArrayLike, mask: ArrayLike, *, attributes: ArrayLike, permutations: int = 100, seed: int = 0
) -> Result:
    """Positional disentanglement (posdis): is each place in the message about one attribute and no other?

    For each slot that varies, the information that it shares with its best attribute less that with the second best,
    over the entropy of the slot; the mean over these slots. Silence is a symbol of its own here. Linear in N.

    Range 0 to 1. Limits: 1 if every slot spells one attribute, given enough items (estimated from counts, 1,000 items
    of two attributes with ten values get about 0.98); 0 for a code in which a slot tells as much of two attributes.
    Chance is near 0, above it for few items; the null says how much. Equal to EGG's ``Disent.posdis`` if the end
    symbol, and zeros after it, are either kept or silent: names do not matter, and silence varies with them.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.
        attributes: of the items, int ``[N, A]``; -1 where not known, and those items are then left out of that
            attribute's information and of the entropy that it is divided by. Attributes that do not vary cannot
            compete: at least two must.
        permutations: shuffled languages, in which items swap their attributes.
        seed: seed of the shuffling.

    Returns:
        ``n`` is N. Undefined: ``too_few`` items, ``no_attributes``, ``constant_attributes``, ``constant_messages``;
        ``single_attribute`` if fewer than two vary.

    Example:
        >>> grid = np.array([[a, b] for a in range(4) for b in range(4)])
        >>> said = np.ones((16, 2), dtype=bool)
        >>> positional_disentanglement(grid, said, attributes=grid).value
        1.0
        >>> a, b = grid.T
        >>> mixed = np.stack([(a + b) % 4, (a - b) % 4], axis=1)
        >>> round(positional_disentanglement(mixed, said, attributes=grid).value, 3)
        0.0
    """
    values = check_attributes(attributes, symbols)
    ids, _ = check_messages(symbols, mask)
    return _disentanglement(_slots(ids), values, (1,), permutations, seed)[0]


def bag_of_symbols_disentanglement(
    symbols: ArrayLike, mask: ArrayLike, *, attributes: ArrayLike, permutations: int = 100, seed: int = 0
) -> Result:
    """Bag-of-symbols disentanglement (bosdis): is each symbol, wherever it stands, about one attribute and no other?

    For each symbol, the information that its number in the message shares with its best attribute less that with the
    second best, over the entropy of that number; the mean over the symbols whose number varies. Silence is no symbol
    here. Linear in N, for each symbol.

    Range 0 to 1. Limits: 1 if every symbol belongs to one attribute, in any order; 0 if two attributes share all their
    symbols. Chance is near 0. EGG reserves symbol 0 for the end of the message and leaves it out; here 0 is a symbol as
    any other. For EGG's value, take the zeros, and all that follows the first of them, out of the mask.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.
        attributes: of the items, int ``[N, A]``; -1 where not known.
        permutations: shuffled languages, in which items swap their attributes.
        seed: seed of the shuffling.

    Returns:
        ``n`` is N. Undefined: ``too_few`` items, ``no_attributes``, ``constant_attributes``; ``constant_messages`` if
        no symbol's number varies; ``single_attribute`` if fewer than two attributes vary.

    Example:
        >>> grid = np.array([[a, b] for a in range(4) for b in range(4)])
        >>> said = np.ones((16, 2), dtype=bool)
        >>> apart = np.random.default_rng(0).permuted(grid + [0, 4], axis=1)
        >>> bag_of_symbols_disentanglement(apart, said, attributes=grid).value
        1.0
        >>> bag_of_symbols_disentanglement(grid, said, attributes=grid).value
        0.0
    """
    values = check_attributes(attributes, symbols)
    ids, said = check_messages(symbols, mask)
    return _disentanglement(_occurrences(ids, said), values, (1,), permutations, seed)[0]


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
        seed: seed of the shuffling.

    Returns:
        ``n`` is N. Undefined: ``too_few`` items, ``no_attributes``, ``constant_attributes``, ``constant_messages``;
        ``single_slot`` if fewer than two slots vary, since then there is no second best.

    Example:
        >>> grid = np.array([[a, b] for a in range(4) for b in range(4)])
        >>> said = np.ones((16, 2), dtype=bool)
        >>> attribute_disentanglement(grid, said, attributes=grid).value
        1.0
        >>> twice = np.stack([4 * grid[:, 0] + grid[:, 1]] * 2, axis=1)
        >>> attribute_disentanglement(twice, said, attributes=grid).value
        0.0
    """
    values = check_attributes(attributes, symbols)
    ids, _ = check_messages(symbols, mask)
    return _disentanglement(_slots(ids), values, (0,), permutations, seed)[0]


def why_unfit(values: NDArray[np.int64]) -> str:
    """Why nothing can be held against these attributes, in snake case; empty if something can.

    Args:
        values: of `check_attributes`.
    """
    if len(values) < 2:
        return "too_few"
    if not (values >= 0).any():
        return "no_attributes"
    return "" if _columns(values) else "constant_attributes"


def _disentanglement(
    places: _Places, values: NDArray[np.int64], axes: Sequence[int], permutations: int, seed: int
) -> list[Result]:
    """The mean gaps between the best and the second best along axes of `_shares`; 1 are attributes, 0 are places."""
    count, unfit = len(values), why_unfit(values)
    if unfit or not places.size:
        return [undefined(unfit or "constant_messages", count)] * len(axes)
    wanted = _columns(values)
    reasons = [
        ("single_attribute" if axis else "single_slot") if (places.size, len(wanted))[axis] < 2 else "" for axis in axes
    ]
    asked = [axis for axis, reason in zip(axes, reasons, strict=True) if not reason]
    if not asked:
        return [undefined(reason, count) for reason in reasons]
    logs = xlogy(np.arange(count + 1.0), np.arange(count + 1.0))

    codes, sizes = zip(*wanted, strict=True)
    joint = Joint(places.items, places.contents, len(places.owner), codes, sizes)
    known = [np.bincount(column[column >= 0], minlength=size) for column, size in wanted]

    def gaps(order: NDArray[np.int64] | slice) -> list[float]:
        tables = [_shares(places, met, of, logs) for met, of in zip(joint(order), known, strict=True)]
        found = []
        for axis in asked:
            table = np.sort(np.stack([shares[axis] for shares in tables], axis=1), axis)
            best, second = np.take(table, -1, axis), np.take(table, -2, axis)
            found.append(float((best - second).mean()))
        return found

    rng = np.random.default_rng(seed)
    null = np.array([gaps(rng.permutation(count)) for _ in range(permutations)]).reshape(-1, len(asked)).T
    measured = dict(zip(asked, zip(gaps(slice(None)), null, strict=True), strict=True))
    return [
        undefined(reason, count) if reason else against_null(Result(measured[axis][0], count), measured[axis][1])
        for axis, reason in zip(axes, reasons, strict=True)
    ]


def _shares(
    places: _Places, met: Counted, known: NDArray[np.int64], logs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Information over the entropy of the attribute, and over that of the place, ``[places]`` each.

    Args:
        places: what stands where.
        met: how often each content meets each value of the attribute.
        known: how many items have each of these values.
        logs: n log n of each n.
    """
    width = len(known)
    owner = places.owner[met.rows]
    # What is not listed is the rest of the items of which the attribute is known.
    listed = np.bincount(owner * width + met.columns, met.counts, places.size * width).astype(np.int64)
    rest = known - listed.reshape(places.size, width)
    contents = np.bincount(met.rows, met.counts, len(places.owner)).astype(np.int64)
    unlisted = rest.sum(axis=1)
    whole = logs[known.sum()]
    # Each of the three is n log n - sum c log c: n times an entropy.
    first = whole - np.bincount(places.owner, logs[contents], places.size) - logs[unlisted]
    second = whole - logs[known].sum()
    both = whole - np.bincount(owner, logs[met.counts], places.size) - logs[rest].sum(axis=1)
    told = first + second - both
    kinds = np.bincount(places.owner, contents > 0, places.size) + (unlisted > 0)
    of_place = np.divide(told, first, out=np.zeros_like(told), where=kinds > 1)
    return np.clip(told / second, 0.0, 1.0), np.clip(of_place, 0.0, 1.0)


def _columns(values: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], int]]:
    """The attributes that take at least two values, renamed from 0, -1 where not known, ``[N]``; and how many."""
    columns = []
    for column in values.T:
        known = column >= 0
        names, codes = np.unique(column[known], return_inverse=True)
        if len(names) > 1:
            held = np.full(len(column), -1)
            held[known] = codes.reshape(-1)
            columns.append((held, len(names)))
    return columns


def _slots(ids: NDArray[np.int64]) -> _Places:
    """What stands in each slot that varies; silence is not listed."""
    items, slots = np.nonzero(ids >= 0)
    return _places(items, slots, ids[items, slots], len(ids))


def _occurrences(ids: NDArray[np.int64], said: NDArray[np.bool_]) -> _Places:
    """How often each symbol occurs in each message; that it does not is not listed."""
    words = np.unique(ids[said], return_inverse=True)[1]
    found = count_pairs(words.reshape(-1), np.nonzero(said)[0], max(len(ids), 1))
    return _places(found.columns, found.rows, found.counts, len(ids))


def _places(items: NDArray[np.int64], places: NDArray[np.int64], values: NDArray[np.int64], count: int) -> _Places:
    """Numbers what is listed; places at which all ``count`` items have the same are left out."""
    span = int(values.max(initial=0)) + 1
    names, contents = np.unique(places * span + values, return_inverse=True)
    contents = contents.reshape(-1)
    owner = names // span
    kinds, filled = np.bincount(owner, minlength=1), np.bincount(owner[contents], minlength=1)
    varies = kinds + (filled < count) > 1
    kept = varies[owner]
    there = kept[contents]
    # Numbers without gaps.
    places, renamed = np.unique(owner[kept], return_inverse=True)
    return _Places(items[there], (np.cumsum(kept) - 1)[contents[there]], renamed.reshape(-1), len(places))


def _rows(corpus: Corpus, permutations: int, seed: int) -> Iterator[tuple[str, str, Result]]:
    if corpus.attributes is None:
        return
    values = check_attributes(corpus.attributes, corpus.symbols)
    ids, said = check_messages(corpus.symbols, corpus.mask)
    # Both ask what slots say, which is counted once.
    of_attributes, of_slots = _disentanglement(_slots(ids), values, (0, 1), permutations, seed)
    (of_symbols,) = _disentanglement(_occurrences(ids, said), values, (1,), permutations, seed)
    yield "positional_disentanglement", "", of_slots
    yield "bag_of_symbols_disentanglement", "", of_symbols
    yield "attribute_disentanglement", "", of_attributes


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
