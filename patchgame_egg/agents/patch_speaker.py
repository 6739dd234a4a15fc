"""The paper's speaker (section 3.2): PatchSymbol says what each patch would say, PatchRank which patches matter.

Deterministic networks: everything that turns their numbers into symbols is in `patchgame_egg.channels.patch`. Beyond
the paper, one message may have patches of several sizes (`PatchSymbols`, and ``scales`` of `PatchRank`). Letters in
shapes: B batch, P patches, L symbols per patch, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.agents.full_precision import in_full
from patchgame_egg.agents.trunks import ResNet9, vit_tiny
from patchgame_egg.choices import Padding
from patchgame_egg.patches import patch_grid, patch_sizes

PatchNetwork = Literal["mlp", "conv"]


@dataclass(frozen=True)
class PatchFeatures:
    """What a patch speaker knows before anything is chosen.

    Attributes:
        logits: symbol logits of every patch, ``[B, P, L, V]``.
        scores: importance of every patch, any real number, ``[B, P]``.
        scales: number of grids that the patches lie on: 1, or more for patches of several sizes.
    """

    logits: Tensor
    scores: Tensor
    scales: int = 1


class PatchSymbol(nn.Module):
    """From the raw pixels of each patch, seen alone, to symbol logits: a 2-layer MLP (equation 4), or convolutions.

    Args:
        image_size: side of the square images, pixels.
        patch_size: side S of the square patches, pixels.
        vocab_size: V, at least 2.
        symbols_per_patch: L, at least 1.
        hidden: width of the MLP; of the convolutions, a quarter of it and half of it.
        logit_scale: 0 leaves the logits as they are (the paper). Above 0, each symbol's logit is standardised over
            the batch and multiplied by it, so that the symbols differ by more than the Gumbel noise (whose
            standard deviation is 1.28) from the first step on and no symbol is born dead.
        context: replace the MLP by a ViT-tiny over the whole image, as the authors' release does by default.
        network: ``mlp`` (the paper), to which a patch that has moved by a pixel is another patch; or ``conv``, two
            convolutions within the patch, averaged over it, so that what is in a patch counts more than where. Patches
            of at least 5 px.
        released: be what the release's is, so that its weights fit. With ``context``, the ViT has a class token, which
            the patches attend to; without, each patch and its place make the hidden layer, which has no ReLU.
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
        network: PatchNetwork = "mlp",
        released: bool = False,
    ) -> None:
        super().__init__()
        patches = patch_grid(image_size, patch_size) ** 2
        if network == "conv" and (context or released):
            raise ValueError("context and released are networks of their own: they do not go with the network 'conv'")
        if network == "conv" and patch_size < 5:
            raise ValueError(f"patch size {patch_size}: two convolutions of 3 px need patches of at least 5 px")
        if vocab_size < 2:
            raise ValueError(f"vocabulary of {vocab_size}: a language needs at least 2 symbols")
        if symbols_per_patch < 1:
            raise ValueError(f"{symbols_per_patch} symbols per patch: at least 1 is needed")
        self.patches = patches
        self.patch_size, self.vocab_size, self.symbols_per_patch = patch_size, vocab_size, symbols_per_patch
        self.logit_scale = logit_scale
        self.context = vit_tiny(image_size, patch_size, class_token=released) if context else None
        self.convolutions = None
        in_dim = 192 if context else 3 * patch_size**2
        if network == "conv":
            first, in_dim = max(1, hidden // 4), max(1, hidden // 2)
            # No padding: it would tell where in the patch a pixel lies.
            self.convolutions = nn.Sequential(
                nn.Conv2d(3, first, 3), nn.ReLU(), nn.Conv2d(first, in_dim, 3), nn.ReLU(),
                nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            )  # fmt: skip
        outputs = symbols_per_patch * vocab_size
        middle = _Places(patches, hidden) if released and not context else nn.ReLU()
        self.mlp = (
            nn.Linear(in_dim, outputs)
            if network == "conv"
            else nn.Sequential(nn.Linear(in_dim, hidden), middle, nn.Linear(hidden, outputs))
        )
        self.standardise = nn.BatchNorm1d(symbols_per_patch * vocab_size, affine=False) if logit_scale else None

    def forward(self, images: Tensor) -> Tensor:
        """Float images ``[B, 3, H, W]`` to logits ``[B, P, L, V]``; patches in raster order."""
        if self.context is not None:
            tokens = self.context(images)
            patches = tokens[:, tokens.shape[1] - self.patches :]  # [B, P, 192]
        else:
            s = self.patch_size
            b, c, h, w = images.shape
            patches = images.reshape(b, c, h // s, s, w // s, s).permute(0, 2, 4, 1, 3, 5)
            if self.convolutions is not None:
                count = patches.shape[1] * patches.shape[2]
                patches = self.convolutions(patches.reshape(b * count, c, s, s)).view(b, count, -1)
            else:
                patches = patches.reshape(b, -1, c * s * s)  # [B, P, 3*S*S]
        if isinstance(self.mlp, nn.Sequential):
            logits = in_full(self.mlp[-1], self.mlp[:-1](patches))  # type: ignore[arg-type]
        else:
            logits = in_full(self.mlp, patches)  # [B, P, L*V]
        if self.standardise is not None:
            logits = self.standardise(logits.flatten(0, 1)).view_as(logits) * self.logit_scale
        return logits.unflatten(2, (self.symbols_per_patch, self.vocab_size))


class _Places(nn.Module):
    """Tells patches where they are: adds a learnt vector for each place, ``[B, P, D] -> [B, P, D]``."""

    def __init__(self, patches: int, dim: int) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(patches, dim))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.places


class PatchSymbols(nn.Module):
    """Patches of several sizes, which share a vocabulary: each size has a `PatchSymbol` of its own.

    Args:
        sizes: for the patches of each grid, the finest first.
    """

    def __init__(self, sizes: Sequence[PatchSymbol]) -> None:
        super().__init__()
        self.sizes = nn.ModuleList(sizes)

    def forward(self, images: Tensor) -> Tensor:
        """Float images ``[B, 3, H, W]`` to logits ``[B, P, L, V]``; grid after grid."""
        return torch.cat([symbol(images) for symbol in self.sizes], dim=1)


class PatchRank(nn.Module):
    """A ResNet-9 over the whole image that scores every patch (section 3.2; the ranking itself is the channel's).

    Args:
        image_size: side of the square images, pixels.
        patch_size: side of the square patches, of the smallest if there are several sizes, pixels.
        width: channels of its first block.
        dropout: probability of dropping a feature before the last layer.
        scales: number of grids, each of patches twice as wide as before. All are scored from one trunk. Each has
            weights of its own in the last layer: with shared ones a patch would score as the mean of those within it,
            never above them.
        padding: ``replicate``: what is beyond the border looks like the border, and each score looks out from the
            middle of its patch, so that the scores say what is where and not where the border is. ``zeros``: a ResNet
            as the authors' release has it, whose cells look out from the top left corner of their patches.
        mirrored: left and right are alike to it: of a mirrored image it makes the mirrored map. Nothing else in the
            game asks for that, since a view of an image may be mirrored without a word to the other agent.
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        width: int = 64,
        dropout: float = 0.0,
        scales: int = 1,
        padding: Padding = "replicate",
        mirrored: bool = False,
    ) -> None:
        super().__init__()
        patch_sizes(image_size, patch_size, scales)
        self.grid, self.scales = patch_grid(image_size, patch_size), scales
        self.trunk = ResNet9(width, patch_size, padding, mirrored)
        # A halving keeps every second value, from the first on: cells are centred on their first pixel.
        self.shift = self.trunk.stride // 2 if padding == "replicate" else 0
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(self.trunk.out_dim, scales)

    def forward(self, images: Tensor) -> Tensor:
        """Float images ``[B, 3, H, W]`` to scores ``[B, P]``; grid after grid, each in raster order."""
        if h := self.shift:
            images = F.pad(images[..., h:, h:], (0, h, 0, h), mode="replicate")
        features, scores = self.trunk(images), []
        for scale in range(self.scales):
            cells = F.adaptive_avg_pool2d(features, self.grid // 2**scale)  # [B, C, G, G]
            scores.append(in_full(self.score, self.dropout(cells.flatten(2).mT))[:, :, scale])
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
        """Float images ``[B, 3, H, W]``, normalised, to what the channel chooses from."""
        return PatchFeatures(self.symbol(sender_input), self.rank(sender_input), self.scales)
