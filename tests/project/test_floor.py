"""What the scaling benchmark counts is what really is sent and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from games.options.command_line import parse
from patchgame_egg.distributed.processes import leave_process_group
from tests.support.processes import free_port
from tests.support.tiny import TINY


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A step in a group of one, which exchanges everything that a larger one does."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    from step import Step

    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{free_port()}", rank=0, world_size=1)
    yield Step(parse([*TINY, "--logit-scale", "2", "--optimizer", "adamw"]).config, torch.device("cpu"))
    leave_process_group()


def test_bytes_between_processes(step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from floor import exchanged

    sums: dict[int, int] = {1: 0, 2: 0}
    gathered: list[int] = []
    reduce, gather = dist.all_reduce, dist.all_gather

    def spy_reduce(x: torch.Tensor, *rest: Any) -> object:
        sums[x.dim()] += x.nbytes
        return reduce(x, *rest)

    def spy_gather(parts: list[torch.Tensor], x: torch.Tensor) -> object:
        gathered.append(x.nbytes)
        return gather(parts, x)

    monkeypatch.setattr(dist, "all_reduce", spy_reduce)
    monkeypatch.setattr(dist, "all_gather", spy_gather)
    step()
    monkeypatch.undo()
    sent = exchanged(step, 2)
    # In a ring of two an all-reduce sends what it sums; both sum the gradients of twice as many embeddings.
    assert sent["batch statistics"] == sums[1] > 0
    assert sent["embeddings"] == sum(gathered) + 2 * sums[2] and len(gathered) == 2
    assert sent["gradients"] == sum(p.nbytes for p in step.game.parameters())
    assert exchanged(step, 4)["gradients"] == 1.5 * sent["gradients"]


def test_bytes_through_memory_and_operations(step: Any) -> None:
    from floor import memory_traffic, operations

    step()
    weights = sum(p.nbytes for p in step.game.parameters())
    moved = memory_traffic(step)
    assert (moved["parameters"], moved["gradients"], moved["optimizer"]) == (4 * weights, 2 * weights, 2 * 2 * weights)
    pictures = 2 * 8 * 3 * 32 * 32 * 4
    assert moved["activations"] > 2 * pictures

    # A linear layer more: one product forward, two backward. In evaluation, so that as many patches speak both times.
    step.game.eval()
    mlp = step.game.sender.symbol.mlp
    rows = 8 * 16
    before = operations(step)
    step.game.sender.symbol.mlp = torch.nn.Sequential(mlp[0], torch.nn.ReLU(), mlp[2], torch.nn.Linear(16, 16))
    assert operations(step) - before == 3 * rows * 2 * 16 * 16
