"""Parts that optimizers and their schedules are made of: which weights decay, warm-up, cosine."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import nn


def decay_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Parameters in two groups for an optimizer: matrices and kernels decay, biases and norms do not.

    Args:
        parameters: those that do not learn are left out.
        weight_decay: of the first group.
    """
    learning = [p for p in parameters if p.requires_grad]
    return [
        {"params": [p for p in learning if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in learning if p.dim() <= 1], "weight_decay": 0.0},
    ]


def linear_warmup(step: int, steps: int) -> float:
    """The share of the learning rate at a step, counted from 0: 1 / ``steps`` at the first, 1 from the last one on."""
    return min(1.0, (step + 1) / max(steps, 1))


def cosine(done: float) -> float:
    """Falls from 1 to 0 on half a wave of the cosine, slowly at both ends.

    Args:
        done: the share of the way, from 0; beyond 1 the value stays 0.
    """
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
