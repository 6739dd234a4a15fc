"""Gumbel-softmax with straight-through gradients (Jang et al., 2017; equations 5 and 6 of the paper)."""

from __future__ import annotations

import torch
from torch import Tensor

from patchgame_egg.channels.estimator import Estimator, straight_through


def gumbel_max(logits: Tensor, uniform: Tensor | None) -> tuple[Tensor, Tensor]:
    """An exact sample of softmax(logits): the largest of the logits after each got Gumbel noise.

    Args:
        logits: ``[..., V]``, log-probabilities up to a constant.
        uniform: numbers in [0, 1) of the same shape, turned into Gumbel noise; None takes the argmax.

    Returns:
        The sample, exactly one-hot, ``[..., V]``, without a gradient; and the noisy logits, with one.

    Example:
        >>> logits = torch.tensor([0.0, 1.0, 2.0])
        >>> gumbel_max(logits, None)[0].tolist()
        [0.0, 0.0, 1.0]
        >>> gumbel_max(logits, torch.tensor([0.9, 0.1, 0.1]))[0].tolist()
        [1.0, 0.0, 0.0]
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

    Example:
        >>> logits = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
        >>> chosen = gumbel_softmax(logits, None, temperature=1.0)
        >>> chosen.tolist()
        [0.0, 0.0, 1.0]
        >>> chosen[2].backward()
        >>> [round(slope, 3) for slope in logits.grad.tolist()]
        [-0.06, -0.163, 0.223]
    """
    hard, noisy = gumbel_max(logits.float(), uniform)
    return straight_through(hard, (noisy / temperature).softmax(dim=-1))


class Gumbel(Estimator):
    """Straight-through Gumbel-softmax (Jang et al., 2017; Maddison et al., 2017; equation 5).

    Args:
        temperature: tau_s, above 0; an attribute that a schedule may set.

    Example:
        >>> estimator = Gumbel(temperature=0.5)
        >>> logits = torch.tensor([[0.0, 1.0, 2.0]])
        >>> vectors, _ = estimator.choose(logits, uniform=None)
        >>> vectors.tolist()
        [[0.0, 0.0, 1.0]]
        >>> vectors, _ = estimator.choose(logits, uniform=torch.tensor([[0.9, 0.1, 0.1]]))
        >>> vectors.tolist()
        [[1.0, 0.0, 0.0]]
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"the Gumbel temperature must be above 0, got {temperature}")
        self.temperature = temperature

    def choose(self, logits: Tensor, uniform: Tensor | None) -> tuple[Tensor, float]:
        return gumbel_softmax(logits, uniform, self.temperature), 0.0
