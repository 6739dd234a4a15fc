"""The two agents of PatchGame (sections 3.2 and 3.3 of the paper), as deterministic networks.

Everything random, and everything that turns numbers into symbols, lives in `patchgame_egg.channels`.
Letters in shapes: B batch, P patches, L symbols per patch, T = P*L message slots, V vocabulary, D width.

Beyond the paper, one message may have patches of several sizes (`PatchSymbols`, and ``scales`` of `PatchRank`).

Where the paper leaves a choice: PatchSymbol's ``logit_scale`` and Listener's ``silence`` default to what the text
says; the small preset of ``games.patchgame`` sets what was measured to learn faster. The text encoder's blocks are
pre-norm with GELU, as in the ViT that the paper likens them to (``norm="post"``: Vaswani's, with ReLU).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.heads import Head, compare_narrow, narrow_is_cheaper
from patchgame_egg.interaction import Message
from patchgame_egg.patches import patch_grid, patch_sizes
from patchgame_egg.trunks import ResNet9, vit_tiny

Silence = Literal["skip", "gate", "attend"]


@dataclass(frozen=True)
class PatchFeatures:
    """What a patch speaker knows before anything is chosen.

    Attributes:
        logits: symbol logits of every patch, ``[B, P, L, V]``.
        scores: importance of every patch, any real number, ``[B, P]``.
        scales: number of grids that the patches lie on, see `patchgame_egg.patches`.
    """

    logits: Tensor
    scores: Tensor
    scales: int = 1


class PatchSymbol(nn.Module):
    """A 2-layer MLP from the raw pixels of each patch, seen alone, to symbol logits (equation 4).

    Args:
        image_size: side of the square images, pixels.
        patch_size: side S of the square patches, pixels.
        vocab_size: V, at least 2.
        symbols_per_patch: L, at least 1.
        hidden: width of the MLP.
        logit_scale: 0 leaves the logits as they are (the paper). Above 0, each symbol's logit is standardised over
            the batch and multiplied by it, so that the symbols differ by more than the Gumbel noise (whose
            standard deviation is 1.28) from the first step on and no symbol is born dead.
        context: replace the MLP by a ViT-tiny over the whole image, as the authors' release does by default.
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        vocab_size: int,
        symbols_per_patch: int = 1,
        hidden: int = 768,
        logit_scale: float = 0.0,
        context: bool = False,
    ) -> None:
        super().__init__()
        patch_grid(image_size, patch_size)
        if vocab_size < 2:
            raise ValueError(f"vocabulary of {vocab_size}: a language needs at least 2 symbols")
        if symbols_per_patch < 1:
            raise ValueError(f"{symbols_per_patch} symbols per patch: at least 1 is needed")
        self.patch_size, self.vocab_size, self.symbols_per_patch = patch_size, vocab_size, symbols_per_patch
        self.logit_scale = logit_scale
        self.context = vit_tiny(image_size, patch_size) if context else None
        in_dim = 192 if context else 3 * patch_size**2
        self.mlp = nn.Sequential(
            nn.Linear(in_dim, hidden), nn.ReLU(), nn.Linear(hidden, symbols_per_patch * vocab_size)
        )
        self.standardise = nn.BatchNorm1d(symbols_per_patch * vocab_size, affine=False) if logit_scale else None

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` to logits ``[B, P, L, V]``; patches in raster order."""
        if self.context is not None:
            patches = self.context(images)  # [B, P, 192]
        else:
            s = self.patch_size
            b, c, h, w = images.shape
            patches = images.reshape(b, c, h // s, s, w // s, s).permute(0, 2, 4, 1, 3, 5)
            patches = patches.reshape(b, -1, c * s * s)  # [B, P, 3*S*S]
        logits = self.mlp(patches)  # [B, P, L*V]
        if self.standardise is not None:
            logits = self.standardise(logits.float().flatten(0, 1)).view_as(logits) * self.logit_scale
        return logits.unflatten(2, (self.symbols_per_patch, self.vocab_size))


class PatchSymbols(nn.Module):
    """Patches of several sizes, which share a vocabulary: each size has a `PatchSymbol` of its own.

    Args:
        sizes: for the patches of each grid, the finest first.
    """

    def __init__(self, sizes: Sequence[PatchSymbol]) -> None:
        super().__init__()
        self.sizes = nn.ModuleList(sizes)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` to logits ``[B, P, L, V]``; grid after grid."""
        return torch.cat([symbol(images) for symbol in self.sizes], dim=1)


class PatchRank(nn.Module):
    """A ResNet-9 over the whole image that scores every patch (section 3.2; the ranking itself is the channel's).

    Args:
        image_size: side of the square images, pixels.
        patch_size: side of the square patches, of the smallest if there are several sizes, pixels.
        width: channels of its first block.
        dropout: probability of dropping a feature before the last layer.
        scales: number of grids, see `patchgame_egg.patches`. All are scored from one trunk. Each has weights of its own
            in the last layer: with shared ones a patch would score as the mean of those within it, never above them.
    """

    def __init__(
        self, image_size: int, patch_size: int, width: int = 64, dropout: float = 0.0, scales: int = 1
    ) -> None:
        super().__init__()
        patch_sizes(image_size, patch_size, scales)
        self.grid, self.scales = patch_grid(image_size, patch_size), scales
        self.trunk = ResNet9(width, patch_size)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(self.trunk.out_dim, scales)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` to scores ``[B, P]``; grid after grid, each in raster order."""
        features, scores = self.trunk(images), []
        for scale in range(self.scales):
            cells = F.adaptive_avg_pool2d(features, self.grid // 2**scale)  # [B, C, G, G]
            scores.append(self.score(self.dropout(cells.flatten(2).mT))[:, :, scale])
        return torch.cat(scores, dim=1).float()


class PatchSpeaker(nn.Module):
    """PatchSymbol and PatchRank side by side (Fig. 2): each sees the raw image, neither sees the other.

    Args:
        symbol: images to logits ``[B, P, L, V]``.
        rank: images to scores ``[B, P]``.
        scales: number of grids that the patches of both lie on.
    """

    def __init__(self, symbol: nn.Module, rank: nn.Module, scales: int = 1) -> None:
        super().__init__()
        self.symbol, self.rank, self.scales = symbol, rank, scales

    def forward(self, sender_input: Tensor, aux_input: dict[str, Tensor] | None = None) -> PatchFeatures:
        """Images ``[B, 3, H, W]`` to what the channel chooses from."""
        return PatchFeatures(self.symbol(sender_input), self.rank(sender_input), self.scales)


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


class TextEncoder(nn.Module):
    """A transformer encoder over the symbols of a message; the CLS token's last state is its embedding (section 3.3).

    Args:
        vocab_size: V.
        slots: T, the largest possible message.
        dim: D. The paper: 192.
        depth: number of blocks. The paper: 12.
        heads: attention heads. The paper: 3.
        norm: where the blocks normalise, see `Block`.
        silence: what a silent slot is. ``skip``: nothing, only spoken symbols are encoded. ``gate``: the same
            values, and silent slots learn whether they should have spoken, at the cost of encoding them all.
            ``attend``: the authors' release, where every slot takes part and silence is a zero vector with a position.
    """

    def __init__(
        self,
        vocab_size: int,
        slots: int,
        dim: int = 192,
        depth: int = 12,
        heads: int = 3,
        norm: Literal["pre", "post"] = "pre",
        silence: Silence = "skip",
    ) -> None:
        super().__init__()
        self.silence, self.out_dim = silence, dim
        self.symbols = nn.Parameter(torch.randn(vocab_size, dim) * 0.02)
        self.positions = nn.Parameter(torch.randn(slots, dim) * 0.02)
        self.cls = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, heads, norm) for _ in range(depth))
        self.norm = nn.LayerNorm(dim) if norm == "pre" else nn.Identity()

    def forward(self, message: Message) -> Tensor:
        """A message to embeddings ``[B, D]``."""
        mask, gate = message.mask, None
        x = message.vectors @ self.symbols.to(message.vectors.dtype)  # [B, T, D]
        if self.silence == "gate" and message.gate is not None:
            gate = F.pad(message.gate, (1, 0), value=1.0)
            unsaid = F.embedding(message.symbols, self.symbols)
            x = torch.where(mask[:, :, None], x, unsaid.to(x.dtype))
        x = x + self.positions
        if self.silence == "attend":
            mask = torch.ones_like(mask)
        elif gate is None:
            # Spoken slots first, in order, up to the longest message: silence costs nothing.
            longest = int(mask.sum(dim=1).max())
            order = mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :longest]
            x = x.gather(1, order[:, :, None].expand(-1, -1, x.shape[2]))
            mask = mask.gather(1, order)
        x = torch.cat([self.cls.expand(len(x), -1, -1).to(x.dtype), x], dim=1)  # [B, 1 + T, D]
        present = F.pad(mask, (1, 0), value=True)
        for block in self.blocks[:-1]:
            x = block(x, present, gate)
        # Only CLS is read at the end, so only CLS asks in the last block.
        return self.norm(self.blocks[-1](x, present, gate, queries=1)[:, 0])


class Listener(nn.Module):
    """Embeds the message and the other view of the image in one space (section 3.3).

    Args:
        text: a module from `Message` to ``[B, text.out_dim]``.
        vision: a module from images to ``[B, vision_dim]``.
        vision_dim: width of what ``vision`` gives.
        head_hidden: see `Head`; each embedding has a head of its own.
        head_bottleneck: see `Head`.
        head_wide: see `Head`.
        narrow: in training, where that is cheaper, give short vectors with the same cosines between texts and images
            in the place of wide ones (`compare_narrow`). For losses that compare nothing else, and detach neither.
    """

    def __init__(
        self,
        text: TextEncoder,
        vision: nn.Module,
        vision_dim: int,
        head_hidden: int = 2048,
        head_bottleneck: int = 256,
        head_wide: int = 0,
        narrow: bool = False,
    ) -> None:
        super().__init__()
        self.text, self.vision, self.narrow = text, vision, narrow
        self.text_head = Head(text.out_dim, head_hidden, head_bottleneck, head_wide)
        self.vision_head = Head(vision_dim, head_hidden, head_bottleneck, head_wide)

    def forward(
        self, message: Message, receiver_input: Tensor, aux_input: dict[str, Tensor] | None = None
    ) -> Sequence[Tensor]:
        """Message and images ``[B, 3, H, W]`` to (text embedding, image embedding), each ``[B, D]``, not normalised."""
        said, seen = self.text(message), self.vision(receiver_input)
        first, second = self.text_head.wide, self.vision_head.wide
        if not (self.narrow and self.training and first and second) or not narrow_is_cheaper(
            len(said), first.in_features
        ):
            return self.text_head(said), self.vision_head(seen)
        return compare_narrow(self.text_head.narrow(said), self.vision_head.narrow(seen), first.weight, second.weight)
