"""Spearman correlation of distances: intervals and nulls against SciPy on what is left, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr, t

from analysis.metrics.statistics import rank_correlation, ranks
from analysis.metrics.statistics.pair_sample import PairSample
from analysis.metrics.statistics.rank_correlation import spearman

ITEMS = 120


def levels(distances: np.ndarray) -> np.ndarray:
    return np.unique(distances.round(9), return_inverse=True)[1].reshape(-1)


def sides() -> list[np.ndarray]:
    """Of few levels, of some, and of nearly as many as there are pairs; all have to do with each other."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(ITEMS, 4))
    coarse = (points > 0).astype(int)
    return [levels(pdist(x)) for x in (coarse, (3 * points).round(), points, points + rng.normal(size=points.shape))]


def to_all(first: int) -> list[tuple[int, int]]:
    return [(first, other) for other in range(4)]


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("table", [0, 10**9], ids=["sums", "tables"])
def test_values_are_those_of_all_pairs(first: int, table: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_correlation, "_TABLE", table)
    # Levels of one byte: products of theirs need more.
    held = [b.astype(np.min_scalar_type(int(b.max()))) for b in sides()]
    blocks = [lambda b=b: [b[:1000], b[1000:]] for b in held]  # type: ignore[misc]
    found, counts = spearman(blocks, [int(b.max()) + 1 for b in held], to_all(first))
    assert found == pytest.approx([spearmanr(held[first], b).statistic for b in held], rel=1e-9)
    assert all((count == np.bincount(b)).all() for count, b in zip(counts, held, strict=True))


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("few", [8, 10**9], ids=["counted", "looked at"])
def test_intervals_are_those_of_a_jackknife_pair_by_pair(first: int, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_FEW", few)
    monkeypatch.setattr(ranks, "_PART", 1000)
    a, others = sides()[first], sides()
    group = np.random.default_rng(7).permutation(ITEMS) % 50
    row, column = np.triu_indices(ITEMS, 1)
    left = [(group[row] != g) & (group[column] != g) for g in range(50)]
    weights = (ITEMS / np.bincount(group) - 1) / 50
    expected = []
    for b in others:
        values = np.array([spearmanr(a[kept], b[kept]).statistic for kept in left])
        expected.append(t.ppf(0.975, 49) * np.sqrt(weights @ (values - values.mean()) ** 2))
    found = PairSample(ITEMS, others, to_all(first)).margins(np.random.default_rng(7))
    assert found == pytest.approx(np.array(expected), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("first", range(4))
def test_null_is_that_of_items_in_another_order(first: int) -> None:
    a, others = sides()[first], sides()
    rng = np.random.default_rng(5)
    orders = [rng.permutation(ITEMS) for _ in range(3)]
    row, column = np.triu_indices(ITEMS, 1)
    shuffled = [squareform(a, checks=False)[order[row], order[column]] for order in orders]
    expected = np.array([[spearmanr(x, b).statistic for x in shuffled] for b in others])
    found = PairSample(ITEMS, others, to_all(first)).null(3, np.random.default_rng(5))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
