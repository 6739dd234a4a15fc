"""IBM model 1: which symbol was said for which word.

Brown, Della Pietra, Della Pietra and Mercer 1993 (Computational Linguistics 19), model 1 with an empty symbol. Each
word of a caption stands for one symbol of the message, any of them alike, or for none of them: p(w | message) is the
mean of t(w | s) over the symbols that were said and the empty one.

Letters in shapes: N messages, F forms (symbols, or symbols at places), W words.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

# As many numbers as a part of the messages may take while it is worked on.
_PART = 2**22


def translation_table(forms: csr_array, words: csr_array, rounds: int = 20) -> NDArray[np.float64]:
    """Learns t(w | s) by expectation maximisation from a uniform start, which leads to the best one there is.

    A round costs as many steps as messages have pairs of a symbol and a word.

    Args:
        forms: how often each was said, ``[N, F]``.
        words: how often each was used in the captions, ``[N, W]``.
        rounds: of expectation and maximisation.

    Returns:
        ``[F + 1, W]``, the last row of the empty symbol. Rows sum to 1; that of a form that was never said of anything
        is 0.

    Example:
        >>> forms = csr_array([[1, 1, 0], [1, 0, 1], [0, 1, 1]])
        >>> words = csr_array([[1, 1, 0, 1], [1, 0, 1, 1], [0, 1, 1, 1]])  # the last word is said of everything
        >>> print(translation_table(forms, words, rounds=200).round(2))
        [[1. 0. 0. 0.]
         [0. 1. 0. 0.]
         [0. 0. 1. 0.]
         [0. 0. 0. 1.]]
    """
    speakers = _with_empty(forms)
    table = np.full((speakers.shape[1], words.shape[1]), 1 / max(words.shape[1], 1))
    step = max(1, _PART // max(words.shape[1], 1))
    parts = [(speakers[i : i + step], words[i : i + step]) for i in range(0, words.shape[0], step)]
    pairs = [(said, csr_array(said.T), used, *used.nonzero()) for said, used in parts]
    often = [used[items, found] for _, _, used, items, found in pairs]
    for _ in range(rounds):
        expected = np.zeros_like(table)
        for (said, by_symbol, used, items, found), times in zip(pairs, often, strict=True):
            # Of a word that is used, the share of each symbol is t(w | s) / sum of t(w | s) over the message.
            shares = times / (said @ table)[items, found]
            expected += (by_symbol @ csr_array((shares, (items, found)), shape=used.shape)).toarray()
        table *= expected
        table /= np.where(table.any(axis=1, keepdims=True), table.sum(axis=1, keepdims=True), 1)
    return table


def word_probabilities(forms: csr_array, table: NDArray[np.float64]) -> NDArray[np.float64]:
    """p(w | message), ``[N, W]``; forms that the table knows nothing of do not count.

    Example:
        >>> word_probabilities(csr_array([[1, 1], [0, 0]]), np.array([[1.0, 0.0], [0.0, 0.0], [0.5, 0.5]])).tolist()
        [[0.75, 0.25], [0.5, 0.5]]
    """
    speakers = _with_empty(forms)
    heard = speakers @ table.any(axis=1).astype(float)
    return np.asarray(speakers @ table) / np.where(heard > 0, heard, 1)[:, None]


def _with_empty(forms: csr_array) -> csr_array:
    return csr_array(hstack([forms, np.ones((forms.shape[0], 1))]), dtype=float)
