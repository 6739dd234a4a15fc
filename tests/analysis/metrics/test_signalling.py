"""Signalling and listening: the sheet's exact values, slow loops, scikit-learn, nulls, and data without a value."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from analysis.metrics.signalling import (
    Signalling,
    _turned,
    causal_influence,
    instantaneous_coordination,
    listening_influence,
    message_numbers,
    speaker_consistency,
)


@pytest.fixture(autouse=True)
def _no_warnings() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def unit(points: np.ndarray) -> np.ndarray:
    return points / np.linalg.norm(points, axis=1, keepdims=True)


# -------------------------------------------------------------------------------------------------- messages as numbers


def test_messages_have_one_number_if_the_same_was_said() -> None:
    symbols = np.array([[3, 1, 9], [3, 1, 7], [3, 2, 9], [1, 3, 0], [5, 5, 5], [6, 6, 6], [0, 3, 1]])
    mask = np.array([[1, 1, 0], [1, 1, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 1, 1]], bool)
    numbers = message_numbers(symbols, mask)
    same = numbers[:, None] == numbers
    expected = np.eye(7, dtype=bool)
    expected[0, 1] = expected[1, 0] = expected[4, 5] = expected[5, 4] = True
    np.testing.assert_array_equal(same, expected)
    assert numbers.min() == 0 and numbers.max() == 4


@pytest.mark.parametrize("shape", [(0, 3), (0, 0), (3, 0)])
def test_messages_without_slots_are_one_silence(shape: tuple[int, int]) -> None:
    assert message_numbers(np.zeros(shape, int), np.zeros(shape, bool)).tolist() == [0] * shape[0]


# -------------------------------------------------------------------------------------------------- speaker consistency


def test_consistency_of_the_sheet() -> None:
    states = np.arange(40) % 4
    bijection = speaker_consistency((states + 1) % 4, states)
    assert math.isclose(bijection.information.value, math.log(4), abs_tol=1e-9)
    assert math.isclose(bijection.information.value, 1.3862943611, abs_tol=1e-9)
    assert bijection.share.value == pytest.approx(1, abs=1e-9)
    assert bijection.share.p == bijection.information.p == 1 / 101
    halves = speaker_consistency(states // 2, states)
    assert math.isclose(halves.information.value, math.log(2), abs_tol=1e-9)
    assert halves.share.value == pytest.approx(1, abs=1e-9)
    swapped = speaker_consistency(states, states // 2)
    assert math.isclose(swapped.information.value, math.log(2), abs_tol=1e-9)
    assert math.isclose(swapped.share.value, 0.5, abs_tol=1e-9)


@pytest.mark.parametrize("function", [speaker_consistency, instantaneous_coordination])
def test_consistency_is_that_of_scikit_learn(function: Callable[..., Signalling]) -> None:
    rng = np.random.default_rng(0)
    states = rng.integers(0, 5, 300)
    messages = np.where(rng.random(300) < 0.5, states * 3, rng.integers(0, 20, 300))
    messages[:20], states[10:30] = -1, -1
    result = function(messages, states, permutations=30)
    assert math.isclose(result.information.value, mutual_info_score(messages[30:], states[30:]), abs_tol=1e-9)
    entropy = mutual_info_score(messages[30:], messages[30:])
    for field in ("value", "null_mean", "null_std"):
        ratio = getattr(result.information, field) / getattr(result.share, field)
        assert math.isclose(ratio, entropy, rel_tol=1e-9)
    assert result.information.n == result.share.n == 270 and result.information.draws == result.share.draws == 30
    assert result.information.value > result.information.null_mean + 5 * result.information.null_std
    order = rng.permutation(300)
    again = function(messages[order], np.where(states < 0, -1, 7 - states)[order], permutations=0)
    assert math.isclose(again.information.value, result.information.value, abs_tol=1e-12)


def test_random_messages_are_their_null() -> None:
    p = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        result = speaker_consistency(rng.integers(0, 6, 100), rng.integers(0, 4, 100), permutations=39, seed=seed)
        p.append(result.information.p)
    assert 0.35 < np.mean(p) < 0.65 and np.mean(np.array(p) <= 0.25) < 0.45 and min(p) < 0.2


def test_messages_that_never_repeat_prove_nothing() -> None:
    states = np.arange(100) % 10
    result = speaker_consistency(np.arange(100), states)
    assert math.isclose(result.information.value, math.log(10)) and result.information.p == 1


def test_constants_and_nothing() -> None:
    for result in (
        speaker_consistency(np.zeros(0, int), np.zeros(0, int)),
        speaker_consistency([], []),
        speaker_consistency([-1, 3], [2, -1]),
    ):
        assert result.information.reason == result.share.reason == "nothing_known" and result.share.n == 0
    still = speaker_consistency(np.full(9, 4), np.arange(9))
    assert still.information.value == 0 and still.information.p == 1 and still.share.reason == "constant_messages"
    alike = speaker_consistency(np.arange(9), np.full(9, 4))
    assert alike.information.value == alike.share.value == 0 and alike.share.p == 1
    assert speaker_consistency([3], [3]).information.value == 0


@pytest.mark.parametrize(
    ("messages", "states", "message"),
    [
        ([0, 1], [0], "2 messages and 1 states"),
        ([[0, 1]], [0, 1], r"messages has shape \(1, 2\)"),
        ([0.0, 1.0], [0, 1], "type float64: expected integers"),
        ([0, 1], [0, -2], "states holds -2: ids count from 0"),
    ],
)
def test_consistency_says_what_is_wrong(messages: list[int], states: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        speaker_consistency(messages, states)


# ----------------------------------------------------------------------------------------------------- causal influence


def test_influence_of_the_sheet() -> None:
    even = np.full(4, 0.25)
    ignores = np.tile([0.7, 0.2, 0.1, 0.0], (4, 1))
    assert causal_influence(ignores, even).value == pytest.approx(0, abs=1e-9)
    assert causal_influence(np.eye(4)[[2, 0, 3, 1]], even).value == pytest.approx(1.3862943611, abs=1e-9)
    assert causal_influence(np.eye(4), [1.0, 0, 0, 0]).value == 0


def test_influence_is_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    for shared in (False, True):
        actions, prob = rng.dirichlet(np.ones(5), (7, 3)), rng.dirichlet(np.ones(3), 7)
        actions[0, 1] = [0, 1, 0, 0, 0]
        prob = prob[0] if shared else prob
        total = 0.0
        for x in range(7):
            p = prob if shared else prob[x]
            for m in range(3):
                for a in range(5):
                    joint = p[m] * actions[x, m, a]
                    if joint > 0:
                        total += joint * math.log(actions[x, m, a] / sum(p[k] * actions[x, k, a] for k in range(3)))
        result = causal_influence(actions, prob)
        assert math.isclose(result.value, total / 7, rel_tol=1e-9) and result.n == 7


def test_influence_holds_the_context_still() -> None:
    # Message and action agree perfectly over contexts, yet within each the listener ignores the message.
    actions = np.stack([np.tile([1.0, 0.0], (2, 1)), np.tile([0.0, 1.0], (2, 1))])
    assert causal_influence(actions, np.eye(2)).value == 0
    assert causal_influence(actions, [0.5, 0.5]).value == 0
    coordination = instantaneous_coordination([0, 1] * 20, [0, 1] * 20)
    assert math.isclose(coordination.information.value, math.log(2))


def test_influence_without_contexts() -> None:
    assert causal_influence(np.zeros((0, 3, 4)), np.full(3, 1 / 3)).reason == "no_contexts"
    assert causal_influence(np.zeros((0, 3, 4)), np.zeros((0, 3))).reason == "no_contexts"


@pytest.mark.parametrize(
    ("actions", "prob", "message"),
    [
        (np.eye(4), np.full(3, 1 / 3), r"\(1, 4, 4\) and message_prob \(3,\): expected \[X, M, A\]"),
        (np.ones(4), np.full(4, 0.25), "expected"),
        (np.ones((4, 4)), np.full(4, 0.25), "action_given_message is negative or does not sum to 1"),
        (np.eye(4), np.full(4, 0.5), "message_prob is negative or does not sum to 1"),
        (np.eye(2), [1.5, -0.5], "message_prob is negative"),
        (np.full((2, 2), np.nan), [0.5, 0.5], "action_given_message is negative or does not"),
    ],
)
def test_influence_says_what_is_wrong(actions: np.ndarray, prob: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        causal_influence(actions, prob)


# -------------------------------------------------------------------------------------------------- listening influence


def test_listener_that_understands_one_hot_messages() -> None:
    result = listening_influence(np.eye(4), np.eye(4)[[1, 3, 0, 2]], 0.01, 4)
    assert result.value == pytest.approx(math.log(4), abs=1e-9) and result.n == 1
    assert result.p < 0.05 and result.null_mean < result.value and result.draws == 100


def test_listener_that_ignores_the_message() -> None:
    rng = np.random.default_rng(0)
    image = unit(rng.normal(size=(24, 6)))
    assert listening_influence(np.tile(image[0], (24, 1)), image, 0.1, 8).value == pytest.approx(0, abs=1e-9)
    same = listening_influence(unit(rng.normal(size=(24, 6))), np.tile(image[0], (24, 1)), 0.1, 8)
    assert same.value == pytest.approx(0, abs=1e-9)


def test_listening_is_the_causal_influence_of_all_messages() -> None:
    rng = np.random.default_rng(1)
    text, image = unit(rng.normal(size=(22, 5))), unit(rng.normal(size=(22, 5)))
    actions = np.empty((3, 22, 7))
    for group in range(3):  # the 22nd image is left out
        for m in range(22):
            scores = [math.exp(float(text[m] @ image[group * 7 + a]) / 0.3) for a in range(7)]
            actions[group, m] = np.array(scores) / sum(scores)
    expected = causal_influence(actions, np.full(22, 1 / 22))
    result = listening_influence(text, image, 0.3, 7, messages=22, permutations=0)
    assert math.isclose(result.value, expected.value, rel_tol=1e-9) and result.n == 3
    shuffled = listening_influence(text[rng.permutation(22)], image, 0.3, 7, messages=50, permutations=0)
    assert math.isclose(shuffled.value, expected.value, rel_tol=1e-9)


def test_few_messages_bound_the_influence_and_are_drawn_by_the_seed() -> None:
    rng = np.random.default_rng(2)
    text = unit(rng.normal(size=(200, 32)))
    few = [listening_influence(text, text, 0.01, 50, messages=5, permutations=0, seed=s).value for s in (0, 0, 1)]
    assert few[0] == few[1] != few[2]
    many = listening_influence(text, text, 0.01, 50, messages=64, permutations=0).value
    assert max(few) <= math.log(5) < many <= math.log(50)


@pytest.mark.parametrize("count", [30, 4])
def test_turned_messages_keep_their_similarities(count: int) -> None:
    rng = np.random.default_rng(3)
    vectors = unit(rng.normal(size=(count, 8)))
    turned = np.stack([_turned(vectors, rng) for _ in range(400)])
    np.testing.assert_allclose(turned @ turned.swapaxes(1, 2), np.tile(vectors @ vectors.T, (400, 1, 1)), atol=1e-9)
    # All directions are equally probable: no mean, and the same variance along each.
    np.testing.assert_allclose(turned[:, 0].mean(0), 0, atol=0.08)
    np.testing.assert_allclose((turned[:, 0] ** 2).mean(0), 1 / 8, atol=0.04)


def test_unrelated_embeddings_are_their_null_and_related_ones_are_not() -> None:
    p = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        text, image = unit(rng.normal(size=(32, 6)) + 0.5), unit(rng.normal(size=(32, 6)) * [3, 2, 1, 1, 1, 1])
        turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
        p.append(listening_influence(text @ turn, image, 0.2, 16, permutations=19, seed=seed).p)
    assert 0.35 < np.mean(p) < 0.65 and min(p) < 0.2 < 0.8 < max(p)
    image = unit(np.random.default_rng(0).normal(size=(32, 6)) * [4, 3, 1, 0.1, 0.1, 0.1])
    assert listening_influence(image, image, 0.2, 16).p < 0.05


@pytest.mark.parametrize(
    ("shape", "candidates", "reason"),
    [
        ((0, 4), 3, "fewer_items_than_candidates"),
        ((2, 4), 3, "fewer_items_than_candidates"),
        ((1, 4), 1, "one_candidate"),
        ((9, 4), 1, "one_candidate"),
    ],
)
def test_listening_without_a_choice(shape: tuple[int, int], candidates: int, reason: str) -> None:
    points = np.ones(shape, np.float32)
    result = listening_influence(points, points, 0.1, candidates)
    assert math.isnan(result.value) and result.reason == reason


def test_listening_of_a_run_that_diverged() -> None:
    broken = np.full((6, 4), np.nan, np.float32)
    assert listening_influence(broken, np.ones((6, 4)), 0.1, 3).reason == "embeddings_not_finite"
    assert listening_influence(np.zeros((6, 4)), np.zeros((6, 4)), 0.1, 3).value == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": np.ones((5, 4))}, r"expected text and image of one shape \[N, D\], got \(5, 4\) and \(6, 4\)"),
        ({"text": np.ones(6), "image": np.ones(6)}, r"one shape \[N, D\]"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"candidates": 0}, "candidates 0"),
        ({"messages": 1}, "messages 1: give .* at least 2 messages"),
    ],
)
def test_listening_says_what_is_wrong(changes: dict[str, object], message: str) -> None:
    good = {"text": np.ones((6, 4)), "image": np.ones((6, 4)), "temperature": 0.1, "candidates": 3}
    with pytest.raises(ValueError, match=message):
        listening_influence(**(good | changes))  # type: ignore[arg-type]
