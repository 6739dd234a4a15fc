"""A dictionary: the words that each symbol goes with, more than a shuffled language would make believe.

Letters in shapes: N messages, F forms, W words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, hstack

from analysis.corpus.corpus import Corpus, Names
from analysis.metrics.concept_association import shrunk_pmi
from analysis.words.forms import Forms, pair_forms, place_forms, symbol_forms
from analysis.words.text import Words
from analysis.words.translation import translation_table

LEVEL = 0.05
"""How probable it is, at most, that a shuffled language has anything in its dictionary."""


@dataclass(frozen=True, eq=False)
class Lexicon:
    """What the forms of one kind stand for.

    Attributes:
        forms: with everywhere that they were said.
        words: W of them.
        table: of `translation_table`, float ``[F + 1, W]``.
        together: in how many images both form and word are, int ``[F, W]``.
        said: in how many images each form is, int ``[F]``.
        pmi: `shrunk_pmi` of ``together``, in nats, ``[F, W]``; NaN of a form or a word that is in none.
        p: how probable so many images together are by luck, ``[F, W]``; see `luck`.
        sure: whether the word is in the dictionary of the form, bool ``[F, W]``.
    """

    forms: Forms
    words: Names
    table: NDArray[np.float64]
    together: NDArray[np.int64]
    said: NDArray[np.int64]
    pmi: NDArray[np.float64]
    p: NDArray[np.float64]
    sure: NDArray[np.bool_]

    def sure_words(self, images: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a form of each message has the word in the dictionary, ``[len(images), W]``."""
        return np.asarray(self.forms.counts[images] @ self.sure.astype(np.int64)) > 0


def learn_lexicon(forms: Forms, words: Words, images: NDArray[np.bool_], *, level: float = LEVEL) -> Lexicon:
    """Learns what forms stand for.

    A pair is sure if its p is at most ``level`` divided by the number of pairs (Bonferroni). Of at most a share of
    ``level`` of all shuffled languages is anything sure.

    Args:
        forms: of all N messages.
        words: of all N captions.
        images: bool ``[N]``, those to learn from.
        level: see above.

    Example:
        >>> from analysis.words.text import count_words
        >>> said = np.arange(40)[:, None] % 2
        >>> words = count_words([["a cat"], ["a dog"]] * 20)
        >>> found = learn_lexicon(symbol_forms(said, said >= 0), words, np.ones(40, dtype=bool))
        >>> found.words, found.sure.tolist()
        (('a', 'cat', 'dog'), [[False, True, False], [False, False, True]])
    """
    rows = np.flatnonzero(images)
    counts, used = forms.counts[rows], words.all[rows]
    there, uses = (csr_array(x > 0, dtype=np.int64) for x in (counts, used))
    together = _dense(there.T @ uses)
    said = np.asarray(there.sum(axis=0)).astype(np.int64)
    among = None if forms.kind == "symbol" else _among(forms, rows, uses)
    p = luck(there, uses, among)
    # What is never or always there cannot surprise. How many pairs can is the same in every shuffled language.
    most = there.shape[0] if among is None else among[0]
    in_images = np.asarray(uses.sum(axis=0))
    tests = int(((said > 0) & (said < most)).sum() * ((in_images > 0) & (in_images < there.shape[0])).sum())
    return Lexicon(
        forms, words.words, translation_table(counts, used), together, said,
        shrunk_pmi(together), p, p <= level / max(tests, 1),
    )  # fmt: skip


def luck(
    there: csr_array, uses: csr_array, among: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
) -> NDArray[np.float64]:
    """How probable at least so many images with both form and word are if messages were given to images at random.

    Fisher's exact test, one-sided: the hypergeometric distribution. A symbol is held against all images. A symbol at a
    place, and a pair, are held against the images whose messages have their symbols anywhere: what they tell is more
    than their symbols tell.

    Args:
        there: whether each form is in each message, 0 or 1, ``[N, F]``.
        uses: whether each word is in each caption, 0 or 1, ``[N, W]``.
        among: in how many messages each form could be, ``[F]``, and in how many of these each word is, ``[F, W]``;
            None: it could be in all.

    Returns:
        ``[F, W]``, above 0 to 1; 1 where they are never together.

    Example:
        >>> luck(csr_array([[1], [1], [0], [0]]), csr_array([[1], [1], [0], [0]])).round(3).tolist()
        [[0.167]]
    """
    from scipy.stats import hypergeom

    together, said = _dense(there.T @ uses), np.asarray(there.sum(axis=0))
    images, with_word = among or (np.full(said.shape, there.shape[0]), np.asarray(uses.sum(axis=0))[None])
    # The tail is not worked out where there is nothing to be surprised at.
    more = together * images[:, None] > said[:, None] * with_word
    f, w = np.nonzero(more)
    p = np.ones(together.shape)
    p[f, w] = hypergeom.sf(together[f, w] - 1, images[f], np.broadcast_to(with_word, more.shape)[f, w], said[f])
    return p


def dictionary(corpus: Corpus, words: Words, images: NDArray[np.bool_], *, level: float = LEVEL) -> pd.DataFrame:
    """The dictionary of a language: symbols, symbols at places, and pairs that recur.

    Args:
        corpus: the language.
        words: of its captions.
        images: bool ``[N]``, those to learn from.
        level: how probable it is, at most, that a shuffled language has anything in it; a third for each kind of form.

    Returns:
        A row for each sure pair of a form and a word, the surest words of a form first: ``form``, ``kind``, ``word``,
        ``images`` (in how many both are), ``said`` (in how many the form is), ``lift`` (how many times as often as by
        luck the word is there where the form is), ``translation`` (t(w | form) of IBM model 1), ``pmi`` (shrunk, in
        bits), ``p``.
    """
    kinds = (
        symbol_forms(corpus.symbols, corpus.mask),
        place_forms(corpus.symbols, corpus.mask),
        pair_forms(corpus),
    )
    parts = [_rows(learn_lexicon(forms, words, images, level=level / len(kinds)), words, images) for forms in kinds]
    return pd.concat(parts, ignore_index=True)


def _rows(lexicon: Lexicon, words: Words, images: NDArray[np.bool_]) -> pd.DataFrame:
    f, w = np.nonzero(lexicon.sure)
    expected = np.asarray((words.all[np.flatnonzero(images)] > 0).sum(axis=0)) / max(int(images.sum()), 1)
    frame = pd.DataFrame(
        {
            "form": [lexicon.forms.names[i] for i in f],
            "kind": lexicon.forms.kind,
            "word": [lexicon.words[i] for i in w],
            "images": lexicon.together[f, w],
            "said": lexicon.said[f],
            "lift": lexicon.together[f, w] / (lexicon.said[f] * expected[w]),
            "translation": lexicon.table[f, w],
            "pmi": lexicon.pmi[f, w] / np.log(2),
            "p": lexicon.p[f, w],
        }
    )
    order = np.lexsort((frame["p"], f))
    return frame.iloc[order]


def _among(forms: Forms, rows: NDArray[np.int64], uses: csr_array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """In how many of these messages the symbols of each form are, anywhere, ``[F]``; in how many with each word."""
    held = forms.counts_of_symbols[rows]
    once, twice = (csc_array(held > least, dtype=np.int64) for least in (0, 1))
    if forms.parts.shape[1] == 1:
        (first,) = forms.parts.T
        return np.asarray(once.sum(axis=0))[first], _dense(once.T @ uses)[first]
    images = np.zeros(len(forms.parts), dtype=np.int64)
    with_word = np.zeros((len(forms.parts), uses.shape[1]), dtype=np.int64)
    first, second = forms.parts.T
    either = csr_array(hstack([once, twice]))
    columns = second + np.where(first == second, once.shape[1], 0)
    # By the first symbol: a table of all messages and all forms would take gigabytes.
    order = np.argsort(first, kind="stable")
    for of in np.split(order, np.flatnonzero(np.diff(first[order])) + 1) if len(order) else []:
        symbol = first[of[0]]
        messages = once.indices[once.indptr[symbol] : once.indptr[symbol + 1]]
        both = csc_array(either[messages])[:, columns[of]]
        images[of] = np.asarray(both.sum(axis=0))
        with_word[of] = _dense(both.T @ uses[messages])
    return images, with_word


def _dense(table: csr_array | csc_array) -> NDArray[np.int64]:
    return np.asarray(table.todense(), dtype=np.int64)
