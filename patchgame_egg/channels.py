"""How features become a message: sampled in training, argmax in evaluation, written here once.

A channel knows the shape of what is said; its estimator knows how a gradient gets past a choice. Here are the paper's:
`PatchChannel` and `Gumbel`. Other estimators are in `patchgame_egg.estimators`, the channel of speakers that say one
symbol after another in `patchgame_egg.sequences`. Letters in shapes: B batch, P patches, L symbols per patch, T slots
(P*L, or the longest sequence), V vocabulary.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from patchgame_egg.agents import PatchFeatures
from patchgame_egg.distributed import RandomModule
from patchgame_egg.interaction import Message
from patchgame_egg.soft_rank import RankOp, soft_rank

Gate = Literal["rank", "free", "released"]

# Probabilities are kept this far from 0 and 1 where their logarithms are taken.
_EPS = 1e-4


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of ``hard``, exactly, with the gradient of ``soft`` (Bengio et al., 2013)."""
    return hard + (soft - soft.detach())


def gumbel_max(logits: Tensor, uniform: Tensor | None) -> tuple[Tensor, Tensor]:
    """An exact sample of softmax(logits): the largest of the logits after each got Gumbel noise.

    Args:
        logits: ``[..., V]``, log-probabilities up to a constant.
        uniform: numbers in [0, 1) of the same shape, turned into Gumbel noise; None takes the argmax.

    Returns:
        The sample, exactly one-hot, ``[..., V]``, without a gradient; and the noisy logits, with one.
    """
    if uniform is not None:
        logits = logits - (-uniform.clamp(min=torch.finfo(torch.float32).tiny).log()).log()
    best = logits.detach().argmax(dim=-1, keepdim=True)
    return torch.zeros_like(logits).scatter_(-1, best, 1.0), logits


def gumbel_softmax(logits: Tensor, uniform: Tensor | None, temperature: float) -> Tensor:
    """A straight-through sample of one symbol (equation 5).

    Args:
        logits: ``[..., V]``, log-probabilities up to a constant.
        uniform: numbers in [0, 1) of the same shape, turned into Gumbel noise; None takes the argmax.
        temperature: tau_s of the softmax whose gradient is used; it does not change what is sampled.

    Returns:
        Exactly one-hot, ``[..., V]``.
    """
    hard, noisy = gumbel_max(logits.float(), uniform)
    return straight_through(hard, (noisy / temperature).softmax(dim=-1))


class Estimator(nn.Module):
    """What every estimator is asked; the base class is for a gradient that flows through the message.

    Attributes:
        discrete: messages are symbols; otherwise every slot speaks, in numbers.
        scored: the channel has to give the log-probability and the entropy of what it sampled.
    """

    discrete = True
    scored = False

    def choose(self, logits: Tensor, uniform: Tensor | None) -> tuple[Tensor, Tensor | float]:
        """Turns numbers into symbols.

        Args:
            logits: ``[..., V]``.
            uniform: numbers in [0, 1), the randomness, of the same shape; None: the best, without any.

        Returns:
            The vectors ``[..., V]``, one-hot if `discrete`, and a scalar to add to the loss.
        """
        raise NotImplementedError

    def gate(self, hard: Tensor, probability: Tensor) -> Tensor:
        """The decision to speak, 0 or 1, with its gradient: ``[B, P], [B, P] -> [B, P]``."""
        return straight_through(hard, probability)

    def expect(self, summary: Tensor) -> Tensor | None:
        """The loss that is to be expected, ``[B]``, from features ``[B, V]``; None where nobody needs it."""
        return None

    def surrogate(self, message: Message, cost: Tensor) -> Tensor | float:
        """The loss term of the estimator.

        Args:
            message: what was sent.
            cost: the loss of each sample with the price of what it said, ``[B]``.
        """
        return 0.0


class Gumbel(Estimator):
    """Straight-through Gumbel-softmax (Jang et al., 2017; Maddison et al., 2017; equation 5).

    Args:
        temperature: tau_s, above 0; an attribute that a schedule may set.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"the Gumbel temperature must be above 0, got {temperature}")
        self.temperature = temperature

    def choose(self, logits: Tensor, uniform: Tensor | None) -> tuple[Tensor, float]:
        return gumbel_softmax(logits, uniform, self.temperature), 0.0


class Channel(RandomModule):
    """A module from the sender's features to a `Message`, with random numbers of its own.

    Args:
        estimator: how the gradient gets past the choices; None: `Gumbel`.
        speak_cost: price of a spoken symbol, in nats of the listener's loss.
        seed: of the noise.

    Raises:
        ValueError: an option is out of its range, or does not go with another.
    """

    estimator: Estimator

    def __init__(self, estimator: Estimator | None = None, speak_cost: float = 0.0, seed: int = 0) -> None:
        super().__init__(seed)
        self.estimator = Gumbel() if estimator is None else estimator
        if speak_cost < 0:
            raise ValueError(f"the cost of a symbol must be 0 or more, got {speak_cost}")
        if speak_cost and not self.estimator.discrete:
            raise ValueError("a cost per symbol needs a discrete channel: a continuous one always says everything")
        self.speak_cost = speak_cost

    def surrogate(self, message: Message, per_sample: Tensor) -> Tensor | float:
        """What the channel adds to the loss: the price of what was said, and what its estimator needs.

        Args:
            message: what the channel sent.
            per_sample: the loss of each sample, ``[B]``.
        """
        extra: Tensor | float = 0.0 if message.penalty is None else message.penalty
        cost = per_sample
        if self.speak_cost:
            said = message.lengths if message.gate is None else message.gate.sum(dim=1)
            extra = extra + self.speak_cost * said.float().mean()
            cost = per_sample + self.speak_cost * message.lengths
        return extra + self.estimator.surrogate(message, cost)


class PatchChannel(Channel):
    """Symbols for patches, and a gate that decides which patches speak (equations 5 to 9 with `Gumbel`).

    Args:
        estimator: see `Channel`.
        gate: how likely a patch is to speak. ``rank`` (equation 8): its soft rank over K, so that half of the patches
            speak whatever the image. ``free``: the sigmoid of its score, so that any number may. ``released``: the
            authors' release, where every patch always speaks, its one-hot symbol scaled by a relaxed sample around
            sigmoid(2 rank/K - 1); nothing is discrete or silent there.
        keep: exactly this many patches speak. In training they are drawn without replacement, each in proportion to
            its odds (Plackett and Luce, as in Kool et al., 2019); in evaluation they are the likeliest. None: every
            patch for itself, and in evaluation those with a probability of at least 1/2.
        rank_strength: regularisation of the soft rank; the larger, the closer together the probabilities.
        rank_spread: 0 ranks the scores as they are (the paper). Above 0, each image's scores are first standardised
            to this standard deviation, counted in shares of K ranks, so that the ranking neither starts out flat
            nor hardens as the scores grow; ranks spread evenly over [0, 1] have 0.29.
        rank_op: see `soft_rank`.
        speak_cost: see `Channel`; needs the gate ``free``, since the others fix the mean length.
        seed: of the noise.

    Raises:
        ValueError: an option is out of its range, or does not go with another.
    """

    def __init__(
        self,
        estimator: Estimator | None = None,
        gate: Gate = "rank",
        keep: int | None = None,
        rank_strength: float = 1.0,
        rank_spread: float = 0.0,
        rank_op: RankOp = "torch",
        speak_cost: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(estimator, speak_cost, seed)
        if gate not in ("rank", "free", "released"):
            raise ValueError(f"unknown gate {gate!r}: rank, free or released")
        if not rank_strength > 0:
            raise ValueError(f"ranking strength must be above 0, got {rank_strength}")
        if rank_spread < 0:
            raise ValueError(f"ranking spread must be 0 or more, got {rank_spread}")
        if keep is not None and keep < 1:
            raise ValueError(f"keep must be at least 1 patch, got {keep}")
        if keep is not None and (gate == "released" or not self.estimator.discrete):
            raise ValueError("keep needs silent patches: under the gate 'released' and without symbols all speak")
        if gate == "released" and not isinstance(self.estimator, Gumbel):
            raise ValueError("the gate 'released' is defined for the Gumbel estimator alone")
        if speak_cost and (gate != "free" or keep is not None):
            raise ValueError("a cost per symbol needs the gate 'free' without keep: elsewhere the length is fixed")
        soft_rank(torch.zeros(1, 2), rank_strength, rank_op)  # a missing package is found here, not in training
        self.gate, self.keep = gate, keep
        self.rank_strength, self.rank_spread, self.rank_op = rank_strength, rank_spread, rank_op

    def keep_probability(self, scores: Tensor) -> Tensor:
        """How likely every patch is to speak: ``[B, P] -> [B, P]``; rank/K (equations 7 and 8) is in [1/P, 1]."""
        if self.gate == "free":
            return scores.sigmoid()
        patches = scores.shape[1]
        if self.rank_spread:
            centred = scores - scores.mean(dim=1, keepdim=True)
            unit = centred.square().mean(dim=1, keepdim=True).add(1e-6).rsqrt()
            scores = centred * unit * self.rank_spread * patches * self.rank_strength
        return soft_rank(scores, self.rank_strength, self.rank_op) / patches

    def decide(self, probability: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Which patches speak.

        Args:
            probability: ``[B, P]`` in [0, 1].

        Returns:
            0 and 1, ``[B, P]``; the log-probability of that, ``[B]``; the entropy of the choice, nats, ``[B]``.
        """
        uniform = self.uniform(*probability.shape, device=probability.device) if self.training else None
        if self.keep is not None:
            return _draw_without_replacement(probability, self.keep, uniform)
        hard = probability >= 0.5 if uniform is None else uniform < probability
        p = probability.clamp(_EPS, 1 - _EPS)
        yes, no = p.log(), (1 - p).log()
        return (
            hard.to(probability.dtype),
            torch.where(hard, yes, no).sum(dim=1),
            -(p * yes + (1 - p) * no).sum(dim=1),
        )

    def forward(self, features: PatchFeatures) -> Message:
        """Speaks: patches in raster order, the L symbols of a patch side by side."""
        per_patch = features.logits.shape[2]
        logits = features.logits.flatten(1, 2)  # [B, T, V]
        uniform = self.uniform(*logits.shape, device=logits.device) if self.training else None
        vectors, penalty = self.estimator.choose(logits, uniform)
        probability = self.keep_probability(features.scores)
        symbols = vectors.detach().argmax(dim=2)
        log_prob = entropy = expected = None
        if self.gate == "released" or not self.estimator.discrete:
            gate = self._relax(probability) if self.gate == "released" else probability
            gate = gate.repeat_interleave(per_patch, dim=1)
            mask = torch.ones_like(symbols, dtype=torch.bool)
        else:
            hard, choice_log_prob, choice_entropy = self.decide(probability)
            gate = self.estimator.gate(hard, probability).repeat_interleave(per_patch, dim=1)  # [B, T]
            mask = gate.detach() > 0.5
            if self.estimator.scored and self.training:
                log_probs = logits.float().log_softmax(dim=2)
                said = log_probs.gather(2, symbols[:, :, None]).squeeze(2)
                # A symbol that nobody heard did nothing for or against the loss.
                log_prob = choice_log_prob + (said * mask).sum(dim=1)
                entropy = choice_entropy - ((log_probs.exp() * log_probs).sum(dim=2) * mask).sum(dim=1)
                expected = self.estimator.expect(logits.mean(dim=1))
        return Message(
            symbols=symbols,
            vectors=vectors * gate[:, :, None],
            mask=mask,
            gate=gate if self.estimator.discrete and not self.estimator.scored else None,
            keep_prob=probability.detach(),
            log_prob=log_prob,
            entropy=entropy,
            expected_loss=expected,
            penalty=penalty if isinstance(penalty, Tensor) and self.training else None,
        )

    def _relax(self, probability: Tensor) -> Tensor:
        logit = 2 * probability - 1
        if self.training:
            logit = logit + self.uniform(*probability.shape, device=probability.device).logit(eps=1e-6)
        return logit.sigmoid()


def _draw_without_replacement(probability: Tensor, keep: int, uniform: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The first ``keep`` of an order drawn in proportion to the odds; see `PatchChannel.decide`."""
    patches = probability.shape[1]
    if keep > patches:
        raise ValueError(f"keep {keep} of {patches} patches: at most {patches}")
    odds = probability.logit(eps=_EPS)
    # The odds are clamped, and tie where the probabilities do not.
    keys = probability.detach() if uniform is None else gumbel_max(odds.detach(), uniform)[1]
    order = keys.sort(dim=1, descending=True, stable=True).indices
    hard = torch.zeros_like(probability).scatter(1, order[:, :keep], 1.0)
    drawn = odds.gather(1, order)
    # Column i: over those that are still there when draw i is made.
    left = drawn.flip(1).logcumsumexp(dim=1).flip(1)
    weighted = (drawn.exp() * drawn).flip(1).cumsum(dim=1).flip(1)
    log_prob = (drawn - left)[:, :keep].sum(dim=1)
    entropy = (left - weighted / left.exp())[:, :keep].sum(dim=1)
    return hard, log_prob, entropy
