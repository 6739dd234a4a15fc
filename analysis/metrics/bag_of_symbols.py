"""Can the class of an image be told from which symbols were said of it? (metric sheet, P4).

Bags of symbols, weighted as in text classification: Rennie et al. 2003, "Tackling the poor assumptions of naive Bayes
text classifiers" (ICML), as the PatchGame paper does in section 2.

One file, because the classifiers and what they score on shuffled labels share their folds and their counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from analysis.metrics.checks import check_attributes, check_messages
from analysis.metrics.result import Result, against_null, undefined

_NEIGHBOURS = 20

# How many images classifiers learn from and are asked about, unless it is said.
MAX_ITEMS = 5000

# Shuffled labels hardly move the weights, so that a few steps of Newton's method with the curvature of the start lead
# to scikit-learn's optimum; where these do not, scikit-learn is asked.
_STEPS = 30
# The largest gradient of the mean loss at which scikit-learn stops as well, and a stricter one.
_GRADIENT, _STRICT = 1e-4, 1e-6
# With more weights than this (symbols times classes) even one scikit-learn takes minutes, and all are learnt in steps.
_WEIGHTS = 1 << 21
# Up to so many symbols their correlations are worth an eigendecomposition for each fold.
_TURNED = 1024

# From labels [N], and whether they are shuffled, to what each of the three classifiers says of the items held out,
# [3, items].
Predict = Callable[[NDArray[np.int64], bool], NDArray[np.int64]]


@dataclass(frozen=True)
class Classification:
    """How often simple classifiers name the class of an unseen image, 0 to 1; ``n`` counts images.

    Attributes:
        naive_bayes: complement naive Bayes on TF-IDF.
        nearest_neighbours: vote of the 20 training messages with the largest cosine of TF-IDF, weighted by it.
        logistic_regression: on TF-IDF.
        chance: share of the largest class, what a guess scores that has seen no message; NaN if undefined.
        silent: images of which nothing was said; for them the largest class is guessed, as for those of which nothing
            was said that occurs in training.
    """

    naive_bayes: Result
    nearest_neighbours: Result
    logistic_regression: Result
    chance: float = math.nan
    silent: int = 0


def bag_of_symbols_classification(
    symbols: ArrayLike,
    mask: ArrayLike,
    labels: ArrayLike,
    *,
    folds: int = 5,
    permutations: int = 20,
    max_items: int = MAX_ITEMS,
    seed: int = 0,
) -> Classification:
    """Cross-validated accuracy of three classifiers that see how often each symbol was said, in whatever order.

    Each image is classified once, by classifiers that were trained on the other folds; inverse document frequencies
    come from these as well. The null shuffles labels among the images of a fold, so that each fold keeps its classes,
    and trains again. Its mean is below ``chance`` for classifiers that do not lean to the largest class. Shuffled
    labels are learnt by a solver of their own, which is quick because there is little to learn, down to the gradient
    at which scikit-learn's stops; the two differ in what they say of few images in a thousand, as scikit-learn differs
    from a stricter one of itself. More than two million weights, symbols times classes, are always learnt by it.

    Limits: 1 if each class has a symbol of its own. A class of one image is never named.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.
        labels: int ``[N]``; images of label -1 are left out.
        folds: of equal size and with equal shares of each class, as far as possible; at least 2.
        permutations: shuffled labellings.
        max_items: how many images it rests on at most, drawn without replacement.
        seed: seed of the sample, the folds and the shuffling.

    Returns:
        Undefined: ``no_labels``, ``too_few_items`` (below 2), ``constant_labels``, ``nothing_said``.

    Raises:
        ValueError: messages or labels are malformed, or there are fewer than two folds.

    Example:
        >>> classes = np.arange(40) % 2
        >>> said = np.ones((40, 1), dtype=bool)
        >>> found = bag_of_symbols_classification(classes[:, None] + 7, said, classes, permutations=4)
        >>> found.naive_bayes.value, found.chance, found.naive_bayes.p
        (1.0, 0.5, 0.2)
        >>> one_word = bag_of_symbols_classification(np.full((40, 1), 7), said, classes, permutations=0)
        >>> one_word.naive_bayes.value
        0.5
    """
    ids, said = check_messages(symbols, mask)
    if folds < 2:
        raise ValueError(f"folds is {folds}: one part is tested and the others train, so use at least 2")
    if np.shape(labels) != ids.shape[:1]:
        raise ValueError(f"expected labels of shape {ids.shape[:1]}, got {np.shape(labels)}")
    known = check_attributes(np.asarray(labels)[:, None], ids)[:, 0]
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(known >= 0)
    if len(rows) > max_items:
        rows = np.sort(rng.choice(rows, max_items, replace=False))
    n = len(rows)
    names, classes = np.unique(known[rows], return_inverse=True)
    if reason := _unfit(n, len(ids), len(names), bool(said[rows].any())):
        return Classification(undefined(reason, n), undefined(reason, n), undefined(reason, n))
    counts = _bags(ids[rows], said[rows])
    fold = _folds(classes, folds, rng)
    parts = [np.flatnonzero(fold == i) for i in range(fold.max() + 1)]
    predictors = [_train(counts, np.flatnonzero(fold != i), part) for i, part in enumerate(parts)]

    def accuracies(of_items: NDArray[np.int64], shuffled: bool) -> NDArray[np.float64]:
        right = [predict(of_items, shuffled) == of_items[part] for predict, part in zip(predictors, parts, strict=True)]
        return np.concatenate(right, axis=1).mean(axis=1)

    null = []
    for _ in range(permutations):
        shuffled = classes.copy()
        for part in parts:
            shuffled[part] = rng.permutation(shuffled[part])
        null.append(accuracies(shuffled, True))
    bayes, nearest, logistic = (
        against_null(Result(float(value), n), [draw[i] for draw in null])
        for i, value in enumerate(accuracies(classes, False))
    )
    largest, silent = float(np.bincount(classes).max() / n), int((~said[rows].any(axis=1)).sum())
    return Classification(bayes, nearest, logistic, largest, silent)


def held_out_classification(
    symbols: ArrayLike, mask: ArrayLike, labels: ArrayLike, held_out: ArrayLike
) -> Classification:
    """The same three classifiers, trained on the messages of some images and asked about those of others.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.
        labels: int ``[N]``; images of label -1 are left out.
        held_out: bool ``[N]``, the images to ask about.

    Returns:
        Shares of those images, without a null; ``chance`` is the share of the class that is largest in training.
        Undefined: ``no_labels``, ``too_few_items``, ``constant_labels``, ``nothing_said``.

    Raises:
        ValueError: messages or labels are malformed, or no image is left to train on or to ask about.

    Example:
        >>> classes = np.arange(40) % 2
        >>> said = np.ones((40, 1), dtype=bool)
        >>> found = held_out_classification(classes[:, None] + 7, said, classes, np.arange(40) >= 30)
        >>> found.logistic_regression.value, found.logistic_regression.n, found.chance
        (1.0, 10, 0.5)
    """
    ids, said = check_messages(symbols, mask)
    asked = np.asarray(held_out)
    if asked.shape != ids.shape[:1] or asked.dtype != bool or np.shape(labels) != asked.shape:
        raise ValueError(
            f"expected labels and a boolean held_out of shape {ids.shape[:1]}, got {np.shape(labels)}, "
            f"{asked.shape} of {asked.dtype}"
        )
    known = check_attributes(np.asarray(labels)[:, None], ids)[:, 0]
    rows = np.flatnonzero(known >= 0)
    n = int(asked[rows].sum())
    if len(rows) and n in (0, len(rows)):
        raise ValueError(f"{len(rows) - n} images with a label to train on and {n} to ask about: there must be both")
    names, classes = np.unique(known[rows], return_inverse=True)
    if reason := _unfit(len(rows), len(ids), len(names), bool(said[rows].any())):
        return Classification(undefined(reason, n), undefined(reason, n), undefined(reason, n))
    train, test = np.flatnonzero(~asked[rows]), np.flatnonzero(asked[rows])
    predicted = _train(_bags(ids[rows], said[rows]), train, test)(classes, False)
    shares = (predicted == classes[test]).mean(axis=1)
    bayes, nearest, logistic = (Result(float(share), n) for share in shares)
    chance = float((classes[test] == np.bincount(classes[train]).argmax()).mean())
    return Classification(bayes, nearest, logistic, chance, int((~said[rows][test].any(axis=1)).sum()))


def _unfit(known: int, items: int, classes: int, anything_said: bool) -> str:
    if items and not known:
        return "no_labels"
    if known < 2:
        return "too_few_items"
    return "constant_labels" if classes < 2 else "" if anything_said else "nothing_said"


def _bags(ids: NDArray[np.int64], said: NDArray[np.bool_]) -> csr_array:
    """How often each symbol in use occurs in each message, ``[N, V]``."""
    symbols, words = np.unique(ids[said], return_inverse=True)
    entries = (np.ones(said.sum()), (np.nonzero(said)[0], words.reshape(-1)))
    return csr_array(entries, shape=(len(ids), len(symbols)))


def _folds(classes: NDArray[np.int64], folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Deals the items of each class, in random order, to the folds in turn, ``[N]``.

    Scikit-learn's stratified folds refuse classes with fewer items than there are folds.
    """
    order = np.lexsort((rng.random(len(classes)), classes))
    fold = np.empty_like(classes)
    fold[order] = np.arange(len(classes)) % folds
    return fold


def _train(counts: csr_array, train: NDArray[np.int64], test: NDArray[np.int64]) -> Predict:
    """Whatever does not depend on labels is done once."""
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import NearestNeighbors

    # Of a symbol that was never said in training nothing is known; naive Bayes would hold it for a sign of each class.
    known = np.flatnonzero(counts[train].sum(axis=0))
    counts = counts[:, known if len(known) else [0]]
    weighting = TfidfTransformer().fit(counts[train])
    seen, unseen = (csr_array(weighting.transform(counts[rows])) for rows in (train, test))
    spoken = np.diff(unseen.indptr) > 0
    teachers = np.flatnonzero(np.diff(seen.indptr) > 0)
    able = bool(len(teachers)) and bool(spoken.any())
    asked = unseen[spoken]
    if able:
        stepwise = _Logistic(seen, asked)
        search = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(teachers)), metric="cosine", algorithm="brute")
        far, nearest = search.fit(seen[teachers]).kneighbors(asked)

    def predict(classes: NDArray[np.int64], shuffled: bool) -> NDArray[np.int64]:
        taught = classes[train]
        said = np.full((3, len(test)), np.bincount(taught).argmax())
        if able and taught.min() < taught.max():
            many = seen.shape[1] * len(np.unique(taught)) > _WEIGHTS
            found = stepwise.predict(taught, _GRADIENT if shuffled else _STRICT) if shuffled or many else None
            if found is None:
                found = LogisticRegression(max_iter=1000).fit(seen, taught).predict(asked)
            said[0, spoken] = _naive_bayes(seen, taught, asked)
            said[1, spoken] = _vote(taught[teachers][nearest], 1 - far)
            said[2, spoken] = found
        return said

    return predict


class _Logistic:
    """Scikit-learn's logistic regression (C = 1) for labels that have little to do with the items.

    At the start all items have the shares of the classes for probabilities, and the curvature is the same for all: of
    class c, its share times the covariance of the items plus the penalty. Steps with it need no line search and
    converge fast as long as the probabilities stay near these shares.
    """

    def __init__(self, seen: csr_array, unseen: csr_array) -> None:
        """Whatever does not depend on labels: items and, if there are few symbols, the axes of their covariance.

        Args:
            seen: items to learn from, ``[N, V]``.
            unseen: items to ask about, ``[M, V]``.
        """
        self.seen, self.unseen = csr_array(seen, dtype=np.float32), csr_array(unseen, dtype=np.float32)
        self.mean = self.seen.mean(axis=0)
        if seen.shape[1] <= _TURNED:
            near = seen.toarray() - self.mean
            spread, axes = np.linalg.eigh(near.T @ near)
            self.spread = np.maximum(spread, 0).astype(np.float32)
            self.seen, self.unseen = (x.toarray() @ axes.astype(np.float32) for x in (self.seen, self.unseen))
            self.mean = self.mean @ axes.astype(np.float32)
        else:
            # So many symbols overlap little: their variances alone do.
            self.spread = self.seen.power(2).sum(axis=0) - self.seen.shape[0] * self.mean**2

    def predict(self, classes: NDArray[np.int64], gradient: float) -> NDArray[np.int64] | None:
        """The most probable class of each unseen item; None if the steps do not converge to this gradient."""
        names, codes = np.unique(classes, return_inverse=True)
        n, items = len(codes), np.arange(len(codes))
        share = (np.bincount(codes) / n).astype(np.float32)
        weights, constant = np.zeros((len(self.spread), len(names)), dtype=np.float32), np.log(share)
        curvature = share * self.spread[:, None] + 1
        errors = np.repeat(share[None], n, axis=0)
        for _ in range(_STEPS):
            errors[items, codes] -= 1
            off = errors.sum(axis=0)
            # Items less their mean: constants then have nothing to do with weights.
            slope = self.seen.T @ errors
            slope += weights
            slope -= np.outer(self.mean, off)
            if max(slope.max(), -slope.min(), np.abs(off).max()) <= gradient * n:
                scores = self.unseen @ weights + (constant - self.mean @ weights)
                return np.asarray(names[scores.argmax(axis=1)])
            slope /= curvature
            weights -= slope
            constant = constant - off / (n * share)
            errors = self.seen @ weights
            errors += constant - self.mean @ weights
            errors -= errors.max(axis=1, keepdims=True)
            np.exp(errors, out=errors)
            errors /= errors.sum(axis=1, keepdims=True)
        return None


def _naive_bayes(seen: csr_array, classes: NDArray[np.int64], unseen: csr_array) -> NDArray[np.int64]:
    """What scikit-learn's `ComplementNB` says of the unseen items.

    A class's weight of a symbol is the logarithm of how often the others say it: that of all, but for the symbols that
    the class says itself. So the table of weights need not be filled.
    """
    names, codes = np.unique(classes, return_inverse=True)
    members = csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(len(names), len(codes)))
    own = members @ seen
    every = np.asarray(seen.sum(axis=0)).ravel() + 1
    rest = np.log(every.sum() - own.sum(axis=1))
    own.data = np.log1p(-own.data / every[own.indices])
    scores = np.outer(unseen.sum(axis=1), rest) - (unseen @ own.T).toarray()
    return np.asarray(names[scores.argmax(axis=1)])


def _vote(classes: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """The class with the largest weight in each row of ``[items, neighbours]``; the first one among equals."""
    width = int(classes.max()) + 1
    cells = np.arange(len(classes))[:, None] * width + classes
    votes = np.bincount(cells.ravel(), weights=weights.ravel(), minlength=len(classes) * width)
    return np.asarray(votes.reshape(-1, width).argmax(axis=1))
