"""Topographic similarity: do similar meanings have similar messages? (metric sheet, M1)

Brighton & Kirby 2006, "Understanding linguistic evolution by visualizing the emergence of topographic mappings";
Lazaridou et al. 2018 (arXiv:1804.03984), section 4. Null and interval are those of
`analysis.metrics.statistics.rank_correlation`.
"""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from analysis.metrics.result import Result
from analysis.metrics.statistics.distances import MeaningKind, MessageKind
from analysis.metrics.statistics.rank_correlation import Comparison
from analysis.metrics.statistics.sides import correlate_sides, meaning_side, message_side

TOPSIM_NAMES = ("meanings", "messages")
"""What topographic similarity compares, as reasons call it."""

# Symbols ``[N, T]``, where they were said, ``[N, T]``, and how messages are compared.
Language = tuple[ArrayLike, ArrayLike, MessageKind]


def topographic_similarity(
    symbols: ArrayLike,
    mask: ArrayLike,
    *,
    meanings: ArrayLike,
    meaning_distance: MeaningKind = "hamming",
    message_distance: MessageKind = "edit",
    permutations: int = 100,
    max_items: int = 1000,
    seed: int = 0,
) -> Result:
    """Spearman correlation between the distances of meanings and of messages, over all pairs of items.

    Range -1 to 1. Chance level 0. A perfect compositional language (one slot per attribute, one symbol per value) has
    1 with Hamming distances. With edit distances it has 1 if no two slots share a symbol or there are two attributes;
    with three or more attributes that share symbols an edit may shift a message, and it has less (0.942 for three
    attributes of five values). A random language has 0 up to noise; a constant one has no value, nor one in which all
    messages are equally far apart.

    The value is of all N (N - 1) / 2 pairs, in time that grows with N squared and memory that does not; of more than
    10,000 items, of all pairs of 10,000 of them, drawn without replacement. Null, p and interval come from
    min(N, ``max_items``) items, drawn likewise; the spread of the null is that of so many items.

    - p: whole items change meanings, so that pairs which share an item stay dependent (Mantel test, one-sided).
      Languages without structure get p < 0.05 in 5 % of cases, where a test that takes pairs as independent gives it
      in up to 64 % (metric sheet, M1).
    - 95 % interval: value +- t x standard error of a jackknife that deletes up to 50 random groups of items in turn
      (no item is ever repeated, which would push the value up), scaled to N items and cut at -1 and 1. In simulations
      with 16 to 200 items it held the true value 93 to 99 % of the time where there was structure, and 95 to 100 %
      where there was none, when it is up to 1.7 times too wide. It speaks of other items from the same source, not of
      other seeds in training.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.
        meanings: attributes ``[N, A]``, -1 where not known, or vectors ``[N, D]``. Items without any meaning
            (nothing known, not finite, or zero for ``cosine``) are left out.
        meaning_distance: ``hamming`` or ``jaccard`` of attributes, ``cosine`` or ``euclidean`` of vectors, as
            `meaning_distances` defines them.
        message_distance: one of `message_distances`. The value depends on it: lossless codes can have 1 by one and -1
            by another, so no number means anything without its name. ``edit`` suits messages whose order was chosen.
            In patches it compares an order that nobody chose: there, ``bag`` and ``jaccard`` ask which symbols are
            said, and ``hamming`` asks at which places.
        permutations: how many shuffled languages the null rests on; 0 for the value alone, without an interval.
        max_items: how many items null and interval rest on at most.
        seed: seed of the sample, the permutations and the groups.

    Returns:
        ``n`` counts the items that the value rests on, those with a meaning. Reasons: ``too_few_items`` (below 3),
        ``constant_meanings``, ``constant_messages``, ``equidistant_meanings``, ``equidistant_messages``.

    Raises:
        ValueError: meanings or messages are malformed, or not as many.

    Example:
        >>> import numpy as np
        >>> grid = np.array([[a, b] for a in range(4) for b in range(4)])
        >>> said = np.ones((16, 2), dtype=bool)
        >>> found = topographic_similarity(grid + [0, 4], said, meanings=grid)
        >>> round(found.value, 3), round(found.p, 3)
        (1.0, 0.01)
        >>> drawn = np.random.default_rng(0).integers(8, size=(16, 2))
        >>> round(topographic_similarity(drawn, said, meanings=grid).value, 3)
        -0.02
    """
    (found,) = topographic_similarities(
        [(symbols, mask, message_distance)], meanings=meanings, meaning_distance=meaning_distance,
        permutations=permutations, max_items=max_items, seed=seed,
    )  # fmt: skip
    return found


def topographic_similarities(
    languages: Sequence[Language],
    *,
    meanings: ArrayLike,
    meaning_distance: MeaningKind = "hamming",
    permutations: int = 100,
    max_items: int = 1000,
    seed: int = 0,
) -> list[Result]:
    """`topographic_similarity` of several languages about the same items, or of one by several distances.

    The same numbers as one by one, in less time: what shuffling and the interval ask of meanings is worked out once.

    Args:
        languages: symbols ``[N, T]``, mask ``[N, T]`` and the distance of messages of each; N is the same for all.
        meanings: as in `topographic_similarity`, like all that follows.
        meaning_distance: of the meanings.
        permutations: of each null.
        max_items: how many items null and interval rest on at most.
        seed: seed of the sample, the permutations and the groups.

    Returns:
        A result for each language.

    Raises:
        ValueError: meanings or messages are malformed, or not as many.

    Example:
        >>> import numpy as np
        >>> grid = np.array([[a, b] for a in range(4) for b in range(4)])
        >>> said = np.ones((16, 2), dtype=bool)
        >>> by = [(grid + [0, 4], said, distance) for distance in ("edit", "bag")]
        >>> [round(found.value, 3) for found in topographic_similarities(by, meanings=grid)]
        [1.0, 1.0]
    """
    said = [message_side(symbols, mask, distance) for symbols, mask, distance in languages]
    meant = meaning_side(meanings, meaning_distance)
    for side in said:
        if len(side.known) != len(meant.known):
            raise ValueError(
                f"{len(meant.known)} meanings and {len(side.known)} messages: expected one meaning per message"
            )
    return correlate_sides(
        [meant, *said],
        [Comparison(0, 1 + at, TOPSIM_NAMES) for at in range(len(said))],
        permutations=permutations,
        max_items=max_items,
        seed=seed,
    )
