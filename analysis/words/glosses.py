"""Messages put into words, with the places that said them.

A word is in a gloss if a symbol of the message has it in the dictionary, and it is more probable than not that the
caption has it. Whatever no such word explains is a question mark. Letters in shapes: N messages, T slots, W words.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csc_array, csr_array

from analysis.corpus.corpus import Corpus
from analysis.metrics.result import Result, against_null, undefined
from analysis.words.reading import Reader
from analysis.words.text import Words

UNKNOWN = "?"
"""Stands for what is not known."""

_SAID = 0.5
# As many numbers as a part of the messages may take while it is worked on.
_PART = 2**22


@dataclass(frozen=True)
class Gloss:
    """One word for a message, or a question mark.

    Attributes:
        word: the word, or `UNKNOWN`.
        confidence: how often a word that is as probable is in the caption, ``_SAID`` to 1; NaN of a question mark.
        slots: where the symbols stand that have the word in the dictionary; of a question mark, all that no word of
            the gloss explains.
    """

    word: str
    confidence: float
    slots: tuple[int, ...]


def gloss_messages(reader: Reader, images: NDArray[np.int64]) -> list[tuple[Gloss, ...]]:
    """Puts messages into words.

    Args:
        reader: who has learnt to read them.
        images: which messages, ``[n]``.

    Returns:
        For each message its words, the surest first, and last a question mark if something was said that they do not
        explain. Nothing for a silent message.
    """
    lexicon, found = reader.lexicon, []
    # The forms that have each word in the dictionary.
    of_word = {w: forms for w, forms in enumerate(_columns(lexicon.dictionary)) if len(forms)}
    for part in _parts(reader, images):
        for row, said in zip(_chosen(reader, part), lexicon.forms.said[part], strict=True):
            rest, glosses = said >= 0, []
            words = np.flatnonzero(row > _SAID)
            for w in words[np.argsort(-row[words], kind="stable")].tolist():
                explains = np.isin(said, of_word[w])
                glosses.append(Gloss(lexicon.words[w], float(row[w]), tuple(np.flatnonzero(explains).tolist())))
                rest &= ~explains
            if rest.any():
                glosses.append(Gloss(UNKNOWN, float("nan"), tuple(np.flatnonzero(rest).tolist())))
            found.append(tuple(glosses))
    return found


def _chosen(reader: Reader, images: NDArray[np.int64]) -> NDArray[np.float64]:
    """The confidence of the words that symbols of each message have in the dictionary, else 0, ``[n, W]``."""
    return np.where(reader.lexicon.sure_words(images), reader.confidence(images), 0.0)


def _parts(reader: Reader, images: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The images in parts that take little memory beside all words."""
    step = max(1, _PART // max(len(reader.lexicon.words), 1))
    return [images[i : i + step] for i in range(0, len(images), step)]


def _columns(table: csr_array) -> list[NDArray[np.int64]]:
    """The rows that each column has entries in."""
    by_column = csc_array(table)
    return np.split(by_column.indices, by_column.indptr[1:-1])


def gloss_others(reader: Reader, symbols: ArrayLike, mask: ArrayLike) -> list[tuple[Gloss, ...]]:
    """Puts messages into words that were no part of what the reader learnt from.

    Args:
        reader: who has learnt to read the language.
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.

    Returns:
        As `gloss_messages`.
    """
    forms = reader.lexicon.forms.again(symbols, mask)
    other = replace(reader, lexicon=replace(reader.lexicon, forms=forms))
    return gloss_messages(other, np.arange(len(forms.said)))


@dataclass(frozen=True)
class Worth:
    """How right glosses are.

    Attributes:
        precision: share of the words in glosses that the caption has, 0 to 1; ``n`` counts words.
        recall: share of the words that captions have, of those in the dictionary, that are in the gloss, 0 to 1; ``n``
            counts words.
    """

    precision: Result
    recall: Result


def measure_glosses(
    reader: Reader, words: Words, images: NDArray[np.bool_], *, permutations: int = 100, seed: int = 0
) -> Worth:
    """Holds glosses against the captions of images that the reader did not learn from.

    The null gives messages to other images.

    Args:
        reader: who has learnt from other images.
        words: of the captions; all of an image count.
        images: bool ``[N]``, which to ask about; those without a caption are left out.
        permutations: shuffles.
        seed: of the shuffles.

    Returns:
        Undefined: ``no_captions``, ``no_words`` (nothing is in any gloss, or nothing in a caption that the dictionary
        has).
    """
    rows = np.flatnonzero(images & (np.asarray(words.all.sum(axis=1)) > 0))
    if not len(rows):
        return Worth(undefined("no_captions"), undefined("no_captions"))
    known = np.unique(reader.lexicon.dictionary.indices)
    there = np.asarray(words.all[rows][:, known].todense()) > 0
    said = np.concatenate([_chosen(reader, part)[:, known] > _SAID for part in _parts(reader, rows)])
    rng = np.random.default_rng(seed)
    right, null = (said & there).sum(), [(said[rng.permutation(len(rows))] & there).sum() for _ in range(permutations)]

    def share(of: int) -> Result:
        if not of:
            return undefined("no_words", 0)
        return against_null(Result(float(right / of), of), [draw / of for draw in null])

    return Worth(share(int(said.sum())), share(int(there.sum())))


def gloss_table(corpus: Corpus, reader: Reader, learnt: NDArray[np.bool_]) -> pd.DataFrame:
    """The glosses of all messages.

    Args:
        corpus: the language.
        reader: who has learnt to read it.
        learnt: bool ``[N]``, the images that the reader has learnt from.

    Returns:
        A row for each word of each gloss: ``message`` (its number), ``file`` and ``image`` (which of its source, where
        that is known), ``held_out`` (whether nothing was learnt from it), ``word``, ``confidence``, ``symbols`` and
        ``places`` that said it. A place is a slot or, of a patch, ``row:column``, from 0; of several sizes
        ``row:column:side`` in cells of the finest grid.
    """
    numbers = corpus.info.get("index")
    places = place_names(corpus)
    rows = []
    for message, glosses in enumerate(gloss_messages(reader, np.arange(len(corpus)))):
        for gloss in glosses:
            rows.append(
                {
                    "message": message,
                    "file": corpus.files[message] if corpus.files else "",
                    "image": numbers[message] if numbers is not None and len(numbers) == len(corpus) else None,
                    "held_out": "no" if learnt[message] else "yes",
                    "word": gloss.word,
                    "confidence": gloss.confidence,
                    "symbols": " ".join(str(corpus.symbols[message, slot]) for slot in gloss.slots),
                    "places": " ".join(places[slot] for slot in gloss.slots),
                }
            )
    names = ["message", "file", "image", "held_out", "word", "confidence", "symbols", "places"]
    return pd.DataFrame(rows, columns=names)


def place_names(corpus: Corpus) -> list[str]:
    """All slots as text, as `gloss_table` has them: their numbers or, of patches, ``row:column``."""
    if corpus.grid is None:
        return [str(slot) for slot in range(corpus.symbols.shape[1])]
    parts = corpus.boxes[:, : 3 if corpus.scales > 1 else 2].repeat(corpus.symbols_per_patch, axis=0)
    return [":".join(map(str, part)) for part in parts.tolist()]
