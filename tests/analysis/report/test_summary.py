"""Sentences of the report: only where intervals part."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.evaluation.table import COLUMNS, measure
from analysis.report.summary import findings, headline
from tests.support.synthetic_corpus import scene_corpus, sequence_corpus


def said(before: tuple[float, float, float], **after: tuple[float, float, float]) -> str:
    """The sentences about what was understood (value, lower end, upper end), as played and after interventions."""
    rows = [("retrieval", "", before), *(("retrieval_under_intervention", of, found) for of, found in after.items())]
    ends = [{"value": value, "low": low, "high": high} for *_, (value, low, high) in rows]
    about = [{"metric": metric, "of": of, "chance": 0.01, "n": 50, "reason": ""} for metric, of, _ in rows]
    frame = pd.DataFrame([a | b for a, b in zip(about, ends, strict=True)], columns=COLUMNS)
    return " ".join(findings(frame, 100, 32))


def test_a_sentence_only_where_intervals_part() -> None:
    played = 0.60, 0.46, 0.72
    assert "Tampering" not in said(played, dropped=(0.50, 0.37, 0.63), permuted=(0.58, 0.44, 0.71)), "50 images: luck"
    assert "hurts most as “dropped” (60.0 % falls to 20.0 %)." in said(played, dropped=(0.2, 0.11, 0.33))
    both = said(played, dropped=(0.2, 0.11, 0.33), permuted=(0.3, 0.19, 0.44))
    assert "hurts most as “dropped”" in both and "least" not in both
    parted = said(played, dropped=(0.2, 0.11, 0.33), permuted=(0.58, 0.44, 0.71))
    assert "and least as “permuted” (58.0 %)." in parted
    noise = said(played, **{"noise images": (0.5, 0.37, 0.63)})
    assert "Tampering" not in noise and "Over images of pure noise the agents still succeed in 50.0 %" in noise


@pytest.mark.slow
def test_topographic_similarity_has_a_distance_chosen_beforehand_and_says_why() -> None:
    for corpus, first, why in (
        (scene_corpus(60), "attributes and which symbols", "of patches nobody chose the order"),
        (sequence_corpus(60), "attributes and edit distance", "the speaker chose the order of the symbols"),
    ):
        frame = measure(corpus, permutations=3)
        found = frame[frame.metric == "topographic_similarity"]
        ends = {name.partition(" and ")[2] for name in found.of if name.startswith("attributes")}
        assert {"edit distance over the longer length", "sets of symbols", "symbols at places"} <= ends
        assert ("who speaks" in ends) == (corpus.grid is not None)
        (sentence,) = [text for text in findings(frame, None, 8) if "Topographic similarity" in text]
        assert f"for {first} (shuffled" in sentence and why in sentence
        others = found[found.of.str.startswith("attributes") & (found.of != first)].value
        assert f"{others.min():z.2f} by" in sentence and f"{others.max():z.2f} by" in sentence
        (card,) = [card for card in headline(frame, 8) if card[0] == "topographic similarity"]
        assert card[1] == f"{found.value.iloc[0]:.3g}" and card[2].startswith(first), "not the largest of many numbers"


def test_both_retrievals_stand_first_where_the_log_has_them() -> None:
    about = {"metric": "retrieval", "of": "", "value": 0.75, "chance": 0.01, "n": 50, "reason": ""}
    frame = pd.DataFrame([about], columns=COLUMNS)
    records = [{"kind": "validation", "two_views_acc": acc} for acc in (0.1, 0.5)]
    assert headline(frame, 8) == [("retrieval accuracy", "75.0 %", "chance 1.0 %")]
    assert headline(frame, 8, records) == [
        ("retrieval, two views", "50.0 %", "at the last validation"),
        ("retrieval, one view", "75.0 %", "chance 1.0 %"),
    ]
