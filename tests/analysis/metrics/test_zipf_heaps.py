"""Zipf and Heaps: the metric sheet's values (M10), SciPy's fits, limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import linregress

from analysis.metrics.zipf_heaps import heaps, zipf


def said(counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    symbols = np.repeat(np.arange(len(counts)), counts)[None]
    return symbols, np.ones(symbols.shape, dtype=bool)


def drawn(exponent: float, vocabulary: int, tokens: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    weights = np.arange(1.0, vocabulary + 1) ** -exponent
    symbols = np.random.default_rng(seed).choice(vocabulary, (tokens // 10, 10), p=weights / weights.sum())
    return symbols, np.ones(symbols.shape, dtype=bool)


def test_harmonic_counts_are_zipfs_law() -> None:
    found = zipf(*said([60, 30, 20, 15, 12]))
    assert found.slope.value == pytest.approx(-1, abs=1e-9)
    assert found.r_squared.value == pytest.approx(1, abs=1e-9)
    assert found.exponent.value == pytest.approx(1, abs=1e-9)
    assert found.exponent.n == found.slope.n == 137 and found.counts.tolist() == [60, 30, 20, 15, 12]


def test_equal_counts_are_flat() -> None:
    found = zipf(*said([20] * 8))
    assert found.slope.value == found.exponent.value == 0
    assert found.r_squared.reason == "equal_counts"
    assert found.exponent.low < 0 < found.exponent.high


@pytest.mark.parametrize("seed", range(3))
def test_fits_equal_scipys(seed: int) -> None:
    found = zipf(*drawn(0.8, 30, 2000, seed))
    ranks = np.arange(1.0, len(found.counts) + 1)
    line = linregress(np.log(ranks), np.log(found.counts))
    assert found.slope.value == pytest.approx(line.slope, abs=1e-12)
    assert found.r_squared.value == pytest.approx(line.rvalue**2, abs=1e-12)
    surprise = minimize_scalar(
        lambda s: s * (found.counts * np.log(ranks)).sum() + found.counts.sum() * np.log((ranks**-s).sum()),
        bounds=(0, 9), method="bounded", options={"xatol": 1e-10},
    )  # fmt: skip
    assert found.exponent.value == pytest.approx(surprise.x, abs=1e-6)


def test_the_exponent_of_a_large_sample_is_recovered_and_its_interval_holds() -> None:
    found = [zipf(*drawn(1.2, 40, 20_000, seed)).exponent for seed in range(40)]
    assert np.mean([f.value for f in found]) == pytest.approx(1.2, abs=0.01)
    assert np.mean([f.low <= 1.2 <= f.high for f in found]) > 0.85


def test_a_steep_language_has_a_finite_exponent() -> None:
    assert zipf(*said([100_000, 1])).exponent.value == pytest.approx(math.log2(100_000), abs=1e-6)


def test_heaps_equals_a_slow_loop() -> None:
    found = heaps(*drawn(1.0, 50, 3000), seed=4)
    assert found.tokens[0] == found.types[0] == 1
    assert found.tokens[-1] == found.exponent.n == 3000 and found.types[-1] == 50
    line = linregress(np.log(found.tokens), np.log(found.types))
    assert found.exponent.value == pytest.approx(line.slope, abs=1e-12)
    assert found.coefficient.value == pytest.approx(math.exp(line.intercept), abs=1e-12)
    assert found.r_squared.value == pytest.approx(line.rvalue**2, abs=1e-12)
    assert 0 < found.exponent.value < 1 and (np.diff(found.types) >= 0).all() and (found.types <= found.tokens).all()


def test_heaps_curve_has_the_expected_height() -> None:
    # V - sum over symbols of the chance that none of n tokens, drawn without replacement, is this one.
    counts = np.array([600, 300, 200, 150, 120, 30, 30, 10])
    curves = [heaps(*said(counts.tolist()), seed=s) for s in range(200)]
    tokens, total = curves[0].tokens, counts.sum()
    missed = [[math.comb(int(total - c), int(n)) / math.comb(int(total), int(n)) for c in counts] for n in tokens]
    assert np.mean([c.types for c in curves], axis=0) == pytest.approx(len(counts) - np.sum(missed, axis=1), abs=0.3)


def test_a_richer_vocabulary_grows_faster() -> None:
    assert heaps(*drawn(0.5, 400, 5000)).exponent.value > heaps(*drawn(2.5, 400, 20_000)).exponent.value + 0.1


def test_names_order_and_padding_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    symbols, mask = drawn(1.0, 12, 800)[0], rng.random((80, 10)) < 0.6
    order, names = rng.permutation(80), rng.permutation(12) * 50
    other = (np.where(mask, names[symbols], -3)[order], mask[order])
    assert zipf(*other).exponent == zipf(symbols, mask).exponent
    assert heaps(*other).exponent == heaps(symbols, mask).exponent
    assert heaps(symbols, mask, seed=1).exponent != heaps(symbols, mask).exponent


@pytest.mark.parametrize(
    ("symbols", "mask", "reason"),
    [
        (np.zeros((0, 3), int), np.zeros((0, 3), bool), "all_silent"),
        (np.zeros((0, 0), int), np.zeros((0, 0), bool), "all_silent"),
        (np.zeros((4, 3), int), np.zeros((4, 3), bool), "all_silent"),
        (np.zeros((4, 3), int), np.ones((4, 3), bool), "single_symbol"),
        (np.arange(3)[None], np.ones((1, 3), bool), "too_few_tokens"),
        (np.arange(30).reshape(10, 3) % 4, np.ones((10, 3), bool), "too_few_tokens"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_degenerate_languages_have_a_reason(symbols: np.ndarray, mask: np.ndarray, reason: str) -> None:
    z, h = zipf(symbols, mask), heaps(symbols, mask)
    results = [z.exponent, z.slope, z.r_squared, h.exponent, h.coefficient, h.r_squared]
    assert {r.reason for r in results} == {reason}
    assert {r.n for r in results} == {mask.sum()}
    assert len(h.tokens) == len(h.types) and z.counts.sum() == mask.sum()


def test_ten_tokens_per_symbol_are_enough() -> None:
    assert not zipf(*said([20, 10, 10, 0])).exponent.reason and zipf(*said([20, 8, 1])).exponent.reason
