"""The same code on one process or many: ranks, a gather that carries gradients, batch statistics over all ranks.

Every function here is the identity (or a constant) without a process group, so callers never ask whether there is one::

    rank 0: x0 -+                    +-> [x0; x1]       backward: the gradients that both ranks hold for x0
                +-- gather_rows(x) --+                  are summed on rank 0, those for x1 on rank 1
    rank 1: x1 -+                    +-> [x0; x1]
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from patchgame_egg.distributed.peers_lost import PeersLost

T = TypeVar("T")


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
def process_group(device: torch.device, timeout: float = 600.0) -> Iterator[torch.device]:
    """Joins the group that torchrun describes in the environment, if it does, and leaves it at the end.

    Args:
        device: the device asked for; under torchrun a CUDA device without an index becomes this process's own.
        timeout: seconds after which processes that do not answer are given up; at the start, at least five minutes.

    Yields:
        The device that this process should use.

    Raises:
        PeersLost: some processes did not come, have stopped, or are gone. On GPUs, nccl itself may end the process.
    """
    if "WORLD_SIZE" not in os.environ:
        yield device
        return
    limit = timedelta(seconds=timeout)
    store, own_rank, size = _meeting_point(limit)
    try:
        store.set(f"came/{own_rank}", "1")
        store.wait([f"came/{other}" for other in range(size)], max(limit, _TO_COME))
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
            dist.init_process_group(
                "nccl", device_id=device, store=store, rank=own_rank, world_size=size, timeout=limit
            )
        else:
            dist.init_process_group("gloo", store=store, rank=own_rank, world_size=size, timeout=limit)
        yield device
        leave_process_group()
    except RuntimeError as error:
        if not _is_of_peers(error):
            raise
        came = is_distributed()
        lost = _silent(store, size, own_rank, "waits" if came else "came")
        # C++ names its own file first.
        text = re.sub(r"^\[[^]]*\] *", "", " ".join(str(error).split()))
        hung = re.search(r"[Tt]imed? ?out", text) is not None
        what = f"did not answer within {timeout:g} s" if hung and came else "did not come" if not came else "is gone"
        named = f"rank {', '.join(map(str, lost))} of {size}" if lost else f"one of {size} processes"
        raise PeersLost(f"{named} {what}: {text[:160]}") from error
    finally:
        # After an error the other ranks may never arrive: no waiting for them.
        if is_distributed():
            dist.destroy_process_group()


def _is_of_peers(error: RuntimeError) -> bool:
    """Whether an error came from the talk between processes; gloo's are plain ones of C++."""
    return (
        isinstance(error, dist.DistError)
        or re.search(r"gloo|nccl|[Cc]onnection (closed|reset)", str(error)) is not None
    )


# Starting takes some processes longer than others, however soon they are to answer afterwards.
_TO_COME = timedelta(minutes=5)

# Those who wait for the same process give up at about the same time.
_SECONDS_TO_ANSWER = 5.0


def _silent(store: dist.Store, size: int, own_rank: int, word: str) -> list[int]:
    """The ranks that do not say the word in the next seconds, as this one does."""
    silent = set(range(size)) - {own_rank}
    end = time.monotonic() + _SECONDS_TO_ANSWER
    try:
        store.set_timeout(timedelta(seconds=_SECONDS_TO_ANSWER))
        store.set(f"{word}/{own_rank}", "1")
        while silent and time.monotonic() < end:
            silent -= {other for other in silent if store.check([f"{word}/{other}"])}
            time.sleep(0.1)
    except RuntimeError:
        # It lies with rank 0 where torchrun does not keep it.
        return [0] if own_rank else []
    return sorted(silent)


def _meeting_point(limit: timedelta) -> tuple[dist.Store, int, int]:
    """Where the processes find each other, this one's rank, and how many there are.

    Raises:
        PeersLost: not all of them came.
    """
    try:
        store, own_rank, size = next(rendezvous("env://", timeout=max(limit, _TO_COME)))
    except RuntimeError as error:
        if not _is_of_peers(error):
            raise
        raise PeersLost(f"the processes did not find each other: {error}") from error
    store.set_timeout(limit)
    # Torchrun's own store outlives a restart, and with it the addresses of the processes that are gone.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"attempt {attempt}", store), own_rank, size


def leave_process_group() -> None:
    """Waits for all ranks and leaves the group, if there is one: from now on this process computes alone."""
    if is_distributed():
        # A thread of gloo that still lets go of its last tensors when Python exits aborts the process.
        dist.barrier()
        dist.destroy_process_group()


def gather_values(value: T) -> list[T]:
    """The plain values that the ranks have, in their order."""
    everyone = [value] * world_size()
    if is_distributed():
        dist.all_gather_object(everyone, value)
    return everyone


def gather_names(names: Iterable[str]) -> list[str]:
    """The names that any rank has, once each, sorted."""
    return sorted({name for part in gather_values(list(names)) for name in part})


def is_restarted() -> bool:
    """Whether torchrun or SLURM has started this command once more, after a failure of any rank.

    Torchrun counts only on the machine whose process failed; those on other machines are started again uncounted.
    """
    counters = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
    here = [name for name in counters if int(os.environ.get(name, 0)) > 0]
    return bool(gather_names(here))
