"""Compiled networks: the same losses, gradients and names, also after a resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from games.build.agents import build_game, compile_networks
from games.options.command_line import parse
from games.patchgame import main
from patchgame_egg.agents.patch_speaker import PatchSymbol
from patchgame_egg.population import Population
from patchgame_egg.training.log_file import read_log
from tests.support.processes import free_port
from tests.support.tiny import TINY

B, SIDE = 8, 32

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++", "c++")), reason="needs a C++ compiler"
)


def compiled(game: nn.Module) -> set[str]:
    return {name for name, module in game.named_modules() if module._compiled_call_impl is not None}


def step(game: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    first, second = torch.randn(2, B, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    loss, _ = game(first, None, second)
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in game.named_parameters() if p.grad is not None}


@pytest.mark.slow
def test_which_networks_are_compiled() -> None:
    heads = {"text_head.mlp", "vision_head.mlp"}
    for options, speakers in (([], {"symbol", "rank"}), (["--speaker", "lstm", "--encoder-width", "4"], {"encoder"})):
        game = build_game(parse([*TINY, *options]).config)
        names = game.state_dict().keys()
        compile_networks(game)
        expected = {f"sender.{n}" for n in speakers} | {f"receiver.{n}" for n in ("vision", *heads)}
        assert compiled(game) == expected and game.state_dict().keys() == names
    pair = build_game(parse([*TINY, "--speakers", "2", "--listeners", "2"]).config)
    assert isinstance(pair, Population)
    compile_networks(pair)
    assert compiled(pair) == {f"senders.{i}.{n}" for i in (0, 1) for n in ("symbol", "rank")} | {
        f"receivers.{i}.{n}" for i in (0, 1) for n in ("vision", *heads)
    }


def same_step(options: list[str]) -> None:
    config = parse([*TINY, *options]).config
    plain, fast = build_game(config), build_game(config)
    assert not isinstance(fast, Population) and not isinstance(plain, Population)
    compile_networks(fast)
    (loss, gradients), (other_loss, other_gradients) = step(plain), step(fast)
    torch.testing.assert_close(other_loss, loss)
    assert gradients.keys() == other_gradients.keys() and len(gradients) > 20
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            other_gradients[name], gradient, atol=1e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
        )


COMPILE = nn.Module.compile


def trace(module: nn.Module) -> None:
    """As for compiling, and run without machine code, whose making takes a minute or two."""
    COMPILE(module, backend="aot_eager")


@pytest.mark.slow
@needs_compiler
def test_machine_code_gives_the_same_losses_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    # Convolutions take longest to compile.
    monkeypatch.setattr(nn.Module, "compile", lambda m: COMPILE(m) if isinstance(m, PatchSymbol) else trace(m))
    same_step(["--logit-scale", "2"])


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine code."""
    monkeypatch.setattr(nn.Module, "compile", trace)


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("ranks", [0, 1], ids=["alone", "in a group"])
def test_a_compiled_run_goes_on_with_the_same_losses(
    ranks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--optimizer", "sgd", "--lr", "0.05", "--epochs", "1", "--no-tensorboard", "--no-pictures"]
    # float32: where a processor multiplies bfloat16 its rounding would be larger than what is compared.
    options = [*TINY, "--scenes", "16", *options, "--precision", "fp32", "--out", str(tmp_path)]

    def play(*more: str) -> None:
        if ranks:
            # A group of one replaces batch normalisation as a larger one does.
            group = {"WORLD_SIZE": "1", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
            for name, value in group.items():
                monkeypatch.setenv(name, value)
        assert main(more) == 0

    for run, compiles in (("plain", []), ("fast", ["--compile"])):
        play(*options, "--name", run, *compiles)
        play("--resume", str(tmp_path / run), "--epochs", "2")
    assert json.loads((tmp_path / "fast" / "config.json").read_text())["training"]["compile"]
    logs = [[r["loss"] for r in read_log(tmp_path / run / "log.jsonl") if "loss" in r] for run in ("plain", "fast")]
    assert len(logs[0]) == 6 and logs[1] == pytest.approx(logs[0], rel=1e-4)
