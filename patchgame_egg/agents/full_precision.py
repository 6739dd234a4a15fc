"""The layers whose numbers decide symbols: they are not rounded to half precision, in which many would tie."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def in_full(layer: nn.Linear | nn.Conv2d, x: Tensor) -> Tensor:
    """What a layer gives in the precision of its weights, whatever autocast asks for.

    Example:
        >>> layer, x = nn.Linear(2, 1), torch.tensor([[1.0, 2.0]])
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     layer(x).dtype, in_full(layer, x).dtype
        (torch.bfloat16, torch.float32)
    """
    with torch.autocast(x.device.type, enabled=False):
        y: Tensor = layer(x.to(layer.weight.dtype))
    return y
