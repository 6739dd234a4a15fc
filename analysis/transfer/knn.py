"""k-NN classification of frozen features, as in Table 1 (metric sheet, P5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.corpus.recording import unit_length
from analysis.transfer.features import Features

# Cosines are told apart in steps of one part in so many: smaller differences are rounding, which changes with the
# number of images that are compared at a time.
STEPS = 2**36
# Training images times test images that are compared at a time: 16 bytes each.
PAIRS = 2**25


@dataclass(frozen=True)
class Accuracy:
    """How often a classifier names the class, as shares from 0 to 1.

    Attributes:
        top1: with its first answer.
        top5: with one of its first five; NaN for fewer than five classes.
        n: images asked about.
        chance_top1: what a guesser scores who knows only how frequent classes are in training.
        chance_top5: what the same guesser scores with five answers; NaN for fewer than five classes.
    """

    top1: float
    top5: float
    n: int
    chance_top1: float
    chance_top5: float


def nearest_neighbour_accuracy(
    train: Features, test: Features, *, k: int = 20, temperature: float = 0.07, chunk: int | None = None
) -> Accuracy:
    """Accuracy of a weighted vote of the k nearest training images (Wu et al., 2018).

    Similarity is the cosine s, which does not depend on the scale of the features; a neighbour's vote counts
    exp(s / temperature). Of equally similar images the one that comes first in ``train`` is the nearer, and of classes
    with equal votes, or none, the smaller number is named first. A class without training images is never named.

    Args:
        train: images that vote; those without a class are left out.
        test: images asked about; those without a class are left out.
        k: neighbours; all images if there are fewer.
        temperature: tau, above 0.
        chunk: test images at a time, which bounds memory (16 bytes for each of them and each training image) and
            changes no number; None: as many as take half a gibibyte.

    Raises:
        ValueError: no image has a class, features are not finite, widths differ, or an option is out of its range.

    Example:
        >>> classes = torch.arange(40) % 2
        >>> telling, blind = (Features(values, classes) for values in (torch.eye(2)[classes], torch.ones(40, 2)))
        >>> found = nearest_neighbour_accuracy(telling, telling, k=5)
        >>> found.top1, found.chance_top1
        (1.0, 0.5)
        >>> nearest_neighbour_accuracy(blind, blind, k=5).top1
        0.5
    """
    if k < 1 or not temperature > 0 or (chunk is not None and chunk < 1):
        raise ValueError(f"k {k} and chunk {chunk} must be at least 1, temperature {temperature} above 0")
    train, test = train.labelled(), test.labelled()
    chunk = chunk or max(1, PAIRS // len(train.labels))
    if train.values.shape[1] != test.values.shape[1]:
        raise ValueError(f"features of {train.values.shape[1]} and {test.values.shape[1]} numbers: take one network's")
    train, test, classes = renumbered(train, test)
    seen, k = unit_length(train.values.double()), min(k, len(train.labels))
    votes = torch.zeros(len(test.labels), classes, dtype=torch.float64)
    for asked, row in zip(test.values.split(chunk), votes.split(chunk), strict=True):
        steps, nearest = _nearest(seen, unit_length(asked.double()), k)
        # Less the nearest's, or a low temperature would overflow.
        weights = ((steps - steps[:, :1]).double() / (STEPS * temperature)).exp()
        row.scatter_add_(1, train.labels[nearest], weights)
    return accuracy(votes, train.labels, test.labels)


def renumbered(train: Features, test: Features) -> tuple[Features, Features, int]:
    """The same images, their classes numbered from 0 in the same order, and how many there are.

    Numbers of classes come from files, and tables of answers have a column for each.
    """
    known, numbers = torch.cat([train.labels, test.labels]).unique(return_inverse=True)
    count = len(train.labels)
    return Features(train.values, numbers[:count]), Features(test.values, numbers[count:]), len(known)


def _nearest(seen: Tensor, asked: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k rows of ``seen`` of largest cosine, earlier ones first among equals: cosines in steps, and places."""
    count = len(seen)
    # One whole number for a cosine and a place, so that no two are equal and top-k has nothing to choose.
    keys = (asked @ seen.T).mul_(STEPS).round_().long().mul_(count).add_(torch.arange(count).flip(0))
    keys = keys.topk(k, dim=1).values
    return keys.div(count, rounding_mode="floor"), count - 1 - keys.remainder(count)


def accuracy(scores: Tensor, seen: Tensor, labels: Tensor) -> Accuracy:
    """Compares a classifier's answers with the classes.

    Args:
        scores: of each class, ``[M, C]``; among equals the smaller number comes first.
        seen: classes of the training images ``[N]``, for chance, and as others are never named.
        labels: the right answers ``[M]``.

    Example:
        >>> scores, labels = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), torch.tensor([0, 1, 1])
        >>> found = accuracy(scores, seen=labels, labels=labels)
        >>> round(found.top1, 3), round(found.chance_top1, 3), found.top5
        (0.667, 0.667, nan)
    """
    known = len(seen.unique())
    taught = seen.bincount(minlength=scores.shape[1])
    order = scores.masked_fill(taught == 0, -math.inf).sort(dim=1, descending=True, stable=True).indices
    right = order == labels[:, None]
    frequent = taught.sort(descending=True, stable=True).indices
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
