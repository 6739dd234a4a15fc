"""The same code on one process or many: ranks, a gather that carries gradients, batch statistics over all ranks.

Every function here is the identity (or a constant) without a process group, so callers never ask whether there is one.

    rank 0: x0 -+                    +-> [x0; x1]       backward: the gradients that both ranks hold for x0
                +-- gather_rows(x) --+                  are summed on rank 0, those for x1 on rank 1
    rank 1: x1 -+                    +-> [x0; x1]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.modules.batchnorm import _BatchNorm


def is_distributed() -> bool:
    """Whether a process group is running."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process's number, 0 without a process group."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """The number of processes, 1 without a process group."""
    return dist.get_world_size() if is_distributed() else 1


def is_rank_zero() -> bool:
    """Whether this process is the one that prints and writes files."""
    return rank() == 0


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Joins the group that torchrun describes in the environment, if it does, and leaves it at the end.

    Args:
        device: the device asked for; under torchrun a CUDA device without an index becomes this process's own.

    Yields:
        The device that this process should use.
    """
    if "WORLD_SIZE" not in os.environ:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", device_id=device, **_meeting_point())
    else:
        dist.init_process_group("gloo", **_meeting_point())
    try:
        yield device
        leave_process_group()
    finally:
        # After an error the other ranks may never arrive: no waiting for them.
        if is_distributed():
            dist.destroy_process_group()


def _meeting_point() -> dict[str, Any]:
    """Where the processes find each other, as arguments of ``init_process_group``."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    # Torchrun's own store outlives a restart, and with it the addresses of the processes that are gone.
    store, own_rank, size = next(rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return {"store": dist.PrefixStore(f"attempt {attempt}", store), "rank": own_rank, "world_size": size}


def leave_process_group() -> None:
    """Waits for all ranks and leaves the group, if there is one: from now on this process computes alone."""
    if is_distributed():
        # A thread of gloo that still lets go of its last tensors when Python exits aborts the process.
        dist.barrier()
        dist.destroy_process_group()


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


def gather_names(names: Iterable[str]) -> list[str]:
    """The names that any rank has, once each, sorted."""
    everyone: list[list[str]] = [list(names)]
    if is_distributed():
        everyone = [[] for _ in range(world_size())]
        dist.all_gather_object(everyone, list(names))
    return sorted({name for part in everyone for name in part})


def is_restarted() -> bool:
    """Whether torchrun or SLURM has started this command once more, after a failure of any rank.

    Torchrun counts only on the machine whose process failed; those on other machines are started again uncounted.
    """
    counters = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
    here = [name for name in counters if int(os.environ.get(name, 0)) > 0]
    return bool(gather_names(here))


def own_rows(x: Tensor) -> Tensor:
    """This rank's share of a tensor whose rows belong to the whole batch: ``[world_size * B, ...] -> [B, ...]``."""
    rows = x.shape[0] // world_size()
    return x[rank() * rows : (rank() + 1) * rows]


class RandomModule(nn.Module):
    """A module with random numbers of its own: draw n of a seed is the same in every run, on any number of ranks.

    Numbers are drawn for the whole batch and each rank takes its rows, so two ranks see together what one process
    sees alone. The count of draws is part of ``state_dict``, so a resumed run goes on where it stopped.

    Args:
        seed: any int; two modules that should differ need different seeds.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.draws = 0

    def uniform(self, *shape: int, device: torch.device | str = "cpu") -> Tensor:
        """Uniform numbers in [0, 1).

        Args:
            *shape: the shape of this rank's share; the first number counts its rows.
            device: where to draw; the CPU's and a GPU's numbers differ.

        Returns:
            A float32 tensor of that shape.
        """
        generator = torch.Generator(device).manual_seed(self.next_key())
        whole = torch.rand(shape[0] * world_size(), *shape[1:], generator=generator, device=device)
        return own_rows(whole)

    def next_key(self) -> int:
        """The seed of the next draw, the same on every rank."""
        self.draws += 1
        # The golden ratio's bits keep the streams of neighbouring seeds apart.
        return (self.seed * 0x9E3779B97F4A7C15 + self.draws - 1) % 2**63

    @contextmanager
    def local_randomness(self, device: torch.device) -> Iterator[None]:
        """For code of others that draws from torch's own generators: inside, they follow this module's seed."""
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            key = self.next_key()
            # torch.manual_seed would reseed every GPU, for good.
            torch.default_generator.manual_seed(key)
            if cuda:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(key)
            yield

    def get_extra_state(self) -> dict[str, int]:
        return {"draws": self.draws}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.draws = state["draws"]


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
        mean = _SumRanks.apply(input.float().sum(dims)) / count
        centred = input - mean.view(shape)
        # A second pass over centred values: a difference of squares would lose float32's digits.
        var = _SumRanks.apply(centred.float().square().sum(dims)) / count
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
