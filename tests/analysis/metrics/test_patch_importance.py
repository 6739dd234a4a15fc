"""Importance maps against objects: the sheet's values, slow loops, scikit-learn, and what is skipped."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from analysis.metrics.patch_importance import (
    average_precision,
    centre_prior,
    edge_density,
    energy_in_box,
    importance_scores,
    map_agreement,
    place_share,
    pointing_game,
    roc_auc,
    top_k_iou,
)

SCORES = ["pointing_game", "energy_in_box", "roc_auc", "average_precision", "top_k_iou"]
PURE = [pointing_game, energy_in_box, roc_auc, average_precision, top_k_iou]


@pytest.fixture(autouse=True)
def _no_warnings() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def random_maps(n: int, patches: int, seed: int, levels: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Importance, with ties if it has few levels, and masks that are neither empty nor full."""
    rng = np.random.default_rng(seed)
    importance = rng.integers(0, levels, (n, patches)).astype(float) if levels else rng.random((n, patches))
    mask = rng.random((n, patches)) < 0.3
    mask[:, 0], mask[:, 1] = True, False
    return importance, mask


# ------------------------------------------------------------------------------------------------------- the sheet


def test_rank_map_of_the_sheet() -> None:
    importance, mask = np.arange(16)[None] / 15, np.zeros((4, 4), bool)
    mask[2:, 2:] = True
    row = importance_scores(importance, mask.reshape(1, 16), (4, 4)).loc["speaker"]
    expected = [1, 5 / 12, 11 / 12, 0.81666666666667, 1 / 3]
    np.testing.assert_allclose(row[SCORES].astype(float), expected, atol=1e-9)


def test_constant_map_of_the_sheet() -> None:
    mask = np.zeros((1, 49), bool)
    mask[0, [3, 8, 9, 10, 20, 21, 22, 30, 31, 40, 41, 48]] = True
    share, even = 12 / 49, np.ones((1, 49))
    assert roc_auc(even, mask)[0] == 0.5
    for score in (pointing_game, energy_in_box, average_precision):
        np.testing.assert_allclose(score(even, mask), share)
        assert round(share, 6) == 0.244898
    np.testing.assert_allclose(top_k_iou(even, mask), share / (2 - share))


@pytest.mark.parametrize("levels", [0, 2])
def test_perfect_and_reversed_order(levels: int) -> None:
    noise, mask = random_maps(20, 25, 0)
    perfect = mask + (0.0 if levels else 0.5) * noise
    scores = importance_scores(perfect, mask, (5, 5))
    assert (scores.loc["speaker", ["pointing_game", "roc_auc", "average_precision", "top_k_iou"]] == 1).all()
    assert (scores.loc["reversed", ["pointing_game", "roc_auc", "top_k_iou"]] == 0).all()
    assert scores.loc["speaker", "energy_in_box"] > scores.loc["random", "energy_in_box"]
    assert scores.loc["reversed", "average_precision"] < scores.loc["random", "average_precision"]


# ------------------------------------------------------------------------------------------ scikit-learn, slow loops


@pytest.mark.parametrize("levels", [0, 2, 5])
def test_curves_are_those_of_scikit_learn(levels: int) -> None:
    importance, mask = random_maps(60, 12, 1, levels)
    for ours, theirs in ((roc_auc, roc_auc_score), (average_precision, average_precision_score)):
        expected = [theirs(m, i) for m, i in zip(mask, importance, strict=True)]
        np.testing.assert_allclose(ours(importance, mask), expected, atol=1e-12)


@pytest.mark.parametrize("levels", [2, 3])
def test_ties_are_shared_as_in_all_random_orders(levels: int) -> None:
    importance, mask = random_maps(8, 6, 2, levels)
    pointing, energy, common = np.zeros(8), np.zeros(8), np.zeros(8)
    orders = list(itertools.permutations(range(6)))
    for order in orders:
        for n in range(8):
            ranking = sorted(range(6), key=lambda p, n=n: (importance[n, p], order[p]))  # lowest first
            k = int(mask[n].sum())
            pointing[n] += mask[n, ranking[-1]]
            energy[n] += sum(place for place, p in enumerate(ranking) if mask[n, p]) / 15
            common[n] += mask[n, ranking[-k:]].sum()
    pointing, energy, common = (total / len(orders) for total in (pointing, energy, common))
    np.testing.assert_allclose(pointing_game(importance, mask), pointing)
    np.testing.assert_allclose(energy_in_box(importance, mask), energy)
    np.testing.assert_allclose(top_k_iou(importance, mask), common / (2 * mask.sum(1) - common))


def test_means_and_standard_errors() -> None:
    importance, mask = random_maps(30, 9, 3)
    row = importance_scores(importance, mask, (3, 3)).loc["speaker"]
    for name, score in zip(SCORES, PURE, strict=True):
        each = score(importance, mask)
        np.testing.assert_allclose(row[name], each.mean())
        np.testing.assert_allclose(row[f"{name}_se"], each.std(ddof=1) / np.sqrt(30))


def test_energy_counts_the_covered_share_and_the_mask_is_half() -> None:
    area = np.array([[0.5, 0.499, 0.0, 1.0]])
    scores = importance_scores([[3.0, 2.0, 1.0, 0.0]], area, (2, 2)).loc["speaker"]
    np.testing.assert_allclose(scores["energy_in_box"], (3 * 0.5 + 2 * 0.499) / 6)
    np.testing.assert_allclose(scores["roc_auc"], 0.5)  # patches 0 and 3 are on objects, one on top, one at the bottom


# ------------------------------------------------------------------------------------------------------- baselines


def test_random_is_chance() -> None:
    importance, mask = random_maps(4000, 16, 4)
    row, share = importance_scores(importance, mask, (4, 4)).loc["random"], mask.mean()
    assert abs(row["roc_auc"] - 0.5) < 4 * row["roc_auc_se"]
    assert abs(row["pointing_game"] - share) < 4 * row["pointing_game_se"]
    assert abs(row["energy_in_box"] - share) < 4 * row["energy_in_box_se"]


def test_centre_prior_is_a_gaussian_in_order() -> None:
    for grid in ((4, 4), (3, 5), (7, 2), (1, 1)):
        rows, columns = ((np.arange(g) + 0.5) / g - 0.5 for g in grid)
        gaussian = np.exp(-(rows[:, None] ** 2 + columns**2) / 0.1).ravel()
        _, places = np.unique(gaussian.round(12), return_inverse=True)
        np.testing.assert_array_equal(np.unique(centre_prior(grid), return_inverse=True)[1], places)


def test_centre_prior_finds_central_objects() -> None:
    importance, mask = np.random.default_rng(0).random((5, 16)), np.zeros((4, 4))
    mask[1:3, 1:3] = 1
    scores = importance_scores(importance, np.tile(mask.ravel(), (5, 1)), (4, 4))
    assert (scores.loc["centre", ["pointing_game", "roc_auc", "average_precision", "top_k_iou"]] == 1).all()


def test_edge_density_is_a_slow_loop_and_sees_stripes() -> None:
    images = np.full((2, 3, 8, 12), 100, np.uint8)
    images[:, :, 5:7, 9:12:2] = 250
    density = edge_density(images, (2, 3))
    grey = images.astype(float).mean(1)
    expected = np.zeros((2, 2, 3))
    for n, y, x in np.ndindex(2, 8, 12):
        down = (grey[n, min(y + 1, 7), x] - grey[n, max(y - 1, 0), x]) / (min(y + 1, 7) - max(y - 1, 0))
        across = (grey[n, y, min(x + 1, 11)] - grey[n, y, max(x - 1, 0)]) / (min(x + 1, 11) - max(x - 1, 0))
        expected[n, y // 4, x // 4] += np.hypot(down, across) / 16
    np.testing.assert_allclose(density, expected.reshape(2, 6))
    assert (density.argmax(1) == 5).all()
    np.testing.assert_allclose(edge_density(images / 255.0, (2, 3)), density / 255)


def test_edges_of_the_first_images_only() -> None:
    importance, mask = random_maps(400, 4, 5)
    images = np.random.default_rng(0).integers(0, 256, (300, 3, 8, 8), np.uint8)
    scores = importance_scores(importance, mask, (2, 2), images=images)
    assert list(scores.index) == ["speaker", "random", "centre", "edge density", "place alone", "reversed"]
    assert scores.pop("n").to_dict() == {name: 300 if name == "edge density" else 400 for name in scores.index}
    expected = roc_auc(edge_density(images, (2, 2)), mask[:300]).mean()
    np.testing.assert_allclose(scores.loc["edge density", "roc_auc"], expected)
    assert "edge density" not in importance_scores(importance, mask, (2, 2)).index


def test_place_alone_is_the_mean_map_of_the_other_images() -> None:
    importance, mask = random_maps(30, 4, 5)
    importance[7] = np.nan
    found = importance_scores(importance, mask, (2, 2)).loc["place alone"]
    others = np.full_like(importance, np.nan)
    for n in range(30):
        others[n] = np.mean([importance[m] for m in range(30) if m not in (n, 7)], axis=0)
    expected = importance_scores(np.where(np.isnan(importance), np.nan, others), mask, (2, 2)).loc["speaker"]
    assert found.roc_auc == pytest.approx(expected.roc_auc) and found.n == expected.n
    assert "place alone" not in importance_scores(importance[:1], mask[:1], (2, 2)).index


def test_share_of_place_is_that_of_a_known_mixture() -> None:
    rng = np.random.default_rng(3)
    place, content = rng.normal(size=36), rng.normal(size=(4000, 36))
    place = (place - place.mean()) / place.std()
    for share in (0.0, 0.3, 0.8, 1.0):
        maps = share**0.5 * place + (1 - share) ** 0.5 * content
        assert place_share(maps).value == pytest.approx(share, abs=0.02)
        # The brightness of a whole image is no matter of place; neither is the scale.
        assert place_share(5 * maps + rng.normal(size=(4000, 1))).value == pytest.approx(share, abs=0.02)
    few = np.mean([place_share(rng.normal(size=(4, 36))).value for _ in range(200)])
    assert few < 0.05
    with_nan = np.vstack([maps[:50], np.full((1, 36), np.nan)])
    assert place_share(with_nan) == place_share(maps[:50])
    assert place_share(np.ones((5, 36))).reason == "constant"
    assert place_share(maps[:1]).reason == "too_few_items"


# ----------------------------------------------------------------------------------------------- degenerate, invariant


def test_empty_full_and_unknown_images_are_skipped_and_counted() -> None:
    importance, mask = random_maps(9, 4, 6)
    area = mask.astype(float)
    alone = importance_scores(importance[5:], area[5:], (2, 2))
    area[0], area[1], area[2], area[3, 2] = 0.49, 0.5, 1, np.nan
    importance[4, 0] = np.nan
    images = np.random.default_rng(0).random((5, 3, 4, 4))
    counts = ["n", "empty", "full", "unknown"]
    for first, expected in ((0, [0, 0, 0, 0]), (1, [0, 1, 0, 0]), (2, [0, 1, 1, 0]), (5, [0, 1, 2, 2])):
        scores = importance_scores(importance, area, (2, 2), images=images[:first])
        assert scores.loc["edge density", counts].tolist() == expected
    kept = [f"{name}{end}" for name in SCORES for end in ("", "_se")]
    same = ["speaker", "centre", "reversed"]
    pd.testing.assert_frame_equal(scores.loc[same, kept], alone.loc[same, kept])
    assert scores.loc["speaker", counts].tolist() == [4, 1, 2, 2]
    edges = scores.loc["edge density"]
    assert edges["reason"] == "no_image_with_objects" and edges[kept].isna().all()


@pytest.mark.parametrize(
    ("n", "area", "grid"),
    [(0, 1.0, (2, 2)), (1, 1.0, (2, 2)), (3, 0.0, (2, 2)), (3, np.nan, (2, 2)), (2, 1.0, (1, 1)), (2, 0.2, (1, 1))],
)
def test_nothing_to_score_has_a_reason(n: int, area: float, grid: tuple[int, int]) -> None:
    patches = grid[0] * grid[1]
    images = np.zeros((n, 3, 4, 4), np.uint8)
    scores = importance_scores(np.ones((n, patches)), np.full((n, patches), area), grid, images=images)
    assert (scores["n"] == 0).all() and (scores["reason"] == "no_image_with_objects").all()
    assert scores[SCORES].isna().all(axis=None)
    assert (scores[["empty", "full", "unknown"]].sum(axis=1) == n).all()


def test_one_image_has_no_standard_error() -> None:
    scores = importance_scores(*random_maps(1, 9, 7), (3, 3))
    assert scores[SCORES].notna().all(axis=None) and scores["roc_auc_se"].isna().all()
    assert (scores["reason"] == "").all()


def test_only_the_order_counts_and_images_may_be_shuffled() -> None:
    importance, mask = random_maps(40, 9, 8)
    order = np.random.default_rng(0).permutation(40)
    plain = importance_scores(importance, mask, (3, 3))
    other = importance_scores(np.exp(7 * importance[order]) - 50, mask[order], (3, 3))
    same = ["speaker", "centre", "reversed"]
    pd.testing.assert_frame_equal(plain.loc[same], other.loc[same])
    pd.testing.assert_frame_equal(plain, importance_scores(importance, mask, (3, 3)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"importance": np.zeros((2, 5))}, r"importance has shape \(2, 5\).*\(2, 3\) needs \[N, 6\]"),
        ({"object_area": np.zeros((3, 6))}, r"object_area \(3, 6\)"),
        ({"object_area": np.full((2, 6), 1.5)}, r"runs from 1.5 to 1.5: give shares in \[0, 1\]"),
        ({"object_area": np.full((2, 6), -0.1)}, "give shares"),
        ({"grid": (0, 6)}, r"grid of \(0, 6\)"),
        ({"images": np.zeros((3, 3, 8, 12))}, r"\(3, 3, 8, 12\): expected \[M, 3, H, W\] with M up to 2"),
        ({"images": np.zeros((2, 8, 12, 3))}, r"expected \[M, 3, H, W\]"),
        ({"images": np.zeros((2, 3, 9, 12))}, r"does not divide images of \(9, 12\)"),
    ],
)
def test_says_what_is_wrong(changes: dict[str, object], message: str) -> None:
    good = {"importance": np.zeros((2, 6)), "object_area": np.zeros((2, 6)), "grid": (2, 3)}
    with pytest.raises(ValueError, match=message):
        importance_scores(**(good | changes))  # type: ignore[arg-type]


def test_maps_agree_where_they_move_with_the_image() -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(50, 16))
    assert map_agreement(maps, 3 * maps + rng.normal(size=(50, 1))).value == pytest.approx(1)
    assert map_agreement(maps, -maps).value == pytest.approx(-1)
    assert abs(map_agreement(maps, rng.normal(size=maps.shape)).value) < 0.1
    noisy = maps + rng.normal(size=maps.shape)
    first, second = ((m - m.mean(1, keepdims=True)).ravel() for m in (maps, noisy))
    assert map_agreement(maps, noisy).value == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert map_agreement(np.where(np.arange(50)[:, None] < 5, np.nan, maps), maps).n == 45
    assert map_agreement(maps, np.ones_like(maps)).reason == "constant"
    assert map_agreement(maps[:0], maps[:0]).reason == "too_few_items"
    with pytest.raises(ValueError, match=r"one shape"):
        map_agreement(maps, maps[:, :4])
