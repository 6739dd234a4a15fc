"""REINFORCE: the gradient of a choice by its score function, and the baselines that it is compared with.

Letters in shapes: B batch, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.channels.estimator import Estimator
from patchgame_egg.channels.gumbel import gumbel_max
from patchgame_egg.distributed.gather import gather_rows
from patchgame_egg.interaction import Message


class RunningMean(nn.Module):
    """The baseline of REINFORCE that knows nothing of the image: a moving average of past losses.

    Args:
        decay: of the average, per batch; the first batch counts whole.

    Example:
        >>> baseline = RunningMean(decay=0.9)
        >>> for losses in ([4.0, 4.0], [2.0, 2.0], [2.0, 2.0]):
        ...     used, _ = baseline.fit(torch.zeros(2), torch.tensor(losses))
        ...     print(round(used.item(), 3))
        4.0
        4.0
        3.8
    """

    mean: Tensor
    started: Tensor

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, summary: Tensor) -> Tensor:
        """Features ``[B, V]`` to the loss that is expected, ``[B]``."""
        return self.mean.clone().expand(len(summary))

    def fit(self, expected: Tensor, cost: Tensor) -> tuple[Tensor, Tensor | float]:
        """Takes note of the losses ``[B]``; gives the baseline to use for them, and a loss of its own, 0."""
        now = gather_rows(cost).mean()
        before = torch.where(self.started, self.mean, now)
        self.mean.copy_(before.lerp(now, 1 - self.decay))
        self.started.fill_(True)
        return before, 0.0


class LearntBaseline(RunningMean):
    """The baseline of REINFORCE that predicts, from the speaker's logits, how far a loss is from the running mean.

    It starts out as the running mean: a prediction that first had to climb to the losses would drown the rewards.

    Args:
        inputs: logits per slot: V, or V + 1 for a sequence speaker whose messages end.
        hidden: width of its hidden layer.

    Example:
        >>> baseline = LearntBaseline(inputs=3)
        >>> used, error = baseline.fit(baseline(torch.randn(2, 3)), torch.tensor([4.0, 2.0]))
        >>> used.tolist(), error.item()  # it starts out as the running mean
        ([3.0, 3.0], 1.0)
    """

    def __init__(self, inputs: int, hidden: int = 64) -> None:
        super().__init__()
        last = nn.Linear(hidden, 1)
        self.mlp = nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, hidden), nn.ReLU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, summary: Tensor) -> Tensor:
        """Features ``[B, V]``, taken without their gradient, to the loss that is expected, ``[B]``."""
        return super().forward(summary) + self.mlp(summary.detach().float()).squeeze(1)

    def fit(self, expected: Tensor, cost: Tensor) -> tuple[Tensor, Tensor]:
        """The baseline to use for the losses ``[B]``, and the squared error that it learns from."""
        mean = self.mean.clone()
        before, _ = super().fit(expected, cost)
        expected = expected - mean + before
        return expected.detach(), F.mse_loss(expected, cost)


class Reinforce(Estimator):
    """The score function (Williams, 1992): what was sampled becomes likelier where the loss was below the baseline.

    Args:
        baseline: a `RunningMean` (the default) or a `LearntBaseline`.
        entropy: weight of the entropy of the speaker's choices, per nat of a whole message; an attribute that a
            schedule may set. Too little and the speaker stops exploring, too much and it never says anything.

    Example:
        >>> estimator = Reinforce(entropy=0.0)
        >>> log_prob = torch.tensor([-1.0, -1.0], requires_grad=True)
        >>> message = Message(
        ...     torch.tensor([[0], [1]]), torch.eye(2)[:, None], torch.ones(2, 1, dtype=torch.bool),
        ...     log_prob=log_prob, entropy=torch.zeros(2), expected_loss=torch.zeros(2),
        ... )
        >>> estimator.surrogate(message, cost=torch.tensor([1.0, 3.0])).backward()
        >>> log_prob.grad.tolist()  # less than the mean loss of 2: a negative slope, so that it gets likelier
        [-0.5, 0.5]
    """

    scored = True

    def __init__(self, baseline: RunningMean | LearntBaseline | None = None, entropy: float = 0.01) -> None:
        super().__init__()
        if entropy < 0:
            raise ValueError(f"the entropy weight must be 0 or more, got {entropy}")
        self.baseline = RunningMean() if baseline is None else baseline
        self.entropy = entropy

    def choose(self, logits: Tensor, uniform: Tensor | None) -> tuple[Tensor, float]:
        return gumbel_max(logits.detach().float(), uniform)[0], 0.0

    def gate(self, hard: Tensor, probability: Tensor) -> Tensor:
        return hard

    def expect(self, summary: Tensor) -> Tensor:
        return self.baseline(summary)

    def surrogate(self, message: Message, cost: Tensor) -> Tensor | float:
        """A term whose gradient is the estimate and whose value is 0, so that the total stays the listener's loss."""
        if message.log_prob is None or message.entropy is None or message.expected_loss is None:
            return 0.0  # evaluation samples nothing
        expected, error = self.baseline.fit(message.expected_loss, cost.detach())
        term = (cost.detach() - expected) * message.log_prob - self.entropy * message.entropy
        term = term.mean() + error
        return term - term.detach()
