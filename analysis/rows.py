"""The rows of the table of metrics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.glossary import GLOSSARY
from analysis.result import Result, undefined

COLUMNS = (
    "group", "metric", "of", "value", "unit", "chance", "null_mean", "null_std", "p", "low", "high", "n", "draws",
    "reason",
)  # fmt: skip

Row = dict[str, Any]


def row(group: str, metric: str, of: str, result: Result, chance: float = math.nan) -> Row:
    """One line of the table.

    Args:
        group: as in `analysis.measuring.measure`.
        metric: a key of the glossary, from which the unit comes.
        of: what it is about.
        result: what was measured.
        chance: what a guess scores.
    """
    return {"group": group, "metric": metric, "of": of, "unit": GLOSSARY[metric].unit, "chance": chance, **result.row()}


def wilson(correct: NDArray[np.bool_]) -> Result:
    """A share with Wilson's 95 % interval.

    Args:
        correct: ``[N]``.

    Returns:
        The share of true values, 0 to 1; undefined if there is none.
    """
    n = len(correct)
    if not n:
        return undefined("no_items")
    z, share = 1.959963984540054, float(np.mean(correct))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # Exact where rounding would put the share outside its interval.
    return Result(share, n, low=middle - half if share > 0 else 0.0, high=middle + half if share < 1 else 1.0)
