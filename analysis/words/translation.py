"""IBM model 1: which symbol was said for which word.

Brown, Della Pietra, Della Pietra and Mercer 1993 (Computational Linguistics 19), model 1 with an empty symbol. Each
word of a caption stands for one symbol of the message, any of them alike, or for none of them: p(w | message) is the
mean of t(w | s) over the symbols that were said and the empty one.

A symbol can only stand for words of captions that it was said of: of hundreds of thousands of symbols at places and a
thousand words these are few, and nothing else is stored.

Letters in shapes: N messages, F forms (symbols, or symbols at places), W words.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

# So many symbols beside words are worked on at a time.
_PART = 2**22


def translation_table(forms: csr_array, words: csr_array, rounds: int = 20) -> csr_array:
    """Learns t(w | s) by expectation maximisation from a uniform start, which leads to the best one there is.

    A round costs as many steps as messages have pairs of a symbol and a word.

    Args:
        forms: how often each was said, ``[N, F]``.
        words: how often each was used in the captions, ``[N, W]``.
        rounds: of expectation and maximisation.

    Returns:
        ``[F + 1, W]``, sparse, the last row of the empty symbol. Rows sum to 1; that of a form that was never said of
        anything is 0.

    Example:
        >>> forms = csr_array([[1, 1, 0], [1, 0, 1], [0, 1, 1]])
        >>> words = csr_array([[1, 1, 0, 1], [1, 0, 1, 1], [0, 1, 1, 1]])  # the last word is said of everything
        >>> print(translation_table(forms, words, rounds=200).toarray().round(2))
        [[1. 0. 0. 0.]
         [0. 1. 0. 0.]
         [0. 0. 1. 0.]
         [0. 0. 0. 1.]]
    """
    said, used = _with_empty(forms), csr_array(words, dtype=float)
    table = csr_array((said > 0).astype(float).T @ (used > 0).astype(float))
    table.sort_indices()
    of, pairs = np.repeat(np.arange(table.shape[0]), np.diff(table.indptr)), table.nnz
    number = csr_array((np.arange(pairs), table.indices, table.indptr), shape=table.shape)
    parts = list(_meetings(said, used, number))
    t = np.full(pairs, 1 / max(words.shape[1], 1))
    for _ in range(rounds):
        expected = np.zeros(pairs)
        for pair, often, starts, times in parts:
            # Of a word that is used, the share of each symbol is t(w | s) / sum of t(w | s) over the message.
            share = often * t[pair]
            of_word = times / np.add.reduceat(share, starts)
            share *= np.repeat(of_word, np.diff(starts, append=len(share)))
            expected += np.bincount(pair, share, minlength=pairs)
        sums = np.bincount(of, expected, minlength=table.shape[0])
        t = expected / np.where(sums > 0, sums, 1)[of]
    return csr_array((t, table.indices, table.indptr), shape=table.shape)


def _meetings(
    said: csr_array, used: csr_array, number: csr_array
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]]:
    """Every symbol of a message beside every word of its caption, word by word, in parts.

    Args:
        said: how often each symbol was said, ``[N, F + 1]``; every message has one.
        used: how often each word was used, ``[N, W]``.
        number: of each pair of a symbol and a word that meet, ``[F + 1, W]``.

    Yields:
        The number of the pair and how often the symbol was said, ``[part]``; where each use of a word begins and how
        often the caption has that word, ``[words used in the part]``.
    """
    symbols = np.diff(said.indptr)
    caption = np.repeat(np.arange(used.shape[0]), np.diff(used.indptr))
    ends = np.cumsum(symbols[caption])
    # At the ends of words alone: a part is as long as one caption and message at least.
    for first, last in _stretches(ends):
        captions = caption[first:last]
        sizes = symbols[captions]
        starts = np.cumsum(sizes) - sizes
        places = np.arange(sizes.sum()) + np.repeat(said.indptr[captions] - starts, sizes)
        words = np.repeat(used.indices[first:last], sizes)
        pair = np.asarray(number[said.indices[places], words]).astype(np.int32)
        yield pair, said.data[places].astype(np.float32), starts, used.data[first:last]


def _stretches(ends: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Stretches of uses of words that have about `_PART` symbols beside them, where the uses end at ``ends``."""
    first = 0
    while first < len(ends):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + _PART, side="right")))
        yield first, last
        first = last


def word_probabilities(forms: csr_array, table: csr_array) -> NDArray[np.float64]:
    """p(w | message), ``[N, W]``; forms that the table knows nothing of do not count.

    Example:
        >>> table = csr_array([[1.0, 0.0], [0.0, 0.0], [0.5, 0.5]])
        >>> word_probabilities(csr_array([[1, 1], [0, 0]]), table).tolist()
        [[0.75, 0.25], [0.5, 0.5]]
    """
    speakers = _with_empty(forms)
    heard = speakers @ (table.sum(axis=1) > 0).astype(float)
    return np.asarray((speakers @ table).toarray()) / np.where(heard > 0, heard, 1)[:, None]


def _with_empty(forms: csr_array) -> csr_array:
    return csr_array(hstack([forms, np.ones((forms.shape[0], 1))]), dtype=float)
