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


def check_messages(symbols: ArrayLike, mask: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Arrays of messages as every metric takes them, silent slots blanked to -1: what they held cannot matter.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.

    Raises:
        ValueError: the shapes differ, or a spoken id is negative.
    """
    ids, said = np.asarray(symbols), np.asarray(mask, dtype=bool)
    if ids.shape != said.shape or ids.ndim != 2:
        raise ValueError(f"expected symbols and mask of one shape [N, T], got {ids.shape} and {said.shape}")
    if ids.dtype.kind not in "iu":
        raise ValueError(f"symbols are of type {ids.dtype}: metrics take hard messages, integer ids")
    if (ids[said] < 0).any():
        raise ValueError(f"a spoken symbol is {ids[said].min()}: ids count from 0, silence belongs in the mask")
    return np.where(said, ids, -1).astype(np.int64), said
