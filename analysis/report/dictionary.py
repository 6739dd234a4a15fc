"""The parts of a report that show what symbols stand for: heat maps and the dictionary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.corpus.corpus import Corpus
from analysis.evaluation.concepts import Cells, Concept
from analysis.report.summary import percent

_ROWS, _COLUMNS, _CHIPS = 40, 30, 4


# Eight times as often, or an eighth, has the full colour.
_FULL = 3.0


def heat_tables(met: Sequence[tuple[Concept, Cells]]) -> list[dict[str, Any]]:
    """One table per concept: its most used symbols, ordered by what they stand for, against its values."""
    return [_heat_table(concept, table) for concept, table in met if table.counts.any()]


def _heat_table(concept: Concept, table: Cells) -> dict[str, Any]:
    used = np.argsort(-table.counts.sum(axis=1), kind="stable")
    rows = used[table.counts[used].any(axis=1)][:_ROWS]
    columns = np.flatnonzero(table.counts.any(axis=0))
    if len(columns) > _COLUMNS:
        columns = np.sort(columns[np.argsort(-table.z[:, columns].max(axis=0), kind="stable")][:_COLUMNS])
    lift, sure = table.lift[np.ix_(rows, columns)], table.sure[np.ix_(rows, columns)]
    # Symbols of one value next to each other, the surest first: meaning shows as a staircase.
    order = np.lexsort((-lift.max(axis=1), lift.argmax(axis=1), ~sure.any(axis=1)))
    strength = np.clip(np.log2(np.maximum(lift, 2**-_FULL)) / _FULL, -1, 1)
    cut = [f"{len(rows)} most used symbols"] if len(rows) < table.counts.any(axis=1).sum() else []
    if len(columns) < table.counts.any(axis=0).sum():
        cut.append(f"{len(columns)} clearest values")
    return {
        "name": concept.name,
        "note": ", ".join(cut),
        "heads": [concept.value_names[c] for c in columns],
        "lines": [
            {
                "symbol": int(rows[i]),
                "cells": [
                    {
                        "strength": round(100 * abs(float(strength[i, j]))),
                        "side": "more" if strength[i, j] > 0 else "less",
                        "text": f"{lift[i, j]:.1f}" if sure[i, j] else "",
                    }
                    for j in range(len(columns))
                ],
            }
            for i in order
        ],
    }


def gallery(
    corpus: Corpus,
    met: Sequence[tuple[Concept, Cells]],
    sheets: dict[int, tuple[str, int]],
    in_words: Mapping[str, list[dict[str, str]]],
) -> list[dict[str, Any]]:
    """A card per symbol in use, the most used first.

    Args:
        corpus: the record of a language.
        met: of each concept, which values its symbols meet.
        sheets: symbol -> picture and number of examples in it.
        in_words: what a symbol is called by its own program -> the words that it goes with.
    """
    counts = np.bincount(corpus.symbols[corpus.mask], minlength=corpus.vocab_size)
    cards = []
    for symbol in np.argsort(-counts, kind="stable"):
        if not counts[symbol]:
            break
        chips = _chips(int(symbol), met)
        called = corpus.symbol_ids[symbol] if corpus.symbol_ids else symbol
        dictionary = in_words.get(str(called), [])
        words = " ".join([f"{c['value']} {c['concept']}" for c in chips] + [entry["word"] for entry in dictionary])
        sheet, examples = sheets.get(int(symbol), ("", 0))
        cards.append(
            {
                "symbol": int(symbol),
                "share": percent(counts[symbol] / counts.sum()),
                "said": "once" if counts[symbol] == 1 else f"{counts[symbol]:,} times",
                "sheet": sheet,
                "examples": examples,
                "chips": chips,
                "dictionary": dictionary,
                "words": f"{symbol} {words}".lower(),
            }
        )
    return cards


def _chips(symbol: int, met: Sequence[tuple[Concept, Cells]]) -> list[dict[str, str]]:
    found = []
    for concept, table in met:
        row = table.counts[symbol]
        for value in np.flatnonzero(table.sure[symbol]):
            n, lift = row[value], table.lift[symbol, value]
            # Pantel and Lin (2002): rare pairs have large lifts by accident.
            weight = np.log(lift) * n / (n + 1)
            found.append(
                (weight, {
                    "value": concept.value_names[value], "concept": concept.name,
                    "share": percent(n / row.sum()), "lift": f"{lift:.1f}",
                })
            )  # fmt: skip
    # What a patch shows its image shows as well: the same word twice tells nothing new.
    best: dict[str, dict[str, str]] = {}
    for _, chip in sorted(found, key=lambda pair: -pair[0]):
        bare = chip["value"] in ("yes", "no")
        best.setdefault(chip["concept"] if bare else chip["value"], chip)
    return list(best.values())[:_CHIPS]
