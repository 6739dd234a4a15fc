"""No bottleneck at all: a choice is a vector of probabilities, the upper bound of what any symbol can carry."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from patchgame_egg.channels.estimator import Estimator


class Continuous(Estimator):
    """No bottleneck: the logits themselves, standardised in every slot. The ceiling of a discrete channel.

    Example:
        >>> import torch
        >>> vectors, _ = Continuous().choose(torch.tensor([[1.0, 2.0, 3.0]]), uniform=None)
        >>> [round(value, 3) for value in vectors[0].tolist()]
        [-1.225, 0.0, 1.225]
    """

    discrete = False

    def choose(self, logits: Tensor, uniform: Tensor | None) -> tuple[Tensor, float]:
        return F.layer_norm(logits.float(), logits.shape[-1:]), 0.0
