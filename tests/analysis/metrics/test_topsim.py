"""Topographic similarity against the metric sheet's values (M1), SciPy, and its own null and interval by simulation."""

from __future__ import annotations

import math
from itertools import combinations, permutations, product
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from analysis.metrics.result import Result
from analysis.metrics.statistics import pairwise as pairs
from analysis.metrics.statistics.distances import meaning_distances, message_distances
from analysis.metrics.topsim import topographic_similarities, topographic_similarity

GRID = np.array(list(product(range(4), repeat=2)))
# The demonstration of DeepMind's emergent_communication_at_scale.
HIGH = np.array([[a, b, c] for a, b, c in product((0, 2), (0, 1), range(4))])
LOW = np.array([
    [1, 2, 3], [2, 2, 0], [3, 0, 1], [1, 3, 1], [1, 0, 3], [2, 0, 0], [3, 1, 1], [1, 0, 1],
    [0, 2, 3], [0, 2, 0], [0, 0, 1], [0, 3, 1], [1, 2, 0], [2, 2, 1], [3, 0, 0], [1, 3, 0],
])  # fmt: skip


def topsim(meanings: np.ndarray, symbols: np.ndarray, mask: np.ndarray | None = None, **options: Any) -> Result:
    return topographic_similarity(
        symbols, np.ones_like(symbols, dtype=bool) if mask is None else mask, meanings=meanings, **options
    )


def value(*language: np.ndarray, **options: Any) -> float:
    return topsim(*language, permutations=0, **options).value


def noisy(rng: np.random.Generator, n: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three attributes, a slot for each, some slots replaced by chance and some left silent."""
    attributes = rng.integers(0, 4, (n, 3))
    symbols = np.where(rng.random((n, 3)) < noise, rng.integers(0, 4, (n, 3)), attributes)
    return attributes, symbols, rng.random((n, 3)) < 0.9


@pytest.mark.parametrize("language", [GRID, GRID[:, ::-1], GRID + np.array([0, 4])], ids=["ab", "ba", "own symbols"])
@pytest.mark.parametrize("meaning_distance", ["hamming", "jaccard"])
def test_compositional_languages(language: np.ndarray, meaning_distance: str) -> None:
    found = topsim(GRID, language, meaning_distance=meaning_distance, permutations=99)
    assert found.value == pytest.approx(1, abs=1e-12) and found.n == 16
    assert found.p == 0.01 and abs(found.null_mean) < 0.05
    assert (found.low, found.high) == pytest.approx((1, 1))


def test_three_attributes() -> None:
    cube = np.array(list(product(range(2), repeat=3)))
    assert value(cube, cube + np.array([0, 2, 4])) == pytest.approx(1, abs=1e-12)


def test_edits_shift_messages_whose_slots_share_symbols() -> None:
    def edits(one: tuple[int, ...], other: tuple[int, ...]) -> int:
        if not one or not other:
            return len(one) + len(other)
        swapped = edits(one[1:], other[1:]) + (one[0] != other[0])
        return min(swapped, edits(one[1:], other) + 1, edits(one, other[1:]) + 1)

    items = list(product(range(5), repeat=3))
    pairs_of_items = list(combinations(items, 2))
    differing = [sum(a != b for a, b in zip(*pair, strict=True)) for pair in pairs_of_items]
    expected = spearmanr(differing, [edits(*pair) for pair in pairs_of_items]).statistic
    cube = np.array(items)
    assert value(cube, cube) == pytest.approx(expected, abs=1e-12) and round(expected, 3) == 0.942
    assert value(cube, cube, message_distance="hamming") == pytest.approx(1, abs=1e-12)
    assert value(cube, cube + np.array([0, 5, 10])) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("messages", "kind", "expected"),
    [
        (HIGH, "edit", 0.8171301036), (HIGH, "hamming", 0.8164965809),
        (LOW, "edit", 0.4018628692), (LOW, "hamming", 0.4175683378),
    ],
)  # fmt: skip
def test_published_demonstration(messages: np.ndarray, kind: str, expected: float) -> None:
    one_hot = np.eye(4)[GRID].reshape(16, 8)
    assert value(one_hot, messages, meaning_distance="cosine", message_distance=kind) == pytest.approx(
        expected, abs=1e-9
    )


@pytest.mark.parametrize(("kind", "expected"), [("edit", 1), ("edit_mean", 0.8528028654), ("edit_max", 0.7071067812)])
def test_messages_of_several_lengths(kind: str, expected: float) -> None:
    meanings, symbols = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[1, 9], [1, 2], [3, 9], [3, 2]])
    found = value(meanings, symbols, symbols != 9, message_distance=kind)
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("message_distance", ["edit", "edit_mean", "edit_max", "hamming", "bag", "jaccard"])
@pytest.mark.parametrize("meaning_distance", ["hamming", "jaccard", "cosine", "euclidean"])
def test_against_scipy(monkeypatch: pytest.MonkeyPatch, message_distance: Any, meaning_distance: Any) -> None:
    rng = np.random.default_rng(0)
    meanings, symbols, mask = noisy(rng, 60, 0.4)
    if meaning_distance in ("cosine", "euclidean"):
        meanings = meanings + rng.normal(size=meanings.shape)
    one, other = meaning_distances(meanings, meaning_distance), message_distances(symbols, mask, message_distance)
    options = {"message_distance": message_distance, "meaning_distance": meaning_distance}
    expected = spearmanr(one, other).statistic
    assert value(meanings, symbols, mask, **options) == pytest.approx(expected, abs=1e-12)
    monkeypatch.setattr(pairs, "_PAIRS_PER_BLOCK", 100)
    monkeypatch.setattr(pairs, "_EXACT_ITEMS", 50)
    # Rounded floats of so few pairs tie now and then.
    tolerance = 1e-5 if meaning_distance in ("cosine", "euclidean") else 1e-12
    assert value(meanings, symbols, mask, **options) == pytest.approx(expected, abs=tolerance)


def test_a_null_of_whole_items() -> None:
    square = np.array(list(product(range(2), repeat=2)))
    exact = [value(square, square[list(order)]) for order in permutations(range(4))]
    assert sorted(np.round(exact, 9)) == [-0.5] * 16 + [1] * 8
    found = topsim(square, square, permutations=2000)
    assert found.p == pytest.approx(1 / 3, abs=0.03)
    assert found.null_mean == pytest.approx(np.mean(exact), abs=0.05)
    assert found.null_std == pytest.approx(np.std(exact), abs=0.02)
    oblong = np.array(list(product(range(3), range(2))))
    assert topsim(oblong, oblong, permutations=4000).p == pytest.approx(12 / 720, abs=0.006)


@pytest.mark.slow
def test_random_languages_are_not_significant() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        points = rng.random((25, 2))
        symbols = rng.integers(0, 5, (25, 4))
        found.append(topsim(points, symbols, meaning_distance="euclidean", permutations=39))
    p = np.array([f.p for f in found])
    # Three standard deviations of a share of 200.
    assert (p <= 0.05).mean() < 0.05 + 0.047 and abs((p <= 0.5).mean() - 0.5) < 0.107
    assert abs(np.mean([f.value for f in found])) < 0.02
    covered = np.mean([f.low <= 0 <= f.high for f in found])
    assert covered > 0.93


@pytest.mark.slow
def test_intervals_hold_the_value_of_all_items() -> None:
    rng = np.random.default_rng(0)
    truth = value(*noisy(rng, 3000, 0.3))
    found = [topsim(*noisy(rng, 40, 0.3), permutations=1, seed=seed) for seed in range(150)]
    assert 0.90 <= np.mean([f.low <= truth <= f.high for f in found]) <= 0.995
    spread = np.std([f.value for f in found])
    assert np.mean([f.high - f.low for f in found]) / 4 == pytest.approx(spread, rel=0.35)


def test_more_items_than_the_null_rests_on() -> None:
    language = noisy(np.random.default_rng(0), 300, 0.3)
    whole, part, again = (
        topsim(*language, permutations=50, max_items=m, seed=s) for m, s in ((300, 0), (60, 0), (60, 0))
    )
    assert part == again != topsim(*language, permutations=50, max_items=60, seed=1)
    assert part.value == whole.value and part.n == whole.n == 300
    assert part.null_std > 2 * whole.null_std
    # The interval is that of all items, estimated from some.
    assert part.high - part.low == pytest.approx(whole.high - whole.low, rel=0.4)
    assert whole.p == part.p == 1 / 51


def test_items_names_and_padding_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    meanings, symbols, mask = noisy(rng, 50, 0.3)
    order, names = rng.permutation(50), np.array([800, 2, 99, 31])
    expected = value(meanings, symbols, mask)
    assert value(meanings[order], symbols[order], mask[order]) == pytest.approx(expected, abs=1e-12)
    assert value(names[meanings], names[symbols], mask) == expected
    assert value(meanings, np.where(mask, symbols, -5), mask) == expected


def test_unknown_meanings() -> None:
    meanings, symbols, mask = noisy(np.random.default_rng(0), 50, 0.3)
    meanings[:10] = -1
    found = topsim(meanings, symbols, mask, permutations=5)
    assert found.n == 40 and found == topsim(meanings[10:], symbols[10:], mask[10:], permutations=5)
    # An attribute that nobody knows might as well not be there.
    wide = np.concatenate([meanings, np.full((50, 1), -1)], axis=1)
    assert topsim(wide, symbols, mask, permutations=5) == found
    points = meanings[10:] + 1.0
    points[0], points[1] = 0, np.nan
    assert topsim(points, symbols[10:], mask[10:], meaning_distance="cosine", permutations=5).n == 38


@pytest.mark.parametrize(
    ("meanings", "symbols", "reason"),
    [
        (GRID[:0], GRID[:0], "too_few_items"),
        (GRID[:1], GRID[:1], "too_few_items"),
        (GRID[:2], GRID[:2], "too_few_items"),
        (np.full((5, 2), -1), GRID[:5], "too_few_items"),
        (GRID[:, :0], GRID, "too_few_items"),
        (GRID * 0, GRID, "constant_meanings"),
        (GRID, GRID * 0, "constant_messages"),
        (GRID, GRID[:, :0], "constant_messages"),
        (np.arange(16)[:, None], GRID, "equidistant_meanings"),
        (GRID, np.arange(16)[:, None], "equidistant_messages"),
    ],
)
def test_reasons(meanings: np.ndarray, symbols: np.ndarray, reason: str) -> None:
    found = topsim(meanings, symbols)
    assert math.isnan(found.value) and found.reason == reason and math.isnan(found.p) and math.isnan(found.low)


def test_silence_is_a_constant_language() -> None:
    assert topsim(GRID, GRID, np.zeros_like(GRID, dtype=bool)).reason == "constant_messages"


def test_what_hangs_on_one_item_has_no_interval() -> None:
    symbols = np.zeros((6, 1), dtype=int)
    symbols[0] = 1
    found = topsim(np.arange(6)[:, None] // 2, symbols, permutations=20)
    assert not found.reason and found.draws == 20 and math.isnan(found.low) and math.isnan(found.high)


def test_a_sample_without_variety_gives_the_value_alone() -> None:
    symbols = np.zeros((200, 1), dtype=int)
    symbols[0] = 1
    found = topsim(np.arange(200)[:, None] // 2, symbols, permutations=20, max_items=10)
    assert not found.reason and found.draws == 0 and math.isnan(found.p) and math.isnan(found.low)


@pytest.mark.parametrize("items", [40, 130])
def test_several_at_once_have_the_numbers_of_each(items: int) -> None:
    rng = np.random.default_rng(items)
    meanings = rng.normal(size=(items, 3))
    meanings[7] = 0  # no meaning
    said = rng.random((items, 4)) < 0.7
    one_word = np.zeros((items, 4), dtype=int)
    rare = one_word.copy()
    rare[0] = 1  # in no sample, most likely
    symbols = rng.integers(0, 5, (items, 4))
    languages = [
        (symbols, said, "edit"), (one_word, one_word == 0, "edit"), (symbols, said, "hamming"),
        (rare, rare >= 0, "bag"), (symbols[::-1], said, "jaccard"),
    ]  # fmt: skip
    asked: Any = {"meanings": meanings, "meaning_distance": "cosine", "permutations": 9, "max_items": 30, "seed": 3}
    found = topographic_similarities(languages, **asked)  # type: ignore[arg-type]
    for together, (ids, mask, distance) in zip(found, languages, strict=True):
        alone = topographic_similarity(ids, mask, message_distance=distance, **asked)  # type: ignore[arg-type]
        assert repr(together) == repr(alone)
    assert found[1].reason == "constant_messages" and found[0].draws == 9


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="15 meanings and 16 messages"):
        topsim(GRID[:15], GRID)
    with pytest.raises(ValueError, match=r"shape \(16,\)"):
        topsim(GRID[:, 0], GRID)


@pytest.mark.slow
def test_pairs_that_share_an_item_are_not_independent() -> None:
    """Outliers on both sides make independent pairs look significant, but not whole items."""
    rng = np.random.default_rng(0)
    pairwise, itemwise = [], []
    for seed in range(150):
        points, symbols = rng.random((40, 2)), rng.integers(0, 3, (40, 8))
        mask = np.arange(8) < rng.integers(1, 9, (40, 1))
        distances = meaning_distances(points, "euclidean"), message_distances(symbols, mask)
        pairwise.append(spearmanr(*distances).pvalue < 0.05)
        found = topsim(points, symbols, mask, meaning_distance="euclidean", permutations=19, seed=seed)
        itemwise.append(found.p <= 0.05)
    assert np.mean(pairwise) > 0.2 and np.mean(itemwise) < 0.05 + 0.054


def test_of_many_items_the_value_is_that_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    meanings, symbols, mask = noisy(np.random.default_rng(0), 400, 0.4)
    whole = topsim(meanings, symbols, mask, permutations=0)
    monkeypatch.setattr("analysis.metrics.statistics.rank_correlation.VALUE_ITEMS", 300)
    found = topsim(meanings, symbols, mask, permutations=19, max_items=50)
    assert (whole.n, found.n) == (400, 300)
    assert found.value != whole.value and found.value == pytest.approx(whole.value, abs=0.05)
    assert found.low < whole.value < found.high and found.draws == 19
    assert topsim(meanings, symbols, mask, permutations=0, seed=1).value != found.value
    assert topsim(meanings[:300], symbols[:300], mask[:300], permutations=0).n == 300
