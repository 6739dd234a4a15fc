"""The paper's channel (section 3.2): which patches speak, by a differentiable ranking, and what each of them says.

Letters in shapes: B batch, P patches, L symbols per patch, T = P*L slots, V vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from patchgame_egg.agents.patch_speaker import PatchFeatures
from patchgame_egg.channels.channel import Channel
from patchgame_egg.channels.estimator import Estimator
from patchgame_egg.channels.gumbel import Gumbel, gumbel_max
from patchgame_egg.channels.ranking import ranks_of
from patchgame_egg.choices import Gate, RankOp
from patchgame_egg.fit import check_patches
from patchgame_egg.interaction import Message

# Probabilities are kept this far from 0 and 1 where their logarithms are taken.
_EPS = 1e-4


class PatchChannel(Channel):
    """Symbols for patches, and a gate that decides which patches speak (equations 5 to 9 with `Gumbel`).

    Args:
        estimator: how the gradient gets past the choices; None: `Gumbel`.
        gate: how likely a patch is to speak. ``rank`` (equation 8): its soft rank over K, so that half of the patches
            speak whatever the image. ``free``: the sigmoid of its score, so that any number may. ``released``: the
            authors' release, where every patch always speaks, its one-hot symbol scaled by a relaxed sample around
            sigmoid(2 rank/K - 1); nothing is discrete or silent there.
        keep: exactly this many patches speak. In training they are drawn without replacement, each in proportion to
            its odds (Plackett and Luce, as in Kool et al., 2019); in evaluation they are the likeliest. None: every
            patch for itself. In evaluation, under ``rank``, the likeliest speak, as many as speak in training on
            average, (K+1)/2, rounded up; under ``free``, those with a probability of at least 1/2.
        rank_strength: regularisation of the soft rank; the larger, the closer together the probabilities.
        rank_spread: 0 ranks the scores as they are (the paper). Above 0, each image's scores are first standardised
            to this standard deviation, counted in shares of K ranks, so that the ranking neither starts out flat
            nor hardens as the scores grow; ranks spread evenly over [0, 1] have 0.29.
        rank_op: what computes the soft rank: ``torch``, or ``torchsort`` where that package is installed.
        speak_cost: price of a spoken symbol, in nats of the listener's loss; needs the gate ``free``, since the others
            fix the mean length.
        seed: seed of the noise.

    Raises:
        ValueError: an option is out of its range, or does not go with another.

    Example:
        >>> logits = 9 * torch.eye(3)[[0, 2, 1, 0]][None, :, None]  # [1, 4 patches, 1 symbol each, V = 3]
        >>> features = PatchFeatures(logits, scores=torch.tensor([[4.0, -3.0, 1.0, -8.0]]))
        >>> message = PatchChannel().eval()(features)
        >>> message.symbols.tolist(), message.mask.tolist()
        ([[0, 2, 1, 0]], [[True, True, True, False]])
        >>> message.keep_prob.tolist()
        [[1.0, 0.5, 0.75, 0.25]]
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
        ranks_of(torch.zeros(1, 2), rank_strength, rank_op)  # a missing package is found here, not in training
        self.gate, self.keep = gate, keep
        self.rank_strength, self.rank_spread, self.rank_op = rank_strength, rank_spread, rank_op

    def keep_probability(self, scores: Tensor) -> Tensor:
        """How likely every patch is to speak: ``[B, P] -> [B, P]``; rank/K (equations 7 and 8) is in [1/P, 1]."""
        if self.gate == "free":
            return scores.sigmoid()
        return ranks_of(self.ranked_scores(scores), self.rank_strength, self.rank_op) / scores.shape[1]

    def ranked_scores(self, scores: Tensor) -> Tensor:
        """What is ranked: the scores, or each image's standardised to ``rank_spread``, ``[B, P] -> [B, P]``."""
        if not self.rank_spread:
            return scores
        centred = scores - scores.mean(dim=1, keepdim=True)
        unit = centred.square().mean(dim=1, keepdim=True).add(1e-6).rsqrt()
        return centred * unit * self.rank_spread * scores.shape[1] * self.rank_strength

    def decide(self, probability: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Which patches speak.

        Args:
            probability: ``[B, P]`` in [0, 1].

        Returns:
            0 and 1, ``[B, P]``; the log-probability of that, ``[B]``; the entropy of the choice, nats, ``[B]``.
        """
        uniform = self.uniform(*probability.shape, device=probability.device) if self.training else None
        if self.keep is not None:
            return draw_without_replacement(probability, self.keep, uniform)
        if uniform is not None:
            hard = uniform < probability
        elif self.gate == "rank":
            # Not those of at least 1/2: where the scores lie close together, that is all patches.
            hard = torch.zeros_like(probability, dtype=torch.bool)
            hard.scatter_(1, _likeliest(probability)[:, : probability.shape[1] // 2 + 1], True)
        else:
            hard = probability >= 0.5
        p = probability.clamp(_EPS, 1 - _EPS)
        yes, no = p.log(), (1 - p).log()
        return (
            hard.to(probability.dtype),
            torch.where(hard, yes, no).sum(dim=1),
            -(p * yes + (1 - p) * no).sum(dim=1),
        )

    def forward(self, features: PatchFeatures) -> Message:
        """Speaks: patches in raster order, the L symbols of a patch side by side."""
        check_patches(features)
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
            # What is no number speaks: it must reach the loss, which stops the run, and not pass for silence.
            mask = ~(gate.detach() <= 0.5)
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
            keep_prob=probability.detach() if self.keep is None or self.training else inclusion(probability, self.keep),
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


def _likeliest(probability: Tensor) -> Tensor:
    """Patches from the likeliest to the least likely; equals in an order that favours no side: ``[B, P] -> [B, P]``."""
    anyhow = torch.randperm(probability.shape[1], generator=torch.Generator().manual_seed(0)).to(probability.device)
    return anyhow[probability.detach()[:, anyhow].sort(dim=1, descending=True, stable=True).indices]


def inclusion(probability: Tensor, keep: int) -> Tensor:
    """How likely each patch is among the ``keep`` that `draw_without_replacement` draws: ``[B, P] -> [B, P]``.

    The order of the draws is that in which P alarms first ring, patch i's at the rate of its odds. Patch i is drawn if
    at its ring, whose time is integrated over, fewer than ``keep`` others have rung. How many have is a Poisson
    binomial number; its distribution is taken as normal with a correction for skewness (Volkova, 1996), which leaves
    errors of up to 0.02.
    """
    odds = probability.detach().double().logit(eps=_EPS)
    if keep == 1:
        return odds.softmax(dim=1).to(probability.dtype)
    log_time = torch.linspace(-14, 14, 97, dtype=odds.dtype, device=odds.device)
    rung = (odds[:, :, None] + log_time).exp()  # the expected number of rings so far, [B, P, times]
    chance = -torch.expm1(-rung)
    variance = chance * (1 - chance)
    third = variance * (1 - 2 * chance)
    mean, variance, third = (m.sum(dim=1, keepdim=True) - m for m in (chance, variance, third))  # of the others
    variance = variance.clamp(min=1e-12)
    x = (keep - 0.5 - mean) / variance.sqrt()
    bell = (-x.square() / 2).exp() / math.sqrt(2 * math.pi)
    fewer = (torch.special.ndtr(x) + third / variance**1.5 * (1 - x.square()) * bell / 6).clamp(0, 1)
    drawn = torch.trapezoid(rung * (-rung).exp() * fewer, log_time, dim=2)
    return drawn.clamp(0, 1).to(probability.dtype)


def draw_without_replacement(probability: Tensor, keep: int, uniform: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The first ``keep`` of an order of patches that is drawn in proportion to the odds, patch after patch.

    Args:
        probability: of each patch to speak, ``[B, P]``.
        keep: how many speak, 1 to P.
        uniform: random numbers in [0, 1), ``[B, P]``; None: the patches of the largest probabilities.

    Returns:
        What `PatchChannel.decide` does: 1 where a patch speaks, ``[B, P]``; the logarithm of the probability of the
        order drawn and, summed over its draws, the entropy of each, ``[B]``.

    Raises:
        ValueError: there are fewer patches.
    """
    patches = probability.shape[1]
    if keep > patches:
        raise ValueError(f"keep {keep} of {patches} patches: at most {patches}")
    odds = probability.logit(eps=_EPS)
    # The odds are clamped, and tie where the probabilities do not.
    keys = probability.detach() if uniform is None else gumbel_max(odds.detach(), uniform)[1]
    order = _likeliest(keys)
    hard = torch.zeros_like(probability).scatter(1, order[:, :keep], 1.0)
    drawn = odds.gather(1, order)
    # Column i: over those that are still there when draw i is made.
    left = drawn.flip(1).logcumsumexp(dim=1).flip(1)
    weighted = (drawn.exp() * drawn).flip(1).cumsum(dim=1).flip(1)
    log_prob = (drawn - left)[:, :keep].sum(dim=1)
    entropy = (left - weighted / left.exp())[:, :keep].sum(dim=1)
    return hard, log_prob, entropy
