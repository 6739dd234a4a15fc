"""Is a message the sum of one piece for each attribute value? (metric sheet, M3).

Tree reconstruction error: Andreas 2019, "Measuring compositionality in representation learning" (arXiv:1902.07181),
with addition for composition and the squared Euclidean distance. The best pieces then follow from least squares: no
optimiser, no learning rate, always the same result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
# From an order of items to sums over those of each value, some columns at a time.
Sums = Callable[[Order], Iterator[NDArray[np.float64]]]

# Below this share of entries that are not 0, products of sparse matrices are faster: messages spelt out by
# `one_hot_messages` have one such entry per slot.
_SPARSE = 0.1

# Numbers of one array: bounds the memory.
_NUMBERS = 1 << 23

# Two shuffled languages whose explained shares are this close count as equal.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class TreeReconstruction:
    """What `tree_reconstruction_error` measures.

    Attributes:
        error: mean squared distance between a representation and the sum of its pieces, in the squared unit of the
            representations; 0 to their variance. Small values speak against chance.
        explained: 1 less error over variance, free of units, 0 to 1.
    """

    error: Result
    explained: Result


def tree_reconstruction_error(
    attributes: ArrayLike, representations: ArrayLike | sparse.csr_array, *, permutations: int = 100, seed: int = 0
) -> TreeReconstruction:
    """Fits one vector to each value of each attribute such that their sums come closest to the representations.

    Limits: error 0 and share 1 if each attribute adds its part whatever the others are (concatenated one-hot codes);
    the error is the interaction of the attributes otherwise (XOR: 0.25, share 0; one symbol for each cell of a 3 x 3
    grid, one-hot: 4/9, share 1/2). Chance is not 0: K free pieces explain (K - 1) / (N - 1) of anything, which is what
    the null shows. Linear in N, cubic in the number of attribute values.

    Args:
        attributes: of the items, int ``[N, A]``; -1 where not known, and nothing is added for that attribute then.
            Items of which nothing is known are left out.
        representations: one vector per item, ``[N, D]``: embeddings, or messages by `one_hot_messages`; an array, or
            one of SciPy's sparse ones.
        permutations: shuffled languages, in which items swap their attributes.
        seed: seed of the shuffling.

    Returns:
        ``n`` counts the items that are left. Undefined: ``too_few`` items, not more than free pieces, which would
        explain anything; ``no_attributes``, ``constant_attributes``, ``constant_representations``.

    Raises:
        ValueError: representations are not finite numbers ``[N, D]``.

    Example:
        >>> grid = np.array([[a, b] for a in range(3) for b in range(3)])
        >>> messages = one_hot_messages(grid, np.ones((9, 2), dtype=bool))
        >>> round(tree_reconstruction_error(grid, messages).explained.value, 3)
        1.0
        >>> holistic = tree_reconstruction_error(grid, np.eye(9))
        >>> round(holistic.error.value, 3), round(holistic.explained.value, 3)
        (0.444, 0.5)
    """
    points = _check_points(representations)
    values = check_attributes(attributes, range(points.shape[0]))
    known = (values >= 0).any(axis=1)
    reason = _why_not(values, points) or _why_not(values[known], points[known])
    values, points = values[known], points[known]
    if reason:
        return TreeReconstruction(undefined(reason, len(values)), undefined(reason, len(values)))
    design = _design(values)  # [N, 1 + values of all attributes]
    basis = _whitening((design.T @ design).toarray())
    count = len(values)
    if sparse.issparse(points) or np.count_nonzero(points) < _SPARSE * points.size:
        # Taking the mean away would fill a sparse matrix, so it is taken away from the sums of squares.
        held = sparse.csr_array(points, dtype=float)
        mean = float(count * np.square(held.mean(axis=0)).sum())
        variance = (float(held.power(2).sum()) - mean) / count
        countable = (held.data == 1).all() and held.shape[1] * design.shape[1] <= _NUMBERS
        sums = _counted(values, held) if countable else _added_up(design, held)
    else:
        held, mean = points - points.mean(axis=0, dtype=float), 0.0
        variance = float(np.square(held).sum()) / count
        sums = _added_up(design, held)

    def explained(order: Order) -> float:
        share = (sum(float(np.square(block @ basis).sum()) for block in sums(order)) - mean) / (count * variance)
        return min(max(share, 0.0), 1.0)

    rng = np.random.default_rng(seed)
    share = explained(slice(None))
    null = np.array([explained(rng.permutation(count)) for _ in range(permutations)])
    return TreeReconstruction(
        against_null(Result(variance * (1 - share), count), variance * (1 - null), "low", variance * _ROUNDING),
        against_null(Result(share, count), null, "high", _ROUNDING),
    )


def _counted(values: NDArray[np.int64], held: sparse.csr_array) -> Sums:
    """How often each column of zeros and ones is 1, and how often with each value, ``[D, 1 + values]``."""
    codes, widths = [], []
    for column in values.T:
        names, code = coded(column)
        if len(names):
            codes.append(code)
            widths.append(len(names))
    rows, columns = held.nonzero()
    joint = Joint(rows.astype(np.int64), columns.astype(np.int64), held.shape[1], codes, widths)
    ones = np.bincount(columns, minlength=held.shape[1])[:, None]

    def sums(order: Order) -> Iterator[NDArray[np.float64]]:
        yield np.concatenate([ones, *joint.tables(order)], axis=1).astype(float)

    return sums


def _added_up(design: sparse.csr_array, held: NDArray[np.float64] | sparse.csr_array) -> Sums:
    """Sums of each column over all items, and over those of each value, ``[columns, 1 + values]``, some at a time."""
    # Rows of an array are added up faster than those of a sparse matrix.
    left = design.toarray() if math.prod(design.shape) <= _NUMBERS else design
    width = max(1, _NUMBERS // design.shape[1])
    blocks = [held[:, start : start + width].T for start in range(0, held.shape[1], width)]

    def sums(order: Order) -> Iterator[NDArray[np.float64]]:
        shuffled = left[order]
        for block in blocks:
            found = block @ shuffled
            yield found.toarray() if sparse.issparse(found) else found

    return sums


def one_hot_messages(symbols: ArrayLike, mask: ArrayLike) -> NDArray[np.uint8]:
    """Messages spelt out for `tree_reconstruction_error`: per slot, one place for each symbol that occurs there.

    A slot that is ever silent has a place for silence as well, so that every message has one 1 per slot, and the
    squared distance of two messages is twice the number of slots in which they differ.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.

    Returns:
        Zeros and ones, ``[N, D]``: D is the number of different contents of a slot, added up over slots.

    Example:
        >>> one_hot_messages([[4, 0], [7, 0]], [[1, 1], [1, 0]]).tolist()
        [[1, 0, 0, 1], [0, 1, 1, 0]]
    """
    ids, _ = check_messages(symbols, mask)
    codes = [np.unique(slot, return_inverse=True) for slot in ids.T]
    spelt = np.zeros((len(ids), sum(len(names) for names, _ in codes)), dtype=np.uint8)
    start = 0
    for names, code in codes:
        spelt[np.arange(len(ids)), start + code] = 1
        start += len(names)
    return spelt


def _spelt(ids: NDArray[np.int64]) -> sparse.csr_array:
    """The same messages as `one_hot_messages`, in memory that does not grow with the vocabulary."""
    span = int(ids.max(initial=-1)) + 2
    places = np.arange(ids.shape[1]) * span + ids + 1
    names, codes = np.unique(places, return_inverse=True)
    ends = np.arange(len(ids) + 1) * ids.shape[1]
    return sparse.csr_array((np.ones(ids.size), codes.reshape(-1), ends), shape=(len(ids), len(names)))


def _check_points(representations: ArrayLike | sparse.csr_array) -> NDArray[np.generic] | sparse.csr_array:
    if sparse.issparse(representations):
        points = sparse.csr_array(representations)
        if not np.isfinite(points.data).all():
            raise ValueError("some representations are not finite: leave those items out")
        return points
    points = np.asarray(representations)
    if points.ndim != 2:
        raise ValueError(f"expected representations [N, D], got shape {points.shape}: flatten them")
    if not np.isfinite(points).all():
        raise ValueError("some representations are not finite: leave those items out")
    return points


def _why_not(values: NDArray[np.int64], points: NDArray[np.generic] | sparse.csr_array) -> str:
    """Why there is nothing to fit; empty if there is."""
    unfit = why_unfit(values)
    if unfit:
        return unfit
    pieces = 1 + sum(len(np.unique(column)) - 1 for column in values.T)
    if len(values) <= pieces:
        return "too_few"
    if sparse.issparse(points):
        apart = points.max(axis=0).toarray() != points.min(axis=0).toarray()
        return "" if apart.any() else "constant_representations"
    return "constant_representations" if (points == points[0]).all() else ""


def _design(values: NDArray[np.int64]) -> sparse.csr_array:
    """Ones for the mean and for the value of each attribute that is known, ``[N, 1 + values]``."""
    count = len(values)
    rows, columns, width = [np.arange(count)], [np.zeros(count, dtype=np.int64)], 1
    for column in values.T:
        known = np.flatnonzero(column >= 0)
        names, codes = np.unique(column[known], return_inverse=True)
        rows.append(known)
        columns.append(width + codes)
        width += len(names)
    places = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array((np.ones(len(places[0])), places), shape=(count, width))


def _whitening(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """B with B B' the pseudo-inverse of the normal equations' left side, which no shuffle of items changes."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > values[-1] * len(gram) * np.finfo(float).eps
    found: NDArray[np.float64] = vectors[:, kept] / np.sqrt(values[kept])
    return found


def _rows(corpus: Corpus, permutations: int, seed: int) -> Iterator[tuple[str, str, Result]]:
    if corpus.attributes is not None:
        messages = _spelt(check_messages(corpus.symbols, corpus.mask)[0])
        tree = tree_reconstruction_error(corpus.attributes, messages, permutations=permutations, seed=seed)
        yield "tree_reconstruction_explained", "", tree.explained
        yield "tree_reconstruction_error", "", tree.error


FAMILY = Family(
    "structure",
    {
        "tree_reconstruction_explained": Term(
            "explained by attributes",
            "The share of all differences between messages that one fixed piece per attribute value explains.",
            0,
            1,
        ),
        "tree_reconstruction_error": Term(
            "tree reconstruction error",
            "How much of a message is not the sum of one fixed piece per attribute value: 0 if it is exactly that sum.",
            0,
            math.inf,
            "squared distance",
        ),
    },
    _rows,
)
