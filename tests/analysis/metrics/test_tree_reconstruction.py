"""Tree reconstruction error: the metric sheet's values (M3), NumPy's least squares, limits and shuffled languages."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import sparse

from analysis.metrics import tree_reconstruction
from analysis.metrics.tree_reconstruction import _spelt, one_hot_messages, tree_reconstruction_error

GRID = np.array(list(itertools.product(range(4), repeat=2)))
SMALL = np.array(list(itertools.product(range(3), repeat=2)))
BITS = np.array(list(itertools.product(range(2), repeat=2)))


def least_squares(attributes: np.ndarray, points: np.ndarray) -> float:
    design = np.concatenate([np.ones((len(points), 1))] + [np.eye(99)[a] * (a >= 0)[:, None] for a in attributes.T], 1)
    pieces = np.linalg.lstsq(design, points, rcond=None)[0]
    return float(np.square(points - design @ pieces).sum(1).mean())


@pytest.mark.parametrize(
    ("attributes", "points", "error", "explained"),
    [
        (GRID, np.concatenate([np.eye(4)[GRID[:, 0]], np.eye(4)[GRID[:, 1]]], 1), 0.0, 1.0),
        (BITS, BITS.sum(1, keepdims=True) % 2, 0.25, 0.0),
        (SMALL, np.eye(9), 4 / 9, 0.5),
        (SMALL, one_hot_messages(np.arange(9)[:, None], np.ones((9, 1), bool)), 4 / 9, 0.5),
    ],
)
def test_exact_values(attributes: np.ndarray, points: np.ndarray, error: float, explained: float) -> None:
    found = tree_reconstruction_error(attributes, points, permutations=0)
    assert found.error.value == pytest.approx(error, abs=1e-9)
    assert found.explained.value == pytest.approx(explained, abs=1e-9)


@pytest.mark.parametrize("far", [0.0, 1e6])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_equals_least_squares_on_embeddings_and_on_messages(missing: float, far: float) -> None:
    rng = np.random.default_rng(0)
    attributes = rng.integers(0, 4, (80, 3))
    attributes[rng.random(attributes.shape) < missing] = -1
    known = (attributes >= 0).any(1)
    messages = one_hot_messages(rng.integers(0, 20, (80, 6)), rng.random((80, 6)) < 0.7)
    for points in (rng.normal(size=(80, 5)) + far, messages):
        found = tree_reconstruction_error(attributes, points, permutations=0)
        expected = least_squares(attributes[known], points[known].astype(float) - far * (points is not messages))
        assert found.error.value == pytest.approx(expected, rel=1e-7)
        assert found.error.n == known.sum()
        variance = points[known].var(axis=0, dtype=float).sum()
        assert found.explained.value == pytest.approx(1 - expected / variance, abs=1e-7)


def test_the_residual_of_a_full_grid_is_its_interaction() -> None:
    table = np.random.default_rng(0).normal(size=(4, 4))
    interaction = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    found = tree_reconstruction_error(GRID, table.reshape(-1, 1), permutations=0)
    assert found.error.value == pytest.approx(np.square(interaction).mean(), abs=1e-12)


def test_attributes_that_repeat_each_other_add_nothing() -> None:
    points = np.random.default_rng(0).normal(size=(16, 3))
    once = tree_reconstruction_error(GRID, points, permutations=0).error.value
    twice = tree_reconstruction_error(np.concatenate([GRID, GRID[:, :1]], 1), points, permutations=0).error.value
    assert twice == pytest.approx(once, abs=1e-12)


def test_scale_shift_and_order_change_nothing_that_they_should_not() -> None:
    rng = np.random.default_rng(0)
    attributes, points = rng.integers(0, 3, (50, 2)), rng.normal(size=(50, 4))
    found = tree_reconstruction_error(attributes, points, permutations=9)
    other = tree_reconstruction_error(attributes * 5 + 1, 1e3 * points - 7, permutations=9)
    assert other.error.value == pytest.approx(1e6 * found.error.value)
    assert other.explained.value == pytest.approx(found.explained.value)
    assert other.error.p == other.explained.p == found.explained.p
    order = rng.permutation(50)
    assert tree_reconstruction_error(attributes[order], points[order]).error.value == pytest.approx(found.error.value)


def test_null_explains_what_free_pieces_explain_and_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    results = [
        tree_reconstruction_error(rng.integers(0, 4, (60, 2)), rng.normal(size=(60, 3)), permutations=19, seed=s)
        for s in range(80)
    ]
    p = np.array([r.explained.p for r in results])
    assert abs(p.mean() - 0.525) < 0.12 and (p <= 0.1).mean() < 0.2
    assert all(r.error.p == r.explained.p for r in results)
    assert np.mean([r.explained.null_mean for r in results]) == pytest.approx(6 / 59, abs=0.005)
    perfect = tree_reconstruction_error(GRID, one_hot_messages(GRID, np.ones(GRID.shape, bool)), permutations=99)
    assert perfect.error.p == perfect.explained.p == pytest.approx(0.01)


def test_one_symbol_per_grid_cell_is_no_better_than_shuffled() -> None:
    found = tree_reconstruction_error(SMALL, np.eye(9), permutations=19)
    assert found.explained.p == found.error.p == 1


@pytest.mark.parametrize(
    ("attributes", "points", "reason"),
    [
        (np.zeros((0, 2), int), np.zeros((0, 3)), "too_few"),
        (GRID[:1], np.ones((1, 3)), "too_few"),
        (BITS[:3], np.eye(3), "too_few"),
        (np.zeros((16, 0), int), np.eye(16), "no_attributes"),
        (np.full((16, 2), -1), np.eye(16), "no_attributes"),
        (np.zeros((16, 2), int), np.eye(16), "constant_attributes"),
        (np.concatenate([GRID[:1], np.full((15, 2), -1)]), np.eye(16), "constant_attributes"),
        (GRID, np.full((16, 3), 0.1), "constant_representations"),
        (GRID, np.zeros((16, 0)), "constant_representations"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_degenerate_languages_have_a_reason(attributes: np.ndarray, points: np.ndarray, reason: str) -> None:
    found = tree_reconstruction_error(attributes, points, permutations=3)
    assert found.error.reason == found.explained.reason == reason
    assert math.isnan(found.error.value)


def test_malformed_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(16, 2, 2\)"):
        tree_reconstruction_error(GRID, np.zeros((16, 2, 2)))
    with pytest.raises(ValueError, match="not finite"):
        tree_reconstruction_error(GRID, np.full((16, 2), np.nan))
    with pytest.raises(ValueError, match="N = 15"):
        tree_reconstruction_error(GRID, np.zeros((15, 2)))


def test_messages_spelt_out_differ_by_twice_the_slots_that_differ() -> None:
    rng = np.random.default_rng(0)
    symbols, mask = rng.integers(0, 4, (20, 5)), rng.random((20, 5)) < 0.7
    spelt = one_hot_messages(np.where(mask, symbols, -9), mask).astype(int)
    said = np.where(mask, symbols, -1)
    differ = (said[:, None] != said[None]).sum(-1)
    assert (np.square(spelt[:, None] - spelt[None]).sum(-1) == 2 * differ).all()
    assert one_hot_messages(np.zeros((0, 3), int), np.zeros((0, 3), bool)).shape == (0, 0)


@pytest.mark.parametrize("numbers", [tree_reconstruction._NUMBERS, 40])
def test_sparse_representations_have_the_values_of_arrays(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_reconstruction, "_NUMBERS", numbers)
    rng = np.random.default_rng(0)
    attributes, symbols = rng.integers(-1, 3, (60, 2)), rng.integers(0, 9, (60, 4))
    mask = rng.random(symbols.shape) < 0.7
    spelt = one_hot_messages(symbols, mask)
    assert (_spelt(np.where(mask, symbols, -1)).toarray() == spelt).all()
    # Above a tenth of the entries, arrays are multiplied; sparse ones are always counted.
    for points in (spelt.astype(float), rng.normal(size=(60, 5)) * (rng.random((60, 5)) < 0.5)):
        found = tree_reconstruction_error(attributes, points, permutations=9)
        other = tree_reconstruction_error(attributes, sparse.csr_array(points), permutations=9)
        for one, two in ((found.error, other.error), (found.explained, other.explained)):
            assert (one.value, one.null_mean, one.p) == pytest.approx((two.value, two.null_mean, two.p), abs=1e-12)
    constant = sparse.csr_array(np.full((16, 3), 0.1))
    assert tree_reconstruction_error(GRID, constant).error.reason == "constant_representations"
    with pytest.raises(ValueError, match="not finite"):
        tree_reconstruction_error(GRID, sparse.csr_array(np.full((16, 2), np.nan)))
