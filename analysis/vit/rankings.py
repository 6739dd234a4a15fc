"""Ways to say which patches of an image a Vision Transformer should keep: PatchRank's rivals in Fig. 4.

Each function makes a `Ranking`: images, RGB in [0, 1] ``[B, 3, H, W]`` at the ViT's size, to scores ``[B, K]`` of its
patches in raster order. Only the order counts. Those that ask the ViT itself cost a whole pass of it (and the two
that need gradients, a pass back; occlusion K passes), so they save nothing; they say how good an order could be.

CLS attention: Caron et al., Emerging Properties in Self-Supervised Vision Transformers (ICCV 2021). Saliency: Simonyan
et al., Deep Inside Convolutional Networks (2014). Grad-CAM: Selvaraju et al. (ICCV 2017), on tokens.
Occlusion: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks (ECCV 2014), by leaving a patch out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Attention, VisionTransformer
from torch import Tensor, nn

from analysis.metrics.patch_importance import centre_prior
from analysis.vit.patch_subset import Ranking, check_vit, classify_patches, vit_input
from patchgame_egg.agents.patch_speaker import PatchRank
from patchgame_egg.patches import square_grid
from patchgame_egg.views.transforms import normalise


def network_ranking(rank: nn.Module, grid: tuple[int, int], image_size: int | None = None) -> Ranking:
    """The order of a trained network, such as PatchRank.

    `PatchRank` is convolutional and pools to a grid at the end, so it is applied to the ViT's images as they are, and
    pools to the ViT's grid. Any other network gets images of its own size, and its scores are interpolated (bilinear)
    where its grid is another.

    Args:
        rank: images ``[B, 3, H, W]``, normalised by ImageNet's mean and deviation, to scores ``[B, P]`` of a square
            grid; in evaluation mode. Of patches of several sizes, the finest are asked.
        grid: rows and columns of the ViT's patches.
        image_size: side of the images that the network wants, pixels; None: the ViT's.

    Raises:
        ValueError: the ViT's grid is not square, where it is `PatchRank`; later, the scores are not on a square grid.
    """
    if isinstance(rank, PatchRank):
        if grid[0] != grid[1]:
            raise ValueError(f"PatchRank scores square grids; the ViT's is {grid[0]} x {grid[1]}")
        # A copy that shares all weights, and pools to another grid.
        rank = copy.copy(rank)
        rank.grid, rank.scales = grid[0], 1

    @torch.no_grad()
    def scores(images: Tensor) -> Tensor:
        if image_size is not None and images.shape[-2:] != (image_size, image_size):
            images = F.interpolate(images, (image_size, image_size), mode="bilinear", antialias=True)
        return on_grid(rank(normalise(images, out=torch.empty_like(images))), grid)

    return scores


def on_grid(scores: Tensor, grid: tuple[int, int]) -> Tensor:
    """Scores of a square grid of patches, interpolated to another grid: ``[B, P] -> [B, K]``.

    Raises:
        ValueError: P is not a square.
    """
    if scores.shape[1] == grid[0] * grid[1]:
        return scores
    own = square_grid(scores.shape[1])
    if own is None:
        raise ValueError(f"{scores.shape[1]} scores of an image do not lie on a square grid of patches")
    return F.interpolate(scores.unflatten(1, own)[:, None], grid, mode="bilinear", antialias=True).flatten(1)


def random_ranking(grid: tuple[int, int], seed: int) -> Ranking:
    """Another order for every image; the same ones in every pass of a new ranking, however images are batched."""
    generator = np.random.default_rng(seed)
    return lambda images: torch.from_numpy(generator.random((len(images), grid[0] * grid[1]))).to(images.device)


def centre_ranking(grid: tuple[int, int]) -> Ranking:
    """The nearer to the middle, the earlier."""
    scores = torch.from_numpy(centre_prior(grid))
    return lambda images: scores.to(images.device).expand(len(images), -1)


def reversed_ranking(ranking: Ranking) -> Ranking:
    """Another ranking upside down."""
    return lambda images: -ranking(images)


def attention_ranking(vit: VisionTransformer) -> Ranking:
    """How much the class token attends to each patch in the last block, mean over heads.

    Raises:
        ValueError: there is no class token, or the attention is not timm's plain one.
    """
    check_vit(vit)
    attention = vit.blocks[-1].attn
    if vit.cls_token is None:
        raise ValueError("this ViT has no class token whose attention could be read")
    if not isinstance(attention, Attention):
        raise ValueError(f"the attention of {type(attention).__name__} cannot be read, only that of timm's Attention")

    @torch.no_grad()
    def scores(images: Tensor) -> Tensor:
        projected: list[Tensor] = []
        # Fused attention never has the weights in memory, so they are computed once more from queries and keys.
        hook = attention.qkv.register_forward_hook(lambda module, args, out: projected.append(out))
        try:
            vit(vit_input(vit, images))
        finally:
            hook.remove()
        q, k, _ = projected[0].unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, H, T, d]
        q, k = attention.q_norm(q[:, :, :1]), attention.k_norm(k)
        weights = (q @ k.mT * attention.scale).softmax(dim=-1)[:, :, 0]  # [B, H, T]
        return weights.mean(dim=1)[:, vit.num_prefix_tokens :]

    return scores


def saliency_ranking(vit: VisionTransformer) -> Ranking:
    """Gradient of the highest logit with respect to the pixels: its largest absolute value over colours, mean over the
    patch."""
    check_vit(vit)
    size = vit.patch_embed.patch_size

    def scores(images: Tensor) -> Tensor:
        with _frozen(vit):
            seen = vit_input(vit, images).detach().requires_grad_()
            slope = torch.autograd.grad(vit(seen).amax(dim=1).sum(), seen)[0]
        return F.avg_pool2d(slope.abs().amax(dim=1, keepdim=True), size).flatten(1)

    return scores


def grad_cam_ranking(vit: VisionTransformer) -> Ranking:
    """Grad-CAM of the highest logit on what the last block reads: its normalised tokens.

    Behind that block, patches no longer touch the class token's logit and have no gradient. The map is the sum over
    features of token times gradient averaged over patches; Grad-CAM's ReLU would only tie the patches below 0.
    """
    check_vit(vit)
    last: Any = vit.blocks[-1]

    def scores(images: Tensor) -> Tensor:
        tokens: list[Tensor] = []

        def watch(module: nn.Module, args: object, out: Tensor) -> Tensor:
            tokens.append(out.detach().requires_grad_())
            return tokens[0]

        # The residual stream beside it leads to the class token alone, or, where patches are averaged, is left out.
        hook = last.norm1.register_forward_hook(watch)
        try:
            with _frozen(vit):
                slope = torch.autograd.grad(vit(vit_input(vit, images)).amax(dim=1).sum(), tokens[0])[0]
        finally:
            hook.remove()
        patches, slope = (x[:, vit.num_prefix_tokens :] for x in (tokens[0].detach(), slope))
        return (patches * slope.mean(dim=1, keepdim=True)).sum(dim=2)

    return scores


def occlusion_ranking(vit: VisionTransformer) -> Ranking:
    """How much less sure the ViT is of its own answer without a patch: the log-probability that is lost, nats.

    Every patch is left out alone, K passes for each image: for small ViTs.
    """
    check_vit(vit)
    patches = vit.patch_embed.num_patches

    @torch.no_grad()
    def scores(images: Tensor) -> Tensor:
        seen = vit_input(vit, images)
        whole = vit(seen).log_softmax(dim=1)
        answer = whole.argmax(dim=1, keepdim=True)
        every = torch.arange(patches, device=images.device)
        without = [
            classify_patches(vit, seen, every[every != patch].expand(len(images), -1)).log_softmax(dim=1)
            for patch in range(patches)
        ]
        return whole.gather(1, answer) - torch.cat([left.gather(1, answer) for left in without], dim=1)

    return scores


@contextmanager
def _frozen(vit: VisionTransformer) -> Iterator[None]:
    """Gradients of inputs, also inside ``no_grad``, and none of weights."""
    wanted = [p for p in vit.parameters() if p.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        with torch.enable_grad():
            yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
