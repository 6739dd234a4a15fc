"""How many images a second: alternatives timed in turns, so that what else the machine does meets all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch


@torch.no_grad()
def images_per_second(
    ways: Mapping[str, Callable[[], object]],
    images: int,
    device: torch.device | str = "cpu",
    rounds: int = 7,
    seconds: float = 0.1,
) -> dict[str, float]:
    """Times several ways of doing something to the same batch.

    Args:
        ways: what is timed, by name.
        images: in the batch.
        device: where they work; a GPU is waited for.
        rounds: how often each has its turn; the first turn, in which memory is found, is left out.
        seconds: that a turn lasts at least.

    Returns:
        The median over turns of the images of a second, by name.
    """
    cuda = torch.device(device).type == "cuda"

    def turn(way: Callable[[], object], times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            way()
        if cuda:
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    for way in ways.values():
        # A first call may compile or look for memory, and would be taken for slow.
        turn(way, 1)
    times = {name: max(1, round(seconds / max(turn(way, 1), 1e-9))) for name, way in ways.items()}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            spent = turn(way, times[name])
            if number:
                speeds[name].append(images * times[name] / spent)
    return {name: median(values) for name, values in speeds.items()}
