"""How a gradient gets past a choice: the base of all estimators, and the straight-through trick."""

from __future__ import annotations

from torch import Tensor, nn

from patchgame_egg.interaction import Message


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of ``hard``, exactly, with the gradient of ``soft`` (Bengio et al., 2013).

    Example:
        >>> import torch
        >>> x = torch.tensor([0.3, 0.8], requires_grad=True)
        >>> rounded = straight_through(x.detach().round(), x)
        >>> rounded.tolist()
        [0.0, 1.0]
        >>> rounded.sum().backward()
        >>> x.grad.tolist()
        [1.0, 1.0]
    """
    return hard + (soft - soft.detach())


class Estimator(nn.Module):
    """What every estimator is asked; the base class is for a gradient that flows through the message.

    Attributes:
        discrete: messages are symbols; otherwise every slot speaks, in numbers.
        scored: the channel has to give the log-probability and the entropy of what it sampled.

    Example:
        >>> import torch
        >>> class NoNoise(Estimator):
        ...     def choose(self, logits, uniform):
        ...         hard = nn.functional.one_hot(logits.argmax(dim=-1), logits.shape[-1]).float()
        ...         return straight_through(hard, logits.softmax(dim=-1)), 0.0
        >>> NoNoise().choose(torch.tensor([[0.0, 2.0, 1.0]]), uniform=None)[0].tolist()
        [[0.0, 1.0, 0.0]]
    """

    discrete = True
    scored = False

    def choose(self, logits: Tensor, uniform: Tensor | None) -> tuple[Tensor, Tensor | float]:
        """Turns numbers into symbols.

        Args:
            logits: ``[..., V]``.
            uniform: numbers in [0, 1), the randomness, of the same shape; None: the best, without any.

        Returns:
            The vectors ``[..., V]``, one-hot if ``discrete``, and a scalar to add to the loss.
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
