"""k-NN classification of frozen features, as in Table 1 (metric sheet, P5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.features import Features


@dataclass(frozen=True)
class Accuracy:
    """How often a classifier names the class, as shares from 0 to 1.

    Attributes:
        top1: with its first answer.
        top5: with one of its first five; NaN for fewer than five classes.
        n: images asked about.
        chance_top1: what it scores who knows only how frequent classes are in training.
        chance_top5: likewise, with five answers; NaN for fewer than five classes.
    """

    top1: float
    top5: float
    n: int
    chance_top1: float
    chance_top5: float


def nearest_neighbour_accuracy(
    train: Features, test: Features, *, k: int = 20, temperature: float = 0.07, chunk: int = 1024
) -> Accuracy:
    """Accuracy of a weighted vote of the k nearest training images (Wu et al., 2018).

    Similarity is the cosine s; a neighbour's vote counts exp(s / temperature). Equal votes go to the class with the
    smaller number.

    Args:
        train: images that vote; those without a class are left out.
        test: images asked about; likewise.
        k: neighbours; all images if there are fewer.
        temperature: tau, above 0.
        chunk: test images at a time, which bounds memory and changes no number.

    Raises:
        ValueError: no image has a class, widths differ, or an option is out of its range.
    """
    if k < 1 or not temperature > 0 or chunk < 1:
        raise ValueError(f"k {k} and chunk {chunk} must be at least 1, temperature {temperature} above 0")
    train, test = train.labelled(), test.labelled()
    if train.values.shape[1] != test.values.shape[1]:
        raise ValueError(f"features of {train.values.shape[1]} and {test.values.shape[1]} numbers: take one network's")
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    votes = [_votes(train, part, min(k, len(train.labels)), temperature, classes) for part in test.values.split(chunk)]
    return accuracy(torch.cat(votes), train.labels, test.labels)


def _votes(train: Features, asked: Tensor, k: int, temperature: float, classes: int) -> Tensor:
    """The votes for each class, ``[M, D] -> [M, C]``, scaled in each row."""
    # In float64, chunks of any size find the same neighbours.
    seen, asked = (F.normalize(x.double(), dim=1) for x in (train.values, asked))
    cosines, nearest = (asked @ seen.T).topk(k, dim=1)
    weights = ((cosines - cosines[:, :1]) / temperature).exp()
    return torch.zeros(len(asked), classes, dtype=torch.float64).scatter_add_(1, train.labels[nearest], weights)


def accuracy(scores: Tensor, seen: Tensor, labels: Tensor) -> Accuracy:
    """Compares a classifier's answers with the classes.

    Args:
        scores: of each class, ``[M, C]``; among equals the smaller number comes first.
        seen: classes of the training images ``[N]``, for chance and for how many there are.
        labels: the right answers ``[M]``.
    """
    known = len(seen.unique())
    order = scores.sort(dim=1, descending=True, stable=True).indices
    right = order == labels[:, None]
    frequent = seen.bincount(minlength=scores.shape[1]).sort(descending=True, stable=True).indices
    guessed = frequent == labels[:, None]

    def among(answers: Tensor, first: int) -> float:
        return float(answers[:, :first].any(dim=1).double().mean())

    few = known < 5
    return Accuracy(
        top1=among(right, 1),
        top5=math.nan if few else among(right, 5),
        n=len(labels),
        chance_top1=among(guessed, 1),
        chance_top5=math.nan if few else among(guessed, 5),
    )
