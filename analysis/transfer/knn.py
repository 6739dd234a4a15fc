"""k-NN classification of frozen features, as in Table 1 (metric sheet, P5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.corpus.recording import unit_length
from analysis.transfer.features import Features
from patchgame_egg.counted import counted

# Cosines are told apart in steps of one part in so many: smaller differences are rounding, which changes with the
# number of images that are compared at a time.
STEPS = 2**36
# Test images that are compared at a time, with so many training images at a time: 4 bytes for each pair.
_ASKED, _SEEN = 4096, 2048
# Neighbours kept on top of the k asked for, while cosines are in single precision.
_SPARE = 44
# Numbers of neighbours whose cosines are worked out anew at a time.
_NUMBERS = 2**22


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
        chunk: test images at a time, which changes no number; None: 4,096. Training images are taken 2,048 at a
            time, so that memory does not grow with their number: about 0.1 GiB on top of the features.

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
    if train.values.shape[1] != test.values.shape[1]:
        raise ValueError(f"features of {train.values.shape[1]} and {test.values.shape[1]} numbers: take one network's")
    train, test, classes = renumbered(train, test)
    k, taught = min(k, len(train.labels)), train.labels.bincount(minlength=classes)
    answers = []
    for asked in test.values.split(chunk or _ASKED):
        steps, nearest = _nearest(train.values, unit_length(asked.double()), k)
        # Less the nearest's, or a low temperature would overflow.
        weights = ((steps - steps[:, :1]).double() / (STEPS * temperature)).exp()
        votes = torch.zeros(len(asked), classes, dtype=torch.float64)
        answers.append(_answers(votes.scatter_add_(1, train.labels[nearest], weights), taught))
    return _accuracy(torch.cat(answers), taught, test.labels)


def renumbered(train: Features, test: Features) -> tuple[Features, Features, int]:
    """The same images, their classes numbered from 0 in the same order, and how many there are.

    Numbers of classes come from files, and tables of answers have a column for each.
    """
    known, numbers = torch.cat([train.labels, test.labels]).unique(return_inverse=True)
    count = len(train.labels)
    return Features(train.values, numbers[:count]), Features(test.values, numbers[count:]), len(known)


def _nearest(seen: Tensor, asked: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k rows of ``seen`` of largest cosine, earlier ones first among equals: cosines in steps, and places.

    Single precision finds somewhat more than k, twice as fast as double precision, which then puts these in order.
    Where some other row might belong among the k, all are compared in double precision.
    """
    kept, places = _roughly(seen, asked.float(), min(k + _SPARE, len(seen)))
    steps, nearest = _in_order(seen, asked, places, k)
    if places.shape[1] < len(seen):
        # How far a cosine in single precision may be off: a rounding for each product and each sum.
        off = 2.0**-24 * (seen.shape[1] + 8)
        (unsure,) = ((kept.amin(dim=1).double() + off) * STEPS + 1 >= steps[:, -1]).nonzero(as_tuple=True)
        for rows in unsure.split(_ASKED // 16):
            steps[rows], nearest[rows] = _plainly(seen, asked[rows], k)
    return steps, nearest


def _roughly(seen: Tensor, asked: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest cosines in single precision, and places, in no order; among equals any."""
    best = torch.full((len(asked), k), -math.inf)
    places = torch.zeros((len(asked), k), dtype=torch.int64)
    starts = counted(range(0, len(seen), _SEEN), f"compares images with {len(seen):,} others, {_SEEN:,} at a time")
    for start, block in zip(starts, seen.split(_SEEN), strict=True):
        cosines = asked @ unit_length(block.double()).float().T
        row, column = (cosines > best.amin(dim=1, keepdim=True)).nonzero(as_tuple=True)
        if not len(row):
            continue
        # What comes in, side by side: as many columns as the row with the most of them has.
        count = row.bincount(minlength=len(asked))
        place = torch.arange(len(row)) - (count.cumsum(0) - count)[row]
        there, rows = count.nonzero(as_tuple=True)[0], (count > 0).cumsum(0) - 1
        new = torch.full((len(there), int(count.max())), -math.inf)
        of = torch.zeros(new.shape, dtype=torch.int64)
        new[rows[row], place], of[rows[row], place] = cosines[row, column], column + start
        values, which = torch.cat([best[there], new], dim=1).topk(k, dim=1, sorted=False)
        best[there], places[there] = values, torch.cat([places[there], of], dim=1).gather(1, which)
    return best, places


def _in_order(seen: Tensor, asked: Tensor, places: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest of the rows at these places, as `_nearest` gives them."""
    found = []
    some_rows = max(1, _NUMBERS // (places.shape[1] * seen.shape[1]))
    for some, at in zip(asked.split(some_rows), places.split(some_rows), strict=True):
        near = unit_length(seen[at].double())  # [rows, places, D]
        found.append(_keys((near @ some[:, :, None])[:, :, 0], at, len(seen)).topk(k, dim=1).values)
    return _read(torch.cat(found), len(seen))


def _plainly(seen: Tensor, asked: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`_nearest` in double precision from the start."""
    best = torch.empty((len(asked), 0), dtype=torch.int64)
    for start, block in zip(range(0, len(seen), _SEEN), seen.split(_SEEN), strict=True):
        cosines = asked @ unit_length(block.double()).T
        keys = torch.cat([best, _keys(cosines, start + torch.arange(len(block)), len(seen))], dim=1)
        best = keys.topk(min(k, keys.shape[1]), dim=1).values
    return _read(best, len(seen))


def _keys(cosines: Tensor, places: Tensor, count: int) -> Tensor:
    """One whole number for a cosine and a place, so that no two are equal and top-k has nothing to choose."""
    return (cosines * STEPS).round_().long().mul_(count).add_(count - 1 - places)


def _read(keys: Tensor, count: int) -> tuple[Tensor, Tensor]:
    return keys.div(count, rounding_mode="floor"), count - 1 - keys.remainder(count)


def _answers(scores: Tensor, taught: Tensor) -> Tensor:
    """The first five classes, ``[M, 5]`` or fewer: by score, the smaller number first, those never taught last."""
    return scores.masked_fill(taught == 0, -math.inf).sort(dim=1, descending=True, stable=True).indices[:, :5]


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
    taught = seen.bincount(minlength=scores.shape[1])
    return _accuracy(_answers(scores, taught), taught, labels)


def _accuracy(answers: Tensor, taught: Tensor, labels: Tensor) -> Accuracy:
    guessed = taught.sort(descending=True, stable=True).indices[:5].expand(len(labels), -1)

    def among(first: Tensor, count: int) -> float:
        return float((first[:, :count] == labels[:, None]).any(dim=1).double().mean())

    few = int((taught > 0).sum()) < 5
    return Accuracy(
        top1=among(answers, 1),
        top5=math.nan if few else among(answers, 5),
        n=len(labels),
        chance_top1=among(guessed, 1),
        chance_top5=math.nan if few else among(guessed, 5),
    )
