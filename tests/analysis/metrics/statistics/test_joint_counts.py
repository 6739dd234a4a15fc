"""Counts of pairs: a table filled pair by pair, in a table and by sorting."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.metrics.statistics import joint_counts
from analysis.metrics.statistics.joint_counts import Joint, count_pairs


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


@pytest.mark.parametrize("numbers", [1 << 23, 300, 0], ids=["bags", "attributes", "pairs"])
def test_several_attributes_in_any_order_equal_tables_filled_pair_by_pair(
    numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    items, contents = rng.integers(0, 20, 200), rng.integers(0, 30, 200)
    attributes, widths = [rng.integers(-1, width, 20) for width in (3, 7)], [3, 7]
    # What each item has takes 600 numbers, the values of all attributes 300.
    monkeypatch.setattr(joint_counts, "_NUMBERS", numbers)
    joint = Joint(items, contents, 30, attributes, widths)
    assert (joint.bags is not None, joint.held is not None) == (numbers > 300, numbers == 300)
    for order in (slice(None), rng.permutation(20)):
        expected = [np.zeros((30, width), dtype=int) for width in widths]
        for table, codes in zip(expected, attributes, strict=True):
            for item, content in zip(items, contents, strict=True):
                if codes[order][item] >= 0:
                    table[content, codes[order][item]] += 1
        for whole, table, met in zip(expected, joint.tables(order), joint(order), strict=True):
            assert (table == whole).all() and table.dtype == np.int64
            assert (met.dense(whole.shape) == whole).all() and (met.counts > 0).all()
            assert (np.diff(met.rows * whole.shape[1] + met.columns) > 0).all()
