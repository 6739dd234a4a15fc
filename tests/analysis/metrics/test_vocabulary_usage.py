"""Vocabulary usage against the metric sheet's exact values (M8)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.metrics.vocabulary_usage import usage


def said(counts: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)[None]


@pytest.mark.parametrize(
    ("counts", "bits", "perplexity"),
    [([8, 4, 2, 1, 1], 1.875, 3.6680161728), ([3] * 8, 3.0, 8.0), ([7], 0.0, 1.0), ([0, 0, 5], 0.0, 1.0)],
)
def test_entropy_and_perplexity(counts: list[int], bits: float, perplexity: float) -> None:
    symbols = said(counts)
    found = usage(symbols, np.ones_like(symbols, dtype=bool), 16)
    assert found.symbol_entropy == pytest.approx(bits, abs=1e-12)
    assert found.perplexity == pytest.approx(perplexity)
    assert found.active_symbols == sum(c > 0 for c in counts)


def test_silent_slots_do_not_count_whatever_they_hold() -> None:
    symbols = np.array([[0, 1, 99], [0, 1, -5], [1, 0, 0], [2, 2, 2]])
    mask = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)
    found = usage(symbols, mask, 3)
    assert found.counts.tolist() == [3, 2, 0]
    assert found.mean_length == 1.25
    assert found.distinct_messages == 3
    # Two of four messages are alike: -(1/2 log 1/2 + 2 * 1/4 log 1/4).
    assert found.message_entropy == pytest.approx(1.5)


def test_a_symbol_in_another_slot_is_another_message() -> None:
    symbols, mask = np.zeros((2, 2), dtype=int), np.eye(2, dtype=bool)
    assert usage(symbols, mask, 2).distinct_messages == 2


def test_nothing_said_has_no_entropy() -> None:
    found = usage(np.zeros((2, 3), dtype=int), np.zeros((2, 3), dtype=bool), 4)
    assert math.isnan(found.symbol_entropy) and found.active_symbols == 0 and found.mean_length == 0


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 2\)"):
        usage(np.zeros((2, 3), dtype=int), np.zeros((2, 2), dtype=bool), 4)
    with pytest.raises(ValueError, match="the vocabulary has 4"):
        usage(np.full((1, 1), 4), np.ones((1, 1), dtype=bool), 4)
