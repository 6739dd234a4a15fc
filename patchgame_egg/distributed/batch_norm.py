"""Batch normalisation whose statistics are those of all ranks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from patchgame_egg.distributed.gather import sum_ranks
from patchgame_egg.distributed.processes import is_distributed, world_size


class AllRanksBatchNorm(_BatchNorm):
    """Batch normalisation whose training statistics are taken over all ranks, on any device.

    ``torch.nn.SyncBatchNorm`` does this on GPUs alone; this one serves gloo on CPUs.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions (rows, channels, ...), got shape {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        dims = [d for d in range(input.dim()) if d != 1]
        shape = [1, -1] + [1] * (input.dim() - 2)
        count = input.numel() // input.shape[1] * world_size()
        mean = sum_ranks(input.float().sum(dims)) / count
        centred = input - mean.view(shape)
        # A second pass over centred values: a difference of squares would lose float32's digits.
        var = sum_ranks(centred.float().square().sum(dims)) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked += 1
                step = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
                self.running_mean.lerp_(mean, step)
                self.running_var.lerp_(var * (count / max(count - 1, 1)), step)
        out = centred * torch.rsqrt(var + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)


def sync_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """Replaces every batch normalisation inside ``module`` by one over all ranks; without ranks, changes nothing.

    Args:
        module: changed in place where it holds batch normalisations.
        device: decides between torch's GPU-only version and `AllRanksBatchNorm`.

    Returns:
        The module to use from now on.
    """
    if not is_distributed():
        return module
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    replace_batch_norm(
        module,
        lambda old: AllRanksBatchNorm(old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats),
    )
    return module


def replace_batch_norm(module: nn.Module, make: Callable[[_BatchNorm], _BatchNorm]) -> None:
    """Replaces, in place, every batch normalisation inside ``module``; weights, statistics and mode stay.

    Args:
        module: what holds them.
        make: from an old one to a new one of the same size.
    """
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            new = make(child)
            new.load_state_dict(child.state_dict())
            for ours, theirs in zip(new.parameters(), child.parameters(), strict=True):
                ours.requires_grad_(theirs.requires_grad)
            setattr(module, name, new.train(child.training))
        else:
            replace_batch_norm(child, make)
