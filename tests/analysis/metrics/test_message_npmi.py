"""NPMI of messages against a loop from its definition; perfect, useless and degenerate languages."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.metrics.message_npmi import message_npmi

GRID = np.array([[a, b] for a in range(3) for b in range(3)] * 20)
SAID = np.ones_like(GRID, dtype=bool)


def test_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    meanings, symbols, mask = rng.integers(0, 3, (90, 2)), rng.integers(0, 2, (90, 3)), rng.random((90, 3)) < 0.8
    found = message_npmi(symbols, mask, meanings=meanings, permutations=0)
    messages = [tuple(np.where(m, s, -1)) for s, m in zip(symbols, mask, strict=True)]
    meant = [tuple(row) for row in meanings]
    pairs = list(zip(messages, meant, strict=True))
    total = 0.0
    for message, meaning in pairs:
        both, one, other = (
            pairs.count((message, meaning)) / 90,
            messages.count(message) / 90,
            meant.count(meaning) / 90,
        )
        total += math.log(both / (one * other)) / -math.log(both) / 90
    assert found.mean.value == pytest.approx(total, abs=1e-12)
    assert len(found.npmi) == len(set(pairs)) and found.counts.sum() == 90
    for example, count, value in zip(found.examples, found.counts, found.npmi, strict=True):
        assert pairs.count(pairs[example]) == count and pairs.index(pairs[example]) == example
        assert -1 <= value <= 1


def test_limits() -> None:
    perfect = message_npmi(GRID, SAID, meanings=GRID).mean
    assert perfect.value == pytest.approx(1) and perfect.p == pytest.approx(1 / 101) and perfect.null_mean < 0.3
    useless = message_npmi(np.random.default_rng(0).permuted(GRID, axis=0), SAID, meanings=GRID).mean
    assert useless.p > 0.05 and abs(useless.value - useless.null_mean) < 0.1
    half = message_npmi(GRID[:, :1], SAID[:, :1], meanings=GRID).mean
    # Three messages of three meanings each: log(3) / log(9).
    assert half.value == pytest.approx(0.5)


def test_reasons_and_unknown_meanings() -> None:
    assert message_npmi(GRID * 0, SAID, meanings=GRID).mean.reason == "constant_messages"
    assert message_npmi(GRID, SAID, meanings=GRID * 0).mean.reason == "constant_meanings"
    assert message_npmi(GRID[:9], SAID[:9], meanings=GRID[:9]).mean.reason == "no_repetition"
    assert message_npmi(GRID, SAID, meanings=np.full_like(GRID, -1)).mean.reason == "too_few_items"
    unknown = np.where(np.arange(180)[:, None] < 90, GRID, -1)
    found = message_npmi(np.where(unknown < 0, 7, GRID), SAID, meanings=unknown).mean
    assert found.n == 90 and found.value == pytest.approx(1)
    assert message_npmi(GRID, SAID, meanings=GRID[:, 0]).mean.value == pytest.approx(0.5)
    with pytest.raises(ValueError, match="expected attributes"):
        message_npmi(GRID, SAID, meanings=GRID[:5])
