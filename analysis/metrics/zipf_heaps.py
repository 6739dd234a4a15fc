"""Do few symbols do most of the work, and do new ones keep turning up? Zipf's and Heaps' laws (metric sheet, M10)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from analysis.corpus.corpus import Corpus
from analysis.metrics.checks import check_messages
from analysis.metrics.family import Family, Term
from analysis.metrics.result import Result, undefined

# Both laws bend when the vocabulary runs out, so nothing is fitted to fewer tokens per symbol than this.
TOKENS_PER_SYMBOL = 10

# Points on the curve of Heaps' law, evenly spaced on a logarithmic scale.
_POINTS = 50

_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True, eq=False)
class Zipf:
    """What `zipf` measures; ``n`` of each result counts the symbols said.

    Attributes:
        counts: how often each active symbol was said, from the most frequent, int64 ``[V]``: rank r is at ``r - 1``.
        exponent: the number to report: s of the power law p(rank) ~ rank**-s over the V ranks, by maximum likelihood
            with a 95 % interval from its curvature; 0 (uniform) or more, about 1 for human texts.
        slope: the line to draw: least squares of log count against log rank; 0 or less. Rare symbols, of which there
            are many, weigh most in it.
        r_squared: share of the variance of log count on that line, 0 to 1.
    """

    counts: NDArray[np.int64]
    exponent: Result
    slope: Result
    r_squared: Result


@dataclass(frozen=True, eq=False)
class Heaps:
    """What `heaps` measures; ``n`` of each result counts the symbols said.

    Attributes:
        tokens: how much has been read at each point of the curve, int64 ``[points]``.
        types: how many different symbols had turned up by then, int64 ``[points]``.
        exponent: beta of types = K tokens**beta, 0 to 1: 1 if every symbol is new, 0 once all are known.
        coefficient: K, above 0.
        r_squared: share of the variance of log types on that line, 0 to 1.
    """

    tokens: NDArray[np.int64]
    types: NDArray[np.int64]
    exponent: Result
    coefficient: Result
    r_squared: Result


def zipf(symbols: ArrayLike, mask: ArrayLike) -> Zipf:
    """Fits Zipf's law to the frequencies of symbols.

    Limits: exponent 0 and slope 0 if all are equally frequent; 1 and -1 for counts 60, 30, 20, 15, 12. There is no
    shuffled language to compare with: shuffling changes no count. Symbols drawn uniformly score above 0, since ranks
    come from the same counts (0.10 for 10,000 tokens of 128 symbols); the interval does not know of that.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``; silence does not count.

    Returns:
        Undefined: ``all_silent``, ``single_symbol``, ``too_few_tokens`` (under 10 per active symbol); ``r_squared``
        also with ``equal_counts``.
    """
    ids, said = check_messages(symbols, mask)
    counts = np.sort(np.unique(ids[said], return_counts=True)[1])[::-1].astype(np.int64)
    total = int(counts.sum())
    reason = _why_not(counts)
    if reason:
        nothing = undefined(reason, total)
        return Zipf(counts, nothing, nothing, nothing)
    ranks = np.log(np.arange(1.0, len(counts) + 1))
    slope, _, fit = _line(ranks, np.log(counts))
    r_squared = undefined("equal_counts", total) if np.isnan(fit) else Result(fit, total)
    return Zipf(counts, _power_law(counts, ranks), Result(slope, total), r_squared)


def heaps(symbols: ArrayLike, mask: ArrayLike, *, seed: int = 0) -> Heaps:
    """Fits Heaps' law: how the number of different symbols grows as more is read, in random order.

    Limits: 1 while every symbol is new, 0 once none is. A vocabulary of V symbols is soon used up, and the curve bends.
    All symbols are put in one random order, so that only their counts matter, not which messages they were said in.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``; silence does not count.
        seed: of the order.

    Returns:
        Undefined: ``all_silent``, ``single_symbol``, ``too_few_tokens`` (under 10 per active symbol).
    """
    ids, said = check_messages(symbols, mask)
    counts = np.sort(np.unique(ids[said], return_counts=True)[1])
    total = int(counts.sum())
    order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    new = np.zeros(total, dtype=np.int64)
    new[np.unique(order, return_index=True)[1]] = 1
    tokens = np.unique(np.geomspace(1, total, _POINTS).round().astype(np.int64)) if total else new
    types = np.cumsum(new)[tokens - 1]
    reason = _why_not(counts)
    if reason:
        nothing = undefined(reason, total)
        return Heaps(tokens, types, nothing, nothing, nothing)
    slope, constant, fit = _line(np.log(tokens), np.log(types))
    return Heaps(tokens, types, Result(slope, total), Result(float(np.exp(constant)), total), Result(fit, total))


def _why_not(counts: NDArray[np.int64]) -> str:
    """Why a law cannot be fitted; empty if it can."""
    if len(counts) < 2:
        return "single_symbol" if len(counts) else "all_silent"
    return "" if counts.sum() >= TOKENS_PER_SYMBOL * len(counts) else "too_few_tokens"


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float]:
    """Slope, constant and explained share of variance of a least-squares line; the share is NaN for constant ``y``."""
    x_off, y_off = x - x.mean(), y - y.mean()
    if (y == y[0]).all():
        return 0.0, float(y[0]), float("nan")
    slope = float((x_off * y_off).sum() / np.square(x_off).sum())
    left = np.square(y_off - slope * x_off).sum() / np.square(y_off).sum()
    return slope, float(y.mean() - slope * x.mean()), float(1 - left)


def _power_law(counts: NDArray[np.int64], ranks: NDArray[np.float64]) -> Result:
    """The exponent whose mean log rank is the observed one: there the likelihood, which is concave, is largest."""
    total = int(counts.sum())
    observed = float((counts * ranks).sum() / total)

    def share(exponent: float) -> NDArray[np.float64]:
        weights = np.exp(-exponent * ranks)
        found: NDArray[np.float64] = weights / weights.sum()
        return found

    def excess(exponent: float) -> float:
        return float((share(exponent) * ranks).sum()) - observed

    # Counts fall with rank, so the exponent is 0 at least; rounding may put equal counts a hair below.
    high = 1.0
    while excess(high) > 0:
        high *= 2
    exponent = float(brentq(excess, 0.0, high, xtol=1e-13)) if excess(0.0) > 0 else 0.0
    spread = (share(exponent) * np.square(ranks)).sum() - observed**2
    margin = float(_NORMAL_95 / np.sqrt(total * spread))
    return Result(exponent, total, low=exponent - margin, high=exponent + margin)


def _rows(corpus: Corpus, permutations: int, seed: int) -> Iterator[tuple[str, str, Result]]:
    laws = zipf(corpus.symbols, corpus.mask)
    yield "zipf_exponent", "", laws.exponent
    yield "zipf_slope", "", laws.slope
    yield "heaps_exponent", "", heaps(corpus.symbols, corpus.mask, seed=seed).exponent


FAMILY = Family(
    "texts",
    {
        "zipf_exponent": Term(
            "Zipf exponent",
            "The power law that fits the symbol frequencies best: about 1 in human texts.",
            0,
            math.inf,
        ),
        "zipf_slope": Term(
            "Zipf slope",
            "How steeply frequency falls with rank when both are on logarithmic scales: about -1 in human texts, "
            "0 if all symbols are equally frequent.",
            -math.inf,
            0,
            "",
            ("any", "0"),
        ),
        "heaps_exponent": Term(
            "Heaps exponent",
            "How fast new symbols keep turning up as more is read: 1 if every symbol is new, 0 once all are known.",
            0,
            1,
        ),
    },
    _rows,
)
