"""Meaning: the metric sheet's values (M12), slow loops over messages and pairs, limits and shuffled languages."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein

from analysis.metrics.meaning import close_messages, message_variance, spatial_meaningfulness

LINE = np.array([[0.0], [2.0], [10.0], [12.0]])
PAIRED = np.array([[0], [0], [1], [1]])


def everything(symbols: np.ndarray) -> np.ndarray:
    return np.ones(np.shape(symbols), dtype=bool)


def random_language(seed: int, items: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, (items, 3)), rng.random((items, 3)) < 0.6, rng.normal(3, 1, (items, 4))


def test_variance_of_the_sheet() -> None:
    found = message_variance(PAIRED, everything(PAIRED), LINE, permutations=2000)
    assert (found.unexplained, found.variance, found.by_chance) == pytest.approx((1, 26, 52 / 3))
    assert found.explained.value == pytest.approx(25 / 26) and found.messages == 2
    # One of three ways to pair the points.
    assert found.explained.p == pytest.approx(1 / 3, abs=0.04)
    assert found.explained.null_mean == pytest.approx(1 - 52 / 3 / 26, abs=0.03)


def test_messages_said_once_explain_themselves_and_so_does_luck() -> None:
    found = message_variance(np.arange(4)[:, None], everything(PAIRED), LINE)
    assert (found.explained.value, found.explained.null_mean, found.explained.p) == (1, 1, 1)
    assert (found.unexplained, found.by_chance) == (0, 0)


def test_a_constant_message_explains_nothing() -> None:
    found = message_variance(np.zeros((4, 2), dtype=int), np.ones((4, 2), dtype=bool), LINE)
    assert (found.explained.value, found.explained.p) == (0, 1)
    assert (found.unexplained, found.by_chance) == pytest.approx((26, 26))


@pytest.mark.parametrize("seed", range(4))
def test_variance_equals_a_slow_loop(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    symbols, mask, points = random_language(seed)
    points[::7, 1] = np.nan

    def slow(rows: np.ndarray, things: np.ndarray) -> float:
        groups: dict[tuple[int, ...], list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(tuple(np.where(mask[row], symbols[row], -1)), []).append(place)
        return sum(((things[g] - things[g].mean(0)) ** 2).sum() for g in groups.values()) / len(rows)

    rows = np.flatnonzero(np.isfinite(points).all(axis=1))
    found = message_variance(symbols, mask, points, permutations=3, seed=seed)
    assert found.unexplained == pytest.approx(slow(rows, points[rows]))
    assert found.variance == pytest.approx(points[rows].var(axis=0).sum()) and found.explained.n == len(rows)
    luck = [slow(rows, np.random.default_rng(i).permutation(points[rows])) for i in range(300)]
    assert found.by_chance == pytest.approx(np.mean(luck), rel=0.03)
    monkeypatch.setattr("analysis.metrics.meaning._BLOCK", 1)
    in_blocks = message_variance(symbols, mask, points, permutations=3, seed=seed)
    assert in_blocks.explained.value == pytest.approx(found.explained.value, abs=1e-12)
    assert in_blocks.explained.null_mean == pytest.approx(found.explained.null_mean, abs=1e-12)


def test_meaning_does_not_depend_on_names_order_padding_place_or_scale() -> None:
    symbols, mask, points = random_language(0)
    found = message_variance(symbols, mask, points, permutations=0).explained.value
    curve = spatial_meaningfulness(symbols, mask, points, permutations=0).ratios
    order = np.random.default_rng(0).permutation(len(symbols))
    for other in (
        (symbols[order], mask[order], points[order]),
        (np.array([70, 5, 11])[symbols], mask, points),
        (np.where(mask, symbols, -9), mask, points),
        (symbols, mask, 1000 * points[:, ::-1] - 40),
    ):
        assert message_variance(*other, permutations=0).explained.value == pytest.approx(found, abs=1e-9)
        assert spatial_meaningfulness(*other, permutations=0).ratios == pytest.approx(curve, abs=1e-9)


def test_luck_is_told_from_meaning() -> None:
    explained, close = [], []
    for seed in range(40):
        symbols, mask, points = random_language(seed)
        explained.append(message_variance(symbols, mask, points, permutations=19, seed=seed).explained.p)
        close.append(spatial_meaningfulness(symbols, mask, points, permutations=19, seed=seed).close.p)
    for ps in (np.array(explained), np.array(close)):
        assert 0.35 < ps.mean() < 0.65 and (ps <= 0.1).mean() < 0.3
    symbols, mask, points = random_language(0)
    points = np.where(mask, symbols, -1) + 0.1 * points[:, :3]
    assert message_variance(symbols, mask, points, permutations=99).explained.p == 0.01
    assert spatial_meaningfulness(symbols, mask, points, permutations=99).close.p == 0.01


def test_the_curve_of_the_sheets_line() -> None:
    found = spatial_meaningfulness(PAIRED, everything(PAIRED), LINE, permutations=50)
    # Two of six pairs share a message, 4 apart when squared; all are 208 / 6 apart.
    assert found.ratios == pytest.approx([4 / (416 / 12 * 2), 1]) and found.pairs.tolist() == [2, 6]
    assert found.distances.tolist() == [0, 1] and found.close.value == found.ratios[0]
    assert found.null_mean[0] == pytest.approx(1, abs=0.3) and found.null_mean[1] == pytest.approx(1)
    assert found.null_std[1] == pytest.approx(0, abs=1e-12)


def test_the_curves_null_shuffles_whole_items() -> None:
    symbols, mask, points = random_language(2)
    found = spatial_meaningfulness(symbols, mask, points, permutations=3, seed=6)
    rng = np.random.default_rng(6)
    again = [
        spatial_meaningfulness(symbols, mask, points[rng.permutation(40)], permutations=0).ratios for _ in range(3)
    ]
    assert found.null_mean == pytest.approx(np.mean(again, axis=0))
    assert found.null_std == pytest.approx(np.std(again, axis=0, ddof=1))


@pytest.mark.parametrize("kind", ["edit", "hamming"])
def test_the_curve_equals_a_slow_loop(kind: str) -> None:
    symbols, mask, points = random_language(5)
    apart, far = [], []
    for i, j in itertools.combinations(range(40), 2):
        one, other = (np.where(mask[k], symbols[k], -1) for k in (i, j))
        edits = Levenshtein.distance(one[one >= 0].tolist(), other[other >= 0].tolist())
        far.append(edits if kind == "edit" else (one != other).mean())
        apart.append(((points[i] - points[j]) ** 2).sum())
    found = spatial_meaningfulness(symbols, mask, points, message_distance=kind, permutations=0)  # type: ignore[arg-type]
    near = [np.array(far) <= distance + 1e-9 for distance in found.distances]
    assert found.distances == pytest.approx(np.unique(np.round(far, 9)))
    assert found.pairs.tolist() == [close.sum() for close in near]
    assert found.ratios == pytest.approx([np.mean(np.array(apart)[close]) / np.mean(apart) for close in near])
    headline = max(int((found.pairs <= 0.1 * 780).sum()) - 1, 0)
    assert found.close.value == found.ratios[headline]
    assert np.isnan(found.null_mean).all() and np.isnan(found.null_std).all()


@pytest.mark.parametrize("kind", ["edit", "bag", "hamming"])
@pytest.mark.parametrize("most", [25, 1000])
def test_close_messages_alone_are_those_of_the_curve(kind: str, most: int) -> None:
    symbols, mask, points = random_language(5)
    points[::7, 1] = np.nan
    asked = {"message_distance": kind, "permutations": 30, "max_items": most, "seed": 2}
    found = close_messages(symbols, mask, points, **asked)  # type: ignore[arg-type]
    curve = spatial_meaningfulness(symbols, mask, points, **asked).close  # type: ignore[arg-type]
    assert found.row() == pytest.approx(curve.row(), nan_ok=True) and found.draws == 30
    assert found.p == curve.p and found.n == min(most, 34)


def test_a_sample_is_seeded_and_stated() -> None:
    language = random_language(0, items=80)
    found = spatial_meaningfulness(*language, max_items=30, permutations=2, seed=4)
    assert found.close.n == 30 and found.pairs[-1] == 30 * 29 / 2
    assert found.close == spatial_meaningfulness(*language, max_items=30, permutations=2, seed=4).close
    assert found.close != spatial_meaningfulness(*language, max_items=30, permutations=2, seed=5).close


@pytest.mark.parametrize(
    ("shape", "points", "variance", "curve"),
    [
        ((0, 3), np.zeros((0, 2)), "too_few_items", "too_few_items"),
        ((0, 0), np.zeros((0, 0)), "too_few_items", "too_few_items"),
        ((1, 3), np.zeros((1, 2)), "too_few_items", "too_few_items"),
        ((4, 3), np.full((4, 1), 0.1), "constant_points", "constant_points"),
        ((4, 3), np.zeros((4, 0)), "constant_points", "constant_points"),
        ((4, 3), np.full((4, 2), np.nan), "too_few_items", "too_few_items"),
        ((4, 3), LINE, "", "equidistant_messages"),
        ((4, 0), LINE, "", "equidistant_messages"),
    ],
)
def test_without_data_there_is_a_reason(shape: tuple[int, int], points: np.ndarray, variance: str, curve: str) -> None:
    for said in (True, False):
        language = np.zeros(shape, dtype=int), np.full(shape, said), points
        assert message_variance(*language, permutations=3).explained.reason == variance
        found = spatial_meaningfulness(*language, permutations=3)
        assert close_messages(*language, permutations=3).reason == curve
        assert found.close.reason == curve and len(found.ratios) == len(found.pairs) == 0


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"\[N, D\] with N = 4, got shape \(4,\)"):
        message_variance(PAIRED, everything(PAIRED), LINE[:, 0])
    with pytest.raises(ValueError, match="of type <U1"):
        spatial_meaningfulness(PAIRED, everything(PAIRED), np.full((4, 1), "a"))
