"""Projection heads, and the comparison of very wide projections without making them.

PatchGame (Gupta et al., NeurIPS 2021) compares messages and images "in a high dimensional space" (section 3.3); the
authors' release takes 65,536 dimensions, reached by a bias-free weight-normalised linear map from 256. A map that wide
is most of a batch's memory and all of its traffic between processes, yet the cosine of two such vectors is an inner
product of 256 numbers: ``(W t) . (U v) = t' (W'U) v``.

Letters in shapes: B batch, b bottleneck, W wide.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from patchgame_egg.distributed.processes import world_size


class Head(nn.Module):
    """A projection head: in - hidden - hidden - bottleneck, then an optional wide weight-normalised map.

    The release's sizes are 2048 - 2048 - 256 - 65536; the paper's text says "high dimensional".

    Args:
        in_dim: width of what comes in.
        hidden: width of the two hidden layers (GELU).
        bottleneck: width before the wide map, where the vector is scaled to length 1.
        wide: output width, or 0 to stop at the bottleneck.
    """

    def __init__(self, in_dim: int, hidden: int = 2048, bottleneck: int = 256, wide: int = 0) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.mlp = nn.Sequential(
            nn.Linear(in_dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.wide = weight_norm(nn.Linear(bottleneck, wide, bias=False)) if wide else None

    def narrow(self, x: Tensor) -> Tensor:
        """``[B, in_dim]`` to the bottleneck, ``[B, b]``; of length 1 if a wide map follows."""
        x = self.mlp(x)
        return x if self.wide is None else F.normalize(x, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in_dim]`` to ``[B, wide]``, or to ``[B, bottleneck]`` without a wide map."""
        x = self.narrow(x)
        return x if self.wide is None else self.wide(x)


def compare_narrow(text: Tensor, image: Tensor, text_map: Tensor, image_map: Tensor) -> tuple[Tensor, Tensor]:
    """Short vectors with the lengths, and between a text and an image the inner products, of wide ones.

    With ``W'W = L L'`` (Cholesky), a text t becomes ``L't`` and an image v becomes ``inv(L) W'U v``, whose inner
    product is ``t' W'U v``. What the image lacks of its length ``|U v|`` goes into one more number, where every text
    has 0. Inner products between two images are not kept.

    Args:
        text: t, ``[B, b]``.
        image: v, ``[B, b]``.
        text_map: W, ``[wide, b]``, of full rank: b columns, of which none depends on others.
        image_map: U, ``[wide, b]``.

    Returns:
        Text and image vectors, each ``[B, b + 1]``, float32 or better.
    """
    exact = torch.promote_types(text.dtype, torch.float32)
    with torch.autocast(text.device.type, enabled=False):
        text, image, text_map, image_map = (x.to(exact) for x in (text, image, text_map, image_map))
        both = text_map.T @ torch.cat([text_map, image_map], dim=1)  # [b, 2b]: W'W and W'U
        # Factorised in double precision: the maps may come close to losing a rank. Checking it would wait for a GPU.
        lower = torch.linalg.cholesky_ex(both[:, : both.shape[0]].double()).L
        shared = torch.linalg.solve_triangular(lower, both[:, both.shape[0] :].double(), upper=False).to(exact)
        image_part = image @ shared.T  # [B, b]
        length = (image @ (image_map.T @ image_map) * image).sum(dim=1)
        # Rounding may leave less than nothing; the root's slope at 0 has no bound.
        rest = (length - image_part.square().sum(dim=1)).clamp(min=1e-6 * length.detach()).sqrt()
        text_part = text @ lower.to(exact)
        return F.pad(text_part, (0, 1)), torch.cat([image_part, rest[:, None]], dim=1)


def narrow_is_cheaper(rows: int, bottleneck: int) -> bool:
    """Whether three Gram matrices cost less than the wide vectors of this rank and their comparison with all others.

    Args:
        rows: of this rank.
        bottleneck: b.
    """
    return 2 * rows * (bottleneck + rows * world_size()) > 3 * bottleneck**2
