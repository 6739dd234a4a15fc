"""Context independence: the metric sheet's values (M4), a slow IBM Model 1, limits and shuffled languages."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest

from analysis.metrics import independence
from analysis.metrics.independence import context_independence
from analysis.metrics.result import Result

GRID = np.array(list(itertools.product(range(4), repeat=2)))
APART = GRID + np.array([0, 4])  # each attribute with symbols of its own
ESTIMATORS = ("count", "aligned")
each = pytest.mark.parametrize("estimator", ESTIMATORS)


def measured(attributes: object, symbols: object, mask: object = None, **options: object) -> Result:
    said = np.ones(np.shape(symbols), dtype=bool) if mask is None else mask
    return context_independence(symbols, said, attributes=attributes, **{"permutations": 0, **options})


def bags(attributes: np.ndarray, symbols: np.ndarray, mask: np.ndarray) -> list[tuple[list[object], list[object]]]:
    return [
        ([int(v) for v in row[said]], [(a, int(v)) for a, v in enumerate(values) if v >= 0])
        for row, said, values in zip(symbols, mask, attributes, strict=True)
    ]


def slow_count(pairs: list, steps: int = 0) -> dict:
    counts: dict = defaultdict(float)
    for given, wanted in pairs:
        for g, w in itertools.product(given, wanted):
            counts[g, w] += 1
    return shares(counts)


def slow_model_1(pairs: list, steps: int = 10) -> dict:
    """Brown et al. 1993, word by word."""
    table: dict = defaultdict(lambda: 1.0)
    for _ in range(steps):
        counts: dict = defaultdict(float)
        for given, wanted in pairs:
            for w in wanted:
                total = sum(table[g, w] for g in given)
                for g in given:
                    counts[g, w] += table[g, w] / total
        table = shares(counts)
    return table


def shares(counts: dict) -> dict:
    total: dict = defaultdict(float)
    for (g, _), n in counts.items():
        total[g] += n
    return defaultdict(float, {(g, w): n / total[g] for (g, w), n in counts.items()})


def slow(attributes: np.ndarray, symbols: np.ndarray, mask: np.ndarray, estimator: str) -> float:
    pairs = bags(attributes, symbols, mask)
    estimate = slow_count if estimator == "count" else slow_model_1
    concept, word = estimate(pairs), estimate([(c, w) for w, c in pairs])
    words = sorted({w for ws, _ in pairs for w in ws})
    scores = []
    for c in sorted({c for _, cs in pairs for c in cs}):
        best = max(concept[w, c] for w in words)
        scores.append(max(word[c, w] * best for w in words if concept[w, c] > best - 1e-9))
    return float(np.mean(scores))


def random_language(seed: int, count: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, (count, 2)), rng.integers(0, 7, (count, 4)), rng.random((count, 4)) < 0.8


@each
def test_one_symbol_for_each_concept(estimator: str) -> None:
    assert measured(np.arange(5)[:, None], np.arange(5)[:, None] + 3, estimator=estimator).value == pytest.approx(1)


@pytest.mark.parametrize("count", [2, 3])
def test_counting_a_perfect_language_of_a_attributes(count: int) -> None:
    grid = np.array(list(itertools.product(range(3), repeat=count)))
    symbols = grid + 3 * np.arange(count)
    assert measured(grid, symbols).value == pytest.approx(1 / count**2, abs=1e-12)
    assert measured(grid, symbols, estimator="aligned").value > 0.9


def test_aligning_finds_out_what_a_symbol_is_due_to() -> None:
    attributes = np.random.default_rng(0).integers(0, 4, (300, 3))
    symbols = np.random.default_rng(1).permuted(attributes + np.array([0, 4, 8]), axis=1)
    assert measured(attributes, symbols, estimator="aligned").value > 0.999
    shared = measured(attributes, attributes, estimator="aligned").value
    assert shared < 0.5


@each
@pytest.mark.parametrize("seed", range(3))
def test_equals_a_slow_loop(estimator: str, seed: int) -> None:
    attributes, symbols, mask = random_language(seed)
    attributes[np.random.default_rng(seed).random(attributes.shape) < 0.2] = -1
    found = measured(attributes, symbols, mask, estimator=estimator)
    assert found.value == pytest.approx(slow(attributes, symbols, mask, estimator), abs=1e-9)


@pytest.mark.parametrize("share", [0.0, 2.0], ids=["full", "sparse"])
def test_full_and_sparse_products_equal_a_slow_loop(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    attributes, symbols, mask = random_language(3)
    attributes[np.random.default_rng(3).random(attributes.shape) < 0.2] = -1
    monkeypatch.setattr(independence, "_SPARSE", share)
    found = measured(attributes, symbols, mask, estimator="aligned")
    assert found.value == pytest.approx(slow(attributes, symbols, mask, "aligned"), abs=1e-9)


@each
def test_blocks_of_items_do_not_matter(estimator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    language = random_language(0)
    found = measured(*language, estimator=estimator).value
    monkeypatch.setattr("analysis.metrics.independence._BLOCK", 7)
    assert measured(*language, estimator=estimator).value == pytest.approx(found, abs=1e-12)


def test_of_equally_good_symbols_the_frequent_one_counts() -> None:
    # Both symbols are said of nothing but their concept; 8 is said of it once in four times.
    attributes, symbols = np.array([0, 0, 0, 0, 1])[:, None], np.array([8, 2, 2, 2, 5])[:, None]
    assert measured(attributes, symbols).value == pytest.approx((0.75 + 1) / 2)


def test_a_concept_of_silent_items_has_no_symbol() -> None:
    attributes, symbols = np.array([0, 1, 2, 2])[:, None], np.array([0, 1, 2, 2])[:, None]
    assert measured(attributes, symbols, np.array([1, 1, 0, 0], bool)[:, None]).value == pytest.approx(2 / 3)


@each
def test_names_order_and_padding_do_not_matter(estimator: str) -> None:
    attributes, symbols, mask = random_language(1)
    found = measured(attributes, symbols, mask, estimator=estimator).value
    rng = np.random.default_rng(0)
    order, slots = rng.permutation(len(symbols)), rng.permutation(4)
    names = rng.permutation(7)
    same = pytest.approx(found, abs=1e-9)
    assert measured(attributes[order], symbols[order], mask[order], estimator=estimator).value == same
    assert measured(attributes[:, ::-1], symbols[:, slots], mask[:, slots], estimator=estimator).value == same
    assert measured(attributes * 9, names[symbols] * 100, mask, estimator=estimator).value == same
    assert measured(attributes, np.where(mask, symbols, -4), mask, estimator=estimator).value == found


@pytest.mark.slow
@each
def test_null_of_random_languages_is_calibrated(estimator: str) -> None:
    results = [measured(*random_language(s), estimator=estimator, permutations=19, seed=s) for s in range(30)]
    p = np.array([r.p for r in results])
    assert abs(p.mean() - 0.525) < 0.16 and (p <= 0.1).mean() < 0.25
    perfect = measured(GRID, APART, estimator=estimator, permutations=99)
    assert perfect.p == pytest.approx(0.01) and perfect.n == 16
    assert perfect == measured(GRID, APART, estimator=estimator, permutations=99)


@each
@pytest.mark.parametrize(
    ("attributes", "symbols", "mask", "reason"),
    [
        (np.zeros((0, 2), int), np.zeros((0, 3), int), None, "too_few"),
        (GRID[:1], GRID[:1], None, "too_few"),
        (np.zeros((16, 0), int), GRID, None, "no_attributes"),
        (np.full((16, 2), -1), GRID, None, "no_attributes"),
        (np.zeros((16, 2), int), GRID, None, "constant_attributes"),
        (GRID, np.full((16, 2), 3), None, "constant_messages"),
        (GRID, np.zeros((16, 0), int), None, "constant_messages"),
        (GRID, GRID, np.zeros((16, 2), bool), "constant_messages"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_degenerate_languages_have_a_reason(
    estimator: str, attributes: np.ndarray, symbols: np.ndarray, mask: object, reason: str
) -> None:
    found = measured(attributes, symbols, mask, estimator=estimator, permutations=3)
    assert math.isnan(found.value) and found.reason == reason and found.n == len(symbols)


def test_unknown_estimators_are_refused() -> None:
    with pytest.raises(ValueError, match="'count' or 'aligned'"):
        measured(GRID, GRID, estimator="guess")


@pytest.mark.parametrize("seed", range(3))
def test_large_vocabularies_are_aligned_pair_by_pair_with_the_same_result(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    attributes, symbols, mask = random_language(seed)
    attributes[np.random.default_rng(seed).random(attributes.shape) < 0.2] = -1
    mask[:3] = False
    found = []
    for look_up in (1000, 0):
        monkeypatch.setattr(independence, "_LOOK_UP", look_up)
        found.append(measured(attributes, symbols, mask, estimator="aligned", permutations=5))
    assert found[0].value == pytest.approx(found[1].value, abs=1e-12)
    assert found[0].null_mean == pytest.approx(found[1].null_mean, abs=1e-12)


def test_large_corpora_are_aligned_with_fewer_shuffled_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    language = random_language(0)
    monkeypatch.setattr(independence, "_WORK", 50)
    assert measured(*language, estimator="aligned", permutations=30).draws == 20
    assert measured(*language, estimator="aligned", permutations=7).draws == 7
    assert measured(*language, estimator="count", permutations=30).draws == 30
