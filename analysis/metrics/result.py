"""What every metric returns: a value, what a shuffled language scores, and the reason where there is no value."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Result:
    """One measured number.

    Attributes:
        value: the metric; NaN where it is undefined, and then ``reason`` says why.
        n: how many items (messages, tokens, pairs: the metric says which) it rests on.
        null_mean: mean of the metric over shuffled languages; NaN where there is no null.
        null_std: their standard deviation (with ``draws - 1``); NaN with fewer than two draws.
        p: (1 + #{draws at least as extreme}) / (1 + draws), 1 / (1 + draws) to 1; NaN where there is no null.
        draws: how many shuffled languages the null rests on.
        low: lower end of a 95 % interval, NaN where the metric gives none.
        high: upper end.
        reason: why ``value`` is NaN, in snake case (``constant_messages``); empty where it is not.

    Example:
        >>> Result(0.5, n=100).row()["value"], Result(0.5, n=100).reason
        (0.5, '')
    """

    value: float
    n: int
    null_mean: float = math.nan
    null_std: float = math.nan
    p: float = math.nan
    draws: int = 0
    low: float = math.nan
    high: float = math.nan
    reason: str = ""

    def __post_init__(self) -> None:
        if math.isnan(self.value) != bool(self.reason):
            raise ValueError(f"value is {self.value} and reason {self.reason!r}: NaN and a reason belong together")

    def row(self) -> dict[str, float | int | str]:
        """The fields as a flat dictionary, a row of a table."""
        return asdict(self)


def undefined(reason: str, n: int = 0) -> Result:
    """A metric without a value.

    Args:
        reason: why, in snake case.
        n: how many items there were.

    Example:
        >>> found = undefined("constant_messages", 16)
        >>> found.value, found.n, found.reason
        (nan, 16, 'constant_messages')
    """
    return Result(math.nan, n, reason=reason)


def against_null(
    result: Result, null: ArrayLike, extreme: Literal["high", "low"] = "high", tolerance: float = 1e-12
) -> Result:
    """Puts the metric of shuffled languages beside a result.

    Args:
        result: the metric of the language itself; one without a value comes back as it is.
        null: the metric of shuffled languages, ``[draws]``; NaN draws are left out.
        extreme: whether large values or small ones speak against chance.
        tolerance: values this close count as equal, so that rounding does not make a permutation look extreme.

    Returns:
        A copy with ``null_mean``, ``null_std``, ``p`` and ``draws``.

    Example:
        >>> found = against_null(Result(0.9, n=16), [0.1, 0.3, -0.1])
        >>> round(found.null_mean, 3), round(found.null_std, 3), found.p, found.draws
        (0.1, 0.2, 0.25, 3)
    """
    values: NDArray[np.float64] = np.asarray(null, dtype=float)
    values = values[~np.isnan(values)]
    if result.reason or not len(values):
        return result
    beyond = values >= result.value - tolerance if extreme == "high" else values <= result.value + tolerance
    return replace(
        result,
        null_mean=float(values.mean()),
        null_std=float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        p=(1 + int(beyond.sum())) / (1 + len(values)),
        draws=len(values),
    )


def wilson(correct: NDArray[np.bool_] | NDArray[np.float64]) -> Result:
    """A share with Wilson's 95 % interval.

    Args:
        correct: ``[N]``; or shares in [0, 1], of which the interval is at least as wide as it needs to be.

    Returns:
        The share of true values, 0 to 1; undefined if there is none.

    Example:
        >>> found = wilson(np.array([True] * 8 + [False] * 2))
        >>> found.value, round(found.low, 3), round(found.high, 3)
        (0.8, 0.49, 0.943)
    """
    n = len(correct)
    if not n:
        return undefined("no_items")
    z, share = 1.959963984540054, float(np.mean(correct))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # Exact where rounding would put the share outside its interval.
    return Result(share, n, low=middle - half if share > 0 else 0.0, high=middle + half if share < 1 else 1.0)
