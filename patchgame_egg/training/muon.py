"""Muon (Jordan et al., 2024): a step of a matrix goes as far in all of its directions. All else learns by AdamW."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

# Jordan et al.'s polynomial, of degree 5: steep at 0, and from then on between 0.68 and 1.21 rather than at 1. Three of
# their five steps: games learn as well by them, for three fifths of the time.
_COEFFICIENTS, _STEPS = (3.4445, -4.7750, 2.0315), 3


def orthogonalized(matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """A matrix with the same singular vectors, whose singular values are all about 1 (0.68 to 1.21).

    Those that are less than 0.018 of the norm, the root of all squares, stay smaller. Found by three steps of a
    Newton-Schulz iteration.

    Args:
        matrix: float ``[M, N]``.
        dtype: what is computed in; bfloat16 is exact enough, and faster where a device multiplies it.

    Returns:
        ``[M, N]``, in ``dtype``; zeros for zeros.

    Example:
        >>> values = torch.linalg.svdvals(orthogonalized(torch.diag(torch.tensor([4.0, 2.0, 1.0]))))
        >>> bool(((values > 0.68) & (values < 1.21)).all())
        True
    """
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(dtype, copy=True, memory_format=torch.contiguous_format)
    x /= x.norm().clamp(min=1e-7)
    for _ in range(_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def maps(module: nn.Module) -> list[nn.Parameter]:
    """The weights that map what one layer gives onto what the next one takes: of linear layers, convolutions, cells.

    Tables of symbols, of positions and of codes are none, whose rows are looked up one by one; nor are convolutions
    of each channel by itself, nor weights that are normalized.
    """
    layers = nn.Linear, nn.modules.conv._ConvNd, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention
    return [
        parameter
        for layer in module.modules()
        if isinstance(layer, layers) and getattr(layer, "groups", 1) == 1
        for parameter in layer.parameters(recurse=False)
        if parameter.dim() > 1
    ]


class Muon(AdamW):
    """Muon for groups of parameters that ask for it, AdamW for the others.

    A gradient, and AdamW's step too, is large along few directions of a matrix. Muon keeps the directions of the
    gradient's running mean and makes them equally long. torch's own Muon does so for matrices alone and takes nothing
    else; here kernels are matrices ``[out, in x height x width]``, and one optimizer holds the rates, the decays and
    the state of all parameters.

    The root mean square of a matrix's step is the learning rate, as that of AdamW's first step is. (Liu et al., 2025,
    take a fifth of that, ``match_rms_adamw`` of torch, which is AdamW's in long trainings.)

    Args:
        groups: of parameters, as for AdamW. Those with ``"muon": True`` have two dimensions or more, the first one of
            them counting what comes out.
        lr: learning rate.
        momentum: share of the gradient's running mean that stays, in Nesterov's form.
        dtype: what steps are made orthogonal in.

    Raises:
        ValueError: a number is out of its range, or a parameter of fewer dimensions asks for Muon.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> optimizer = Muon([{"params": [layer.weight], "muon": True}, {"params": [layer.bias]}], lr=0.1)
        >>> before = layer.weight.detach().clone()
        >>> layer(torch.eye(3)).square().sum().backward()
        >>> optimizer.step()
        >>> step = (layer.weight - before).square().mean().sqrt().item()
        >>> 0.06 < step < 0.12
        True
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float = 5e-4,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"a momentum of {momentum}: it is 0 or more, and below 1")
        for group in groups:
            for parameter in group["params"] if group.get("muon") else ():
                if parameter.dim() < 2:
                    raise ValueError(
                        f"Muon is for matrices and kernels, not for shape {list(parameter.shape)}: "
                        'give that parameter in a group without "muon"'
                    )
        super().__init__([{"muon": False, **group} for group in groups], lr, fused=True)
        self.momentum, self.dtype = momentum, dtype
        # A gradient scaler leaves its factor to fused optimizers; here it has to take it out.
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes a step along the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        for group in groups:
            for parameter in group["params"] if group["muon"] else ():
                if parameter.grad is not None:
                    self._step_along(parameter.grad, parameter, group["lr"], group["weight_decay"])
        self.param_groups = [group for group in groups if not group["muon"]]
        try:
            super().step()
        finally:
            self.param_groups = groups
        return loss

    def _step_along(self, gradient: Tensor, parameter: Tensor, lr: float, weight_decay: float) -> None:
        state = self.state[parameter]
        if not state:
            # AdamW asks all states for a step when it takes up a checkpoint.
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["momentum_buffer"] = torch.zeros_like(parameter)
        state["step"] += 1
        mean = state["momentum_buffer"].lerp_(gradient, 1 - self.momentum)
        step = orthogonalized(gradient.lerp(mean, self.momentum).flatten(1), self.dtype)
        # Of M x N numbers, whose squares sum to the smaller of M and N.
        length = math.sqrt(max(step.shape))
        parameter.mul_(1 - lr * weight_decay)
        parameter.add_(step.view(parameter.shape).to(parameter.dtype), alpha=-lr * length)
