"""The same code on one process or many: ranks, a gather that carries gradients, batch statistics over all ranks.

Every function here is the identity (or a constant) without a process group, so callers never ask whether there is one::

    rank 0: x0 -+                    +-> [x0; x1]       backward: the gradients that both ranks hold for x0
                +-- gather_rows(x) --+                  are summed on rank 0, those for x1 on rank 1
    rank 1: x1 -+                    +-> [x0; x1]
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous


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
