"""What takes seconds to import is imported by whoever needs it: not for help, not for mistakes, not by a plain run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.optim import SGD, AdamW, Optimizer

from tests.support.tiny import TINY

ROOT = Path(__file__).parents[2]
MISTAKES = [
    "games.patchgame --help",
    "games.patchgame --vocab 1",
    "games.patchgame --vcab 12",
    "games.patchgame --resume {tmp}/none",
    "games.baselines --help",
    "games.baselines moko",
    "games.baselines moco --lr 0",
    "games.record --help",
    "games.record",
    "games.shards --help",
    "games.shards --out {tmp}",
    "games.convert --help",
    "games.convert {tmp}/none --to {tmp}",
    "games.export --help",
    "games.export {tmp}",
    "games.sweep --help",
    "games.sweep --jobs 0",
    "games.sweep --lr 0",
    "games.compare --help",
    "games.compare channels --seeds 0",
    "games.reproduce --help",
    "games.reproduce table1 --seeds 0",
    "analysis --help",
    "analysis compare --help",
    "analysis messages --help",
    "analysis words --help",
    "analysis play --help",
    "analysis play {tmp}/none",
    "analysis {tmp} --format txt",
    "analysis {tmp} --seed -1",
]
# By first name; torch alone takes longer than everything that a mistake needs.
SLOW = {"torch", "torchvision", "kornia", "timm", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "seaborn"}
# A run computes with torch and numpy, and has nothing to compile, to draw or to fit.
NOT_IN_A_RUN = SLOW - {"torch", "numpy"} | {"sympy", "webdataset", "vector_quantize_pytorch", "torchmetrics"}

PROGRAM = """
import importlib, sys

def slow(names):
    return sorted(names & {name.split(".")[0] for name in sys.modules})

for line in MISTAKES:
    command, *words = line.split()
    try:
        importlib.import_module(f"{command}.__main__" if command in PACKAGES else command).main(words)
    except SystemExit as end:
        assert (end.code == 0) == ("--help" in line), line
    else:
        raise AssertionError(f"{line} went through")
    assert not slow(SLOW), f"{line} imports {slow(SLOW)}"

from games.patchgame import main
assert main(RUN) == 0
assert not slow(NOT_IN_A_RUN), f"a run imports {slow(NOT_IN_A_RUN)}"

from tests.project.test_start_up import check_optimizers
check_optimizers()
"""


@pytest.mark.process
def test_neither_help_nor_mistakes_need_torch_and_a_run_needs_little_else(tmp_path: Path) -> None:
    words = "--epochs 1 --scenes 8 --candidates 256 --corpus --no-pictures --no-tensorboard --out"
    run = [*TINY, *words.split(), str(tmp_path)]
    given = {
        "MISTAKES": [line.format(tmp=tmp_path) for line in MISTAKES],
        "PACKAGES": ["analysis", "games.patchgame", "games.baselines", "games.reproduce"],
        "SLOW": SLOW,
        "NOT_IN_A_RUN": NOT_IN_A_RUN,
        "RUN": run,
    }
    program = "".join(f"{name} = {value!r}\n" for name, value in given.items()) + PROGRAM
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr[-3000:]


def steps_of(kind: type[Optimizer], gradients: torch.Tensor, **options: Any) -> list[torch.Tensor]:
    """A weight after each step; halfway, another optimizer takes up the state of the first."""
    weight, after = torch.ones(3, requires_grad=True), list[torch.Tensor]()

    def made() -> Optimizer:
        optimizer = kind([torch.zeros(1, requires_grad=True)], lr=9.0, weight_decay=0.1, **options)  # type: ignore[call-arg]
        optimizer.add_param_group({"params": [weight], "lr": 0.1})
        return optimizer

    optimizer = made()
    for number, gradient in enumerate(gradients):
        if number == len(gradients) // 2:
            state, optimizer = optimizer.state_dict(), made()
            optimizer.load_state_dict(state)
        optimizer.zero_grad()
        (weight * gradient).sum().backward()
        optimizer.step()
        assert torch.is_grad_enabled() and weight.is_leaf
        after.append(weight.detach().clone())
    return after


def check_optimizers() -> None:
    """Without the compiler, steps are those of the formulas; where it is, torch talks to it as ever."""
    gradients = torch.randn(6, 3, dtype=torch.float64).float()
    adam, sgd = steps_of(AdamW, gradients), steps_of(SGD, gradients, momentum=0.9)
    assert "torch._dynamo" not in sys.modules
    weight, other = torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    mean, square, speed = (torch.zeros(3, dtype=torch.float64) for _ in range(3))
    for number, gradient in enumerate(gradients.double(), 1):
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        step = mean / (1 - 0.9**number) / ((square / (1 - 0.999**number)).sqrt() + 1e-8)
        weight = weight * (1 - 0.1 * 0.1) - 0.1 * step
        speed = 0.9 * speed + gradient + 0.1 * other
        other = other - 0.1 * speed
        torch.testing.assert_close(adam[number - 1].double(), weight, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(sgd[number - 1].double(), other, rtol=1e-5, atol=1e-6)
    met: list[str] = []
    compiler: Any = ModuleType("torch._dynamo")
    compiler.graph_break = lambda: met.append("step")
    compiler.disable = lambda function, *words, **more: met.append(function.__name__) or function
    sys.modules["torch._dynamo"] = torch._dynamo = compiler
    steps_of(AdamW, gradients[:2])
    assert set(met) == {"add_param_group", "load_state_dict", "state_dict", "zero_grad", "step"}
