"""A speaker with its channel in evaluation, in operations that ONNX has.

Ranks, and the order of patches, come from comparisons of all pairs: ONNX has no running maximum, and its sorting keeps
no order among equals. Letters in shapes: B images, P patches, L symbols per patch, T message slots.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from patchgame_egg.channels.patch import PatchChannel, inclusion
from patchgame_egg.game import Game
from patchgame_egg.views.transforms import IMAGENET_MEAN, IMAGENET_STD


class SpeakerGraph(nn.Module):
    """Images in [0, 1] to a message, as the game says it in evaluation.

    Args:
        game: whose sender and channel these are; its channel says symbols.
        patches: P; of no use to other speakers.
    """

    mean: Tensor
    std: Tensor
    turn: Tensor

    def __init__(self, game: Game, patches: int) -> None:
        super().__init__()
        self.sender, self.channel = game.sender, game.channel
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1))
        # Of patches that are equally likely, the channel takes one after another in this order.
        anyhow = torch.randperm(patches, generator=torch.Generator().manual_seed(0))
        self.register_buffer("turn", anyhow.argsort())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Speaks.

        Args:
            images: RGB, float32 ``[B, 3, S, S]`` in [0, 1].

        Returns:
            ``symbols``, int64 ``[B, T]``; ``mask``, bool ``[B, T]``, true where one is said; of speakers of patches
            ``keep_prob``, float32 ``[B, P]``.
        """
        features = self.sender((images - self.mean) / self.std, None)
        channel = self.channel
        if not isinstance(channel, PatchChannel):
            message = channel(features)
            return message.symbols, message.mask
        logits = features.logits.flatten(1, 2)
        symbols = channel.estimator.choose(logits, None)[0].argmax(dim=2)
        keep = keep_probability(channel, features.scores)
        if channel.gate == "released":
            return symbols, torch.ones_like(symbols, dtype=torch.bool), keep
        patches = keep.shape[1]
        if channel.keep is not None:
            speaks = place(keep, self.turn) < channel.keep
            keep = inclusion(keep, channel.keep)
        else:
            speaks = place(keep, self.turn) < patches // 2 + 1 if channel.gate == "rank" else keep >= 0.5
        mask = speaks[:, :, None].expand(-1, -1, features.logits.shape[2]).flatten(1)
        return symbols, mask, keep


def keep_probability(channel: PatchChannel, scores: Tensor) -> Tensor:
    """`PatchChannel.keep_probability`, ``[B, P]``, with the isotonic regression as one table ``[B, P, P, P]``."""
    if channel.gate == "free":
        return scores.sigmoid()
    patches = scores.shape[1]
    z = channel.ranked_scores(scores).double() / channel.rank_strength
    down, order = z.topk(patches, dim=1)
    y = down - torch.arange(patches, 0, -1, dtype=torch.float64)
    total = torch.cat([torch.zeros_like(y[:, :1]), y.cumsum(dim=1)], dim=1)  # [B, P + 1]
    start = torch.arange(patches)
    count = (start[None, :] - start[:, None] + 1).double()  # [P, P], of the run j..k
    mean = (total[:, None, 1:] - total[:, :-1, None]) / count.clamp(min=1)  # [B, j, k]
    # The largest over k >= i, then the least over j <= i.
    later = torch.where(start[None, :] >= start[:, None], 0.0, -1e30).double()  # [i, k]
    best = (mean[:, :, None, :] + later).amax(dim=3)  # [B, j, i]
    earlier = torch.where(start[:, None] <= start[None, :], 0.0, 1e30).double()  # [j, i]
    fit = (best + earlier).amin(dim=1)  # [B, i]
    ranks = torch.zeros_like(z).scatter(1, order, down - fit).clamp(1, patches)
    return ranks.float() / patches


def place(probability: Tensor, turn: Tensor) -> Tensor:
    """How many patches come before each, ``[B, P]``: likelier ones, and equals whose turn, ``[P]``, is earlier."""
    likelier = probability[:, None, :] > probability[:, :, None]  # [B, own, other]
    equal = (probability[:, None, :] == probability[:, :, None]) & (turn[None, :] < turn[:, None])
    return (likelier | equal).long().sum(dim=2)
