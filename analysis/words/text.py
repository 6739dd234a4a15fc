"""Captions as counts of words.

Letters in shapes: N images, W words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from analysis.corpus.corpus import Corpus, Names


@dataclass(frozen=True, eq=False)
class Words:
    """The words of captions.

    Attributes:
        words: in alphabetical order, W of them.
        all: how often each was used in all captions of an image, ``[N, W]``: what a dictionary learns from.
        first: in the first one, ``[N, W]``: what is asked about.
    """

    words: Names
    all: csr_array
    first: csr_array


def captions_of(corpus: Corpus) -> tuple[Names, ...]:
    """What is said of each item: its captions; in a corpus without any, the name of its class as one word.

    Returns:
        N tuples, empty where nothing is known; no tuple at all where nothing is known of any.

    Example:
        >>> said = np.ones((2, 1), dtype=bool)
        >>> kinds = {"labels": np.array([1, -1]), "label_names": ("cat", "sea horse")}
        >>> captions_of(Corpus(np.zeros((2, 1), dtype=np.int64), said, 4, **kinds))
        (('sea_horse',), ())
    """
    if any(corpus.captions):
        return corpus.captions
    if corpus.labels is None or not corpus.label_names:
        return ()
    names = [re.sub(r"\W+", "_", name.strip()) for name in corpus.label_names]
    return tuple((names[label],) if 0 <= label < len(names) else () for label in corpus.labels.tolist())


def count_words(captions: Sequence[Sequence[str]], least: int = 5) -> Words:
    """Counts the words of captions, by scikit-learn's vectoriser: lower case, letters and digits, one of them or more.

    Args:
        captions: of each image, any number.
        least: words in the captions of fewer images are left out: nobody learns what they mean from so few.

    Returns:
        No word where none is left.

    Example:
        >>> found = count_words([["A cat.", "1 cat, asleep"], ["a dog"], []], least=1)
        >>> found.words
        ('1', 'a', 'asleep', 'cat', 'dog')
        >>> found.all.toarray().tolist()
        [[1, 1, 1, 2, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]]
        >>> found.first.toarray().tolist()
        [[0, 1, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]]
    """
    from sklearn.feature_extraction.text import CountVectorizer

    texts = [" ".join(sentences) for sentences in captions]
    # Its own pattern drops words of one letter, and so every number below ten.
    vectoriser = CountVectorizer(token_pattern=r"(?u)\b\w+\b", dtype=np.int64)
    if not any(re.search(r"\w", text) for text in texts):
        nothing = csr_array((len(texts), 0), dtype=np.int64)
        return Words((), nothing, nothing)
    every = csr_array(vectoriser.fit_transform(texts))
    first = csr_array(vectoriser.transform([next(iter(sentences), "") for sentences in captions]))
    kept = np.flatnonzero((every > 0).sum(axis=0) >= least)
    names = vectoriser.get_feature_names_out()[kept].tolist()
    return Words(tuple(names), every[:, kept], first[:, kept])
