"""What the words that Harris's scheme finds are like, beside words cut at random (M11).

Ueda, Ishii and Miyao 2023 (ICLR) hold their words against random boundaries: as many per message, elsewhere. Pieces of
any text that is cut anywhere are frequent where they are short, so that nothing about words can be told without.
emlangkit 0.3.0 draws these places with replacement, so that its random cuts are fewer than those held against them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.corpus.corpus import Corpus
from analysis.metrics.abbreviation import abbreviation_of_words
from analysis.metrics.family import Family, Term
from analysis.metrics.harris import cut_into_words
from analysis.metrics.result import Result, against_null, undefined
from analysis.metrics.statistics.texts import piece_keys, place_numbers, shuffled_within
from analysis.metrics.topsim import topographic_similarity

# In the table; each as much work as the language itself.
_RANDOM_CUTS = 19

# Words of so many items are compared, as every cut language compares them anew.
_COMPARED = 300


@dataclass(frozen=True)
class HarrisWords:
    """What `harris_words` measures; the null of each are the same messages, cut as often at random places.

    Attributes:
        vocabulary: how many different words there are, 1 or more; ``n`` counts all words. Few speak against chance.
        abbreviation: Spearman correlation of how often a word is said and how long it is, -1 to 1; ``n`` counts
            different words. Negative ones speak against chance.
        topographic_similarity: of the meanings and the words, by edits of whole words, -1 to 1; ``n`` counts items.
    """

    vocabulary: Result
    abbreviation: Result
    topographic_similarity: Result


def harris_words(
    symbols: ArrayLike,
    mask: ArrayLike,
    *,
    meanings: ArrayLike | None = None,
    threshold: float = 0.0,
    permutations: int = 100,
    seed: int = 0,
) -> HarrisWords:
    """Measures the words that `harris_articulation` finds.

    Limits: where every message is one word there is nothing that could be cut elsewhere. Words of one symbol are
    invisible to the scheme.

    Args:
        symbols: ids from 0, ``[N, T]``, in the order in which they are said.
        mask: true where a symbol was said, ``[N, T]``; silent slots are skipped.
        meanings: attributes of the items, int ``[N, A]``, -1 where not known; None: words are not held against any.
            At most 300 items are compared, drawn without replacement.
        threshold: of a boundary, in nats, 0 or more.
        permutations: random cuts.
        seed: seed of the cuts and of the items drawn.

    Returns:
        Undefined: why `harris_articulation` finds no places; ``no_boundaries``; of the abbreviation ``too_few_words``
        or ``equal_words`` (all as long, or as frequent); of the similarity ``no_meanings``, or why there is none.

    Raises:
        ValueError: the threshold is negative, or messages or meanings are malformed.

    Example:
        >>> words = [[0, 1], [2, 3, 4], [5, 6], [7, 8, 9]]
        >>> text = [a + b + c for a in words for b in words for c in words]
        >>> said = np.array([[slot < len(message) for slot in range(9)] for message in text])
        >>> found = harris_words([[*message, *[0] * (9 - len(message))] for message in text], said)
        >>> found.vocabulary.value, round(found.vocabulary.null_mean) > 20, round(found.vocabulary.p, 2)
        (4.0, True, 0.01)
    """
    cut = cut_into_words(symbols, mask, threshold)
    lengths, sizes, reason = cut.lengths, cut.sizes, cut.reason
    owner = np.repeat(np.arange(len(lengths)), lengths)
    cuts = np.maximum(np.bincount(owner[np.cumsum(sizes) - sizes], minlength=len(lengths)) - 1, 0)
    if not reason and not cuts.any():
        reason = "no_boundaries"
    if reason:
        return HarrisWords(*[undefined(reason, len(sizes))] * 3)
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.permutation(len(lengths))[:_COMPARED])
    held = None if meanings is None else np.asarray(meanings)
    numbers = place_numbers(cut.text, int(lengths.max()))

    def of(sizes: NDArray[np.int64]) -> tuple[float, float, float, int, str]:
        starts = np.cumsum(sizes) - sizes
        number, _ = pd.factorize(piece_keys(numbers, starts, sizes))
        counts = np.bincount(number)
        first = np.empty_like(counts)
        first[number] = np.arange(len(number))
        similar = undefined("no_meanings", len(drawn))
        if held is not None:
            words, there = _rows_of(number, owner[starts], len(lengths))
            similar = topographic_similarity(words[drawn], there[drawn], meanings=held[drawn], permutations=0)
        return len(counts), abbreviation_of_words(sizes[first], counts), similar.value, similar.n, similar.reason

    vocabulary, abbreviation, similarity, compared, unfit = of(sizes)
    null = np.array([of(_cut_elsewhere(lengths, cuts, rng))[:3] for _ in range(permutations)]).reshape(-1, 3).T
    short = "too_few_words" if vocabulary < 3 else "equal_words"
    told = undefined(short, int(vocabulary)) if math.isnan(abbreviation) else Result(abbreviation, int(vocabulary))
    alike = undefined(unfit, compared) if unfit else Result(similarity, compared)
    return HarrisWords(
        against_null(Result(float(vocabulary), len(sizes)), null[0], "low"),
        against_null(told, null[1], "low"),
        against_null(alike, null[2]),
    )


def _cut_elsewhere(lengths: NDArray[np.int64], cuts: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Sizes of the pieces if each message is cut as often, at different places drawn from all places in it."""
    inner = np.maximum(lengths - 1, 0)
    message = np.repeat(np.arange(len(lengths)), inner)
    place = np.arange(len(message)) - np.repeat(np.cumsum(inner) - inner, inner)
    order = shuffled_within(inner, rng)
    # Of each message's places, in random order, the first ones.
    chosen = np.sort(order[place < cuts[message]])
    begins = np.cumsum(lengths) - lengths
    stops = np.sort(np.concatenate([begins[message[chosen]] + place[chosen] + 1, np.cumsum(lengths)[lengths > 0]]))
    return np.diff(stops, prepend=0)


def _rows_of(
    numbers: NDArray[np.int64], items: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Words one after the other as messages ``[N, W]``, and where there is one."""
    each = np.bincount(items, minlength=count)
    there = np.arange(each.max(initial=0)) < each[:, None]
    words = np.zeros(there.shape, dtype=np.int64)
    words[there] = numbers
    return words, there


def _rows(corpus: Corpus, permutations: int, seed: int) -> Iterator[tuple[str, str, Result]]:
    # Words need an order, which patches do not have.
    if corpus.grid is not None:
        return
    found = harris_words(
        corpus.symbols, corpus.mask, meanings=corpus.attributes, permutations=min(permutations, _RANDOM_CUTS), seed=seed
    )
    yield "harris_vocabulary", "", found.vocabulary
    yield "harris_abbreviation", "", found.abbreviation
    if corpus.attributes is not None:
        yield "harris_word_topsim", "", found.topographic_similarity


FAMILY = Family(
    "texts",
    {
        "harris_vocabulary": Term(
            "words, beside random cuts",
            "How many different pieces the messages fall into at these boundaries; by luck is what as many cuts at "
            "random places give.",
            0,
            math.inf,
            "words",
        ),
        "harris_abbreviation": Term(
            "abbreviation of words",
            "Whether words that are said often are short: -1 if always; by luck is what as many cuts at random places "
            "give.",
            -1,
            1,
        ),
        "harris_word_topsim": Term(
            "topographic similarity of words",
            "Whether items that are alike get messages of like words, by edits of whole words; by luck is what as many "
            "cuts at random places give.",
            -1,
            1,
        ),
    },
    _rows,
)
