"""What every channel is: features in, a message out, a price on its symbols, a term of the estimator's for the loss."""

from __future__ import annotations

from torch import Tensor

from patchgame_egg.channels.estimator import Estimator
from patchgame_egg.channels.gumbel import Gumbel
from patchgame_egg.distributed.random_module import RandomModule
from patchgame_egg.interaction import Message


class Channel(RandomModule):
    """A module from the sender's features to a `Message`, with random numbers of its own.

    Args:
        estimator: how the gradient gets past the choices; None: `Gumbel`.
        speak_cost: price of a spoken symbol, in nats of the listener's loss.
        seed: seed of the noise.

    Raises:
        ValueError: an option is out of its range, or does not go with another.

    Example:
        >>> import torch
        >>> message = Message(torch.tensor([[0, 1]]), torch.eye(2)[None], torch.ones(1, 2, dtype=torch.bool))
        >>> Channel().surrogate(message, per_sample=torch.zeros(1))
        0.0
        >>> round(Channel(speak_cost=0.1).surrogate(message, per_sample=torch.zeros(1)).item(), 3)  # two symbols
        0.2
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
