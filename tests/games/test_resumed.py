"""A run that is stopped, killed, or begun twice: what goes on is what would have been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from games.options.command_line import parse
from games.options.config_file import load_config
from games.patchgame import build, main
from games.runs.files import LOCK
from games.runs.lock import is_being_trained
from patchgame_egg.training import checkpoint
from patchgame_egg.training.trainer import Trainer
from tests.support.runs import losses, metrics, stop_at

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--channel", "reinforce"],
        ["--speaker", "lstm", "--channel", "reinforce", "--baseline", "mean"],
        ["--channel", "quantised", "--speakers", "2", "--listeners", "2"],
        ["--rank-dropout", "0.3"],
        ["--view-ramp", "1"],
    ],
    ids=" ".join,
)
def test_stopped_runs_resume_with_identical_losses(options: list[str], quick: list[str], tmp_path: Path) -> None:
    options = [*quick, *options, "--epochs", "2"]
    assert main([*options, "--name", "whole"]) == 0
    stopped = stop_at(6, [*options, "--name", "stopped"])
    assert len(losses(stopped)) == 6
    assert main(["--resume", str(stopped)]) == 0
    assert losses(stopped) == losses(tmp_path / "whole")
    assert metrics(stopped) == metrics(tmp_path / "whole")


def run_command(options: list[str], **kwargs: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "games.patchgame", *options],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs,
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_is_trained_by_one_process_at_a_time(
    quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, tried = tmp_path / "run", []

    def meanwhile(self: Trainer, epochs: int) -> None:
        tried.append(is_being_trained(run))
        if len(tried) == 1:
            assert main([*quick, "--name", "other", "--no-pictures"]) == 0  # another run goes on beside it
            before = {p: p.read_bytes() for p in run.iterdir()}
            with pytest.raises(SystemExit):
                main(["--resume", str(run)])
            assert {p: p.read_bytes() for p in run.iterdir()} == before
        train(self, epochs)

    train = Trainer.train
    stop_at(2, [*quick, "--name", "run"])
    monkeypatch.setattr(Trainer, "train", meanwhile)
    assert main(["--resume", str(run)]) == 0
    assert "run is being trained by another process: wait" in capsys.readouterr().err
    assert tried == [True, True] and not is_being_trained(run) and not (run / LOCK).exists()
    # A process that was killed leaves the file behind, but no lock.
    (run / LOCK).touch()
    assert not is_being_trained(run)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_killed_runs_resume_with_identical_losses(
    how: signal.Signals, tiny: list[str], photos: Path, tmp_path: Path
) -> None:
    # One thread in every process: a sum over threads would round differently. Few images are held out, or the killed
    # process would do little else.
    options = [*tiny, "--data", "folder", "--root", str(photos), "--epochs", "400", "--checkpoint-every", "3"]
    options += ["--no-pictures", "--no-tensorboard"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with run_command([*options, "--out", str(tmp_path), "--name", "killed"]) as process:
        began = time.monotonic()
        while time.monotonic() - began < 600 and not (
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
    epochs = str(reached // 4 + 3)
    # The schedule of the learning rate reaches over all epochs, so both runs are cut the same way: by a stop.
    assert main_until(["--resume", str(killed)], int(epochs)) == 0
    assert main_until([*options, "--out", str(tmp_path), "--name", "whole"], int(epochs)) == 0
    resumed, straight = losses(killed), losses(whole)
    assert resumed == straight
    assert resumed[-1][0] == int(epochs) * 4 > reached


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


@pytest.mark.slow
def test_a_mismatched_checkpoint_is_one_line(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*tiny, "--scenes", "8", "--epochs", "1", "--out", str(tmp_path), "--name", "run", "--no-pictures"]
    assert main(options) == 0
    with pytest.raises(SystemExit):
        main(["--resume", str(tmp_path / "run"), "--vocab", "32"])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: --vocab is 16 in this run and shapes its networks")
    state = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    state["game"]["receiver.vision_head.mlp.0.weight"] = torch.zeros(2, 2)
    checkpoint.save(state, tmp_path / "run" / "checkpoint.pt")
    with pytest.raises(SystemExit):
        main(["--resume", str(tmp_path / "run"), "--epochs", "2"])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: the checkpoint does not fit this game")
    with pytest.raises(SystemExit):
        main(options)
    assert "exists: --resume" in capsys.readouterr().err
    assert load_config(tmp_path / "run" / "config.json")[0].speaker.vocab == 16
