"""A Vision Transformer that sees k patches of an image, and how its accuracy grows with k. Metric sheet, P3.

Section 4.2 of PatchGame (Gupta et al., NeurIPS 2021) measures in this way whether PatchRank knows which patches matter
(Fig. 4). Patches that are not kept are dropped before the first block, so that k patches cost what k patches cost; the
others keep the position codes of their places. timm's own patch dropout drops at random, in training only.

Letters in shapes: B images of a batch, N images in all, K patches of the ViT, k of them kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import trapezoid
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

Ranking = Callable[[Tensor], Tensor]
"""Images, RGB in [0, 1] ``[B, 3, H, W]``, to a score of each patch ``[B, K]``: the higher, the earlier it is kept."""


def check_vit(vit: VisionTransformer) -> None:
    """Refuses what patches cannot be dropped from without guessing.

    Raises:
        ValueError: not timm's plain VisionTransformer, or it pools its tokens otherwise than by class token or mean.
    """
    plain = isinstance(vit, VisionTransformer) and all(
        getattr(type(vit), name) is getattr(VisionTransformer, name)
        for name in ("forward", "forward_features", "forward_head", "_pos_embed")
    )
    if not plain:
        raise ValueError(
            f"{type(vit).__name__} is not timm's plain VisionTransformer: give one, such as vit_base_patch16_224 or "
            "deit_small_patch16_224 (not distilled, no windows, no hierarchy)"
        )
    if vit.global_pool not in ("token", "avg") or vit.attn_pool is not None:
        raise ValueError(
            f"a ViT with global_pool={vit.global_pool!r}: only 'token' and 'avg' mean the same with fewer patches"
        )


def vit_grid(vit: VisionTransformer) -> tuple[int, int]:
    """Rows and columns of a ViT's patches."""
    rows, columns = vit.patch_embed.grid_size
    return rows, columns


def vit_input(vit: VisionTransformer, images: Tensor) -> Tensor:
    """Normalises images as the ViT was trained with: by the mean and deviation of its ``pretrained_cfg``.

    Args:
        vit: the model; one without such values was trained with timm's default, ImageNet's.
        images: RGB in [0, 1], ``[B, 3, H, W]``.
    """
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    values = getattr(vit, "pretrained_cfg", None) or {}
    mean, std = values.get("mean", IMAGENET_DEFAULT_MEAN), values.get("std", IMAGENET_DEFAULT_STD)
    return (images - images.new_tensor(mean).view(3, 1, 1)) / images.new_tensor(std).view(3, 1, 1)


def classify_patches(vit: VisionTransformer, images: Tensor, keep: Tensor | None = None) -> Tensor:
    """Logits of a ViT that is given some patches of each image.

    Its class token and registers always stay; the mean, where it pools so, is taken over the patches that are kept.

    Args:
        vit: timm's VisionTransformer with ``global_pool`` token or avg.
        images: as the ViT takes them (`vit_input`), ``[B, 3, H, W]``.
        keep: numbers of the patches to keep, in raster order from 0, int64 ``[B, k]`` with k from 1; their order makes
            no difference but for rounding. None, or all in raster order: the ViT's own forward pass, bit for bit.

    Returns:
        ``[B, C]``.

    Raises:
        ValueError: the model is not timm's plain VisionTransformer, or pools its tokens in another way (`check_vit`);
            numbers are not those of patches of these images, or come twice.
    """
    check_vit(vit)
    tokens = vit._pos_embed(vit.patch_embed(images))  # [B, prefix + K, D]
    if keep is not None:
        prefix = vit.num_prefix_tokens
        _check_keep(keep, len(tokens), tokens.shape[1] - prefix)
        places = keep[:, :, None].expand(-1, -1, tokens.shape[2])
        patches = tokens[:, prefix:].gather(1, places)  # [B, k, D]
        if not tokens.is_contiguous():
            # Without a class token, features lie apart in memory, and sums are taken in another order.
            patches = patches.mT.contiguous().mT
        tokens = torch.cat([tokens[:, :prefix], patches], dim=1) if prefix else patches
    logits: Tensor = vit.forward_head(vit.norm(vit.blocks(vit.norm_pre(vit.patch_drop(tokens)))))
    return logits


def _check_keep(keep: Tensor, images: int, patches: int) -> None:
    if keep.dtype != torch.int64 or keep.dim() != 2 or len(keep) != images or not 1 <= keep.shape[1] <= patches:
        raise ValueError(
            f"keep is {keep.dtype} of shape {tuple(keep.shape)}: expected int64 [{images}, k], k from 1 to {patches}"
        )
    ordered = keep.sort(dim=1).values
    if ordered[:, 0].min() < 0 or ordered[:, -1].max() >= patches or (ordered.diff(dim=1) == 0).any():
        raise ValueError(f"keep has numbers outside 0 to {patches - 1}, or the same one twice for an image")


def best_patches(scores: Tensor, k: int) -> Tensor:
    """The k patches of the highest scores in raster order, int64 ``[B, k]``; of tied ones the first."""
    return scores.argsort(dim=1, descending=True, stable=True)[:, :k].sort(dim=1).values


@torch.no_grad()
def recognised(
    vit: VisionTransformer,
    batches: Iterable[tuple[Tensor, Tensor]],
    rankings: Mapping[str, Ranking],
    kept: Sequence[int],
) -> dict[str, NDArray[np.bool_]]:
    """Which images a ViT names rightly from the k patches that each ranking puts first.

    Args:
        vit: the model, in evaluation mode, on the images' device.
        batches: images, RGB in [0, 1] ``[B, 3, H, W]``, and classes ``[B]``.
        rankings: by name.
        kept: the k, each from 1 to K.

    Returns:
        bool ``[len(kept), N]`` of each ranking.

    Raises:
        ValueError: there is no image, or the model is not one that `classify_patches` takes.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in rankings}
    for images, labels in batches:
        seen = vit_input(vit, images)
        for name, ranking in rankings.items():
            scores = ranking(images)
            named = [classify_patches(vit, seen, best_patches(scores, k)).argmax(dim=1) for k in kept]
            found[name].append(torch.stack(named).eq(labels).cpu())
    if not any(found.values()):
        raise ValueError("there is no image to classify")
    return {name: torch.cat(parts, dim=1).numpy() for name, parts in found.items()}


@dataclass(frozen=True)
class SubsetCurve:
    """Accuracy of a ViT over the number of patches that it sees.

    Attributes:
        kept: k, ascending, from 0 to K.
        accuracy: share of images named rightly with as many; with none, chance.
        area_of_image: each image's own contribution to the area, whose mean it is, ``[N]``.
    """

    kept: NDArray[np.int64]
    accuracy: NDArray[np.float64]
    area_of_image: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Area under accuracy over the share of patches kept, by `area_under_curve`."""
        return area_under_curve(self.kept, self.accuracy)

    @property
    def normalised_area(self) -> float:
        """The area as a share of the full accuracy: 1 for a ViT that needs no patches; NaN where it knows nothing."""
        full = float(self.accuracy[-1])
        return self.area / full if full else float("nan")

    @property
    def k90(self) -> float:
        """The fewest patches for 0.9 of the full accuracy, by `patches_for`."""
        return patches_for(self.kept, self.accuracy)


def subset_curve(named: NDArray[np.bool_], kept: Sequence[int], classes: int) -> SubsetCurve:
    """The curve of one ranking.

    Args:
        named: of `recognised`, ``[len(kept), N]``.
        kept: its k, ascending; the last is K.
        classes: how many there are; the accuracy without patches is one over them.
    """
    with_none = np.full((1, named.shape[1]), 1 / classes)
    each = np.concatenate([with_none, named.astype(float)])  # [1 + len(kept), N]
    places = np.array([0, *kept], dtype=np.int64)
    # Trapezoids are linear, so the area of the mean is the mean of the areas, and has a standard error over images.
    areas = trapezoid(each, places / places[-1], axis=0)
    return SubsetCurve(places, each.mean(axis=1), areas)


def area_under_curve(kept: ArrayLike, accuracy: ArrayLike) -> float:
    """Area under accuracy over the share of patches kept, by trapezoids; a straight line from 0 to a has a / 2.

    Args:
        kept: k from 0 to K, ascending, ``[n]``; any unit.
        accuracy: accuracy with each k, ``[n]``.

    Raises:
        ValueError: the curve does not begin at no patch, or is not in order.
    """
    k, values = np.asarray(kept, dtype=float), np.asarray(accuracy, dtype=float)
    if k.shape != values.shape or k.ndim != 1 or len(k) < 2 or k[0] != 0 or (np.diff(k) <= 0).any():
        raise ValueError(f"a curve needs k from 0 up, ascending, and an accuracy for each: got {k} and {values}")
    return float(trapezoid(values, k / k[-1]))


def patches_for(kept: ArrayLike, accuracy: ArrayLike, share: float = 0.9) -> float:
    """The fewest patches for a share of the full accuracy, interpolated between the k that were measured.

    Where accuracy falls and rises again, the first crossing counts.

    Args:
        kept: k, ascending, ``[n]``.
        accuracy: ``[n]``; the last is the full one.
        share: of it.

    Returns:
        Number of patches, from ``kept[0]`` to ``kept[-1]``.
    """
    k, values = np.asarray(kept, dtype=float), np.asarray(accuracy, dtype=float)
    goal = share * values[-1]
    first = int(np.argmax(values >= goal))
    if first == 0:
        return float(k[0])
    before, after = values[first - 1], values[first]
    return float(k[first - 1] + (goal - before) / (after - before) * (k[first] - k[first - 1]))
