"""A dictionary: the words that each symbol goes with, more than a shuffled language would make believe.

Letters in shapes: N messages, F forms, W words.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, hstack

from analysis.corpus.corpus import Corpus, Names
from analysis.metrics.concept_association import shrinkage
from analysis.words.forms import Forms, distinct_parts, pair_forms, place_forms, symbol_forms
from analysis.words.text import Words
from analysis.words.translation import translation_table

LEVEL = 0.05
"""How probable it is, at most, that a shuffled language has anything in its dictionary."""


@dataclass(frozen=True, eq=False)
class Lexicon:
    """What the forms of one kind stand for.

    Of pairs of a form and a word only those are listed that are in some image together: P of them, form by form.

    Attributes:
        forms: with everywhere that they were said.
        words: W of them.
        table: of `translation_table`, sparse float ``[F + 1, W]``.
        said: in how many images each form is, int ``[F]``.
        pairs: form and word of each, int ``[2, P]``.
        together: in how many images both are, int ``[P]``.
        pmi: as `shrunk_pmi`, in nats, ``[P]``.
        p: how probable so many images together are by luck, ``[P]``; see `luck`.
        sure: whether the word is in the dictionary of the form, bool ``[P]``.
    """

    forms: Forms
    words: Names
    table: csr_array
    said: NDArray[np.int64]
    pairs: NDArray[np.int64]
    together: NDArray[np.int64]
    pmi: NDArray[np.float64]
    p: NDArray[np.float64]
    sure: NDArray[np.bool_]

    @cached_property
    def dictionary(self) -> csr_array:
        """1 where a word is in the dictionary of a form, sparse int ``[F, W]``."""
        sure = np.ones(self.sure.sum(), dtype=np.int64)
        return csr_array((sure, tuple(self.pairs[:, self.sure])), shape=(len(self.forms.names), len(self.words)))

    def sure_words(self, images: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a form of each message has the word in the dictionary, ``[len(images), W]``."""
        return np.asarray((self.forms.counts[images] @ self.dictionary).toarray()) > 0


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
        >>> found.words, found.dictionary.toarray().tolist()
        (('a', 'cat', 'dog'), [[0, 1, 0], [0, 0, 1]])
    """
    rows = np.flatnonzero(images)
    counts, used = forms.counts[rows], words.all[rows]
    there, uses = (csr_array(x > 0, dtype=np.int64) for x in (counts, used))
    f, w, together = pairs_together(there, uses)
    said, in_images = (np.asarray(x.sum(axis=0)).astype(np.int64) for x in (there, uses))
    if forms.kind == "symbol":
        among, with_word = np.full(len(said), len(rows)), in_images[w]
    else:
        among, with_word = _among(forms, rows, uses, f, w)
    p = luck(together, said[f], among[f], with_word)
    # What is never or always there cannot surprise. How many pairs can is the same in every shuffled language.
    tests = int(((said > 0) & (said < among)).sum() * ((in_images > 0) & (in_images < len(rows))).sum())
    return Lexicon(
        forms, words.words, translation_table(counts, used), said, np.stack([f, w]), together,
        _shrunk_pmi(f, w, together), p, p <= level / max(tests, 1),
    )  # fmt: skip


def pairs_together(there: csr_array, uses: csr_array) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of a form and a word that are in some image together, form by form, and in how many images.

    Args:
        there: whether each form is in each message, 0 or 1, ``[N, F]``.
        uses: whether each word is in each caption, 0 or 1, ``[N, W]``.

    Example:
        >>> there, uses = csr_array([[1, 0], [1, 0], [0, 1]]), csr_array([[1, 0], [1, 0], [1, 1]])
        >>> [x.tolist() for x in pairs_together(there, uses)]
        [[0, 1, 1], [0, 0, 1], [2, 1, 1]]
    """
    met = csr_array(there.T @ uses)
    met.sort_indices()
    return *met.nonzero(), met.data


def luck(
    together: NDArray[np.int64], said: NDArray[np.int64], images: NDArray[np.int64], with_word: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How probable at least so many images with both form and word are if messages were given to images at random.

    Fisher's exact test, one-sided: the hypergeometric distribution. A symbol is held against all images. A symbol at a
    place, and a pair, are held against the images whose messages have their symbols anywhere: what they tell is more
    than their symbols tell.

    Args:
        together: in how many images both are, ``[P]``.
        said: in how many the form is.
        images: in how many it could be.
        with_word: in how many of these the word is.

    Returns:
        ``[P]``, above 0 to 1; 1 also where they are not together more often than by luck.

    Example:
        >>> two = np.array([2])
        >>> luck(two, said=two, images=2 * two, with_word=two).round(3).tolist()
        [0.167]
    """
    from scipy.stats import hypergeom

    # The tail is not worked out where there is nothing to be surprised at, and once for all pairs with these counts.
    more = together * images > said * with_word
    cases, which = distinct_parts(np.stack([together, images, with_word, said], axis=1)[more])
    p = np.ones(len(together))
    p[more] = hypergeom.sf(cases[:, 0] - 1, *cases[:, 1:].T)[which]
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
    sure = lexicon.sure
    f, w = lexicon.pairs[:, sure]
    expected = np.asarray((words.all[np.flatnonzero(images)] > 0).sum(axis=0)) / max(int(images.sum()), 1)
    together, said = lexicon.together[sure], lexicon.said[f]
    frame = pd.DataFrame(
        {
            "form": [lexicon.forms.names[i] for i in f],
            "kind": lexicon.forms.kind,
            "word": [lexicon.words[i] for i in w],
            "images": together,
            "said": said,
            "lift": together / (said * expected[w]),
            "translation": np.asarray(lexicon.table[f, w]),
            "pmi": lexicon.pmi[sure] / np.log(2),
            "p": lexicon.p[sure],
        }
    )
    order = np.lexsort((frame["p"], f))
    return frame.iloc[order]


def _shrunk_pmi(f: NDArray[np.int64], w: NDArray[np.int64], together: NDArray[np.int64]) -> NDArray[np.float64]:
    """`shrunk_pmi` of pairs, all of them that are together."""
    count = together.astype(float)
    form, word = np.bincount(f, count)[f], np.bincount(w, count)[w]
    return np.asarray(np.log(count * count.sum() / (form * word)) * shrinkage(count, np.minimum(form, word)))


def _among(
    forms: Forms, rows: NDArray[np.int64], uses: csr_array, f: NDArray[np.int64], w: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """In how many of these messages the symbols of each form are, anywhere, ``[F]``; of each pair, with its word."""
    held = forms.counts_of_symbols[rows]
    once, twice = (csc_array(held > least, dtype=np.int64) for least in (0, 1))
    if forms.parts.shape[1] == 1:
        (first,) = forms.parts.T
        return np.asarray(once.sum(axis=0))[first], np.asarray(csr_array(once.T @ uses)[first[f], w])
    images, with_word = np.zeros(len(forms.parts), dtype=np.int64), np.zeros(len(f), dtype=np.int64)
    first, second = forms.parts.T
    either = csr_array(hstack([once, twice]))
    columns = second + np.where(first == second, once.shape[1], 0)
    # By the first symbol: a table of all messages and all forms would take gigabytes.
    order = np.argsort(first, kind="stable")
    begins = np.searchsorted(f, np.arange(len(first) + 1))
    for of in np.split(order, np.flatnonzero(np.diff(first[order])) + 1) if len(order) else []:
        symbol = first[of[0]]
        messages = once.indices[once.indptr[symbol] : once.indptr[symbol + 1]]
        both = csc_array(either[messages])[:, columns[of]]
        images[of] = np.asarray(both.sum(axis=0))
        pairs = np.concatenate([np.arange(begins[form], begins[form + 1]) for form in of])
        number = np.repeat(np.arange(len(of)), begins[of + 1] - begins[of])
        with_word[pairs] = np.asarray(csr_array(both.T @ uses[messages])[number, w[pairs]])
    return images, with_word
