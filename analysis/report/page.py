"""A run's language as one page: a self-contained HTML file that opens offline, on a phone, in light and in dark."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.corpus.corpus import Corpus, dotted
from analysis.corpus.csv_export import csv_text
from analysis.evaluation.concepts import Cells, Concept, cells_of, concepts_of
from analysis.evaluation.glossary import GLOSSARY
from analysis.metrics.bag_of_symbols import MAX_ITEMS
from analysis.metrics.statistics.entropy import entropy_of_counts
from analysis.metrics.statistics.rank_correlation import VALUE_ITEMS
from analysis.plots.curves import Record
from analysis.report.dictionary import gallery, heat_tables
from analysis.report.figures import draw_entropies, draw_learning, draw_lengths, draw_position_entropy, draw_usage
from analysis.report.messages import message_rows
from analysis.report.summary import findings, headline, percent
from analysis.report.tables import bars, groups, pivot_rivals
from analysis.report.thumbnails import MAPS, PER_ROW, SIDE, symbol_sheets, thumbnail
from analysis.report.words import in_words
from patchgame_egg.patches import grid_shapes

_HERE = Path(__file__).parent
_SECTIONS = {
    "short": "In short", "game": "The game", "played": "Success", "learning": "Learning", "metrics": "Metrics",
    "usage": "Usage", "heat": "Concepts", "gallery": "Dictionary", "maps": "Patches", "messages": "Messages",
    "glossary": "Glossary",
}  # fmt: skip


def render(
    corpus: Corpus, frame: pd.DataFrame, records: Sequence[Record] = (), *, title: str = "", command: str = "",
    permutations: int = 100, seed: int = 0, note: str = "", files_at: str = "",
) -> str:  # fmt: skip
    """Writes the report; sections for which the corpus has no data are left out.

    Args:
        corpus: the record of a language.
        frame: of `analysis.evaluation.table.measure`.
        records: the run's log, for the learning curves and the retrieval of two views.
        title: what the run is called.
        command: how the page was made; stands at its foot.
        permutations: shuffled languages behind every p and every number of the heat maps.
        seed: seed of the shuffling.
        note: what readers are to know before anything else.
        files_at: the folder of the images' files, from the page on, to link messages to them; empty: they are named.

    Returns:
        HTML, three megabytes at most.
    """
    corpus = corpus.numbered()
    known = concepts_of(corpus) if corpus.mask.any() else []
    met = list(zip(known, cells_of(corpus, known, draws=max(permutations, 20), seed=seed), strict=True))
    # A concept of one value, such as the class of photos without classes, says nothing of any symbol.
    met = [(c, table) for c, table in met if table.counts.any(axis=0).sum() > 1]
    # What the symbols say most about comes first.
    met.sort(key=lambda pair: -_told(pair[1]))
    sections: dict[str, Any] = {
        "played": bars(frame),
        "curves": draw_learning(records) if any(r.get("kind") in ("train", "validation") for r in records) else [],
        "usage": _usage(corpus, met),
        "heat": heat_tables(met),
        **_gallery(corpus, met, max(permutations, 20), seed),
        **_maps(corpus, frame),
    }
    sections["every"] = message_rows(corpus, files_at)
    sections["data"] |= {"messages": sections["every"]}
    tables, tested = groups(frame)
    there = {"learning": "curves", "messages": "every"}
    return _page(
        sections | {
            "title": title,
            "command": command,
            "sections": [(a, n) for a, n in _SECTIONS.items() if sections.get(there.get(a, a), True)],
            "cards": headline(frame, corpus.vocab_size, records),
            "findings": findings(frame, corpus.choices, corpus.vocab_size),
            "note": note,
            "facts": _facts(corpus),
            "options": _options(corpus.info),
            "candidates": corpus.choices,
            "chance": percent(1 / corpus.choices) if corpus.choices else "",
            "permutations": permutations,
            "sampled": _sampled(len(corpus)),
            "groups": tables,
            "tests": tested,
            "by_luck": f"{0.05 * tested:.1f}",
            "csv": "data:text/csv;base64," + base64.b64encode(csv_text(frame).encode(errors="replace")).decode(),
            "terms": [(m, t) for m, t in GLOSSARY.items() if m in set(frame.metric)],
        }
    )  # fmt: skip


class _Environment(Environment):
    """Looks into dictionaries at once; Jinja would ask them for an attribute first, and fail thousands of times."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


def _page(context: dict[str, Any]) -> str:
    environment = _Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, script = (Markup((_HERE / name).read_text()) for name in ("report.css", "report.js"))
    return environment.get_template("report.html.jinja").render(style=style, script=script, **context)


def _beside(corpus: Corpus) -> str:
    if not corpus.distractors:
        return ""
    others = f"{corpus.candidates} of the group and " if corpus.in_batch else "the image and "
    return f" ({others}{corpus.distractors} distractors)"


def _facts(corpus: Corpus) -> list[tuple[str, str]]:
    found = [("messages", f"{len(corpus):,}"), ("vocabulary", f"{corpus.vocab_size:,} symbols")]
    if corpus.symbol_ids:
        found.append(("ids of symbols", f"up to {max(corpus.symbol_ids):,}, numbered anew in the same order"))
    if corpus.grid:
        per_patch = f", {corpus.symbols_per_patch} symbols each" if corpus.symbols_per_patch > 1 else ""
        grids = " and ".join(f"{h} by {w}" for h, w in grid_shapes(corpus.grid, corpus.scales))
        found.append(("speaker", f"of patches, {grids}{per_patch}"))
    else:
        found.append(("longest message", f"{corpus.symbols.shape[1]} symbols"))
    learnt = corpus.info.get("learnt")
    if isinstance(learnt, dict):
        length = [f"{learnt[unit]:,} {unit}{'' if learnt[unit] == 1 else 's'}" for unit in ("step", "epoch")]
        found.append(("learnt for", ", ".join(length)))
    if corpus.choices:
        found.append(("candidates", f"{corpus.choices} images{_beside(corpus)}, chance {percent(1 / corpus.choices)}"))
    if corpus.images is not None and len(corpus.images):
        found.append(("images", f"{corpus.images.shape[3]} by {corpus.images.shape[2]} pixels"))
    if len(corpus.label_names) > 1:
        found.append(("classes", f"{len(corpus.label_names):,}"))
    if corpus.attribute_names:
        found.append(("known concepts", ", ".join(corpus.attribute_names)))
    if "annotations" in corpus.info:
        found.append(("annotations", str(corpus.info["annotations"])))
    return found


def _sampled(messages: int) -> str:
    """What rests on some of the messages; empty if nothing does."""
    found = [f"classifiers on {MAX_ITEMS:,}"] if messages > MAX_ITEMS else []
    if messages > VALUE_ITEMS:
        found.append(f"what compares all pairs on {VALUE_ITEMS:,}")
    return f"Of {messages:,} messages, some numbers rest on a random part: {', '.join(found)}." if found else ""


def _options(info: dict[str, Any]) -> list[tuple[str, str]]:
    # A number per item, such as which image it was, is nothing to read.
    return [
        (name, f"{len(value):,} values" if isinstance(value, (list, tuple)) and len(value) > 20 else str(value))
        for name, value in dotted(info).items()
    ]


def _usage(corpus: Corpus, met: Sequence[tuple[Concept, Cells]]) -> list[Markup]:
    if not corpus.mask.any():
        return []
    counts = np.bincount(corpus.symbols[corpus.mask], minlength=corpus.vocab_size)
    limit = math.log(corpus.vocab_size) if corpus.vocab_size > 1 else 1.0
    figures = [draw_usage(counts), draw_lengths(corpus.mask.sum(axis=1), corpus.symbols.shape[1])]
    places = corpus.symbols.shape[1] if corpus.grid is None else len(corpus.boxes)
    by_place = zip(np.split(corpus.symbols, places, axis=1), np.split(corpus.mask, places, axis=1), strict=True)
    entropy = np.array([entropy_of_counts(np.bincount(s[said])) for s, said in by_place])
    figures.append(draw_position_entropy(entropy, limit, corpus.grid, corpus.scales))
    if met:
        concept, table = met[0]
        each = np.array([entropy_of_counts(row) for row in table.counts if row.sum()])
        if len(each):
            figures.append(draw_entropies(each, entropy_of_counts(table.counts.sum(axis=0)), concept.name))
    return figures


def _told(table: Cells) -> float:
    """The share of a concept's entropy that goes when the symbol is known, 0 to 1."""
    counts = table.counts
    whole, total = entropy_of_counts(counts.sum(axis=0)), counts.sum()
    if not total or not whole > 0:
        return 0.0
    left = sum(row.sum() / total * entropy_of_counts(row) for row in counts if row.sum())
    return 1 - left / whole


def _gallery(corpus: Corpus, met: Sequence[tuple[Concept, Cells]], permutations: int, seed: int) -> dict[str, Any]:
    sheets = symbol_sheets(corpus) if corpus.images is not None and len(corpus.images) else {}
    told = in_words(corpus, permutations=permutations, seed=seed)
    if not (sheets or met or told["words"]):
        return {"gallery": []}
    cards = gallery(corpus, met, sheets, told["words"])
    left_out = sum(1 for card in cards if not card["sheet"]) if sheets else 0
    return {
        "gallery": cards,
        "concepts": [concept.name for concept, _ in met],
        "per_row": PER_ROW,
        "side": SIDE,
        "examples": (
            "" if not sheets else "the patches that say it most surely, one per image, framed" if corpus.grid
            else "the images whose messages say it most surely"
        ),
        "gallery_note": f"{left_out} rare symbols are listed without pictures." if left_out else "",
        "known": sorted(
            {chip["value"] for card in cards for chip in card["chips"]}
            | {entry["word"] for card in cards for entry in card["dictionary"]}
        ),
        "in_words": told["lines"],
        "glossed": told["messages"],
    }  # fmt: skip


def _maps(corpus: Corpus, frame: pd.DataFrame) -> dict[str, Any]:
    if corpus.images is None or corpus.grid is None or not len(corpus.images):
        return {"maps": [], "data": {}}
    (rows, columns), patches = corpus.grid, len(corpus.boxes)
    shown = range(min(MAPS, len(corpus.images)))
    spoken = corpus.mask.reshape(len(corpus), patches, -1)  # [N, P, L]
    ranks = corpus.keep_prob
    described = [
        {
            "said": "".join("1" if said else "0" for said in spoken[i].any(axis=1)),
            "symbols": np.where(spoken[i], corpus.symbols[i].reshape(patches, -1), -1).ravel().tolist(),
            "order": [] if ranks is None else np.argsort(-ranks[i], kind="stable").tolist(),
        }
        for i in shown
    ]
    named = corpus.labels is not None and len(corpus.label_names) > 1
    labels = corpus.labels if corpus.labels is not None else np.full(len(corpus), -1)
    return {
        "maps": [
            {
                "image": thumbnail(corpus.images[i]),
                "aspect": f"{corpus.images.shape[3]} / {corpus.images.shape[2]}",
                "label": corpus.label_names[labels[i]] if named and labels[i] >= 0 else "",
            }
            for i in shown
        ],
        "ranked": ranks is not None,
        "rivals": pivot_rivals(frame),
        "patches": patches,
        "sizes": corpus.scales,
        "columns": columns,
        "lines": rows,
        "data": {
            "maps": {
                "rows": rows, "columns": columns, "boxes": corpus.boxes.tolist(), "per_patch": corpus.symbols_per_patch,
                "images": described,
            }
        },
    }  # fmt: skip
