"""A transformer's encoder block whose keys may be gated, so that silence has a gradient. B batch, N tokens, D width."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.agents.gated_attention import gated_attention


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

    def forward(self, x: Tensor, present: Tensor, queries: int | None = None) -> Tensor:
        """Args:
            x: ``[B, N, D]``.
            present: bool ``[B, N]``; absent tokens are attended to by nobody.
            queries: how many tokens, from the first, are asked for; None: all.

        Returns:
            ``[B, queries, D]``; rows of absent tokens mean nothing.
        """
        q, k, v = self._heads(x)
        y = F.scaled_dot_product_attention(q[:, :, :queries], k, v, attn_mask=present[:, None, None])
        return self._after(x[:, :queries], y)

    def gated(self, x: Tensor, silent: Tensor, gate: Tensor, queries: int | None = None) -> tuple[Tensor, Tensor]:
        """What `forward` does, with a gradient that tells an absent token what its presence would have changed.

        Args:
            x: ``[B, L, D]``, of which each row attends to at least one.
            silent: ``[B, R, D]``, tokens that are absent in all rows. They attend and are not attended to, and pass no
                gradient on: nothing but gates depends on them.
            gate: float ``[B, L + R]``: 1 for present tokens, 0 for absent ones; see
                `patchgame_egg.agents.gated_attention.gated_attention`.
            queries: how many tokens of ``x``, from the first, are asked for; None: all, and the silent ones.

        Returns:
            ``[B, queries, D]``, and the silent tokens after this block, as they came if ``queries`` are given.
        """
        q, k, v = self._heads(x)
        with torch.no_grad():
            silent_q, silent_k, silent_v = self._heads(silent)
            if queries is None and silent.shape[1]:
                silent = self._after(silent, gated_attention(silent_q, k, v, gate[:, : x.shape[1]]))
        y = gated_attention(q[:, :, :queries], k, v, gate, silent_k, silent_v)
        return self._after(x[:, :queries], y), silent

    def _heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, each ``[B, H, N, D/H]``."""
        x = self.norm1(x) if self.pre else x
        return self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()

    def _after(self, x: Tensor, y: Tensor) -> Tensor:
        """The rest of the block, once ``x`` has heard ``y``, ``[B, H, N, D/H]``."""
        x = x + self.out(y.transpose(1, 2).flatten(2))
        if self.pre:
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x)
        return self.norm2(x + self.mlp(x))
