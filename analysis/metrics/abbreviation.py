"""Is what is said often short? Zipf's law of abbreviation.

Zipf 1949, "Human behavior and the principle of least effort"; of emergent languages, Chaabouni et al. 2019
(arXiv:1905.12561). A monkey at a typewriter abbreviates as well (Miller 1957): its short words are few, and so each of
them comes often. The null is that monkey. emlangkit 0.3.0 takes the number of words for the length of each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from analysis.corpus.corpus import Corpus
from analysis.metrics.checks import check_messages
from analysis.metrics.family import Family, Term
from analysis.metrics.result import Result, against_null, undefined


def law_of_abbreviation(symbols: ArrayLike, mask: ArrayLike, *, permutations: int = 100, seed: int = 0) -> Result:
    """Spearman correlation of how often a message was said and how many symbols it has, over different messages.

    Range -1 to 1: -1 if of any two messages the one said more often is shorter, 1 if it is longer. Chance level: that
    of messages as long as these, whose symbols are drawn from all symbols said, without a thought; it is below 0
    where few short messages are possible. p asks whether the language abbreviates more than that.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``. A message is its symbols in order; silence is the shortest.
        permutations: languages of the null.
        seed: seed of the null.

    Returns:
        ``n`` counts different messages. Undefined: ``all_silent``, ``too_few_messages`` (below 3 different ones),
        ``equal_lengths``, ``equal_counts``.

    Example:
        >>> said = np.arange(3) < np.repeat([1, 2, 3], [40, 20, 10])[:, None]
        >>> symbols = np.repeat([[5, 0, 0], [6, 7, 0], [7, 5, 6]], [40, 20, 10], axis=0)
        >>> round(law_of_abbreviation(symbols, said).value, 3)
        -1.0
    """
    ids, said = check_messages(symbols, mask)
    # Silent slots go to the end: where it is silent is no part of a message.
    order = np.argsort(~said, axis=1, kind="stable")
    ids = np.take_along_axis(ids, order, axis=1)
    lengths, spoken = said.sum(axis=1), ids >= 0
    value, n, reason = _correlation(ids, lengths)
    if reason or not said.any():
        return undefined("all_silent" if not said.any() else reason, n)
    rng = np.random.default_rng(seed)
    null = np.full(permutations, math.nan)
    typed = ids.copy()
    for draw in range(permutations):
        typed[spoken] = rng.permutation(ids[spoken])
        null[draw] = _correlation(typed, lengths)[0]
    return against_null(Result(value, n), null, "low")


def abbreviation_of_words(lengths: NDArray[np.int64], counts: NDArray[np.int64]) -> float:
    """The correlation of lengths and counts of words.

    Args:
        lengths: symbols of each word, ``[W]``.
        counts: how often each word was said, ``[W]``.

    Returns:
        -1 to 1; NaN of fewer than 3 words, or where all are as long or as frequent.

    Example:
        >>> abbreviation_of_words(np.array([1, 2, 3, 3]), np.array([9, 4, 2, 2]))
        -1.0
    """
    if len(counts) < 3 or np.ptp(lengths) == 0 or np.ptp(counts) == 0:
        return math.nan
    one, other = (rankdata(x) - (len(x) + 1) / 2 for x in (lengths, counts))
    return float(np.clip(one @ other / math.sqrt((one @ one) * (other @ other)), -1.0, 1.0))


def _correlation(ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[float, int, str]:
    """The value, the number of different messages, and the reason where there is no value."""
    if not ids.size:
        return math.nan, len(np.unique(lengths)), "too_few_messages"
    _, first, counts = np.unique(ids, axis=0, return_index=True, return_counts=True)
    of_each = lengths[first]
    value = abbreviation_of_words(of_each, counts)
    reason = ""
    if math.isnan(value):
        same_length = "equal_lengths" if np.ptp(of_each) == 0 else "equal_counts"
        reason = "too_few_messages" if len(counts) < 3 else same_length
    return value, len(counts), reason


def _rows(corpus: Corpus, permutations: int, seed: int) -> Iterator[tuple[str, str, Result]]:
    yield "abbreviation", "", law_of_abbreviation(corpus.symbols, corpus.mask, permutations=permutations, seed=seed)


FAMILY = Family(
    "texts",
    {
        "abbreviation": Term(
            "abbreviation",
            "Whether messages that are said often are short, as in human languages: -1 if always, 0 if length and "
            "frequency are unrelated.",
            -1,
            1,
        )
    },
    _rows,
)
