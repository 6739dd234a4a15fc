"""A linear classifier on frozen features, beside k-NN in Table 1."""

from __future__ import annotations

import numpy as np
import torch

from analysis.features import Features
from analysis.neighbours import Accuracy, accuracy

# C of scikit-learn: the inverse of the penalty, beside the sum of the losses of all images.
STRENGTHS = (1e-3, 1e-2, 1e-1)


def linear_probe(train: Features, test: Features, *, seed: int = 0, iterations: int = 200) -> Accuracy:
    """Accuracy of multinomial logistic regression on standardised features.

    The strength of its regularisation is chosen on a tenth of the training images, drawn at random; then it is trained
    on all of them.

    Args:
        train: images to learn from; those without a class are left out.
        test: images asked about; likewise.
        seed: of the choice of that tenth.
        iterations: of L-BFGS at most.

    Raises:
        ValueError: no image has a class, or there is only one class to learn.
    """
    from sklearn.linear_model import LogisticRegression

    train, test = train.labelled(), test.labelled()
    if len(train.labels.unique()) < 2:
        raise ValueError("all training images are of one class: there is nothing to tell apart")
    mean, spread = train.values.mean(dim=0), train.values.std(dim=0).clamp(min=1e-6)
    seen, asked = (((x.values - mean) / spread).numpy() for x in (train, test))
    labels = train.labels.numpy()

    def fit(rows: np.ndarray, strength: float) -> LogisticRegression:
        return LogisticRegression(C=strength, max_iter=iterations, tol=1e-3).fit(seen[rows], labels[rows])

    order = np.random.default_rng(seed).permutation(len(labels))
    held, rest = np.split(order, [max(1, len(order) // 10)])
    best = STRENGTHS[0]
    if len(np.unique(labels[rest])) > 1:
        best = max(STRENGTHS, key=lambda strength: fit(rest, strength).score(seen[held], labels[held]))
    model = fit(order, best)
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    scores = torch.full((len(asked), classes), -1.0, dtype=torch.float64)
    scores[:, torch.from_numpy(model.classes_)] = torch.from_numpy(model.predict_proba(asked)).double()
    return accuracy(scores, train.labels, test.labels)
