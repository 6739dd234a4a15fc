"""Zipf's law of abbreviation: against SciPy, and against a monkey at a typewriter."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import spearmanr

from analysis.metrics.abbreviation import law_of_abbreviation


def arrays(messages: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    width = max(map(len, messages))
    symbols = np.array([m + [0] * (width - len(m)) for m in messages])
    return symbols, np.array([[slot < len(m) for slot in range(width)] for m in messages])


def monkey(seed: int, count: int = 400) -> list[list[int]]:
    """Lengths and symbols have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 4, rng.integers(1, 5)).tolist() for _ in range(count)]


def test_against_scipy_wherever_silence_lies() -> None:
    messages = monkey(0)
    counts = Counter(map(tuple, messages))
    expected = spearmanr([len(m) for m in counts], list(counts.values())).statistic
    symbols, mask = arrays(messages)
    found = law_of_abbreviation(symbols, mask)
    assert found.value == pytest.approx(expected, abs=1e-12) and found.n == len(counts)
    rng = np.random.default_rng(1)
    apart, said = np.zeros((len(messages), 8), dtype=int), np.zeros((len(messages), 8), dtype=bool)
    for row, message in enumerate(messages):
        places = np.sort(rng.permutation(8)[: len(message)])
        apart[row, places], said[row, places] = message, True
    assert law_of_abbreviation(apart, said).value == pytest.approx(expected, abs=1e-12)


def test_a_monkey_abbreviates_and_is_not_beyond_luck() -> None:
    """Its short messages are frequent; that is no finding: p is at most .05 in about one of twenty."""
    found = [law_of_abbreviation(*arrays(monkey(seed, 90)), permutations=19, seed=seed) for seed in range(40)]
    assert np.mean([result.value for result in found]) < -0.3
    assert np.mean([result.p <= 0.05 for result in found]) <= 0.175


def test_a_language_that_abbreviates() -> None:
    """Frequent messages are short, beyond luck; turned round, they are long."""
    rng = np.random.default_rng(0)
    words = [rng.integers(0, 30, 1 + rank // 2).tolist() for rank in range(12)]
    times = [round(400 / (rank + 1)) for rank in range(12)]
    text = [word for word, often in zip(words, times, strict=True) for _ in range(often)]
    found = law_of_abbreviation(*arrays(text))
    assert found.value < -0.95 and found.p == pytest.approx(1 / 101)
    turned = [word for word, often in zip(words, reversed(times), strict=True) for _ in range(often)]
    assert law_of_abbreviation(*arrays(turned)).value > 0.95
    assert law_of_abbreviation(*arrays(turned)).p > 0.5


def test_reasons() -> None:
    said = np.ones((6, 2), dtype=bool)
    assert law_of_abbreviation([[1, 1]] * 6, ~said).reason == "all_silent"
    assert law_of_abbreviation([[1, 1], [1, 2]] * 3, said).reason == "too_few_messages"
    assert law_of_abbreviation([[1, 1], [1, 2], [2, 2], [1, 1], [1, 1], [0, 0]], said).reason == "equal_lengths"
    mask = np.array([[1, 0], [1, 1], [1, 1]] * 2)
    assert law_of_abbreviation([[1, 1], [1, 2], [2, 2]] * 2, mask).reason == "equal_counts"
