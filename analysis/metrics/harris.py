"""Do messages fall into words? Harris's articulation scheme, for channels whose symbols have an order (M11).

Ueda, Ishii and Miyao 2023, "On the word boundaries of emergent languages based on Harris's articulation scheme" (ICLR):
after a piece of a word the next symbol is easy to guess, after its end it is not. For patches in raster order the
neighbours in a message are not the neighbours in the image: read nothing into their words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from analysis.corpus.corpus import Corpus
from analysis.metrics.checks import check_messages
from analysis.metrics.family import Family, Term
from analysis.metrics.result import Result, against_null, undefined
from analysis.metrics.statistics.texts import (
    Text,
    piece_keys,
    place_numbers,
    shuffled_within,
    tally,
)

# Shuffled languages, each as much work as the language itself; 19 is the fewest with which p can be 0.05.
_SHUFFLES = 19

# A rise must exceed the threshold by more than this, in nats: equal entropies may differ in their last digits.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Articulation:
    """What `harris_articulation` measures.

    The null are languages without words: the symbols of each message in random order, so that every message keeps what
    it says most. Were all symbols of all messages shuffled, a language of messages with favorite symbols would be told
    from chance in a third of cases, though it has no words.

    Attributes:
        boundaries: places per message after which the next symbol gets harder to guess, 0 to T - 1; ``n`` counts the
            messages that say something. Many speak against chance.
        segments: different pieces into which these places cut the messages, 1 or more; ``n`` counts all pieces. Few
            speak against chance.
        conditional_entropy: of the next symbol given the k before it, in nats, ``[orders]`` from k = 0; falls with k
            in a human text.
        shuffled_entropy: the mean of the same over the shuffled languages: it falls as well, for want of data.
        words: the messages as numbers of pieces, int64 ``[N, W]``, for topographic similarity of words.
        mask: true where there is a piece, ``[N, W]``.
        vocabulary: the symbols of each piece, by number.
    """

    boundaries: Result
    segments: Result
    conditional_entropy: NDArray[np.float64]
    shuffled_entropy: NDArray[np.float64]
    words: NDArray[np.int64]
    mask: NDArray[np.bool_]
    vocabulary: tuple[tuple[int, ...], ...]


def harris_articulation(symbols: ArrayLike, mask: ArrayLike, *, threshold: float = 0.0, seed: int = 0) -> Articulation:
    """Cuts messages where the branching entropy rises.

    The branching entropy h(s) of a piece s is -sum p log p over the symbols that follow it, p being how often they do
    over how often s occurs. A place is a boundary if h rises by more than the threshold when a piece that ends there
    takes in its last symbol. As in the paper's code, the end of a message is no successor but counts as an occurrence,
    and the last place of a message is looked at only for a piece of two symbols (so ``boundaries`` may count it; it
    cuts nothing). Linear in the number of symbols for each length of piece that occurs twice.

    Limits: the words ab, cd, ef, gh in all triples are found exactly, with 3 boundaries per message; a language
    without words has as many boundaries as its shuffled self. Words of one symbol are invisible to the
    scheme: a boundary needs a piece of two symbols or more whose end is harder to go on from than its middle, and
    within a word of one symbol there is no middle. A language in which every symbol is a word looks like one without.

    Args:
        symbols: ids from 0, ``[N, T]``, in the order in which they are said.
        mask: true where a symbol was said, ``[N, T]``; silent slots are skipped.
        threshold: in nats, 0 or more.
        seed: seed of the shuffled languages.

    Returns:
        Undefined: ``all_silent``; ``constant_messages``; ``single_symbols`` if no message has two. Words and entropies
        are given for these as well.

    Raises:
        ValueError: the threshold is negative.

    Example:
        >>> words = [[0, 1], [2, 3], [4, 5], [6, 7]]
        >>> text = [a + b + c for a in words for b in words for c in words]
        >>> found = harris_articulation(text, np.ones((64, 6), dtype=bool))
        >>> found.boundaries.value, round(found.boundaries.null_mean, 1)
        (3.0, 0.6)
        >>> found.vocabulary
        ((0, 1), (2, 3), (4, 5), (6, 7))
    """
    names, text, lengths, after, entropy, sizes, reason = cut_into_words(symbols, mask, threshold)
    starts = np.cumsum(sizes) - sizes
    keys = _keys(text, starts, sizes)
    rng = np.random.default_rng(seed)
    null = [_shuffled(text, lengths, threshold, rng) for _ in range(_SHUFFLES)]
    spoken = int((lengths > 0).sum())
    if reason:
        boundaries, segments = undefined(reason, spoken), undefined(reason, len(starts))
    else:
        found = Result(float(after.sum() / spoken), spoken)
        boundaries = against_null(found, [other.sum() / spoken for other, _, _ in null])
        different = Result(float(len(np.unique(keys))), len(starts))
        segments = against_null(different, [pieces for _, _, pieces in null], "low")
    words, there, examples = _words(keys, np.repeat(np.arange(len(lengths)), lengths)[starts], len(lengths))
    return Articulation(
        boundaries,
        segments,
        entropy,
        np.mean([other for _, other, _ in null], axis=0),
        words,
        there,
        tuple(tuple(names[text.symbols[starts[e] : starts[e] + sizes[e]]].tolist()) for e in examples),
    )


class Cut(NamedTuple):
    """Messages that were cut into words.

    Attributes:
        names: the ids of the symbols.
        text: the messages one after the other.
        lengths: how many symbols each message says, ``[N]``.
        after: after which symbols there is a boundary, ``[n]``.
        entropy: conditional, of each order, in nats.
        sizes: how many symbols each word has, ``[words]``.
        reason: why there are no places to look at; empty if there are.
    """

    names: NDArray[np.integer]
    text: Text
    lengths: NDArray[np.int64]
    after: NDArray[np.bool_]
    entropy: NDArray[np.float64]
    sizes: NDArray[np.int64]
    reason: str


def cut_into_words(symbols: ArrayLike, mask: ArrayLike, threshold: float) -> Cut:
    """The words of `harris_articulation` alone, without the shuffled languages that most of its time goes into.

    Args:
        symbols: ids from 0, ``[N, T]``, in the order in which they are said.
        mask: true where a symbol was said, ``[N, T]``.
        threshold: in nats, 0 or more.

    Raises:
        ValueError: the threshold is negative.
    """
    if not threshold >= 0:
        raise ValueError(f"threshold is {threshold}: a boundary is a rise, give 0 or more nats")
    ids, said = check_messages(symbols, mask)
    # The ids that were given: large ones are numbered anew, in the same order.
    names, codes = np.unique(np.asarray(symbols)[said], return_inverse=True)
    lengths = said.sum(axis=1)
    text = Text(codes.reshape(-1).astype(np.int64), np.repeat(np.cumsum(lengths), lengths))
    after, entropy = _branching(text, threshold)
    return Cut(names, text, lengths, after, entropy, _cut(after, text.ends)[1], _why_not(ids, said, lengths))


def _shuffled(
    text: Text, lengths: NDArray[np.int64], threshold: float, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.float64], int]:
    """Boundaries, entropies and the number of different pieces of a language without words."""
    other = text._replace(symbols=text.symbols[shuffled_within(lengths, rng)])
    after, entropy = _branching(other, threshold)
    return after, entropy, len(pd.unique(_keys(other, *_cut(after, other.ends))))


def _keys(text: Text, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return piece_keys(place_numbers(text, int(sizes.max(initial=0))), starts, sizes)


def _why_not(ids: NDArray[np.int64], said: NDArray[np.bool_], lengths: NDArray[np.int64]) -> str:
    """Why there are no places to look at; empty if there are."""
    if not said.any():
        return "all_silent"
    if lengths.max() < 2:
        return "single_symbols"
    same = (lengths == lengths[0]).all() and (np.diff(ids[said].reshape(len(ids), -1), axis=0) == 0).all()
    return "constant_messages" if same else ""


def _branching(text: Text, threshold: float) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """After which symbols there is a boundary ``[n]``, and the conditional entropy of each order."""
    count, vocabulary = len(text.symbols), int(text.symbols.max(initial=0)) + 1
    left = text.ends - np.arange(count)  # symbols up to the end of the message
    after = np.zeros(count, dtype=bool)
    entropy = np.zeros(int(left.max(initial=-1)) + 1)
    starts, pieces = np.arange(count), np.zeros(count, dtype=np.int64)
    before = np.zeros(count)
    for order in range(len(entropy)):
        if not len(starts):
            break
        occurrences = np.bincount(pieces)
        longer = left[starts] > order
        pairs = pieces[longer] * vocabulary + text.symbols[starts[longer] + order]
        found, longer_pieces, often = tally(pairs)
        shorter = found // vocabulary
        surprise = -xlogy(often, often / occurrences[shorter]) / occurrences[shorter]
        branching = np.bincount(shorter, surprise, len(occurrences)).astype(float)
        entropy[order] = occurrences @ branching / (left >= max(order, 1)).sum()
        if order > 1:
            looked_at = longer | (order == 2)
            rises = branching[pieces] - before > threshold + _ROUNDING
            after[starts[looked_at & rises] + order - 1] = True
        # A piece that occurs once has one successor at most: its entropy is 0, and so is that of all it begins.
        kept = often[longer_pieces] > 1
        starts, before = starts[longer][kept], branching[pieces[longer]][kept]
        pieces = (np.cumsum(often > 1) - 1)[longer_pieces[kept]]
    return after, entropy


def _cut(after: NDArray[np.bool_], ends: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the pieces between boundaries start, and how many symbols they have."""
    last = after | (ends == np.arange(1, len(ends) + 1))
    stops = np.flatnonzero(last) + 1
    starts = np.concatenate([[0], stops[:-1]]) if len(stops) else stops
    return starts, stops - starts


def _words(
    keys: NDArray[np.int64], items: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Messages as numbers of pieces, the most frequent first, of equal ones that which comes first, ``[N, W]``; where
    there is one; an example of each."""
    _, examples, codes, often = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((examples, -often))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    lengths = np.bincount(items, minlength=count)
    there = np.arange(lengths.max(initial=0)) < lengths[:, None]
    words = np.full(there.shape, -1, dtype=np.int64)
    words[there] = rank[codes]
    return words, there, examples[order]


def _rows(corpus: Corpus, permutations: int, seed: int) -> Iterator[tuple[str, str, Result]]:
    # Words need an order, which patches do not have.
    if corpus.grid is None:
        words = harris_articulation(corpus.symbols, corpus.mask, seed=seed)
        yield "harris_boundaries", "", words.boundaries
        yield "harris_segments", "", words.segments


FAMILY = Family(
    "texts",
    {
        "harris_boundaries": Term(
            "word boundaries",
            "How many places in a message look like the end of a word, because what follows suddenly gets hard to "
            "guess.",
            0,
            math.inf,
            "per message",
        ),
        "harris_segments": Term(
            "different words",
            "How many different pieces the messages fall into at these boundaries.",
            0,
            math.inf,
            "words",
        ),
    },
    _rows,
)
