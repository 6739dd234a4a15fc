"""Other ways past a symbol than `patchgame_egg.channels.Gumbel`: the score function, a codebook, no bottleneck at all.

Each is the first argument of a channel. Letters in shapes: B batch, V vocabulary, D width of a code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vector_quantize_pytorch import VectorQuantize

from patchgame_egg.channels import Estimator, gumbel_max
from patchgame_egg.distributed import RandomModule, gather_rows
from patchgame_egg.interaction import Message


class Continuous(Estimator):
    """No bottleneck: the logits themselves, standardised in every slot. The ceiling of a discrete channel."""

    discrete = False

    def choose(self, logits: Tensor, uniform: Tensor | None) -> tuple[Tensor, float]:
        return F.layer_norm(logits.float(), logits.shape[-1:]), 0.0


class Quantised(Estimator, RandomModule):
    """The nearest code of a learnt codebook (van den Oord et al., 2017), by ``vector-quantize-pytorch``.

    The speaker's last axis holds a code of D numbers instead of V logits. Codes follow a moving average; a commitment
    loss keeps the speaker near them; those that fall out of use are put where a speaker's code lies. The gradient is
    the straight-through one: that of the one-hot vectors is carried over to the code by the pseudo-inverse of the
    codebook, which is "as if the code had been copied" for every listener whose embedding is linear in the code.

    Args:
        code_dim: D.
        vocab_size: V, codes in the codebook.
        commitment: weight of the commitment loss.
        decay: of the codebook's moving average, per step.
        seed: of the codes' first places and revivals.
    """

    def __init__(
        self, code_dim: int, vocab_size: int, commitment: float = 0.25, decay: float = 0.95, seed: int = 0
    ) -> None:
        super().__init__(seed)
        if not 0 <= decay < 1 or commitment < 0:
            raise ValueError(f"decay must be in [0, 1) and commitment 0 or more, got {decay} and {commitment}")
        self.quantiser = VectorQuantize(
            code_dim, vocab_size, decay=decay, commitment_weight=commitment, kmeans_init=True,
            threshold_ema_dead_code=1, rotation_trick=False,
        )  # fmt: skip

    def nearest(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Finds the nearest codes; in training, the codebook learns from it.

        Args:
            codes: the speaker's, float32 ``[N, D]``.

        Returns:
            Their symbols, int64 ``[N]``, and the commitment loss, a scalar, 0 in evaluation.
        """
        # Distances in half precision would be those of other codes.
        with torch.autocast(codes.device.type, enabled=False):
            if self.training:
                with self.local_randomness(codes.device):
                    _, (symbols,), penalty = self.quantiser(codes[None])
                return symbols, penalty.sum()
            # The quantiser would make its codebook from the first codes that it meets, in evaluation too.
            return torch.cdist(codes, self.quantiser.codebook).argmin(dim=1), codes.new_zeros(())

    def choose(self, logits: Tensor, uniform: Tensor | None) -> tuple[Tensor, Tensor]:
        codes = logits.float().flatten(0, -2)
        symbols, penalty = self.nearest(codes)
        book = self.quantiser.codebook.detach()  # [V, D]
        hard = F.one_hot(symbols, len(book)).to(codes.dtype)
        moved = (codes - codes.detach()) @ torch.linalg.pinv(book)
        return (hard + moved).unflatten(0, logits.shape[:-1]), penalty


class RunningMean(nn.Module):
    """The baseline of REINFORCE that knows nothing of the image: a moving average of past losses.

    Args:
        decay: of the average, per batch; the first batch counts whole.
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
