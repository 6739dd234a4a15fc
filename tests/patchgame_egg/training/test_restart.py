"""A command that torchrun or SLURM starts once more goes on with its own run, and loses nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from games.patchgame import main
from patchgame_egg.training.log_file import Record, read_log

ROOT = Path(__file__).parents[3]

# Rank 1 is killed after the fifth step, once; the last checkpoint is then of the third, the end of an epoch.
KILLED = """
import os, signal, sys
from games.patchgame import main
from patchgame_egg.callbacks import Checkpoint

after_batch = Checkpoint.on_batch_end

def on_batch_end(self, *arguments):
    after_batch(self, *arguments)
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if first and self.trainer.step == 5 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoint.on_batch_end = on_batch_end
sys.exit(main())
"""


# Rank 1 no longer answers after the second step, and ends at once when it is told to.
HUNG = """
import os, signal, sys, time
from games.patchgame import main
from patchgame_egg.training.checkpoint import Checkpoint

def on_batch_end(self, *arguments):
    if self.trainer.step == 2 and os.environ["RANK"] == "1":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(1000)

Checkpoint.on_batch_end = on_batch_end
sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.process
def test_a_process_that_hangs_is_named_and_ends_the_others(options: list[str], tmp_path: Path) -> None:
    script = tmp_path / "hung.py"
    script.write_text(HUNG)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *launch, *options, "--epochs", "3", "--name", "hung", "--timeout", "20"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(said) == 1, done.stderr[-2000:]
    assert said[0].startswith("error: rank 1 of 2 did not answer within 20 s: ")
    assert "checkpoint.pt is kept: once that is mended, python -m games.patchgame --resume" in said[0]


def log(run: Path) -> list[Record]:
    return [{k: v for k, v in r.items() if k != "images_per_s"} for r in read_log(run / "log.jsonl")]


@pytest.fixture
def options(tiny: list[str], photo_folder: Path, tmp_path: Path) -> list[str]:
    """Three steps an epoch; SGD, as in the comparison of processes."""
    return [
        *tiny, "--data", "folder", "--root", str(photo_folder), "--silence", "gate", "--optimizer", "sgd",
        "--lr", "0.05", "--checkpoint-every", "4", "--no-tensorboard", "--no-pictures", "--out", str(tmp_path),
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.process
def test_a_killed_rank_costs_no_step(options: list[str], tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    for name, target in (("whole", ["-m", "games.patchgame"]), ("killed", [str(script)])):
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
        launch += [*target, *options, "--epochs", "3", "--name", name]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, *launch], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
        assert ("goes on from step 3" in done.stdout) == (name == "killed")
    assert log(tmp_path / "killed") == log(tmp_path / "whole")
    assert [r["step"] for r in log(tmp_path / "whole") if r["kind"] == "train"] == list(range(1, 10))


@pytest.mark.parametrize("counter", ["TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"])
def test_a_named_run_goes_on_after_a_restart_alone(
    counter: str,
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = [*options, "--epochs", "1", "--name", "run"]
    assert main(named) == 0
    before = log(tmp_path / "run")
    monkeypatch.setenv(counter, "0")
    with pytest.raises(SystemExit):
        main(named)
    assert "exists: --resume" in capsys.readouterr().err
    monkeypatch.setenv(counter, "1")
    assert main(named) == 0
    assert "goes on from step 3\n" in capsys.readouterr().out
    assert log(tmp_path / "run") == before


def test_a_run_without_a_checkpoint_begins_anew_in_its_folder(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [*options, "--epochs", "1", "--name", "run"]
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert main(named) == 0
    assert "begins anew: there is no checkpoint yet\n" in capsys.readouterr().out
    assert [r["step"] for r in log(tmp_path / "run") if r["kind"] == "train"] == [1, 2, 3]


@pytest.mark.slow
def test_without_a_name_the_newest_run_with_the_same_options_goes_on(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unnamed = [*options, "--epochs", "1"]
    for more in ([], ["--seed", "1"], [], ["--seed", "2"]):
        assert main([*unnamed, *more]) == 0
    for number in range(1, 5):
        os.utime(tmp_path / f"small-folder-{number}" / "config.json", (number, number))
    capsys.readouterr()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert main(unnamed) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'small-folder-3'}: ")
    assert main([*unnamed, "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{tmp_path / 'small-folder-5'}: ") and "begins anew" in said
