"""A transformer's encoder block whose keys may be gated, so that silence has a gradient. B batch, N tokens, D width."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """One transformer encoder block whose keys can be absent.

    Args:
        dim: D.
        heads: attention heads; must divide D.
        norm: ``pre`` (ViT: GELU) or ``post`` (Vaswani et al.: ReLU).
    """

    def __init__(self, dim: int, heads: int, norm: Literal["pre", "post"] = "pre") -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} attention heads do not divide a width of {dim}")
        self.heads, self.pre = heads, norm == "pre"
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU() if self.pre else nn.ReLU(), nn.Linear(4 * dim, dim))

    def attend(self, x: Tensor, present: Tensor, gate: Tensor | None, queries: int) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, H, N, D/H]
        q = q[:, :, :queries]
        if gate is None:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=present[:, None, None])
        else:
            scores = q @ k.mT * q.shape[-1] ** -0.5  # [B, H, N, N]
            scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
            absent = ~present[:, None, None]
            scores = scores - scores.masked_fill(absent, -torch.inf).amax(-1, keepdim=True).detach()
            # An absent key may score far above all present ones; its numerator only scales a gradient.
            numerators = torch.where(absent, scores.clamp(max=0), scores).exp() * gate[:, None, None]
            y = (numerators / numerators.sum(-1, keepdim=True)).to(v.dtype) @ v
        return self.out(y.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, present: Tensor, gate: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Args:
            x: ``[B, N, D]``.
            present: bool ``[B, N]``; absent tokens are attended to by nobody.
            gate: ``present`` as numbers that carry a gradient, or None. The softmax's numerators are multiplied by
                it: the same values as plain masking, and the gradient tells an absent token what its presence
                would have changed.
            queries: how many tokens, from the first, are asked for; None: all.

        Returns:
            ``[B, queries, D]``; rows of absent tokens mean nothing.
        """
        queries = queries or x.shape[1]
        if self.pre:
            x = x[:, :queries] + self.attend(self.norm1(x), present, gate, queries)
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x[:, :queries] + self.attend(x, present, gate, queries))
        return self.norm2(x + self.mlp(x))
