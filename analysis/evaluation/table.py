"""Every metric that a corpus has the data for, as one table: a row per number, with what shuffled languages score."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from itertools import chain

import numpy as np
import pandas as pd

from analysis.corpus.color_codes import color_codes
from analysis.corpus.corpus import Corpus
from analysis.evaluation import metric_groups as groups
from analysis.evaluation.glossary import GLOSSARY
from analysis.evaluation.likenesses import likenesses
from analysis.evaluation.rows import COLUMNS, Row
from analysis.metrics.family import GROUPS

__all__ = ["COLUMNS", "GLOSSARY", "GROUPS", "measure"]


def measure(
    corpus: Corpus, *, permutations: int = 100, seed: int = 0, say: Callable[[str], object] = lambda line: None
) -> pd.DataFrame:
    """Measures a language.

    What the corpus lacks the data for is left out; what has no value for another reason has a row that says the reason.

    Args:
        corpus: the record of a language.
        permutations: shuffled languages behind every p, at least 0; the smallest p is 1 / (1 + permutations). Of
            classifiers, which are trained anew for each, at most 20.
        seed: seed of the shuffling.
        say: is told, a line each, what is measured next.

    Returns:
        A row per number. ``group``: success, usage, concepts, structure, meaning, texts, signals, patches;
        ``metric``: a key of `analysis.evaluation.glossary.GLOSSARY`; ``of``: which concept, distance or rival it is
        about, or empty; ``value``, NaN only with a ``reason``; ``chance``: what a guess scores, where that is known
        beforehand; ``null_mean``, ``null_std``, ``p`` and ``draws``: shuffled languages; ``low`` and ``high``: a 95 %
        interval; ``n``: items.

    Example:
        >>> attributes = np.array([[a, b] for a in range(4) for b in range(4)])
        >>> symbols = attributes + np.array([0, 4])
        >>> corpus = Corpus(symbols, np.ones_like(symbols, dtype=bool), vocab_size=8, attributes=attributes)
        >>> table = measure(corpus, permutations=19).set_index("metric")
        >>> float(table.loc["active_symbols", "value"])
        8.0
        >>> round(float(table.loc["topographic_similarity", "value"].iloc[0]), 3)
        1.0
    """
    drawn, corpus = (permutations, seed), corpus.numbered()
    control = cache(lambda: color_codes(corpus, seed=seed))
    alike = cache(lambda: likenesses(corpus, *drawn))
    steps: list[tuple[str, Callable[[], Iterable[Row]]]] = [
        ("success", lambda: groups.success(corpus)),
        ("usage", lambda: groups.vocabulary(corpus)),
        ("concepts", lambda: groups.concepts(corpus, control(), *drawn)),
        ("classes", lambda: groups.classes(corpus, control(), *drawn)),
        ("structure", lambda: groups.structure(alike())),
        ("meaning", lambda: groups.meaning(corpus, alike(), *drawn)),
        ("signals", lambda: groups.signals(corpus, *drawn)),
        ("patches", lambda: groups.patches(corpus, seed)),
        ("further families", lambda: chain(*(groups.of_their_own(group, corpus, *drawn) for group in GROUPS))),
    ]
    rows: list[Row] = []
    for number, (name, found) in enumerate(steps, start=1):
        say(f"measures {name} ({number} of {len(steps)})")
        rows += found()
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"n": np.int64, "draws": np.int64})
    return frame.sort_values("group", key=lambda names: names.map(GROUPS.index), kind="stable", ignore_index=True)
