"""Representational similarity: do two sets of vectors hold the same items alike? (metric sheet, M5)

Kriegeskorte, Mur & Bandettini 2008, "Representational similarity analysis"; Bouchacourt & Baroni 2018
(arXiv:1808.10696), who found agents that agree with each other and not with what they look at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.metrics.result import Result
from analysis.metrics.statistics.distances import known_items
from analysis.metrics.statistics.rank_correlation import Comparison
from analysis.metrics.statistics.sides import correlate_sides, meaning_side

RSA_NAMES = ("first_vectors", "second_vectors")
"""What representational similarity compares, as reasons call it."""


@dataclass(frozen=True)
class HashingCheck:
    """Whether two agents understand each other by what the input looks like, or by a code of their own.

    Attributes:
        sender_receiver: similarity of the agents to each other. High, with both others low, it is the pattern of a
            hash: agents tell inputs apart by something that has little to do with what the inputs are like.
        sender_input: of the sender to the input.
        receiver_input: of the receiver to the input.
        dropped: items left out of all three, as one of their vectors is zero or not finite.
    """

    sender_receiver: Result
    sender_input: Result
    receiver_input: Result
    dropped: int


def representational_similarity(
    first: ArrayLike, second: ArrayLike, *, permutations: int = 100, max_items: int = 1000, seed: int = 0
) -> Result:
    """Spearman correlation between the cosine similarities in one set of vectors and in the other, over all pairs.

    Range -1 to 1. Chance level 0. Equal sets, rotated and scaled ones have 1, independent ones 0 up to noise; widths
    may differ. Adding a constant to all vectors of a set changes the value, as cosines are taken from the origin.

    The value is of all pairs (of more than 10,000 items, of 10,000 of them); null, p (items exchanged, Mantel) and 95 %
    interval (jackknife) of min(N, ``max_items``) items, as in `topsim.topographic_similarity`.

    Args:
        first: vectors of the items, float ``[N, D]``.
        second: other vectors of the same items, float ``[N, E]``.
        permutations: how many shuffles the null rests on; 0 for the value alone.
        max_items: how many items null and interval rest on at most.
        seed: seed of the sample, the permutations and the groups.

    Returns:
        ``n`` counts the items that the value rests on, with two vectors that are finite and not zero; the others are
        left out. Reasons: ``too_few_items`` (below 3), ``constant_first_vectors`` (all in one direction),
        ``equidistant_first_vectors`` (all equally far apart), and the same of the second.

    Raises:
        ValueError: an argument is not a matrix, or they are not as long.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> first, other = rng.normal(size=(40, 8)), rng.normal(size=(40, 8))
        >>> round(representational_similarity(first, 3 * first[:, ::-1]).value, 3)
        1.0
        >>> round(representational_similarity(first, other).value, 3)
        -0.022
    """
    one, other = _vectors(first=first, second=second)
    (found,) = correlate_sides(
        [meaning_side(one, "cosine"), meaning_side(other, "cosine")],
        [Comparison(0, 1, RSA_NAMES)],
        permutations=permutations,
        max_items=max_items,
        seed=seed,
    )
    return found


def hashing_check(
    sender: ArrayLike,
    receiver: ArrayLike,
    inputs: ArrayLike,
    *,
    permutations: int = 100,
    max_items: int = 1000,
    seed: int = 0,
) -> HashingCheck:
    """Representational similarity of sender and receiver to each other, and of each to the input.

    Args:
        sender: what the sender makes of each item, float ``[N, D]``.
        receiver: what the receiver makes of each item, float ``[N, E]``.
        inputs: what both look at, as vectors: attributes one-hot, features, or pixels, float ``[N, F]``.
        permutations: how many shuffles each null rests on; 0 for the values alone.
        max_items: how many items each null and interval rests on at most.
        seed: seed of the sample, the permutations and the groups.

    Returns:
        Three results with the range and the chance level of `representational_similarity`.

    Raises:
        ValueError: an argument is not a matrix, or they are not as long.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> private, inputs = rng.normal(size=(40, 8)), rng.normal(size=(40, 8))
        >>> found = hashing_check(private, 2 * private, inputs)
        >>> round(found.sender_receiver.value, 3), round(found.sender_input.value, 3)
        (1.0, -0.022)
    """
    spoken, heard, seen = _vectors(sender=sender, receiver=receiver, inputs=inputs)
    kept = known_items(spoken, "cosine") & known_items(heard, "cosine") & known_items(seen, "cosine")

    def similarity(one: NDArray, other: NDArray) -> Result:
        return representational_similarity(
            one[kept], other[kept], permutations=permutations, max_items=max_items, seed=seed
        )

    return HashingCheck(
        sender_receiver=similarity(spoken, heard),
        sender_input=similarity(spoken, seen),
        receiver_input=similarity(heard, seen),
        dropped=int((~kept).sum()),
    )


def _vectors(**sets: ArrayLike) -> list[NDArray]:
    arrays = {name: np.asarray(values) for name, values in sets.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if any(array.ndim != 2 for array in arrays.values()) or len({len(array) for array in arrays.values()}) > 1:
        raise ValueError(f"expected matrices with a row for each item, as many in all, got {shapes}")
    return list(arrays.values())
