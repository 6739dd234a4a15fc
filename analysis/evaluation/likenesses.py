"""What the table says of distances between all pairs of items: each kind of distance is worked out once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.corpus.corpus import Corpus
from analysis.corpus.near_duplicates import thumbnails
from analysis.metrics.result import Result
from analysis.metrics.rsa import RSA_NAMES
from analysis.metrics.statistics.distances import MessageKind
from analysis.metrics.statistics.rank_correlation import Comparison
from analysis.metrics.statistics.sides import Side, correlate_sides, meaning_side, message_side
from analysis.metrics.topsim import TOPSIM_NAMES

_MESSAGE_DISTANCES: dict[str, MessageKind] = {
    "edit distance": "edit", "edit distance over the longer length": "edit_max", "which symbols": "bag",
    "sets of symbols": "jaccard", "symbols at places": "hamming",
}  # fmt: skip
_MAX_ITEMS = 1000

# A metric and what it is about, as in the table -> what was measured.
Likenesses = dict[tuple[str, str], Result]


def likenesses(corpus: Corpus, permutations: int, seed: int) -> Likenesses:
    """Topographic and representational similarity of all that a corpus has, in the order of the table.

    Args:
        corpus: the record of a language.
        permutations: shuffled languages behind every p.
        seed: of the shuffling.

    Returns:
        Of topographic similarity, the first is the headline.
    """
    messages = _messages(corpus)
    meanings: dict[str, Side] = {}
    if corpus.attributes is not None:
        meanings["attributes"] = meaning_side(corpus.attributes, "hamming")
    points = points_of(corpus)
    seen = {name: meaning_side(values, "cosine") for name, values in points.items()}
    meanings |= seen
    heard = {} if corpus.text is None else {"messages as heard": meaning_side(corpus.text, "cosine")}
    sides = {**{f"message: {name}": side for name, side in messages.items()}, **meanings, **heard}
    number = {name: at for at, name in enumerate(sides)}
    asked: dict[tuple[str, str], Comparison] = {}
    for about in meanings:
        for name in messages:
            compared = Comparison(number[about], number[f"message: {name}"], TOPSIM_NAMES)
            asked["topographic_similarity", f"{about} and {name}"] = compared
    vectors = [*((one, other) for one in heard for other in seen), *([tuple(seen)] if len(seen) == 2 else [])]
    for one, other in vectors:
        compared = Comparison(number[one], number[other], RSA_NAMES)
        asked["representational_similarity", f"{one} and {other}"] = compared
    results = correlate_sides(
        list(sides.values()), list(asked.values()), permutations=permutations, max_items=_MAX_ITEMS, seed=seed
    )
    return dict(zip(asked, results, strict=True))


def points_of(corpus: Corpus) -> dict[str, NDArray[np.floating]]:
    """What items are like, as vectors: to the listener ``[N, D]``, and in pixels ``[M, D]``, M <= N."""
    found: dict[str, NDArray[np.floating]] = {}
    if corpus.image is not None:
        found["images as seen"] = corpus.image
    if corpus.images is not None and len(corpus.images):
        small = thumbnails(corpus.images).reshape(len(corpus.images), -1)
        # All images share brightness: without their mean, cosines tell them apart.
        found["pixels"] = small - small.mean(axis=0)
    return found


def _messages(corpus: Corpus) -> dict[str, Side]:
    """Messages by each distance; the headline first."""
    ids, said = corpus.symbols, corpus.mask
    first = "edit distance" if corpus.grid is None else "which symbols"
    names = dict.fromkeys((first, *_MESSAGE_DISTANCES))
    found = {name: message_side(ids, said, _MESSAGE_DISTANCES[name]) for name in names}
    if corpus.grid is not None:
        found["who speaks"] = message_side(said.astype(np.int64), np.ones_like(said), "hamming")
    return found
