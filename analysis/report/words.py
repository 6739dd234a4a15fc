"""The parts of a report that are in human words: what symbols go with, and messages with their glosses."""

from __future__ import annotations

from typing import Any

from analysis.corpus.corpus import Corpus
from analysis.report.summary import LEVEL, percent
from analysis.words.glosses import UNKNOWN
from analysis.words.study import Study, study_words, summary
from analysis.words.text import captions_of

# Messages that are shown with their glosses, and words of a symbol.
_MESSAGES, _WORDS = 150, 6


def in_words(corpus: Corpus, *, permutations: int, seed: int) -> dict[str, Any]:
    """A language in words, as the page shows it.

    Args:
        corpus: the record of a language.
        permutations: shuffled languages behind every p.
        seed: of the split and the shuffling.

    Returns:
        ``lines``: what messages tell of held-out captions, or why that cannot be asked; ``words``: symbol -> its words
        in the dictionary, the surest first; ``messages``: of held-out images, with their glosses, unless a shuffled
        language tells as much. All empty where nothing is known in words.
    """
    nothing: dict[str, Any] = {"lines": [], "words": {}, "messages": []}
    if not any(captions_of(corpus)):
        return nothing
    try:
        study = study_words(corpus, permutations=permutations, seed=seed)
    except ValueError as error:
        return nothing | {"lines": [f"not put into words: {error}"]}
    beyond_luck = min((r.p for r in (study.told.bits, study.told.caption_found) if not r.reason), default=1.0) <= LEVEL
    return {
        "lines": summary(study),
        "words": _of_symbols(study),
        "messages": _messages(corpus, study) if beyond_luck else [],
    }


def _of_symbols(study: Study) -> dict[str, list[dict[str, str]]]:
    table = study.dictionary
    found: dict[str, list[dict[str, str]]] = {}
    for row in table[table.kind == "symbol"].itertuples():
        words = found.setdefault(str(row.form), [])
        if len(words) < _WORDS:
            words.append({"word": str(row.word), "share": percent(row.images / row.said), "lift": f"{row.lift:.1f}"})
    return found


def _messages(corpus: Corpus, study: Study) -> list[dict[str, Any]]:
    """Messages that nothing was learnt from, in the order of the corpus."""
    table, captions = study.glosses, captions_of(corpus)
    shown: list[dict[str, Any]] = []
    for message, rows in table[table.held_out == "yes"].groupby("message", sort=True):
        if len(shown) == _MESSAGES:
            break
        number = int(str(message))
        glosses = [
            {
                "word": str(row.word),
                "confidence": "" if row.word == UNKNOWN else percent(row.confidence),
                "symbols": str(row.symbols),
                "places": str(row.places),
            }
            for row in rows.itertuples()
        ]
        first = rows.iloc[0]
        shown.append(
            {
                "name": first.file or f"image {number if first.image is None else first.image}",
                "caption": next(iter(captions[number]), ""),
                "glosses": glosses,
                "words": " ".join(gloss["word"] for gloss in glosses if gloss["word"] != UNKNOWN).lower(),
                "symbols": " ".join(gloss["symbols"] for gloss in glosses),
            }
        )
    return shown
