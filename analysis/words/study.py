"""A language put into words: the dictionary, what it is worth on held-out images, and every message's gloss."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.corpus.corpus import Corpus
from analysis.metrics.result import Result
from analysis.words.dictionary import dictionary
from analysis.words.forms import place_forms, symbol_forms
from analysis.words.glosses import Worth, gloss_table, measure_glosses
from analysis.words.held_out import Told, measure_told
from analysis.words.reading import Reader, learn_reader
from analysis.words.text import Words, captions_of, count_words

_LIKE_LUCK = 0.05
# Below this nothing could be sure.
_FEWEST = 20


@dataclass(frozen=True, eq=False)
class Study:
    """What a language means in words.

    Attributes:
        learnt: the images that everything was learnt from, bool ``[N]``; all others are held out.
        words: how many words were learnt.
        kind: what is read: ``symbol``, or ``place`` where symbols mean different things at different places.
        told: what messages tell of held-out captions.
        worth: how right glosses are of held-out images.
        dictionary: of `analysis.words.dictionary.dictionary`.
        glosses: of `gloss_table`.
    """

    learnt: NDArray[np.bool_]
    words: int
    kind: str
    told: Told
    worth: Worth
    dictionary: pd.DataFrame
    glosses: pd.DataFrame


def study_words(
    corpus: Corpus, *, held_out: float = 0.3, least: int = 5, permutations: int = 100, seed: int = 0
) -> Study:
    """Puts a language into words.

    Args:
        corpus: with captions, or with the names of classes.
        held_out: which share of the images nothing is learnt from, above 0 and below 1.
        least: words of fewer images are left out.
        permutations: shuffled languages behind every p.
        seed: of the split and the shuffles.

    Raises:
        ValueError: nothing is known in words, or of too few images; what to do.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out={held_out}: give a share above 0 and below 1")
    corpus, words, learnt, reader = _read(corpus, held_out, least, seed)
    return Study(
        learnt,
        len(words.words),
        reader.lexicon.forms.kind,
        measure_told(reader, words, ~learnt, permutations=permutations, seed=seed),
        measure_glosses(reader, words, ~learnt, permutations=permutations, seed=seed),
        dictionary(corpus, words, learnt),
        gloss_table(corpus, reader, learnt),
    )


def reader_of(corpus: Corpus, *, least: int = 5, seed: int = 0) -> Reader:
    """Who has learnt to read a language, from all of its images of which something is said in words.

    Args:
        corpus: with captions, or with the names of classes.
        least: words of fewer images are left out.
        seed: of what is left aside while learning.

    Raises:
        ValueError: nothing is known in words, or of too few images; what to do.
    """
    return _read(corpus, 0.0, least, seed)[3]


def _read(corpus: Corpus, held_out: float, least: int, seed: int) -> tuple[Corpus, Words, NDArray[np.bool_], Reader]:
    """The language by its own ids, the words, which images were learnt from, and who learnt."""
    corpus = with_its_own_ids(corpus)
    captions = captions_of(corpus)
    if not any(captions):
        raise ValueError("nothing is said in words of these images: give captions, or classes with names")
    words = count_words(captions, least)
    known = np.asarray(words.all.sum(axis=1)) > 0
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(known))
    asked = max(round(held_out * len(rows)), 1) if held_out else 0
    if len(rows) - asked < _FEWEST:
        raise ValueError(
            f"{len(rows)} of {len(corpus)} images have words that {least} images have: at least {_FEWEST} are needed "
            "to learn from, beside those held out"
        )
    learnt = np.zeros(len(corpus), dtype=bool)
    learnt[rows[asked:]] = True
    if not corpus.mask[learnt].any():
        raise ValueError("nothing is said in these messages: there is nothing to put into words")
    forms = [symbol_forms(corpus.symbols, corpus.mask), place_forms(corpus.symbols, corpus.mask)]
    return corpus, words, learnt, learn_reader(forms, words, learnt, seed=seed)


def with_its_own_ids(corpus: Corpus) -> Corpus:
    """The same language, its symbols called what the program that made them calls them, where that fits a number."""
    if not corpus.symbol_ids or max(corpus.symbol_ids) >= 2**63:
        return corpus
    ids = np.array(corpus.symbol_ids, dtype=np.int64)
    return replace(corpus, symbols=ids[np.where(corpus.mask, corpus.symbols, 0)], symbol_ids=())


def summary(study: Study) -> list[str]:
    """The study in lines; what a shuffled language scores as well is said to be like luck."""
    told, worth = study.told, study.worth
    table = study.dictionary
    symbols = table.loc[table["kind"] == "symbol", "form"].nunique()
    among = f"among {told.candidates}"
    lines = [
        f"{study.words} words, learnt from {int(study.learnt.sum()):,} images and asked of {told.bits.n:,} others; "
        f"{len(table)} pairs are sure, of {symbols} symbols and {table['word'].nunique()} words",
        f"bits of a caption told, of {told.bits_of_caption:.1f}: {_in_words(told.bits, 1, '')}",
        f"caption found {among}: {_in_words(told.caption_found, 100, ' %')}",
        f"message found {among}: {_in_words(told.message_found, 100, ' %')}",
        f"AUC of {told.asked_words} words: {_in_words(told.word_auc, 1, '', 3)}",
        f"words of glosses that are right: {_in_words(worth.precision, 100, ' %')}",
        f"words of captions in glosses, of those in the dictionary: {_in_words(worth.recall, 100, ' %')}",
    ]
    best = [f"{row.word} {row.auc:.2f}" for row in told.words.head(20).itertuples()]
    return [*lines, f"words told best, by AUC: {', '.join(best)}"] if best else lines


def _in_words(result: Result, times: float, unit: str, digits: int = 1) -> str:
    if result.reason:
        return f"none ({result.reason})"
    said = f"{times * result.value:.{digits}f}{unit}"
    if not np.isnan(result.low):
        said += f" ({times * result.low:.{digits}f} to {times * result.high:.{digits}f})"
    if np.isnan(result.p):
        return said
    said += f", shuffled {times * result.null_mean:.{digits}f}{unit}, p = {result.p:.3g}"
    return f"{said}: like luck" if result.p > _LIKE_LUCK else said
