"""The command itself: presets, resume after kill -9 and signals, errors in one line, pictures, corrupt images."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from games.command_line import load_config, parse
from games.patchgame import build, main
from games.presets import PRESETS
from patchgame_egg import checkpoint
from patchgame_egg.callbacks import read_log

ROOT = Path(__file__).parents[1]


def losses(run: Path) -> list[tuple[int, float]]:
    return [(r["step"], r["loss"]) for r in read_log(run / "log.jsonl") if r["kind"] == "train"]


@pytest.mark.parametrize("preset", PRESETS)
def test_two_steps_of_every_preset_at_toy_size(preset: str, tiny: list[str], tmp_path: Path) -> None:
    options = [*tiny, "--scenes", "16", "--epochs", "1", "--out", str(tmp_path), "--name", "run"]
    if preset == "released":
        options += ["--head-wide", "32", "--freeze-epochs", "1", "--text-heads", "3"]
    assert main(["--preset", preset, *options]) == 0
    run = tmp_path / "run"
    assert {p.name for p in run.iterdir()} >= {
        "config.json", "log.jsonl", "tensorboard", "checkpoint.pt", "metrics.json", "curves.png", "importance.png",
        "gallery.png",
    }  # fmt: skip
    assert [step for step, _ in losses(run)] == [1, 2]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["candidates"] == 8 and 0 <= metrics["acc"] <= metrics["acc_top5"] <= 1
    assert metrics["images"] == 1024
    config, saved = load_config(run / "config.json")
    assert saved == preset and config.speaker.vocab == 16


def test_presets_hold_what_their_names_say() -> None:
    paper, released = parse(["--preset", "paper"]).config, parse(["--preset", "released", "--vocab", "64"]).config
    assert (paper.images.image_size, paper.speaker.patch_size, paper.speaker.vocab) == (224, 32, 128)
    assert (paper.listener.text_dim, paper.listener.text_depth, paper.listener.text_heads) == (192, 12, 3)
    assert (paper.listener.vision, paper.training.optimizer, paper.training.epochs) == ("resnet18", "sgd", 100)
    assert paper.speaker.gate == "bernoulli" and not paper.speaker.context and not paper.loss.learn_temperature
    assert (released.speaker.gate, released.listener.silence) == ("released", "attend")
    assert released.speaker.vocab == 64


@pytest.mark.parametrize("preset", PRESETS)
def test_every_parameter_gets_a_gradient(preset: str, tiny: list[str], tmp_path: Path) -> None:
    trainer, _, _ = build(parse(["--preset", preset, *tiny, "--head-wide", "16"]), torch.device("cpu"), tmp_path)
    batch = next(iter(trainer.train_data))
    loss, _ = trainer.game(*batch)
    loss.backward()
    missing = [n for n, p in trainer.game.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not missing


def test_released_freezes_the_wide_map_for_an_epoch(tiny: list[str], tmp_path: Path) -> None:
    options = [*tiny, "--head-wide", "16", "--freeze-epochs", "1", "--epochs", "2", "--warmup", "1"]
    trainer, _, _ = build(parse(["--preset", "released", *options]), torch.device("cpu"), tmp_path)
    wide = [p for n, p in trainer.game.named_parameters() if "_head.wide." in n]
    rest = trainer.game.receiver.text.cls
    before = [p.detach().clone() for p in [*wide, rest]]
    trainer.callbacks = [c for c in trainer.callbacks if type(c).__name__ == "Schedule"]
    decay = trainer.optimizer.param_groups[0]["weight_decay"]
    trainer.train(1)
    assert all(torch.equal(a, b) for a, b in zip(wide, before, strict=False))
    assert not torch.equal(rest, before[-1])
    trainer.train(2)
    assert not any(torch.equal(a, b) for a, b in zip(wide, before, strict=False))
    assert decay == pytest.approx(0.04) and trainer.optimizer.param_groups[0]["weight_decay"] == pytest.approx(0.4)
    assert trainer.game.channel.temperature == pytest.approx(1.0)


def run_command(options: list[str], **kwargs: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "games.patchgame", *options],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs,
    )  # fmt: skip


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_killed_runs_resume_with_identical_losses(how: signal.Signals, tiny: list[str], tmp_path: Path) -> None:
    # One thread in every process: a sum over threads would round differently.
    options = [
        *tiny,
        "--scenes",
        "64",
        "--epochs",
        "200",
        "--checkpoint-every",
        "3",
        "--no-pictures",
        "--no-tensorboard",
    ]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with run_command([*options, "--out", str(tmp_path), "--name", "killed"]) as process:
        began = time.monotonic()
        while time.monotonic() - began < 120 and not (
            (killed / "log.jsonl").exists() and (killed / "log.jsonl").read_text().count("train") > 20
        ):
            time.sleep(0.02)
        process.send_signal(how)
        out, err = process.communicate(timeout=120)
    before = losses(killed)
    reached = checkpoint.load(killed / "checkpoint.pt")["position"]["step"]
    assert 20 <= len(before) < 1600
    assert process.returncode == (-9 if how is signal.SIGKILL else 128 + how), err
    if how is signal.SIGKILL:
        assert before[-1][0] - 3 <= reached <= before[-1][0] + 1
    else:
        assert reached == before[-1][0]
        assert f"go on with: python -m games.patchgame --resume {killed}" in out
    epochs = str(reached // 8 + 3)
    # The schedule of the learning rate reaches over all epochs, so both runs are cut the same way: by a stop.
    assert main_until(["--resume", str(killed)], int(epochs)) == 0
    assert main_until([*options, "--out", str(tmp_path), "--name", "whole"], int(epochs)) == 0
    resumed, straight = losses(killed), losses(whole)
    assert resumed == straight
    assert resumed[-1][0] == int(epochs) * 8 > reached


def main_until(options: list[str], epochs: int) -> int:
    """Plays in this process up to an epoch, keeping the schedule of all epochs that were asked for."""
    start = parse(options)
    folder = start.resume or Path(start.config.run.out) / start.config.run.name
    trainer, _, _ = build(start, torch.device("cpu"), folder)

    class Stop(type(trainer.callbacks[0]).__mro__[1]):  # type: ignore[misc]
        def on_validation_end(self, loss: float, logs: object, epoch: int) -> None:
            trainer.should_stop = epoch == epochs

    trainer.callbacks.append(Stop())
    trainer.train(start.config.training.epochs)
    return 0


def test_corrupt_images_are_named_at_the_end(
    photo_folder: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*tiny, "--data", "folder", "--root", str(photo_folder), "--epochs", "2", "--no-tensorboard"]
    assert main([*options, "--out", str(tmp_path), "--name", "run"]) == 0
    out = capsys.readouterr().out
    assert "skipped 2 unreadable images: " in out and "003.jpg" in out
    assert len((tmp_path / "run" / "skipped.txt").read_text().splitlines()) == 2
    assert "24 images to train on, 12 held out" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--vocab", "1"], "--vocab 1: must be at least 2"),
        (["--vocab", "many"], "--vocab"),
        (["--vocb", "12"], "--vocb, 12; did you mean --vocab?"),
        (["--patch-size", "7"], "patch size 7 does not divide image size"),
        (["--keep", "5000"], "--keep 5000: an image of"),
        (["--preset", "huge"], "unknown preset 'huge': one of small, paper, released"),
        (["--data", "moons"], "unknown data 'moons'"),
        (["--data", "folder"], "needs --root"),
        (["--data", "folder", "--root", "nowhere"], "no folder nowhere"),
        (["--data", "cifar10", "--root", "nowhere"], "cifar10 is not in nowhere (--download fetches it"),
        (["--resume", "nowhere"], "nowhere is not a run"),
        (["--resume", "nowhere", "--preset", "paper"], "leave --preset out"),
        (["--preset"], "expected one argument"),
        (["--gate", "loud"], "loud"),
        (["--lr", "-1"], "--lr -1.0: must be above 0"),
        (["--epochs", "0"], "--epochs 0: must be at least 1"),
        (["--warmup", "1000"], "--warmup 1000.0: must be between 0 and"),
        (["--min-area", "2"], "min_area must be between"),
        (["--blur", "2", "0"], "blur must be between"),
        (["--load-size", "8"], "--load-size 8 is smaller than --image-size"),
        (["--device", "toaster"], "--device toaster"),
        (["--precision", "fp16", "--device", "cpu"], "fp16 needs a CUDA GPU"),
        (["--vision", "resnet19"], "unknown vision trunk 'resnet19'"),
        (["--rank-strength", "0"], "ranking strength must be above 0"),
        (["--text-heads", "5"], "5 attention heads do not divide a width of"),
        (["--batch-size", "999999"], "are less than --batch-size 999999"),
        (["--freeze-epochs", "1"], "--head-wide is 0"),
        (["--accumulate", "0"], "--accumulate 0: must be at least 1"),
        (["--text-heads", "0"], "--text-heads 0: must be at least 1"),
        (["--rank-width", "0"], "--rank-width 0: must be at least 1"),
        (["--text-dim", "0"], "--text-dim 0: must be at least 1"),
        (["--load-size", "0"], "--load-size 0 is smaller"),
        (["--seed", "-1"], "--seed -1: must be at least 0"),
        pytest.param(
            ["--rank-op", "torchsort"],
            "pip install torchsort",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("torchsort") is not None, reason="torchsort is installed"
            ),
        ),
        pytest.param(
            ["--wandb", "project"],
            "pip install wandb",
            marks=pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed"),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_end_with_one_clear_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*options, "--out", str(tmp_path)] if "--resume" not in options else options)
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ") and message in said and "\n" not in said
    assert not list(tmp_path.iterdir())


def test_a_mismatched_checkpoint_is_one_line(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*tiny, "--scenes", "8", "--epochs", "1", "--out", str(tmp_path), "--name", "run", "--no-pictures"]
    assert main(options) == 0
    with pytest.raises(SystemExit):
        main(["--resume", str(tmp_path / "run"), "--vocab", "32"])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: the checkpoint does not fit this game")
    with pytest.raises(SystemExit):
        main(options)
    assert "exists: --resume" in capsys.readouterr().err
    assert load_config(tmp_path / "run" / "config.json")[0].speaker.vocab == 16


def test_a_nan_loss_ends_the_command_and_keeps_the_checkpoint(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*tiny, "--lr", "1e30", "--grad-norm", "None", "--epochs", "3", "--out", str(tmp_path), "--name", "run"])
    assert stop.value.code == 2
    assert "at step" in capsys.readouterr().err
    state = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    assert all(v.isfinite().all() for v in state["game"].values() if isinstance(v, torch.Tensor))


def test_help_reads_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--preset", "paper", "--help"])
    assert not stop.value.code
    out = capsys.readouterr().out
    for text in ("--preset small|paper|released", "--resume RUN", "--vocab", "speaker options", "training options"):
        assert text in out
    assert "(default: 224)" in out


def test_tensorboard_and_weights_and_biases_get_every_number(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, dict[str, float]]] = []

    class Run:
        def log(self, values: dict[str, float], step: int) -> None:
            sent.append((step, values))

        def finish(self) -> None:
            sent.append((-1, {}))

    asked: dict[str, Any] = {}
    wandb = types.ModuleType("wandb")
    wandb.init = lambda **options: asked.update(options) or Run()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    options = [*tiny, "--scenes", "16", "--epochs", "2", "--wandb", "games", "--no-pictures"]
    assert main([*options, "--out", str(tmp_path), "--name", "run"]) == 0
    records = read_log(tmp_path / "run" / "log.jsonl")

    assert asked["project"] == "games" and asked["config"]["speaker"]["vocab"] == 16
    assert [step for step, _ in sent] == [*(r["step"] for r in records), -1]
    assert sent[-2][1]["validation/acc"] == records[-1]["acc"]

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    logged = [(e.step, e.value) for e in events.Scalars("train/loss")]
    assert logged == [(r["step"], pytest.approx(r["loss"])) for r in records if r["kind"] == "train"]
    assert [e.value for e in events.Scalars("validation/active_symbols")] == [
        r["active_symbols"] for r in records if r["kind"] == "validation"
    ]
