"""MoCo and PatchVAE on two gloo processes against one: losses, gradients, queue, statistics, draws."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from patchgame_egg.agents.trunks import vision_trunk
from patchgame_egg.baselines.moco import MomentumContrast, group_batch_norm
from patchgame_egg.baselines.patch_vae import PartChannel, PartLoss, PartReceiver, PartSender, cell_trunk
from patchgame_egg.baselines.reconstruction import ReconstructionGame
from patchgame_egg.distributed.batch_norm import sync_batch_norm
from patchgame_egg.distributed.gather import gather_rows
from tests.support.processes import end_rank

pytestmark = pytest.mark.process


def moco() -> nn.Module:
    trunk, dim = vision_trunk("resnet9", 16, 2)
    game = MomentumContrast(trunk, dim, dim=5, queue=12, momentum=0.9)
    group_batch_norm(game, 4)
    return game


def patch_vae() -> nn.Module:
    trunk, dim = cell_trunk("resnet9", 8, 2)
    game = ReconstructionGame(
        PartSender(trunk, dim, 3, 2), PartChannel(), PartReceiver(16, 8, 3, 2, 2), PartLoss(8, 1 / 3)
    )
    return sync_batch_norm(game, torch.device("cpu"))


def play(rows: slice) -> dict[str, Tensor]:
    """Two steps of both."""
    found = {}
    for build in (moco, patch_vae):
        torch.manual_seed(0)
        game, name = build(), build.__name__
        model = nn.parallel.DistributedDataParallel(game) if dist.is_initialized() else game
        for seed in range(2):
            generator = torch.Generator().manual_seed(seed)
            first, second = (torch.randn(8, 3, 16, 16, generator=generator)[rows] for _ in range(2))
            game.zero_grad()
            loss, record = model(first, None, second)
            loss.backward()
            found |= {f"{name} {seed} {n}": p.grad.clone() for n, p in game.named_parameters() if p.requires_grad}
            found |= {f"{name} {seed} {k}": gather_rows(v) for k, v in record.aux.items() if v.dim() == 1}
        found |= {f"{name} buffer {n}": b.float().clone() for n, b in game.named_buffers()}
    return found


def worker(rank: int, port: int, path: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.set_num_threads(1)
    torch.save(play(slice(rank * 4, rank * 4 + 4)), f"{path}/{rank}.pt")
    end_rank()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    alone = play(slice(0, 8))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    mp.spawn(worker, (port, str(tmp_path)), nprocs=2)
    for n in range(2):
        together = torch.load(tmp_path / f"{n}.pt")
        assert together.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(
                together[name], value, atol=2e-5, rtol=2e-4, msg=lambda m, name=name: f"{name}: {m}"
            )
