"""References to what was seen before: a loop from the definition, a language with a word for it, none by luck."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.metrics.earlier_references import earlier_references


def by_hand(messages: list[int], seen: list[int], distance: int, least: int) -> float:
    shares = []
    for message in set(messages):
        uses = [i for i, said in enumerate(messages) if said == message]
        last = [max((j for j in range(i) if seen[j] == seen[i]), default=None) for i in uses]
        if len(uses) >= least:
            shares.append(sum(j is not None and i - j == distance for i, j in zip(uses, last, strict=True)) / len(uses))
    return max(shares)


@pytest.mark.parametrize("least", [1, 5])
def test_against_a_loop(least: int) -> None:
    rng = np.random.default_rng(0)
    messages, seen = rng.integers(0, 12, 90), rng.integers(0, 4, 90)
    found = earlier_references(messages[:, None], np.ones((90, 1)), meanings=seen, horizon=6, least=least)
    for distance, result in enumerate(found, start=1):
        assert result.value == pytest.approx(by_hand(messages.tolist(), seen.tolist(), distance, least))


def test_a_word_for_what_was_seen_two_before() -> None:
    rng = np.random.default_rng(1)
    seen = rng.integers(0, 5, 500)
    ago = np.array([next((d for d in range(1, 9) if i >= d and seen[i - d] == seen[i]), 0) for i in range(500)])
    symbols, mask = np.where(ago == 2, 9, seen)[:, None], np.ones((500, 1))
    found = earlier_references(symbols, mask, meanings=np.stack([seen, seen % 2], axis=1))
    assert found[1].value == 1 and found[1].p == pytest.approx(1 / 101) and found[1].null_mean < 0.4
    assert len(found) == 8 and all(result.value < 0.6 for i, result in enumerate(found) if i != 1)


def test_by_luck_there_are_none() -> None:
    small = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        messages, seen = rng.integers(0, 9, (120, 1)), rng.integers(0, 4, 120)
        small.append(earlier_references(messages, np.ones((120, 1)), meanings=seen, permutations=19)[0].p <= 0.05)
    assert np.mean(small) <= 0.15


def test_reasons_and_mistakes() -> None:
    said = np.ones((30, 1), dtype=bool)
    apart = earlier_references(np.zeros((30, 1), int), said, meanings=np.arange(30), horizon=2)
    assert [result.reason for result in apart] == ["no_repetition"] * 2
    rare = earlier_references(np.arange(30)[:, None], said, meanings=np.arange(30) // 2, horizon=1)
    assert rare[0].reason == "rare_messages" and rare[0].n == 15
    assert earlier_references(np.arange(30)[:, None], said, meanings=np.arange(30) // 2, least=1)[0].value == 1
    with pytest.raises(ValueError, match="horizon=0"):
        earlier_references(np.zeros((30, 1), int), said, meanings=np.arange(30), horizon=0)
