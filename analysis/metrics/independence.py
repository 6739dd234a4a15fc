"""Has each concept a symbol of its own? (metric sheet, M4).

Context independence: Bogin et al. 2018, "Emergence of communication in an interactive world with consistent speakers"
(arXiv:1809.00549). Translation probabilities: IBM Model 1, Brown et al. 1993.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from analysis.corpus.corpus import Corpus
from analysis.metrics.checks import check_attributes, check_messages
from analysis.metrics.disentanglement import why_unfit
from analysis.metrics.family import Family, Term
from analysis.metrics.result import Result, against_null, undefined
from analysis.metrics.statistics.joint_counts import Joint, coded

Order = NDArray[np.int64] | slice
# p(v|c) and p(c|v), both [V, K].
Shares = tuple[NDArray[np.float64], NDArray[np.float64]]

# Steps of expectation maximisation. On perfect languages with 16 messages the first gives 0.25, ten 0.98 to 1.00.
_STEPS = 10

# Items whose symbols and concepts are looked at at once: what is worked out of them stays in the processor's cache.
_BLOCK = 1024

# Below this share of entries that are not 0, products of sparse matrices are faster than those of full ones.
_SPARSE = 0.2

# In the time in which one of a symbol's concepts is looked up, matrices of zeros and ones are multiplied so often.
_LOOK_UP = 80

# Multiplications that all shuffled languages together may take; where this is too little for all, the null rests on
# fewer, but on as many as those of classifiers at least.
_WORK, _FEWEST = 1 << 39, 20

# Probabilities this close count as equal when the best symbol is chosen.
_ROUNDING = 1e-9


def context_independence(
    symbols: ArrayLike,
    mask: ArrayLike,
    *,
    attributes: ArrayLike,
    estimator: Literal["count", "aligned"] = "count",
    permutations: int = 100,
    seed: int = 0,
) -> Result:
    """Has each concept, one value of one attribute, a symbol that is said of it always and of nothing else?

    The mean over concepts c of p(v|c) p(c|v), where v is the symbol with the largest p(c|v) and among equals the one
    with the largest p(v|c). Order and place of symbols do not count, nor does silence. Linear in N.

    Range 0 to 1. ``count`` estimates from how often symbol and concept occur in the same item, so that a perfect
    language of A attributes scores 1 / A**2: compare it across games with equally many attributes only. ``aligned``
    finds out which concept of the item each symbol is due to (ten steps of IBM Model 1 in both directions, without its
    empty word): a perfect language gets close to 1. Limits: 1 for one attribute with a symbol for each value. Chance
    depends on the vocabulary and the attributes; the null says what it is.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.
        attributes: of the items, int ``[N, A]``; -1 where not known, which is no concept.
        estimator: of the probabilities, ``"count"`` or ``"aligned"``.
        permutations: shuffled languages, in which items swap their attributes. Aligning large corpora takes long: the
            null then rests on fewer, at least 20; ``draws`` says on how many.
        seed: seed of the shuffling.

    Returns:
        ``n`` is N. A concept all of whose items are silent scores 0. Undefined: ``too_few`` items,
        ``no_attributes``, ``constant_attributes``; ``constant_messages`` if all say the same symbols equally often.

    Raises:
        ValueError: there is no such estimator.

    Example:
        >>> grid = np.array([[a, b] for a in range(4) for b in range(4)])
        >>> said = np.ones((16, 2), dtype=bool)
        >>> round(context_independence(grid + [0, 4], said, attributes=grid).value, 3)
        0.25
        >>> round(context_independence(grid + [0, 4], said, attributes=grid, estimator="aligned").value, 3)
        1.0
        >>> drawn = np.random.default_rng(0).integers(8, size=(16, 2))
        >>> round(context_independence(drawn, said, attributes=grid, estimator="aligned").value, 3)
        0.148
    """
    if estimator not in ("count", "aligned"):
        raise ValueError(f"estimator is {estimator!r}: use 'count' or 'aligned'")
    values = check_attributes(attributes, symbols)
    ids, said = check_messages(symbols, mask)
    count = len(ids)
    unfit, words = why_unfit(values), _words(ids, said)
    if unfit or _constant(words):
        return undefined(unfit or "constant_messages", count)
    concepts = _concepts(values)
    rng = np.random.default_rng(seed)
    estimate = _Counted(ids, said, values) if estimator == "count" else _Aligned(words, concepts)
    draws = min(permutations, max(_FEWEST, _WORK // estimate.work))
    null = [_score(*estimate(rng.permutation(count))) for _ in range(draws)]
    return against_null(Result(_score(*estimate(slice(None))), count), null)


def _score(word_given_concept: NDArray[np.float64], concept_given_word: NDArray[np.float64]) -> float:
    """From p(v|c) and p(c|v), both ``[V, K]``."""
    best = concept_given_word.max(axis=0)
    own = np.where(concept_given_word >= best - _ROUNDING, word_given_concept, 0).max(axis=0)
    return float((own * best).mean())


class _Counted:
    """Both probabilities from how often symbol and concept occur in one item, for any order of the items' concepts."""

    work = 1

    def __init__(self, ids: NDArray[np.int64], said: NDArray[np.bool_], values: NDArray[np.int64]) -> None:
        names, words = np.unique(ids[said], return_inverse=True)
        columns = [coded(column) for column in values.T]
        codes, widths = [code for _, code in columns], [len(known) for known, _ in columns]
        self.joint = Joint(np.nonzero(said)[0], words.reshape(-1), len(names), codes, widths)

    def __call__(self, order: Order) -> Shares:
        together = np.concatenate(self.joint.tables(order), axis=1).astype(float)  # [V, K]
        return _shares(together, 0), _shares(together, 1)


class _Aligned:
    """Both probabilities by IBM Model 1, for any order of the items' concepts.

    An item's targets are drawn from its sources, each with the same chance; which one a target is due to is what the
    expectation step guesses. Both directions are a table ``[V, K]`` of symbols and concepts here, and each step needs
    it only where an item has both.
    """

    def __init__(self, words: sparse.csr_array, concepts: sparse.csr_array) -> None:
        self.words, self.concepts = words, concepts
        self.pairs = int(np.diff(words.indptr) @ np.diff(concepts.indptr))
        cells = words.shape[0] * words.shape[1] * concepts.shape[1]
        self.dense = cells <= _LOOK_UP * self.pairs
        # Two directions, and as much to guess as to add up.
        self.work = 1 + 4 * _STEPS * min(cells, _LOOK_UP * self.pairs)

    def __call__(self, order: Order) -> Shares:
        concepts = self.concepts[order] if isinstance(order, np.ndarray) else self.concepts
        if self.dense:
            return _translate(concepts, self.words).T, _translate(self.words, concepts)
        return _look_up(self.words, concepts)


def _translate(sources: sparse.csr_array, targets: sparse.csr_array) -> NDArray[np.float64]:
    """p(target | source) ``[S, G]``, from how often each occurs in each item, ``[N, S]`` and ``[N, G]``."""
    width, few = targets.shape[1], sources.nnz < _SPARSE * math.prod(sources.shape)
    blocks = []
    for start in range(0, sources.shape[0], _BLOCK):
        given, wanted = (x[start : start + _BLOCK] for x in (sources, targets))
        rows = np.repeat(np.arange(wanted.shape[0]), np.diff(wanted.indptr))
        blocks.append((given if few else given.toarray(), rows * width + wanted.indices, wanted.data))
    table = np.full((sources.shape[1], width), 1 / width)
    for _ in range(_STEPS):
        expected = np.zeros_like(table)
        for given, cells, often in blocks:
            # Summed over the item's sources; asked for where the item has the target.
            chance = (given @ table).ravel()[cells]
            # An item without sources: nothing is due to them.
            chance[chance == 0] = np.inf
            due = np.zeros(given.shape[0] * width)
            due[cells] = often / chance
            expected += given.T @ due.reshape(-1, width)
        table = _shares(table * expected, 1)
    return table


def _look_up(words: sparse.csr_array, concepts: sparse.csr_array) -> Shares:
    """`_translate` in both directions, pair by pair of what items have: for large vocabularies."""
    symbols, values = words.shape[1], concepts.shape[1]
    most = int(np.diff(concepts.indptr).max(initial=0))
    # Concepts of each item, padded with one that does not exist.
    held = np.full((concepts.shape[0], most), values)
    held[np.arange(most) < np.diff(concepts.indptr)[:, None]] = concepts.indices
    items, codes = words.nonzero()
    often = words.data
    # [symbols of all items, concepts of the item]
    cells = codes[:, None] * (values + 1) + held[items]
    starts = np.flatnonzero(np.diff(items, prepend=-1))
    spoken = np.cumsum(np.diff(items, prepend=-1) > 0) - 1
    shape = (symbols, values + 1)

    def table(share: float) -> NDArray[np.float64]:
        full = np.full(shape, share)
        full[:, values] = 0
        return full

    def inverse(chance: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.divide(1, chance, out=np.zeros_like(chance), where=chance > 0)

    def collect(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(cells.ravel(), weights.ravel(), symbols * (values + 1)).reshape(shape)

    of_word, of_concept = table(1 / values), table(1 / symbols)
    for _ in range(_STEPS):
        given = often[:, None] * of_word.take(cells)
        due = inverse(np.add.reduceat(given, starts)).take(spoken, axis=0)
        of_word = _shares(of_word * _known(collect(often[:, None] * due)), 1)
        chance = of_concept.take(cells).sum(axis=1)
        of_concept = _shares(of_concept * _known(collect(np.repeat((often * inverse(chance))[:, None], most, 1))), 0)
    return of_concept[:, :values], of_word[:, :values]


def _known(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """A table without what was counted of the concept that does not exist."""
    table[:, -1] = 0
    return table


def _shares(counts: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Counts over their sum along an axis; 0 where there are none."""
    total = counts.sum(axis=axis, keepdims=True)
    return np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)


def _words(ids: NDArray[np.int64], said: NDArray[np.bool_]) -> sparse.csr_array:
    """How often each symbol occurs in each message, ``[N, V]``."""
    names, codes = np.unique(ids[said], return_inverse=True)
    places = (np.nonzero(said)[0], codes)
    return sparse.csr_array((np.ones(len(codes)), places), shape=(len(ids), len(names)))


def _concepts(values: NDArray[np.int64]) -> sparse.csr_array:
    """Which values of which attributes each item has, ``[N, K]``."""
    known = values >= 0
    items, columns = np.nonzero(known)
    names, codes = np.unique(np.stack([columns, values[known]]), axis=1, return_inverse=True)
    return sparse.csr_array((np.ones(len(items)), (items, codes.ravel())), shape=(len(values), names.shape[1]))


def _constant(counts: sparse.csr_array) -> bool:
    """Whether all items have the same, or there is nothing to have."""
    return counts.shape[1] == 0 or bool((counts.max(axis=0).toarray() == counts.min(axis=0).toarray()).all())


def _rows(corpus: Corpus, permutations: int, seed: int) -> Iterator[tuple[str, str, Result]]:
    ways: dict[str, Literal["count", "aligned"]] = {"counted": "count", "aligned": "aligned"}
    if corpus.attributes is not None:
        for of, estimator in ways.items():
            found = context_independence(
                corpus.symbols,
                corpus.mask,
                attributes=corpus.attributes,
                estimator=estimator,
                permutations=permutations,
                seed=seed,
            )
            yield "context_independence", of, found


FAMILY = Family(
    "structure",
    {
        "context_independence": Term(
            "context independence",
            "Whether each attribute value has a symbol of its own that is said of it always and of nothing else; if "
            "counted, a perfect language of A attributes has 1 / A squared.",
            0,
            1,
        ),
    },
    _rows,
)
