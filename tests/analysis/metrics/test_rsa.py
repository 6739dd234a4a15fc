"""Representational similarity against the metric sheet (M5), SciPy, and agents that hash."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group, spearmanr

from analysis.metrics.rsa import hashing_check, representational_similarity

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(40, 8))
OTHERS = RNG.normal(size=(40, 5))


@pytest.mark.parametrize(
    "same",
    [
        POINTS,
        7.5 * POINTS,
        1e-200 * POINTS,
        POINTS @ ortho_group.rvs(8, random_state=0),
        np.pad(POINTS, ((0, 0), (0, 3))),
    ],
    ids=["equal", "scaled", "tiny", "rotated", "wider"],
)
def test_the_same_representation(same: np.ndarray) -> None:
    found = representational_similarity(POINTS, same, permutations=99)
    assert found.value == pytest.approx(1, abs=1e-9) and found.n == 40
    assert found.p == 0.01 and found.low == pytest.approx(1, abs=1e-9)


def test_independent_representations() -> None:
    found = representational_similarity(POINTS, OTHERS)
    assert abs(found.value) < 0.1 and found.p > 0.05 and found.low < 0 < found.high
    expected = spearmanr(pdist(POINTS, "cosine"), pdist(OTHERS, "cosine")).statistic
    assert found.value == pytest.approx(expected, abs=1e-12)


def test_opposites_have_minus_one() -> None:
    # Three directions in a plane: the closer two are in one, the farther apart they are in the other.
    one, other = (np.stack([np.cos(a), np.sin(a)], axis=1) for a in ([0, 0.1, 0.5], [0, 0.5, 0.1]))
    assert representational_similarity(one, other, permutations=0).value == pytest.approx(-1)


@pytest.mark.slow
def test_null_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    p = [
        representational_similarity(rng.normal(size=(20, 2)), rng.normal(size=(20, 2)), permutations=39).p
        for _ in range(200)
    ]
    assert np.mean(np.array(p) <= 0.05) < 0.05 + 0.047 and abs(np.mean(np.array(p) <= 0.5) - 0.5) < 0.107


def test_items_do_not_come_in_an_order() -> None:
    order = np.random.default_rng(0).permutation(40)
    found = representational_similarity(POINTS[order], np.abs(POINTS)[order], permutations=0).value
    assert found == pytest.approx(representational_similarity(POINTS, np.abs(POINTS), permutations=0).value)


@pytest.mark.slow
def test_many_items_are_ranked_to_a_millionth() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(2100, 4))
    other = one + rng.normal(size=one.shape)
    found = representational_similarity(one, other, permutations=20, max_items=100)
    expected = spearmanr(pdist(one, "cosine"), pdist(other, "cosine")).statistic
    assert found.value == pytest.approx(expected, abs=1e-7)
    assert found.n == 2100 and found.p == 1 / 21 and found.low < found.value < found.high


def test_vectors_without_a_direction_are_left_out() -> None:
    one, other = POINTS.copy(), OTHERS.copy()
    one[0], other[1], other[2] = 0, 0, np.nan
    found = representational_similarity(one, other, permutations=5)
    assert found == representational_similarity(POINTS[3:], OTHERS[3:], permutations=5) and found.n == 37


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (POINTS[:0], OTHERS[:0], "too_few_items"),
        (POINTS[:1], OTHERS[:1], "too_few_items"),
        (POINTS, 0 * OTHERS, "too_few_items"),
        (np.ones((40, 3)), OTHERS, "constant_first_vectors"),
        (POINTS, np.outer(np.arange(1, 41), [1, 2]), "constant_second_vectors"),
        (np.eye(40), OTHERS, "equidistant_first_vectors"),
    ],
)
def test_reasons(one: np.ndarray, other: np.ndarray, reason: str) -> None:
    found = representational_similarity(one, other)
    assert math.isnan(found.value) and found.reason == reason and math.isnan(found.p)


def test_agents_that_hash() -> None:
    rng = np.random.default_rng(0)
    inputs, code = rng.normal(size=(80, 6)), rng.normal(size=(80, 16))
    found = hashing_check(code, code + 0.3 * rng.normal(size=code.shape), inputs)
    assert found.sender_receiver.value > 0.7 and found.sender_receiver.p < 0.01
    assert abs(found.sender_input.value) < 0.1 and abs(found.receiver_input.value) < 0.1


def test_agents_that_see() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(80, 6))
    sender, receiver = inputs @ rng.normal(size=(6, 16)), 2 * inputs
    sender[0], receiver[1] = 0, np.inf
    found = hashing_check(sender, receiver, inputs, permutations=50)
    assert found.dropped == 2 and found.sender_input.n == found.sender_receiver.n == found.receiver_input.n == 78
    assert found.receiver_input.value == pytest.approx(1) and found.sender_input.value > 0.5
    assert found.sender_receiver.value == pytest.approx(found.sender_input.value)


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"'first': \(40, 8\), 'second': \(39, 5\)"):
        representational_similarity(POINTS, OTHERS[:39])
    with pytest.raises(ValueError, match=r"'inputs': \(40,\)"):
        hashing_check(POINTS, OTHERS, POINTS[:, 0])
