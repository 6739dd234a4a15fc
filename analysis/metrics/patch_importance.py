"""Do the patches that speak lie on objects? Importance maps against boxes or masks. Metric sheet, P2.

PatchGame (Gupta et al., NeurIPS 2021) shows such maps in Fig. 3 and does not score them. Pointing game: Zhang et al.,
Top-down Neural Attention by Excitation Backprop (ECCV 2016). Only the order of patches counts, so that maps of
different scales compare; ties share what they would win in a random order. A patch is on an object if objects cover at
least half of it.

Letters in shapes: N images, P patches in raster order (P = grid height * grid width; of several sizes, grid after grid,
the finest first).

One file, because the scores, their rivals and the share of place are read together: each tells how to take the others.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from analysis.metrics.result import Result, undefined
from patchgame_egg.patches import grid_shapes, patch_boxes

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_BLOCK = 256


def importance_scores(
    importance: ArrayLike,
    object_area: ArrayLike,
    grid: tuple[int, int],
    *,
    scales: int = 1,
    images: NDArray[np.generic] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores how well importance finds objects, beside rankings that know nothing of the message.

    Args:
        importance: of each patch, ``[N, P]``; only the order within an image counts.
        object_area: share of each patch that objects cover, ``[N, P]`` in [0, 1]; an image with a NaN is not known.
        grid: rows and columns of patches.
        scales: number of grids, of which that is the finest. Patches of all sizes are ranked together.
        images: bytes or floats ``[M, 3, H, W]``, the first M <= N images, of which edges are taken; None: no such row.
        seed: seed of the random ranking.

    Returns:
        A row per method: ``speaker``, ``random``, ``centre`` (the nearer to the middle, the higher), ``edge density``
        (mean brightness gradient within the patch; rests on M images), ``place alone`` (the mean importance that the
        other images have there, so that the image itself is not looked at; of two images or more), ``reversed`` (the
        speaker's order upside down).
        Columns: ``pointing_game``, ``energy_in_box``, ``roc_auc``, ``average_precision``, ``top_k_iou``, means over
        images, from 0 to 1 each, with their standard errors (``roc_auc_se``; NaN for fewer than two images);
        ``n`` images scored; ``empty``, ``full`` and ``unknown`` images skipped, because no patch or every patch is on
        an object, or because area or importance is not known; ``reason`` why scores are NaN, else empty. Chance is the
        row ``random``: 0.5 for ``roc_auc``, about the share of patches on objects for the others, for ``top_k_iou``
        about half of it where it is small.

    Raises:
        ValueError: shapes do not fit, or an area is outside [0, 1].

    Example:
        >>> objects = [[1, 1, 0, 0], [0, 0, 1, 1]]
        >>> found = importance_scores([[0.9, 0.7, 0.2, 0.1], [0.3, 0.1, 0.9, 0.8]], objects, (2, 2))
        >>> found.loc[["speaker", "centre", "reversed"], "roc_auc"].to_dict()
        {'speaker': 1.0, 'centre': 0.5, 'reversed': 0.0}
        >>> found.loc["speaker", ["pointing_game", "top_k_iou", "n"]].tolist()
        [1.0, 1.0, 2.0]
    """
    value, area = np.asarray(importance, dtype=float), np.asarray(object_area, dtype=float)
    _check(value, area, grid, scales, images)
    known = ~(np.isnan(area) | np.isnan(value)).any(axis=1)
    covered = (area >= 0.5).sum(axis=1)
    empty, full = known & (covered == 0), known & (covered == area.shape[1])
    use = known & ~empty & ~full
    rankings = {
        "speaker": value,
        "random": np.random.default_rng(seed).random(value.shape),
        "centre": np.broadcast_to(centre_prior(grid, scales), value.shape),
    }
    if images is not None:
        rankings["edge density"] = edge_density(images, grid, scales)
    if known.sum() > 1:
        rankings["place alone"] = _of_the_others(value)
    rankings["reversed"] = -value
    rows = {}
    for method, ranking in rankings.items():
        has = np.arange(len(use)) < len(ranking)
        rows[method] = _row(ranking[use[: len(ranking)]], area[use & has]) | {
            "empty": int((empty & has).sum()),
            "full": int((full & has).sum()),
            "unknown": int((~known & has).sum()),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def place_share(importance: ArrayLike) -> Result:
    """How much of the importance of patches is a matter of place alone, whatever the image shows.

    One minus the variance within places over the variance of all, both unbiased (adjusted R squared), after each
    image's mean is taken off.

    Limits: 1 if all images have one map; about 0 if importance moves with the content.

    Args:
        importance: of each patch, ``[N, P]``; images with a NaN are left out.

    Returns:
        0 to 1, over ``n`` images. Undefined: ``too_few_items`` (below 2 images or patches), ``constant`` (all patches
        of an image always matter alike).

    Example:
        >>> place_share([[3, 2, 1], [3, 2, 1], [6, 4, 2]]).value > 0.8
        True
        >>> place_share([[3, 2, 1], [2, 1, 3], [1, 3, 2]]).value
        0.0
    """
    value = np.asarray(importance, dtype=float)
    value = value[~np.isnan(value).any(axis=1)]
    images, patches = value.shape
    if images < 2 or patches < 2:
        return undefined("too_few_items", images)
    centred = value - value.mean(axis=1, keepdims=True)
    total = centred.var()
    within = (centred - centred.mean(axis=0)).var() * images / (images - 1)
    if not centred.std() > 1e-6:
        return undefined("constant", images)
    return Result(float(np.clip(1 - within / total, 0, 1)), images)


def map_agreement(importance: ArrayLike, changed: ArrayLike) -> Result:
    """How far the maps of changed images, put back, are the maps of the images as they are.

    Pearson's correlation over all patches of all images, after each map's own mean is taken off.

    Limits: 1 if a map moves with the content of its image; about 0, or below, if it follows places.

    Args:
        importance: of each patch, ``[N, P]``; images with a NaN are left out.
        changed: of the same patches once the image is mirrored or rolled, ``[N, P]``.

    Returns:
        -1 to 1, over ``n`` images. Undefined: ``too_few_items`` (no image, or one patch), ``constant`` (all patches
        of an image always matter alike).

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> maps = [[3, 2, 1], [1, 3, 2]]
        >>> round(map_agreement(maps, maps).value, 6), round(map_agreement(maps, [[1, 2, 3], [2, 3, 1]]).value, 6)
        (1.0, -0.25)
    """
    first, second = np.asarray(importance, dtype=float), np.asarray(changed, dtype=float)
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"expected two maps of one shape [N, P], got {first.shape} and {second.shape}")
    known = ~(np.isnan(first) | np.isnan(second)).any(axis=1)
    first, second = (maps[known] - maps[known].mean(axis=1, keepdims=True) for maps in (first, second))
    images, patches = first.shape
    if images < 1 or patches < 2:
        return undefined("too_few_items", images)
    if not min(first.std(), second.std()) > 1e-6:
        return undefined("constant", images)
    return Result(float((first * second).mean() / (first.std() * second.std())), images)


def _of_the_others(value: Floats) -> Floats:
    there = ~np.isnan(value).any(axis=1, keepdims=True)
    counted = np.where(there, value, 0.0)
    return np.asarray((counted.sum(axis=0) - counted) / np.maximum(there.sum() - there, 1))


def _row(ranking: Floats, area: Floats) -> dict[str, float | int | str]:
    n, mask = len(ranking), area >= 0.5
    each = {
        "pointing_game": pointing_game(ranking, mask),
        "energy_in_box": energy_in_box(ranking, area),
        "roc_auc": roc_auc(ranking, mask),
        "average_precision": average_precision(ranking, mask),
        "top_k_iou": top_k_iou(ranking, mask),
    }
    row: dict[str, float | int | str] = {}
    for name, scores in each.items():
        row[name] = float(scores.mean()) if n else math.nan
        row[f"{name}_se"] = float(scores.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    return row | {"n": n, "reason": "" if n else "no_image_with_objects"}


def pointing_game(importance: Floats, mask: Mask) -> Floats:
    """Whether the highest patch is on an object, 0 or 1; tied patches share it. Chance: the share of such patches.

    Args:
        importance: ``[N, P]``.
        mask: which patches are on objects, ``[N, P]``.

    Returns:
        ``[N]``.

    Example:
        >>> on_objects = np.array([[True, False, False, False]] * 3)
        >>> pointing_game(np.array([[9.0, 1, 2, 3], [1, 9, 2, 3], [5, 5, 5, 5]]), on_objects).tolist()
        [1.0, 0.0, 0.25]
    """
    highest = importance == importance.max(axis=1, keepdims=True)
    score: Floats = (highest & mask).sum(axis=1) / highest.sum(axis=1)
    return score


def energy_in_box(importance: Floats, area: ArrayLike) -> Floats:
    """Share of all importance that falls on objects, after importance was replaced by its rank from 0 (the lowest).

    With k of P patches on objects from k (k - 1) / (P (P - 1)) to k (2 P - k - 1) / (P (P - 1)); k / P by chance and
    for a constant map.

    Args:
        importance: ``[N, P]`` with P > 1.
        area: share of each patch that objects cover, ``[N, P]``, or a mask.

    Returns:
        ``[N]``.

    Example:
        >>> on_objects = np.array([[True, False, False, False]] * 3)
        >>> energy_in_box(np.array([[9.0, 1, 2, 3], [1, 9, 2, 3], [5, 5, 5, 5]]), on_objects).tolist()
        [0.5, 0.0, 0.25]
    """
    ranks = rankdata(importance, axis=1) - 1
    share: Floats = (ranks * np.asarray(area, dtype=float)).sum(axis=1) / ranks.sum(axis=1)
    return share


def roc_auc(importance: Floats, mask: Mask) -> Floats:
    """How often a patch on an object ranks above one that is not, ties counted half: 1 perfect, 0.5 chance, 0 reversed.

    Args:
        importance: ``[N, P]``.
        mask: which patches are on objects, ``[N, P]``, neither none nor all of an image.

    Returns:
        ``[N]``.

    Example:
        >>> on_objects = np.array([[True, False, False, False]] * 3)
        >>> roc_auc(np.array([[9.0, 1, 2, 3], [1, 9, 2, 3], [5, 5, 5, 5]]), on_objects).tolist()
        [1.0, 0.0, 0.5]
    """
    inside = mask.sum(axis=1)
    ranks = (rankdata(importance, axis=1) * mask).sum(axis=1)
    area: Floats = (ranks - inside * (inside + 1) / 2) / (inside * (mask.shape[1] - inside))
    return area


def average_precision(importance: Floats, mask: Mask) -> Floats:
    """Mean, over the patches on objects, of the precision among all patches that rank as high; 1 if these come first.

    A constant map scores the share of patches on objects.

    Args:
        importance: ``[N, P]``.
        mask: which patches are on objects, ``[N, P]``, at least one in an image.

    Returns:
        ``[N]``.

    Example:
        >>> on_objects = np.array([[True, False, False, False]] * 3)
        >>> average_precision(np.array([[9.0, 1, 2, 3], [1, 9, 2, 3], [5, 5, 5, 5]]), on_objects).tolist()
        [1.0, 0.25, 0.25]
    """
    order = np.argsort(-importance, axis=1)
    found = np.take_along_axis(mask, order, axis=1).cumsum(axis=1)
    as_high = rankdata(-importance, method="max", axis=1).astype(int)  # [N, P]
    precision = np.take_along_axis(found, as_high - 1, axis=1) / as_high
    mean: Floats = (precision * mask).sum(axis=1) / mask.sum(axis=1)
    return mean


def top_k_iou(importance: Floats, mask: Mask) -> Floats:
    """Intersection over union of the objects' k patches and the k highest: 1 if they are the same, 0 if none is.

    Patches tied at the cut enter the intersection with the share of them that the k has room for. A constant map, with
    a share f of patches on objects, scores f / (2 - f).

    Args:
        importance: ``[N, P]``.
        mask: which patches are on objects, ``[N, P]``, at least one in an image.

    Returns:
        ``[N]``.

    Example:
        >>> on_objects = np.array([[True, True, False, False]] * 3)
        >>> top_k_iou(np.array([[9.0, 8, 2, 3], [1, 9, 2, 3], [5, 5, 5, 5]]), on_objects).round(3).tolist()
        [1.0, 0.333, 0.333]
    """
    k = mask.sum(axis=1, keepdims=True)
    cut = np.take_along_axis(np.sort(importance, axis=1)[:, ::-1], k - 1, axis=1)
    above, tied = importance > cut, importance == cut
    room = (k - above.sum(axis=1, keepdims=True)) / tied.sum(axis=1, keepdims=True)
    common = ((above + tied * room) * mask).sum(axis=1)
    overlap: Floats = common / (2 * k[:, 0] - common)
    return overlap


def centre_prior(grid: tuple[int, int], scales: int = 1) -> Floats:
    """Ranks patches by how near their centres lie to the image's, as a centred Gaussian would: float ``[P]``.

    Args:
        grid: rows and columns of patches.
        scales: number of grids, of which that is the finest.

    Example:
        >>> centre_prior((2, 4)).reshape(2, 4).tolist()
        [[-52.0, -20.0, -20.0, -52.0], [-52.0, -20.0, -20.0, -52.0]]
    """
    row, column, side = patch_boxes(grid, scales).T
    # In whole numbers, so that patches at one distance are exactly tied.
    down, across = (2 * row + side - grid[0]) * grid[1], (2 * column + side - grid[1]) * grid[0]
    return -(down**2 + across**2).astype(float)


def edge_density(images: NDArray[np.generic], grid: tuple[int, int], scales: int = 1) -> Floats:
    """Mean length of the brightness gradient within each patch.

    Args:
        images: bytes or floats ``[M, 3, H, W]``; the grid divides them.
        grid: rows and columns of patches.
        scales: number of grids, of which that is the finest.

    Returns:
        ``[M, P]``, from 0 (flat), in the scale of the images.

    Example:
        >>> half = np.zeros((1, 3, 4, 8))
        >>> half[..., 2:] = 1
        >>> edge_density(half, (1, 2)).tolist()
        [[0.25, 0.0]]
    """
    shapes = grid_shapes(grid, scales)
    parts = []
    for i in range(0, len(images), _BLOCK):
        grey = images[i : i + _BLOCK].mean(axis=1)  # [B, H, W]
        length = np.hypot(np.gradient(grey, axis=1), np.gradient(grey, axis=2))
        tall, wide = length.shape[1:]
        means = [length.reshape(-1, h, tall // h, w, wide // w).mean(axis=(2, 4)).reshape(-1, h * w) for h, w in shapes]
        parts.append(np.concatenate(means, axis=1))
    return np.concatenate([*parts, np.empty((0, sum(h * w for h, w in shapes)))])


def _check(
    importance: Floats, area: Floats, grid: tuple[int, int], scales: int, images: NDArray[np.generic] | None
) -> None:
    expected = (len(importance), len(patch_boxes(grid, scales)))
    if importance.shape != expected or area.shape != expected:
        more = f" and {scales - 1} coarser" if scales > 1 else ""
        raise ValueError(
            f"importance has shape {importance.shape} and object_area {area.shape}: a grid of {grid}{more} needs [N, "
            f"{expected[1]}] each"
        )
    if ((area < 0) | (area > 1 + 1e-4)).any():
        raise ValueError(f"object_area runs from {np.nanmin(area)} to {np.nanmax(area)}: give shares in [0, 1]")
    if images is None:
        return
    if images.ndim != 4 or images.shape[1] != 3 or len(images) > len(importance):
        raise ValueError(f"images has shape {images.shape}: expected [M, 3, H, W] with M up to {len(importance)}")
    if images.shape[2] % grid[0] or images.shape[3] % grid[1] or min(images.shape[2:]) < 2:
        raise ValueError(f"a grid of {grid} patches does not divide images of {images.shape[2:]} pixels evenly")
