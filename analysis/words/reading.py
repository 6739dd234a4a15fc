"""A reader: how probable each word of a caption is, given a message.

IBM model 1 mixed with how often words are used at all. How much of each, and whether a symbol means the same at every
place, is found on a fifth of the images that it learns from. Letters in shapes: N messages, W words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.words.dictionary import Lexicon, learn_lexicon
from analysis.words.forms import Forms
from analysis.words.text import Words
from analysis.words.translation import translation_table, word_probabilities

_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads messages.

    Attributes:
        lexicon: of the forms that it reads by.
        usual: how probable each word is without a message, ``[W]``.
        share: how much of a word's probability comes from the message, 0 to 0.99.
        length: words of a caption, on average.
        steps: how often words were in the captions that were left aside, by how often they were expected: numbers that
            rise, ``[2, steps]``.
    """

    lexicon: Lexicon
    usual: NDArray[np.float64]
    share: float
    length: float
    steps: NDArray[np.float64]

    def probabilities(self, images: NDArray[np.int64]) -> NDArray[np.float64]:
        """p(w | message) of these messages, ``[len(images), W]``, above 0; rows sum to 1."""
        told = word_probabilities(self.lexicon.forms.counts[images], self.lexicon.table)
        return _mixed(told, self.usual, self.share)

    def confidence(self, images: NDArray[np.int64]) -> NDArray[np.float64]:
        """How often a word that is as probable is in the caption, ``[len(images), W]`` in [0, 1].

        True of words that a symbol of the message is sure to go with.
        """
        return np.interp(self.probabilities(images) * self.length, *self.steps)


def learn_reader(kinds: Sequence[Forms], words: Words, images: NDArray[np.bool_], *, seed: int = 0) -> Reader:
    """Learns to read.

    Args:
        kinds: forms to read by; that one is taken which tells most of captions that were left aside.
        words: of the captions.
        images: bool ``[N]``, those to learn from.
        seed: of what is left aside.

    Raises:
        ValueError: there is no image to learn from.
    """
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(images))
    if not len(rows) or not kinds:
        raise ValueError("there is no image to learn words from")
    aside, rest = rows[: len(rows) // 5], rows[len(rows) // 5 :]
    usual = _usual(words, rest)
    asked = words.all[aside]
    items, found = asked.nonzero()
    times = asked[items, found]

    tables = [translation_table(forms.counts[rest], words.all[rest]) for forms in kinds]
    told = [word_probabilities(forms.counts[aside], table) for forms, table in zip(kinds, tables, strict=True)]
    # Equally good ones: those that claim less.
    scores = np.array(
        [[(times * np.log(_mixed(p, usual, share)[items, found])).sum() for share in _SHARES] for p in told]
    )
    best, share = map(int, np.unravel_index(scores.argmax(), scores.shape))
    lexicon = learn_lexicon(kinds[best], words, images)
    length = float(words.all[rows].sum() / max(len(rows), 1))
    expected = _mixed(told[best], usual, _SHARES[share]) * length
    pairs = lexicon.sure_words(aside)
    steps = _rising(expected[pairs], np.asarray((asked > 0).todense())[pairs])
    return Reader(lexicon, _usual(words, rows), _SHARES[share], length, steps)


def _rising(expected: NDArray[np.float64], found: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Isotonic regression: the corners of the curve that rises and is nearest to what was found, ``[2, corners]``."""
    from sklearn.isotonic import IsotonicRegression

    if not len(expected):
        return np.zeros((2, 1))
    curve = IsotonicRegression(y_min=0, y_max=1).fit(expected, found.astype(float))
    return np.stack([curve.X_thresholds_, curve.y_thresholds_])


def _usual(words: Words, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """How often each word is used; half a time more, as one that was not used may be."""
    counts = np.asarray(words.all[rows].sum(axis=0)) + 0.5
    return np.asarray(counts / counts.sum())


def _mixed(told: NDArray[np.float64], usual: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    # A message without a form that is known tells nothing.
    share_of = np.where(told.any(axis=1, keepdims=True), share, 0.0)
    return share_of * told + (1 - share_of) * usual
