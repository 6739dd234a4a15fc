"""No bottleneck at all: a choice is a vector of probabilities, the upper bound of what any symbol can carry."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from patchgame_egg.channels.estimator import Estimator


class Continuous(Estimator):
    """No bottleneck: the logits themselves, standardised in every slot. The ceiling of a discrete channel."""

    discrete = False

    def choose(self, logits: Tensor, uniform: Tensor | None) -> tuple[Tensor, float]:
        return F.layer_norm(logits.float(), logits.shape[-1:]), 0.0
