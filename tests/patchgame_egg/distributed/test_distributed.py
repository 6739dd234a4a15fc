"""Two gloo processes against one: values, gradients, batch statistics, random draws, and the whole command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from analysis.corpus.corpus import Corpus
from games.patchgame import main
from patchgame_egg.distributed.batch_norm import sync_batch_norm
from patchgame_egg.distributed.gather import gather_rows
from patchgame_egg.distributed.random_module import RandomModule
from patchgame_egg.interaction import Interaction
from patchgame_egg.losses import symmetric_info_nce
from patchgame_egg.training import checkpoint
from patchgame_egg.training.callback import Callback
from patchgame_egg.training.checkpoint import Checkpoint
from patchgame_egg.training.log_file import read_log
from tests.support.processes import end_rank, free_port

B, D = 6, 5

ROOT = Path(__file__).parents[3]


class Net(nn.Module):
    """Batch normalisation, weights, and the loss over all ranks."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(D)
        self.conv = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
        self.text, self.image = nn.Linear(D, D), nn.Linear(27, D)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return symmetric_info_nce(self.text(self.norm(x)), self.image(self.conv(y).flatten(1)), 0.3)[0].mean()


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(B, D, generator=generator), torch.randn(B, 1, 5, 5, generator=generator) * 3 + 1


def play(rows: slice) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    net = sync_batch_norm(Net(), torch.device("cpu"))
    model = nn.parallel.DistributedDataParallel(net) if dist.is_initialized() else net
    x, y = inputs()
    loss = model(x[rows], y[rows])
    loss.backward()
    out = {f"grad {name}": p.grad for name, p in net.named_parameters()}
    out |= {f"buffer {name}": b.float() for name, b in net.named_buffers()}
    loss = loss.detach()
    if dist.is_initialized():
        dist.all_reduce(loss)
        loss /= dist.get_world_size()
    noise = RandomModule(3)
    noise.uniform(1)
    drawn = noise.uniform(rows.stop - rows.start, 2)
    return out | {"loss": loss, "drawn": gather_rows(drawn)}


def play_channels(rows: slice, codebook: Path) -> dict[str, torch.Tensor]:
    """Two passes of a small game with every estimator: gradients, and what the channel remembers."""
    from tests.patchgame_egg.channels.test_channels import Case, build_game, images

    estimators = ("gumbel", "running baseline", "learnt baseline", "continuous")
    cases = [Case(speaker, name, 2.0) for speaker in ("patch", "lstm") for name in estimators]
    cases += [Case("patch", "running baseline", options={"gate": "free", "speak_cost": 0.1})]
    cases += [Case("patch", "running baseline", options={"keep": 4}), Case("patch", "quantised", 2.0)]
    out = {}
    for case in cases:
        game = sync_batch_norm(build_game(case), torch.device("cpu"))
        if case.estimator == "quantised" and codebook.exists():
            game.channel.load_state_dict(torch.load(codebook))
        elif case.estimator == "quantised":
            # Ranks draw the codes' first places in an order of their own.
            game.channel(build_game(case).sender(images()))
            torch.save(game.channel.state_dict(), codebook)
        model = nn.parallel.DistributedDataParallel(game) if dist.is_initialized() else game
        for seed in range(2):
            game.zero_grad()
            model(images(seed=seed)[rows], None, images(seed=seed + 2)[rows])[0].backward()
            out |= {f"{case}, pass {seed}: {name}": p.grad.clone() for name, p in game.named_parameters()}
        memory = game.channel.state_dict().items()
        out |= {f"{case}: {name}": value.float() for name, value in memory if isinstance(value, torch.Tensor)}
    return out


def worker(rank: int, port: int, path: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.set_num_threads(1)
    share = B // 2
    result = play(slice(rank * share, (rank + 1) * share))
    channels = play_channels(slice(rank * 8, rank * 8 + 8), Path(path) / "codebook.pt")
    torch.save((result, channels, play_resumed(rank, Path(path) / "c.pt")), f"{path}/{rank}.pt")
    end_rank()


def play_resumed(rank: int, file: Path) -> dict[str, list[Any]]:
    """Losses and means of two epochs with dropout, and of the same stopped after the third batch and resumed."""
    from tests.patchgame_egg.training.test_trainer import Losses, StopAt, make

    class Mean(Callback):
        def on_epoch_end(self, loss: float, logs: Interaction, epoch: int) -> None:
            self.trainer.means.append((loss, logs.size))

    def play(callbacks: list[Callback], seed: int, resume: bool = False) -> tuple[list[object], list[object]]:
        losses = Losses()
        trainer = make([losses, Mean(), *callbacks])
        trainer.means = []
        torch.manual_seed(seed + rank)
        if resume:
            trainer.load_state_dict(checkpoint.load(file))
        trainer.train(2)
        return losses.values, trainer.means

    whole, means = play([], 7)
    before, _ = play([StopAt(3), Checkpoint(file)], 7)
    dist.barrier()
    after, resumed_means = play([], 99, resume=True)
    return {"whole": whole, "resumed": before + after, "means": [means, resumed_means]}


Results = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What one process on the whole batch found, and what each of two found, which also played `play_resumed`."""
    path = tmp_path_factory.mktemp("ranks")
    alone = play(slice(0, B)), play_channels(slice(0, 16), path / "codebook.pt")
    mp.spawn(worker, (free_port(), str(path)), nprocs=2)
    return [alone, *(torch.load(path / f"{rank}.pt") for rank in range(2))]


@pytest.mark.process
@pytest.mark.parametrize("part", [0, 1], ids=["losses and statistics", "estimators"])
def test_two_processes_equal_one(played: list[Any], part: int) -> None:
    alone, *ranks = (results[part] for results in played)
    for together in ranks:
        assert together.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.process
def test_dropout_and_epoch_means_resume_on_every_rank(played: list[Any]) -> None:
    first, second = (results[2] for results in played[1:])
    for found in (first, second):
        assert found["whole"] == found["resumed"]
        assert found["means"][0] == found["means"][1]
    assert first["whole"] != second["whole"], "the ranks dropped the same units: the test is empty"


def test_without_a_group_nothing_changes() -> None:
    x = torch.randn(3, 2)
    assert gather_rows(x) is x
    net = Net()
    assert sync_batch_norm(net, torch.device("cpu")) is net and type(net.norm) is nn.BatchNorm1d


@pytest.mark.slow
@pytest.mark.process
def test_the_command_gives_the_same_losses_on_two_processes(
    tmp_path: Path, tiny: list[str], photo_folder: Path
) -> None:
    # SGD: AdamW divides by gradients that are nearly zero, which turns rounding into steps.
    # float32: where a processor multiplies bfloat16 its rounding would be larger than what is compared.
    options = [*tiny, "--silence", "gate", "--optimizer", "sgd", "--lr", "0.05", "--epochs", "2", "--precision", "fp32"]
    options += ["--data", "folder", "--root", str(photo_folder)]
    options += ["--no-tensorboard", "--no-pictures", "--corpus", "--candidates", "128", "--out", str(tmp_path)]
    launch = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    command = [sys.executable, *launch, "-m", "games.patchgame", *options, "--name", "two"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert main([*options, "--name", "one"]) == 0
    one, two = (read_log(tmp_path / name / "log.jsonl") for name in ("one", "two"))
    assert [(r["kind"], r["step"]) for r in one] == [(r["kind"], r["step"]) for r in two]
    for a, b in zip(one, two, strict=True):
        numbers = [{k: v for k, v in r.items() if k not in ("kind", "images_per_s")} for r in (a, b)]
        assert numbers[1] == pytest.approx(numbers[0], rel=1e-5, abs=1e-6)
    # The language is recorded by one process, after the other has gone.
    first, second = (Corpus.load(tmp_path / name / "corpus.npz") for name in ("one", "two"))
    assert (first.symbols == second.symbols).all()
    # Of two patches that are as likely to speak but for rounding, either may.
    assert (first.mask != second.mask).any(axis=1).sum() <= 1
