"""How numbers become symbols: sampled in training, argmax in evaluation, written here once.

Letters in shapes: B batch, P patches, L symbols per patch, T = P*L slots, V vocabulary.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from patchgame_egg.agents import PatchFeatures
from patchgame_egg.distributed import RandomModule
from patchgame_egg.interaction import Message
from patchgame_egg.soft_rank import RankOp, soft_rank


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of ``hard``, exactly, with the gradient of ``soft`` (Bengio et al., 2013)."""
    return hard + (soft - soft.detach())


def gumbel_softmax(logits: Tensor, uniform: Tensor | None, temperature: float) -> Tensor:
    """A straight-through sample of one symbol (equation 5).

    Args:
        logits: ``[..., V]``, log-probabilities up to a constant.
        uniform: numbers in [0, 1) of the same shape, turned into Gumbel noise; None takes the argmax.
        temperature: tau_s of the softmax whose gradient is used; it does not change what is sampled.

    Returns:
        Exactly one-hot, ``[..., V]``.
    """
    logits = logits.float()
    if uniform is not None:
        logits = logits - (-uniform.clamp(min=torch.finfo(torch.float32).tiny).log()).log()
    hard = F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    return straight_through(hard, (logits / temperature).softmax(dim=-1))


class Channel(RandomModule):
    """A module from the sender's features to a `Message`, with random numbers of its own."""

    def surrogate(self, message: Message, per_sample: Tensor) -> Tensor | float:
        """The extra loss of the channel's gradient estimator; 0 where the gradient flows through the message.

        Args:
            message: what the channel sent.
            per_sample: the loss of each sample, ``[B]``.
        """
        return 0.0


class PatchGumbelChannel(Channel):
    """The paper's channel: a Gumbel symbol per patch, and ranks that decide which patches speak (equations 5 to 9).

    Args:
        rank_strength: regularisation of the soft rank; the larger, the closer together the probabilities.
        rank_spread: 0 ranks the scores as they are (the paper). Above 0, each image's scores are first standardised
            to this standard deviation, counted in shares of K ranks, so that the ranking neither starts out flat
            nor hardens as the scores grow; ranks spread evenly over [0, 1] have 0.29.
        keep: in evaluation exactly this many patches speak; None: those with a probability of at least 1/2.
        gate: ``bernoulli``, equation 8: a patch speaks with probability rank/K. ``released``: the authors' release,
            where every patch always speaks, its one-hot symbol scaled by a relaxed sample around sigmoid(2 rank/K - 1);
            nothing is discrete or silent there.
        rank_op: see `soft_rank`.
        seed: of the noise.

    Attributes:
        temperature: tau_s, set while training by an annealing callback.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        rank_strength: float = 1.0,
        rank_spread: float = 0.0,
        keep: int | None = None,
        gate: Literal["bernoulli", "released"] = "bernoulli",
        rank_op: RankOp = "torch",
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        if not rank_strength > 0:
            raise ValueError(f"ranking strength must be above 0, got {rank_strength}")
        if rank_spread < 0:
            raise ValueError(f"ranking spread must be 0 or more, got {rank_spread}")
        if keep is not None and keep < 1:
            raise ValueError(f"keep must be at least 1 patch, got {keep}")
        if keep is not None and gate == "released":
            raise ValueError("keep needs the gate 'bernoulli': under 'released' every patch speaks")
        soft_rank(torch.zeros(1, 2), rank_strength, rank_op)  # a missing package is found here, not in training
        self.temperature = 1.0
        self.rank_strength, self.rank_spread = rank_strength, rank_spread
        self.keep, self.gate, self.rank_op = keep, gate, rank_op

    def keep_probability(self, scores: Tensor) -> Tensor:
        """rank/K of every patch (equations 7 and 8): ``[B, P] -> [B, P]`` in [1/P, 1]."""
        patches = scores.shape[1]
        if self.rank_spread:
            centred = scores - scores.mean(dim=1, keepdim=True)
            unit = centred.square().mean(dim=1, keepdim=True).add(1e-6).rsqrt()
            scores = centred * unit * self.rank_spread * patches * self.rank_strength
        return soft_rank(scores, self.rank_strength, self.rank_op) / patches

    def choose(self, probability: Tensor) -> Tensor:
        """Which patches speak, as 0 and 1 with a gradient (soft under ``released``): ``[B, P] -> [B, P]``."""
        patches = probability.shape[1]
        if self.gate == "released":
            logit = 2 * probability - 1
            if self.training:
                logit = logit + self.uniform(*probability.shape, device=probability.device).logit(eps=1e-6)
            return logit.sigmoid()
        if self.training:
            hard = self.uniform(*probability.shape, device=probability.device) < probability
        elif self.keep is not None:
            if self.keep > patches:
                raise ValueError(f"keep {self.keep} of {patches} patches: at most {patches}")
            best = probability.sort(dim=1, descending=True, stable=True).indices[:, : self.keep]
            hard = torch.zeros_like(probability, dtype=torch.bool).scatter(1, best, True)
        else:
            hard = probability >= 0.5
        return straight_through(hard.to(probability.dtype), probability)

    def forward(self, features: PatchFeatures) -> Message:
        """Speaks: patches in raster order, the L symbols of a patch side by side."""
        symbols_per_patch = features.logits.shape[2]
        logits = features.logits.flatten(1, 2)  # [B, T, V]
        noise = self.uniform(*logits.shape, device=logits.device) if self.training else None
        symbols = gumbel_softmax(logits, noise, self.temperature)
        probability = self.keep_probability(features.scores)
        gate = self.choose(probability).repeat_interleave(symbols_per_patch, dim=1)  # [B, T]
        return Message(
            symbols=symbols.detach().argmax(dim=2),
            vectors=symbols * gate[:, :, None],
            mask=torch.ones_like(gate, dtype=torch.bool) if self.gate == "released" else gate.detach() > 0.5,
            gate=gate,
            keep_prob=probability.detach(),
        )
