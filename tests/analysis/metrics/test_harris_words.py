"""Words that Harris's scheme finds: beside random cuts that are as many, at different places of each message."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from analysis.metrics.harris import harris_articulation
from analysis.metrics.harris_words import _cut_elsewhere, harris_words

WORDS = [(0, 1), (2, 3, 4), (5, 6), (7, 8, 9)]


def text(count: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All triples of words, in messages of several lengths: symbols, mask, and which words, ``[N, 3]``."""
    chosen = np.array(list(itertools.product(range(count), repeat=3)))
    messages = [sum((WORDS[w] for w in row), ()) for row in chosen]
    mask = np.array([[slot < len(m) for slot in range(9)] for m in messages])
    return np.array([[*m, *[0] * (9 - len(m))] for m in messages]), mask, chosen


def test_words_are_found_and_mean_something() -> None:
    symbols, mask, chosen = text()
    found = harris_words(symbols, mask, meanings=chosen)
    assert found.vocabulary.value == 4 and found.vocabulary.null_mean > 20
    assert found.vocabulary.p == pytest.approx(1 / 101)
    # Words of whom each stands for one value in one place: no text cut elsewhere is as regular.
    assert found.topographic_similarity.value > 0.9
    assert found.topographic_similarity.p == pytest.approx(1 / 101) and found.topographic_similarity.null_mean < 0.9


def test_random_cuts_are_as_many_and_inside_the_messages() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 9, 200)
    cuts = rng.integers(0, np.maximum(lengths, 1))
    met = set()
    for _ in range(50):
        sizes = _cut_elsewhere(lengths, cuts, rng)
        assert sizes.sum() == lengths.sum() and (sizes > 0).all()
        stops = np.cumsum(sizes)
        ends = np.cumsum(lengths)
        assert np.isin(ends[lengths > 0], stops).all(), "every message ends a piece"
        inside = np.searchsorted(ends, stops[~np.isin(stops, ends)], side="left")
        np.testing.assert_array_equal(np.bincount(inside, minlength=200), cuts)
        met.update((stops[~np.isin(stops, ends)] - (ends - lengths)[inside])[inside == int(lengths.argmax())].tolist())
    assert met <= set(range(1, int(lengths.max()))), "of a message of 8 symbols there are 7 places"


def test_a_language_without_words_is_like_its_random_cuts() -> None:
    small = []
    for seed in range(20):
        symbols = np.random.default_rng(seed).integers(0, 4, (80, 6))
        found = harris_words(symbols, np.ones_like(symbols), permutations=19, seed=seed)
        assert found.abbreviation.value < 0 and found.abbreviation.null_mean < 0
        small.append(found.abbreviation.p <= 0.05)
    # Where a scheme cuts by entropy, its pieces are not those of chance, but not far from them.
    assert np.mean(small) <= 0.3


def test_words_of_one_symbol_are_invisible() -> None:
    symbols = np.array(list(itertools.product(range(4), repeat=3)))
    found = harris_articulation(symbols, np.ones_like(symbols))
    assert found.boundaries.value == 0 and len(found.vocabulary) == 64
    assert harris_words(symbols, np.ones_like(symbols)).vocabulary.reason == "no_boundaries"


def test_reasons() -> None:
    symbols, mask, chosen = text()
    assert harris_words(symbols, ~mask & mask).abbreviation.reason == "all_silent"
    found = harris_words(symbols, mask)
    assert found.topographic_similarity.reason == "no_meanings"
    assert harris_words(symbols, mask, meanings=chosen * 0).topographic_similarity.reason == "constant_meanings"
    with pytest.raises(ValueError, match="threshold is -1"):
        harris_words(symbols, mask, threshold=-1)
