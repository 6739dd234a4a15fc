"""What a training step cannot do without: operations, bytes through memory, bytes between processes.

Divided by the rates that the device reaches in the two simplest tasks, one large matrix product and one large copy,
the first two say how fast the step could be at best. They are counts of one step, not estimates: operations by torch's
FlopCounterMode, activations by what autograd keeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from step import Step
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

REPEATS = 5


def fastest(run: Callable[[], object], device: torch.device) -> float:
    """The shortest of a few calls, in seconds: what the device can do when nothing disturbs it."""
    times = []
    for _ in range(REPEATS + 1):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def matrix_rate(device: torch.device, dtype: torch.dtype | None) -> float:
    """Operations per second, additions and products, of one large matrix product in the step's precision."""
    side, largest = 256, 8192 if device.type == "cuda" else 2048
    # A processor without bfloat16 of its own would take minutes for the largest.
    while True:
        a, b = torch.randn(2, side, side, device=device).to(dtype or torch.float32)
        seconds = fastest(lambda a=a, b=b: a @ b, device)  # type: ignore[misc]
        if side == largest or seconds > 0.1:
            return 2 * side**3 / seconds
        side *= 2


def bandwidth(device: torch.device) -> float:
    """Bytes per second, read and written, of a copy that fits in no cache."""
    size = 2**30 if device.type == "cuda" else 2**28
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / fastest(lambda: target.copy_(source), device)


def operations(step: Step) -> int:
    """Of matrix products, convolutions and attention, forward and backward; the rest is not counted."""
    first, second = step.views(step.images)
    # Not every fused attention has a formula; all are the same two products.
    with (
        sdpa_kernel(SDPBackend.MATH),
        torch.compiler.set_stance("force_eager"),
        FlopCounterMode(display=False) as counter,
    ):
        with step.autocast():
            loss, _ = step.game(first, None, second)
        loss.backward()
    step.optimizer.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def memory_traffic(step: Step) -> dict[str, int]:
    """Bytes that one step moves at least, if no cache held anything from one use to the next; after a first step.

    Parameters are read forward, backward and by the optimizer, which writes them; gradients are written and read;
    the optimizer's state is read and written; what autograd keeps of the activations is written and read. All else
    (activations that nobody keeps, intermediate gradients, views) is left out.
    """
    parameters = [p for p in step.game.parameters() if p.requires_grad]
    own = {p.untyped_storage().data_ptr() for p in step.game.parameters()}
    kept: dict[int, tuple[Tensor, int]] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            size = min(storage.nbytes(), x.numel() * x.element_size())
            # The tensor is held, so that its address is not given to another.
            kept[storage.data_ptr()] = x, max(size, kept.get(storage.data_ptr(), (x, 0))[1])
        return x

    first, second = step.views(step.images)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), step.autocast():
        step.game(first, None, second)
    weights = sum(p.numel() * p.element_size() for p in parameters)
    state = sum(
        v.numel() * v.element_size()
        for values in step.optimizer.state.values()
        for v in values.values()
        if isinstance(v, Tensor) and v.dim()
    )
    return {
        "parameters": 4 * weights,
        "gradients": 2 * weights,
        "optimizer": 2 * state,
        "activations": 2 * sum(size for _, size in kept.values()),
    }


def exchanged(step: Step, ranks: int) -> dict[str, int]:
    """Bytes that each of several processes sends in a step, if they stand in a ring.

    An all-reduce of S bytes then sends 2 (n - 1) / n * S, an all-gather of S bytes by each of n sends (n - 1) * S.

    Args:
        step: whose images are those of one process.
        ranks: n, at least 2.

    Returns:
        Of the gradients (DistributedDataParallel), the embeddings of both kinds (gathered forward, their gradients
        summed backward), the batch statistics, and the buffers that DistributedDataParallel sends before each step.
    """
    share = 2 * (ranks - 1) / ranks
    rows = len(step.images)
    with torch.no_grad(), step.autocast():
        first, second = step.views(step.images)
        width = step.game(first, None, second)[1].receiver_output.shape[2]
    gradients = sum(p.numel() * p.element_size() for p in step.game.parameters() if p.requires_grad)
    channels = [m.num_features for m in step.game.modules() if isinstance(m, _BatchNorm)]
    if step.device.type == "cuda":
        # SyncBatchNorm: mean, inverse deviation and count gathered; two sums backward.
        statistics = sum((ranks - 1) * 4 * (2 * c + 1) + share * 4 * 2 * c for c in channels)
    else:
        # AllRanksBatchNorm: two sums forward, two backward.
        statistics = sum(share * 4 * 4 * c for c in channels)
    embeddings = 2 * 4 * width * ((ranks - 1) * rows + share * ranks * rows)
    return {
        "gradients": round(share * gradients),
        "embeddings": round(embeddings),
        "batch statistics": round(statistics),
        "buffers": sum(b.numel() * b.element_size() for b in step.game.buffers()),
    }
