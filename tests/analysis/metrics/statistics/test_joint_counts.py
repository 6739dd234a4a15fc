"""Counts of pairs: a table filled pair by pair, in a table and by sorting."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.metrics.statistics import joint_counts
from analysis.metrics.statistics.joint_counts import count_pairs


@pytest.mark.parametrize("small", [joint_counts._SMALL, 0])
@pytest.mark.parametrize("size", [0, 1, 500])
def test_equals_a_table_filled_pair_by_pair(size: int, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint_counts, "_SMALL", small)
    monkeypatch.setattr(joint_counts, "_TABLE", small)
    rng = np.random.default_rng(size)
    first, second = rng.integers(0, 40, size), rng.integers(-1, 7, size)
    expected = np.zeros((40, 7), dtype=int)
    for one, other in zip(first, second, strict=True):
        if other >= 0:
            expected[one, other] += 1
    found = count_pairs(first, second, 7)
    assert (found.dense((40, 7)) == expected).all()
    assert found.total == (second >= 0).sum() and (found.counts > 0).all()
    assert (np.diff(found.rows * 7 + found.columns) > 0).all()


def test_cells_too_many_for_a_table_take_no_memory() -> None:
    found = count_pairs([2**30, 0, 2**30], [2**30, 1, 2**30], 2**31)
    assert found.rows.tolist() == [0, 2**30] and found.counts.tolist() == [1, 2]
