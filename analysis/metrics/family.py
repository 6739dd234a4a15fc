"""How a family of metrics says for itself what it measures: its terms, and what of a corpus it is applied to.

A module in `analysis.metrics` with a ``FAMILY`` is in the table, the report and the glossary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from analysis.corpus.corpus import Corpus
from analysis.metrics.result import Result

GROUPS = ["success", "usage", "concepts", "structure", "meaning", "texts", "signals", "patches"]
"""The groups of the table, in its order."""


@dataclass(frozen=True)
class Term:
    """A metric, explained.

    Attributes:
        name: as a reader sees it.
        meaning: one sentence that needs no other.
        low: the least that it can be.
        high: the most; infinite where nothing bounds it.
        unit: of the value; empty where it has none.
        limits: what low and high are called where they depend on the language (``"V"``); empty: their numbers.
    """

    name: str
    meaning: str
    low: float
    high: float
    unit: str = ""
    limits: tuple[str, str] = ("", "")

    @property
    def range(self) -> str:
        """As text: ``0 to 1``."""
        low, high = (given or f"{value:g}" for given, value in zip(self.limits, (self.low, self.high), strict=True))
        return f"{low} or more" if high == "inf" else f"{low} to {high}"


@dataclass(frozen=True)
class Family:
    """Metrics that are measured together.

    Attributes:
        group: of the table, one of `GROUPS`.
        terms: name of a metric -> what it means.
        rows: of a corpus, permutations and a seed: (metric, what it is about or empty, result) for each number; nothing
            where the corpus lacks the data.
    """

    group: str
    terms: dict[str, Term]
    rows: Callable[[Corpus, int, int], Iterator[tuple[str, str, Result]]]

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise ValueError(f"group {self.group!r}: the table has {', '.join(GROUPS)}")
