"""Rows of all ranks gathered, or summed, with their gradients."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from patchgame_egg.distributed.processes import is_distributed, rank, world_size


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.rows = x.shape[0]
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad[rank() * ctx.rows : (rank() + 1) * ctx.rows]


def gather_rows(x: Tensor) -> Tensor:
    """Concatenates the rows of all ranks, in rank order, keeping gradients.

    With a loss that every rank averages over its own rows, and DistributedDataParallel averaging the gradients, the
    result equals one process on the whole batch; gathering detached copies gives the same value and a wrong gradient.

    Args:
        x: ``[B, ...]``, the same shape on every rank.

    Returns:
        ``[world_size * B, ...]``.
    """
    return _GatherRows.apply(x) if is_distributed() else x


class _SumRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad


def sum_ranks(x: Tensor) -> Tensor:
    """Adds up a tensor over all ranks, keeping gradients: those of all ranks' sums arrive at each rank's ``x``.

    Args:
        x: the same shape on every rank.

    Returns:
        The sum, the same on every rank.
    """
    return _SumRanks.apply(x) if is_distributed() else x


def own_rows(x: Tensor) -> Tensor:
    """This rank's share of a tensor whose rows belong to the whole batch: ``[world_size * B, ...] -> [B, ...]``."""
    rows = x.shape[0] // world_size()
    return x[rank() * rows : (rank() + 1) * rows]
