"""The rows of the table of metrics."""

from __future__ import annotations

import math
from typing import Any

from analysis.evaluation.glossary import GLOSSARY
from analysis.metrics.result import Result

COLUMNS = (
    "group", "metric", "of", "value", "unit", "chance", "null_mean", "null_std", "p", "low", "high", "n", "draws",
    "reason",
)  # fmt: skip


Row = dict[str, Any]


def row(group: str, metric: str, of: str, result: Result, chance: float = math.nan) -> Row:
    """One line of the table.

    Args:
        group: as in `analysis.evaluation.table.measure`.
        metric: a key of the glossary, from which the unit comes.
        of: what it is about.
        result: what was measured.
        chance: what a guess scores.
    """
    return {"group": group, "metric": metric, "of": of, "unit": GLOSSARY[metric].unit, "chance": chance, **result.row()}
