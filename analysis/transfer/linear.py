"""A linear classifier on frozen features, beside k-NN in Table 1."""

from __future__ import annotations

import numpy as np
import torch

from analysis.transfer.features import Features
from analysis.transfer.knn import Accuracy, accuracy, renumbered
from patchgame_egg.counted import counted

# Weights of the mean loss beside half the sum of squared coefficients, the strongest regularisation first. Scikit-learn
# weighs the sum of losses, and with one C for sets of all sizes a handful of images would teach nothing.
STRENGTHS = (10.0, 100.0, 1000.0, 10000.0)


def linear_probe(train: Features, test: Features, *, seed: int = 0, iterations: int = 2000) -> Accuracy:
    """Accuracy of multinomial logistic regression on standardised features.

    Features are standardised by the training images' mean and spread. The strength of its regularisation is chosen on
    a tenth of the training images, as much of every class as can be; then it is trained on all of them.

    Args:
        train: images to learn from; those without a class are left out.
        test: images asked about; those without a class are left out.
        seed: seed of the choice of that tenth.
        iterations: how many steps of L-BFGS at most.

    Raises:
        ValueError: no image has a class, there is only one class to learn, features are not finite, or widths differ.

    Example:
        >>> classes = torch.arange(40) % 2
        >>> telling, blind = (Features(values, classes) for values in (torch.eye(2)[classes], torch.ones(40, 2)))
        >>> found = linear_probe(telling, telling)
        >>> found.top1, found.chance_top1
        (1.0, 0.5)
        >>> linear_probe(blind, blind).top1
        0.5
    """
    from sklearn.linear_model import LogisticRegression

    train, test = train.labelled(), test.labelled()
    if len(train.labels.unique()) < 2:
        raise ValueError("all training images are of one class: there is nothing to tell apart")
    if train.values.shape[1] != test.values.shape[1]:
        raise ValueError(f"features of {train.values.shape[1]} and {test.values.shape[1]} numbers: take one network's")
    train, test, classes = renumbered(train, test)
    # In float64 the spread of a feature that never changes is exactly 0.
    mean, spread = train.values.double().mean(dim=0), train.values.double().std(dim=0)
    spread[spread == 0] = 1
    seen, asked = (((x.values - mean) / spread).float().numpy() for x in (train, test))
    labels = train.labels.numpy()

    def fit(rows: np.ndarray, strength: float) -> LogisticRegression:
        return LogisticRegression(C=strength / len(rows), max_iter=iterations, tol=1e-3).fit(seen[rows], labels[rows])

    order, held = stratified_tenth(labels, seed)
    rest = np.setdiff1d(order, held)
    best = STRENGTHS[1]
    if len(np.unique(labels[rest])) > 1:
        scored = {
            strength: fit(rest, strength).score(seen[held], labels[held])
            for strength in counted(STRENGTHS, "fits linear probes, one for each strength")
        }
        best = max(STRENGTHS, key=scored.__getitem__)
    model = fit(order, best)
    scores = torch.zeros(len(asked), classes, dtype=torch.float64)
    scores[:, torch.from_numpy(model.classes_)] = torch.from_numpy(model.predict_proba(asked)).double()
    return accuracy(scores, train.labels, test.labels)


def stratified_tenth(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A tenth of images in which classes are as frequent as in all of them.

    Args:
        labels: class numbers, ``[N]``.
        seed: of the order within each class.

    Returns:
        The images sorted by class, at random within each, and every tenth of these; of fewer than ten images, one.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    return order, order[min(5, len(order) // 2) :: 10]
