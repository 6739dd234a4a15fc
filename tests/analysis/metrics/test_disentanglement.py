"""Disentanglement: the metric sheet's values (M2), a slow loop over scikit-learn, limits and shuffled languages."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch

from analysis.corpus.corpus import Corpus
from analysis.metrics.disentanglement import (
    FAMILY,
    attribute_disentanglement,
    bag_of_symbols_disentanglement,
    positional_disentanglement,
)
from analysis.metrics.result import Result

GRID = np.array(list(itertools.product(range(4), repeat=2)))
APART = GRID + np.array([0, 4])  # each attribute with symbols of its own
# The miniature language of Chaabouni et al. 2020, appendix 8.2.
MINIATURE = np.array(
    [
        [0, 0, 4], [0, 0, 5], [0, 0, 6], [0, 0, 7], [1, 4, 1], [1, 5, 1], [1, 6, 1], [1, 7, 1],
        [2, 4, 2], [2, 5, 2], [2, 6, 2], [2, 7, 2], [3, 4, 3], [3, 3, 5], [3, 3, 6], [3, 3, 7],
    ]
)  # fmt: skip
METRICS = [positional_disentanglement, bag_of_symbols_disentanglement, attribute_disentanglement]
each = pytest.mark.parametrize("metric", METRICS)


def value(metric: Callable[..., Result], attributes: object, symbols: object, mask: object = None) -> float:
    symbols = np.asarray(symbols)
    said = np.ones(symbols.shape, dtype=bool) if mask is None else mask
    return metric(symbols, said, attributes=attributes, permutations=0).value


def entropy(*columns: np.ndarray) -> float:
    repeats = Counter(zip(*(c.tolist() for c in columns), strict=True)).values()
    return -sum(n / len(columns[0]) * math.log(n / len(columns[0])) for n in repeats)


def slow(metric: Callable[..., Result], attributes: np.ndarray, symbols: np.ndarray, mask: np.ndarray) -> float:
    """The definitions, pair by pair."""
    if metric is bag_of_symbols_disentanglement:
        places = [((symbols == v) & mask).sum(1) for v in np.unique(symbols[mask])]
    else:
        places = list(np.where(mask, symbols, -1).T)
    shares = np.zeros((len(places), attributes.shape[1]))
    for (i, place), (j, attribute) in itertools.product(enumerate(places), enumerate(attributes.T)):
        p, a = place[attribute >= 0], attribute[attribute >= 0]
        whole = entropy(a) if metric is attribute_disentanglement else entropy(p)
        shares[i, j] = (entropy(p) + entropy(a) - entropy(p, a)) / whole if whole > 0 else 0
    if metric is attribute_disentanglement:
        gaps = [np.sort(column)[-1] - np.sort(column)[-2] for column in shares.T]
    else:
        gaps = [np.sort(row)[-1] - np.sort(row)[-2] for p, row in zip(places, shares, strict=True) if entropy(p) > 0]
    return float(np.mean(gaps))


def random_language(seed: int, count: int = 60, slots: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, (count, 3)), rng.integers(0, 6, (count, slots)), rng.random((count, slots)) < 0.7


@pytest.mark.parametrize(
    ("metric", "symbols", "expected"),
    [
        (positional_disentanglement, GRID, 1.0),
        (bag_of_symbols_disentanglement, GRID + 1, 0.0),
        (positional_disentanglement, APART, 1.0),
        (bag_of_symbols_disentanglement, APART, 1.0),
        (bag_of_symbols_disentanglement, MINIATURE, 1.0),
        (positional_disentanglement, np.arange(16)[:, None], 0.0),
        (attribute_disentanglement, GRID, 1.0),
        (attribute_disentanglement, GRID[:, ::-1], 1.0),
    ],
)
def test_exact_values_on_the_full_grid(metric: Callable[..., Result], symbols: np.ndarray, expected: float) -> None:
    assert value(metric, GRID, symbols) == pytest.approx(expected, abs=1e-12)


def test_miniature_language_has_the_sheets_posdis() -> None:
    # The sheet's value comes from EGG, which counts in 32-bit floats.
    assert value(positional_disentanglement, GRID, MINIATURE) == pytest.approx(0.4291632176, abs=2e-7)
    everything = np.ones(MINIATURE.shape, dtype=bool)
    exact = slow(positional_disentanglement, GRID, MINIATURE, everything)
    assert value(positional_disentanglement, GRID, MINIATURE) == pytest.approx(exact, abs=1e-12)


def test_sampled_identity_as_in_eggs_doctest() -> None:
    generator = torch.manual_seed(0)
    attributes = torch.cat([torch.randint(0, 10, (1000, 1), generator=generator) for _ in range(2)], dim=1).numpy()
    assert round(value(positional_disentanglement, attributes, attributes), 6) == 0.978656
    padded = np.concatenate([attributes, np.zeros_like(attributes)], axis=1)
    assert round(value(positional_disentanglement, attributes, padded), 6) == 0.978656


def test_eggs_rule_for_symbol_zero_is_a_mask() -> None:
    # Without the mask, zeros tell how often either attribute is 0, and spoil nothing else.
    said = GRID != 0
    assert value(bag_of_symbols_disentanglement, GRID, GRID, said) == 0
    shared = np.where(GRID == 0, 0, APART)
    assert value(bag_of_symbols_disentanglement, GRID, shared, shared != 0) == pytest.approx(1)
    assert value(bag_of_symbols_disentanglement, GRID, shared) == pytest.approx(6 / 7)
    assert value(bag_of_symbols_disentanglement, GRID, MINIATURE, MINIATURE != 0) == pytest.approx(1)


def test_order_matters_to_places_only() -> None:
    rng = np.random.default_rng(0)
    either = rng.permuted(APART, axis=1)
    assert value(bag_of_symbols_disentanglement, GRID, either) == pytest.approx(1)
    assert value(positional_disentanglement, GRID, either) < 0.6


@each
@pytest.mark.parametrize("seed", range(4))
def test_equals_a_slow_loop(metric: Callable[..., Result], seed: int) -> None:
    attributes, symbols, mask = random_language(seed)
    assert value(metric, attributes, symbols, mask) == pytest.approx(slow(metric, attributes, symbols, mask), abs=1e-12)
    attributes[np.random.default_rng(seed).random(attributes.shape) < 0.2] = -1
    assert value(metric, attributes, symbols, mask) == pytest.approx(slow(metric, attributes, symbols, mask), abs=1e-12)


@each
def test_large_tables_are_counted_by_sorting_with_the_same_value(
    metric: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    attributes, symbols, mask = random_language(7)
    attributes[:9, 1] = -1
    found = metric(symbols, mask, attributes=attributes, permutations=5)
    monkeypatch.setattr("analysis.metrics.statistics.joint_counts._SMALL", 0)
    monkeypatch.setattr("analysis.metrics.statistics.joint_counts._TABLE", 0)
    other = metric(symbols, mask, attributes=attributes, permutations=5)
    assert (other.value, other.null_mean) == pytest.approx((found.value, found.null_mean), abs=1e-12)


@each
def test_unknown_items_of_an_attribute_count_as_if_it_had_not_been_asked_of_them(metric: Callable[..., Result]) -> None:
    known = np.repeat(GRID, 2, axis=0)
    half = known.copy()
    half[::2, 0] = -1
    assert value(metric, half, np.repeat(APART, 2, axis=0)) == pytest.approx(1)


@each
def test_names_order_of_items_and_padding_do_not_matter(metric: Callable[..., Result]) -> None:
    attributes, symbols, mask = random_language(1)
    found = value(metric, attributes, symbols, mask)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(symbols))
    assert value(metric, attributes[order], symbols[order], mask[order]) == pytest.approx(found, abs=1e-12)
    assert value(metric, attributes * 7 + 2, rng.permutation(6)[symbols] * 1000, mask) == pytest.approx(
        found, abs=1e-12
    )
    assert value(metric, attributes, np.where(mask, symbols, -99), mask) == found


@pytest.mark.slow
@each
def test_null_of_random_languages_is_calibrated(metric: Callable[..., Result]) -> None:
    results = []
    for seed in range(60):
        attributes, symbols, mask = random_language(seed, slots=3)
        results.append(metric(symbols, mask, attributes=attributes, permutations=19, seed=seed))
    p = np.array([r.p for r in results])
    assert abs(p.mean() - 0.525) < 0.12 and (p <= 0.1).mean() < 0.2
    assert np.mean([r.value - r.null_mean for r in results]) == pytest.approx(0, abs=0.01)
    assert all(r.n == 60 and r.draws == 19 for r in results)


@each
def test_a_perfect_language_beats_every_shuffled_one_and_seeds_repeat(metric: Callable[..., Result]) -> None:
    everything = np.ones(GRID.shape, dtype=bool)
    found = metric(APART, everything, attributes=GRID, permutations=99, seed=3)
    assert found.p == pytest.approx(0.01) and found.null_mean < 0.4
    assert metric(APART, everything, attributes=GRID, permutations=99, seed=3) == found


@each
@pytest.mark.parametrize(
    ("attributes", "symbols", "mask", "reason"),
    [
        (np.zeros((0, 2), int), np.zeros((0, 3), int), None, "too_few"),
        (np.zeros((0, 0), int), np.zeros((0, 0), int), None, "too_few"),
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
    metric: Callable[..., Result], attributes: object, symbols: np.ndarray, mask: object, reason: str
) -> None:
    said = np.ones(symbols.shape, dtype=bool) if mask is None else mask
    found = metric(symbols, said, attributes=attributes, permutations=3)
    assert math.isnan(found.value) and found.reason == reason and found.n == len(symbols)


def test_a_second_best_is_needed() -> None:
    everything = np.ones(GRID.shape, dtype=bool)
    one = np.stack([GRID[:, 0], np.zeros(16, int)], axis=1)
    assert positional_disentanglement(GRID, everything, attributes=one).reason == "single_attribute"
    assert bag_of_symbols_disentanglement(GRID, everything, attributes=one[:, :1]).reason == "single_attribute"
    assert attribute_disentanglement(one, everything, attributes=GRID).reason == "single_slot"
    assert value(attribute_disentanglement, one, GRID) == pytest.approx(1)


@each
def test_malformed_input_is_refused(metric: Callable[..., Result]) -> None:
    everything = np.ones(GRID.shape, dtype=bool)
    with pytest.raises(ValueError, match=r"\[N, A\] with N = 16, got shape \(16,\)"):
        metric(GRID, everything, attributes=GRID[:, 0])
    with pytest.raises(ValueError, match="got shape"):
        metric(GRID, everything, attributes=GRID[:3])
    with pytest.raises(ValueError, match="float64"):
        metric(GRID, everything, attributes=GRID * 1.0)
    with pytest.raises(ValueError, match="-3"):
        metric(GRID, everything, attributes=GRID - 3)


def test_the_table_counts_slots_once_for_the_same_numbers() -> None:
    rng = np.random.default_rng(0)
    for slots in (1, 3):
        attributes, mask = rng.integers(-1, 4, (50, 2)), rng.random((50, slots)) < 0.8
        symbols = attributes[:, [0, 1, 0][:slots]] + rng.integers(1, 3, (50, slots))
        corpus = Corpus(symbols, mask, vocab_size=8, attributes=attributes)
        metrics = (positional_disentanglement, bag_of_symbols_disentanglement, attribute_disentanglement)
        expected = [
            (metric.__name__, "", repr(metric(symbols, mask, attributes=attributes, permutations=5, seed=3)))
            for metric in metrics
        ]
        assert [(name, of, repr(found)) for name, of, found in FAMILY.rows(corpus, 5, 3)] == expected
