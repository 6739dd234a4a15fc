"""How symbols and concepts meet in a language and in shuffled ones, and what follows from how often they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.metrics.statistics.entropy import entropy_of_counts
from analysis.metrics.statistics.joint_counts import Counted, Joint, coded, count_pairs, expected_between

Order = NDArray[np.int64] | slice


def counted_at_once(held: Sequence[NDArray[np.int64]]) -> list[list[int]]:
    """Which concepts `counter` takes together, by number: those of items, ``[N, 1]``; those of slots singly."""
    items = [at for at, values in enumerate(held) if values.shape[1] == 1]
    return [part for part in (items, *([at] for at in range(len(held)) if at not in items)) if part]


def counter(
    said: NDArray[np.bool_],
    symbols: NDArray[np.int64],
    size: int,
    held: Sequence[NDArray[np.int64]],
    widths: Sequence[int],
) -> Callable[[Order], list[Counted]]:
    """A function from an order of images to how often symbols and concepts meet.

    Args:
        said: true where a symbol was said, ``[N, T]``.
        symbols: what was said there, from 0 to ``size`` - 1.
        size: how many symbols there are.
        held: several concepts of items, ``[N, 1]`` each, or one, also of slots, ``[N, T]``; -1 where not known.
        widths: how many values each concept has.
    """
    items, slots = np.nonzero(said)
    widths = [max(width, 1) for width in widths]
    if len(held) > 1:
        return Joint(items, symbols, size, [values[:, 0] for values in held], widths)
    # Without SciPy, which a run that follows its language would wait for.
    (values,) = held
    places = items * values.shape[1] + (slots if values.shape[1] > 1 else 0)
    return lambda order: [count_pairs(symbols, values[order].reshape(-1)[places], widths[0])]


def tally_concepts(
    ids: NDArray[np.int64], said: NDArray[np.bool_], held: Sequence[NDArray[np.int64]]
) -> tuple[Callable[[Order], list[Counted]], list[NDArray[np.int64]]]:
    """A function from an order of images to counts of the symbols and concepts in use, and the counts of all ids.

    Args:
        ids: of `check_messages`, ``[N, T]``.
        said: true where a symbol was said, ``[N, T]``.
        held: of `check_concepts`: several of items, ``[N, 1]`` each, or one of slots, ``[N, T]``.
    """
    symbols, words = np.unique(ids[said], return_inverse=True)
    names, codes = zip(*map(coded, held), strict=True)
    tally = counter(said, words.reshape(-1), len(symbols), codes, [len(concepts) for concepts in names])
    counts = []
    for concepts, found in zip(names, tally(slice(None)), strict=True):
        table = np.zeros((symbols.max(initial=-1) + 1, concepts.max(initial=-1) + 1), dtype=np.int64)
        table[symbols[found.rows], concepts[found.columns]] = found.counts
        counts.append(table)
    return tally, counts


class Scores(NamedTuple):
    """How symbols and concepts go together, before what they share by luck is taken off.

    Attributes:
        values: in the order of the fields of `Association`, NaN where there is none, and for adjusted information.
        symbols: how often each symbol was said, ``[V]``.
        concepts: of how much, ``[C]``.
    """

    values: NDArray[np.float64]
    symbols: NDArray[np.int64]
    concepts: NDArray[np.int64]


def scores_of(table: Counted) -> Scores:
    """How symbols and concepts go together.

    Args:
        table: how often they meet.
    """
    n = table.total
    symbols, concepts = (_sums(x, table.counts) for x in (table.rows, table.columns))
    if not n:
        return Scores(np.full(9, np.nan), symbols, concepts)
    of_symbols, of_concepts = entropy_of_counts(symbols), entropy_of_counts(concepts)
    mean = (of_symbols + of_concepts) / 2
    shared = min(max(2 * mean - entropy_of_counts(table.counts), 0.0), of_symbols, of_concepts)
    values = [
        np.nan,
        shared / mean if mean else 1.0,
        shared / of_concepts if of_concepts else 1.0,
        shared / of_symbols if of_symbols else 1.0,
        _largest(table.rows, table.counts).sum() / n,
        _largest(table.columns, table.counts).sum() / n,
        shared,
        of_symbols - shared,
        of_concepts - shared,
    ]
    return Scores(np.array(values), symbols, concepts)


def adjusted(scores: Sequence[Scores]) -> NDArray[np.float64]:
    """The values of several tables, adjusted mutual information first, ``[tables, 9]``."""
    found = np.array([one.values for one in scores])
    by_chance = expected_between([(one.symbols, one.concepts) for one in scores])
    for at, luck in enumerate(by_chance):
        # Of a table, entropies are what is shared and what is not.
        shared, mean = found[at, 6], found[at, 6] + (found[at, 7] + found[at, 8]) / 2
        if mean - luck > 1e-12:
            found[at, 0] = (shared - luck) / (mean - luck)
    return found


def _sums(group: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum of each group; exact, as counts are far below 2^53."""
    return np.bincount(group, counts).astype(np.int64)


def _largest(group: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The largest count of each group."""
    most = np.zeros(int(group.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(most, group, counts)
    return most
