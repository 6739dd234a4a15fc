"""Sentences of the report: only where intervals part."""

from __future__ import annotations

import pandas as pd

from analysis.evaluation.table import COLUMNS
from analysis.report.summary import findings


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
