"""Which symbols go with which concepts, and is it more than luck? (metric sheet, M6 and M9).

Adjusted mutual information: Vinh, Epps and Bailey 2010 (JMLR 11). V-measure: Rosenberg and Hirschberg 2007 (EMNLP).
Discounted pointwise mutual information: Pantel and Lin 2002 (KDD).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.metrics.checks import check_concepts, check_messages
from analysis.metrics.result import Result, against_null, undefined
from analysis.metrics.statistics.concept_counts import Scores, adjusted, counted_at_once, scores_of, tally_concepts
from analysis.metrics.statistics.joint_counts import Counted


@dataclass(frozen=True, eq=False)
class Association:
    """How symbols and concepts go together; each number with what shuffled languages score.

    All but ``ami`` are inflated by small samples and many symbols: 128 symbols and 1,000 classes share about 2.54 nats
    by luck in 10,000 tokens. Read them beside ``null_mean``.

    Attributes:
        ami: adjusted mutual information, the headline. At most 1, which is one symbol per concept and one concept per
            symbol; 0 for independent tokens; may be slightly negative.
        v_measure: harmonic mean of the next two, 0 to 1; it equals normalised mutual information.
        homogeneity: 1 - H(C|V) / H(C), 0 to 1; 1 if no symbol is said of two concepts.
        completeness: 1 - H(V|C) / H(V), 0 to 1; 1 if no concept has two symbols, or only one symbol is ever said.
        purity: share of tokens said of the concept that their symbol is most said of; commonest concept's share to 1.
        inverse_purity: share of tokens that are the commonest symbol of their concept; commonest symbol's share to 1.
        mutual_information: I(V; C) in nats, 0 to the smaller entropy.
        synonymy: H(V|C) in nats, 0 to ln V, as of exp H(V|C) equally frequent symbols; low values beat chance.
        polysemy: H(C|V) in nats, 0 to ln C; low values beat chance.
        counts: how often each symbol was said of each concept, int64 ``[V, C]``, of ids up to the largest one there is
            (ids from 65,536 on are numbered anew, `check_messages`).
    """

    ami: Result
    v_measure: Result
    homogeneity: Result
    completeness: Result
    purity: Result
    inverse_purity: Result
    mutual_information: Result
    synonymy: Result
    polysemy: Result
    counts: NDArray[np.int64]


_NAMES = [field.name for field in fields(Association) if field.name != "counts"]


_UNCERTAINTY = ("synonymy", "polysemy")


def association(
    symbols: ArrayLike, mask: ArrayLike, concepts: ArrayLike, *, permutations: int = 100, seed: int = 0
) -> Association:
    """Measures how symbols go with concepts, over all symbols that were said of something known.

    The null gives whole messages to other images: the concepts of an image move together, at their places, as its
    patches are not independent. AMI itself takes tokens for independent, so that where images repeat their symbols even
    a shuffled language scores above 0 (about a third if each of 300 images of 30 classes says three of 128 symbols ten
    times each): what exceeds ``null_mean`` is meaning. Linear in the number of tokens.

    AMI's expectation is exact, as scikit-learn's is, but takes 0.02 s instead of 7 for 128 symbols, 1,000 concepts and
    490,000 tokens: shuffled languages are adjusted as well.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.
        concepts: numbers from 0, of the images ``[N]`` or of what each slot shows ``[N, T]``; -1 where not known, and
            those tokens are left out.
        permutations: shuffled languages.
        seed: seed of the shuffling.

    Returns:
        ``n`` counts tokens. Undefined: ``nothing_said``, ``no_concepts`` (none is known of what was said),
        ``constant_concepts``; ``ami`` alone is ``no_repetition`` if no symbol and no concept occurs twice. A language
        of one symbol has values: AMI, V-measure, homogeneity and information 0, completeness 1.

    Raises:
        ValueError: messages or concepts are malformed.

    Example:
        >>> concepts = np.repeat([0, 1, 2], 4)
        >>> said = np.ones((12, 1), dtype=bool)
        >>> found = association(concepts[:, None] + 5, said, concepts)
        >>> round(found.ami.value, 3), round(found.ami.p, 3), round(found.purity.value, 3)
        (1.0, 0.01, 1.0)
        >>> found = association([[5], [3]] * 6, said, concepts)
        >>> round(found.ami.value, 3), round(found.ami.p, 3), round(found.purity.value, 3)
        (-0.133, 1.0, 0.333)
    """
    return associations(symbols, mask, [concepts], permutations=permutations, seed=seed)[0]


def associations(
    symbols: ArrayLike, mask: ArrayLike, concepts: Sequence[ArrayLike], *, permutations: int = 100, seed: int = 0
) -> list[Association]:
    """`association` with several concepts: the same numbers as one by one, in less time.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.
        concepts: as many as there are, each as in `association`.
        permutations: shuffled languages, the same for all concepts.
        seed: seed of the shuffling.

    Returns:
        One for each concept.

    Raises:
        ValueError: messages or concepts are malformed.

    Example:
        >>> said, concepts = np.ones((12, 1), dtype=bool), [np.repeat([0, 1, 2], 4), np.arange(12) % 2]
        >>> [round(found.purity.value, 3) for found in associations(concepts[0][:, None] + 5, said, concepts)]
        [1.0, 0.5]
    """
    ids, said = check_messages(symbols, mask)
    held = [check_concepts(values, ids.shape) for values in concepts]
    found: dict[int, Association] = {}
    for part in counted_at_once(held):
        tally, counts = tally_concepts(ids, said, [held[at] for at in part])
        tables = tally(slice(None))
        reasons = [_why_not(table, said) for table in tables]
        draws: list[list[Scores]] = [[] for _ in part]
        rng = np.random.default_rng(seed)
        for _ in range(0 if all(reasons) else permutations):
            for table, draw, why in zip(tally(rng.permutation(len(ids))), draws, reasons, strict=True):
                if not why:
                    draw.append(scores_of(table))
        for at, table, draw, why, often in zip(part, tables, draws, reasons, counts, strict=True):
            n = table.total
            values, *null = adjusted([scores_of(table), *draw])
            results = {}
            for i, (name, value) in enumerate(zip(_NAMES, values.tolist(), strict=True)):
                result = undefined(why or "no_repetition", n) if why or np.isnan(value) else Result(value, n)
                side: Literal["low", "high"] = "low" if name in _UNCERTAINTY else "high"
                results[name] = against_null(result, [row[i] for row in null], side)
            found[at] = Association(**results, counts=often)
    return [found[at] for at in range(len(held))]


def _why_not(table: Counted, said: NDArray[np.bool_]) -> str:
    """Why there is nothing to measure; empty if there is."""
    if len(np.unique(table.columns)) > 1:
        return ""
    return "constant_concepts" if table.total else "no_concepts" if said.any() else "nothing_said"


@dataclass(frozen=True)
class Name:
    """A concept that a symbol goes with.

    Attributes:
        concept: its name.
        count: how often the symbol was said of it.
        lift: how many times as often as by luck, above 1.
        score: `shrunk_pmi` in nats, above 0.
    """

    concept: str
    count: int
    lift: float
    score: float


def name_symbols(counts: ArrayLike, names: Sequence[str], top: int = 3) -> list[tuple[Name, ...]]:
    """The concepts that each symbol goes with, best first by `shrunk_pmi`.

    A meaningless language gets names too: `analysis.evaluation.concepts.cells` says which pairs are sure.

    Args:
        counts: of `association`, int ``[V, C]``.
        names: of the concepts, at least C.
        top: how many concepts a symbol gets at most.

    Returns:
        For each of the V symbols, concepts that it is said of more often than by luck, maybe none.

    Raises:
        ValueError: concepts lack names.

    Example:
        >>> for found in name_symbols([[9, 0], [1, 5]], ["sky", "grass"]):
        ...     print([(name.concept, name.count, round(name.lift, 2)) for name in found])
        [('sky', 9, 1.5)]
        [('grass', 5, 2.5)]
    """
    table = np.asarray(counts)
    if len(names) < table.shape[1]:
        raise ValueError(f"{table.shape[1]} concepts have {len(names)} names: give each a name")
    lifts, scores = lift(table), shrunk_pmi(table)
    best = np.argsort(-np.nan_to_num(scores), axis=1, kind="stable")[:, :top]
    return [
        tuple(
            Name(names[c], int(table[v, c]), float(lifts[v, c]), float(scores[v, c])) for c in row if scores[v, c] > 0
        )
        for v, row in enumerate(best)
    ]


def lift(counts: ArrayLike) -> NDArray[np.float64]:
    """p(v, c) / (p(v) p(c)), float ``[V, C]``: 1 is chance, 0 never together; NaN where either never occurs.

    Example:
        >>> lift([[3, 1], [1, 3]]).tolist()
        [[1.5, 0.5], [0.5, 1.5]]
    """
    table = np.asarray(counts, dtype=float)
    margins = table.sum(axis=1, keepdims=True) * table.sum(axis=0)
    return np.divide(table * table.sum(), margins, out=np.full(table.shape, np.nan), where=margins > 0)


def pmi(counts: ArrayLike) -> NDArray[np.float64]:
    """Pointwise mutual information log lift, in nats, ``[V, C]``: 0 is chance, -inf never together; NaN as `lift`.

    Example:
        >>> pmi([[3, 1], [1, 3]]).round(3).tolist()
        [[0.405, -0.693], [-0.693, 0.405]]
        >>> pmi([[2, 0], [0, 2]]).round(3).tolist()
        [[0.693, -inf], [-inf, 0.693]]
    """
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(lift(counts)))


def npmi(counts: ArrayLike) -> NDArray[np.float64]:
    """`pmi` / -log p(v, c), ``[V, C]``, -1 to 1: 0 is chance, -1 never together, 1 never apart; NaN as `lift`.

    Example:
        >>> npmi([[3, 1], [1, 3]]).round(3).tolist()
        [[0.413, -0.333], [-0.333, 0.413]]
        >>> npmi([[2, 0], [0, 2]]).round(3).tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
    """
    table = np.asarray(counts, dtype=float)
    share = table / max(table.sum(), 1)
    # The only symbol and the only concept are by chance what they are: 0 / 0 counts as 0.
    partial = (share > 0) & (share < 1)
    most = -np.log(share, out=np.full_like(share, -1), where=partial)
    return np.where(table == 0, -1 + 0 * lift(table), pmi(table) / most)


def shrunk_pmi(counts: ArrayLike) -> NDArray[np.float64]:
    """`pmi` n / (n + 1) m / (m + 1), with n the count and m the smaller margin, in nats, ``[V, C]``.

    Rare pairs are drawn towards 0, which is chance; those never together have 0. NaN as `lift`.

    Example:
        >>> shrunk_pmi([[1, 0], [0, 1]]).round(3).tolist()
        [[0.173, 0.0], [0.0, 0.173]]
        >>> shrunk_pmi([[99, 0], [0, 99]]).round(3).tolist()
        [[0.679, 0.0], [0.0, 0.679]]
    """
    table, lifts = np.asarray(counts, dtype=float), lift(counts)
    smaller = np.minimum(table.sum(axis=1, keepdims=True), table.sum(axis=0))
    logs = np.log(lifts, out=0 * lifts, where=lifts > 0)
    return np.asarray(logs * shrinkage(table, smaller))


def shrinkage(count: NDArray[np.float64], smaller: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much `shrunk_pmi` leaves of the PMI of pairs, by their counts and smaller margins.

    Example:
        >>> shrinkage(np.array([1.0, 99.0]), np.array([1.0, 99.0])).round(4).tolist()
        [0.25, 0.9801]
    """
    return count / (count + 1) * smaller / (smaller + 1)
