"""Runs as SLURM jobs: what is asked of sbatch, what is not submitted twice, and a job whose time is up."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from games.compare import Comparison
from games.reproduce.runner.setting import Training
from games.runs.files import CHECKPOINT
from games.sweep import main
from games.sweep.slurm import read_cluster, submit
from tests.support.played import play_at_once
from tests.support.tiny import TINY

ROOT = Path(__file__).parents[3]
# A cluster of this machine: scripts for sbatch, srun, scontrol and sacct. The folder is the first word of each.
SCRIPTS = {
    "sbatch": 'cp "$1" {folder}/job.sh; echo "$1" >> {folder}/submitted; {start}\n'
    'echo "Submitted batch job 7$(wc -l < {folder}/submitted | tr -d " ")"',
    "scontrol": "{start}",
    "sacct": 'echo "JobID|State|NodeList"; cat {folder}/states',
    "srun": "while [ \"${{1#-}}\" != \"$1\" ]; do case $1 in --output|--error) shift;; esac; shift; done\n"
    'echo $$ > {folder}/pid; exec "$@"',
}  # fmt: skip


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cluster that takes jobs and plays none."""
    pytest.importorskip("submitit", reason="submitit, of the extra slurm, is not installed")
    return _cluster(tmp_path, monkeypatch, start=":")


def _cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str) -> Path:
    folder = tmp_path / "cluster"
    folder.mkdir()
    (folder / "states").touch()
    for name, script in SCRIPTS.items():
        file = folder / name
        file.write_text(f"#!/bin/sh\n{script.format(folder=folder, start=start.format(folder=folder))}\n")
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return folder


AT = TINY.index("--vocab")
SAME = [*TINY[:AT], *TINY[AT + 2 :], "--epochs", "1"]
GRID = [*SAME, "--vocab", "8", "16", "--seed", "0", "1"]
SLURM = ["--slurm", "time=1:30:00", "partition=gpu", "cpus-per-task=6", "gres=gpu:1"]


def test_a_grid_is_one_array_that_is_not_submitted_twice(
    cluster: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("games.reproduce.runner.training.train", play_at_once)
    assert main([*GRID, *SLURM, "--jobs", "3"]) == 0
    asked = (cluster / "job.sh").read_text().splitlines()
    expected = "array=0-3%3 time=90 partition=gpu cpus-per-task=6 gres=gpu:1 job-name=sweep signal=USR2@90"
    assert {f"#SBATCH --{word}" for word in expected.split()} <= set(asked)
    srun = next(line for line in asked if line.startswith("srun"))
    assert "--cpus-per-task=6" in srun and "submitit.core._submit" in srun
    jobs = json.loads(Path("runs/sweep/slurm/jobs.json").read_text())
    names = ["vocab-8-0", "vocab-16-0", "vocab-8-1", "vocab-16-1"]
    assert jobs == {name: f"71_{i}" for i, name in enumerate(names)}
    assert "4 jobs submitted, as 71" in capsys.readouterr().out
    # What is queued is neither submitted once more nor played here.
    (cluster / "states").write_text("71_[0-3]|PENDING|\n")
    assert main([*GRID, *SLURM]) == 0
    assert "4 of 4 runs are queued or running in SLURM, as 71_0, 71_1, 71_2, 71_3" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(GRID)
    said = capsys.readouterr().err
    assert stop.value.code == 2 and "are queued or running in SLURM" in said and said.count("\n") == 1
    assert len((cluster / "submitted").read_text().splitlines()) == 1
    # One was finished, one goes on, and two failed.
    setting = Comparison("sweep", "", Path("runs/sweep"))
    play_at_once(setting, Training("vocab-8", 0, (*SAME, "--vocab", "8")))
    (cluster / "states").write_text("71_1|RUNNING|a\n71_2|FAILED|a\n71_3|CANCELLED by 0|a\n")
    assert main([*GRID, *SLURM]) == 0
    out = capsys.readouterr().out
    assert "1 of 4 runs are queued or running in SLURM, as 71_1" in out
    assert "2 jobs ended early, see runs/sweep/NAME.txt: vocab-8-1, vocab-16-1" in out
    again = json.loads(Path("runs/sweep/slurm/jobs.json").read_text())
    assert again == {**jobs, "vocab-8-1": "72_0", "vocab-16-1": "72_1"}
    # All are finished: the same command makes the table, with --slurm and without.
    for name, seed in (("8", 1), ("16", 0), ("16", 1)):
        play_at_once(setting, Training(f"vocab-{name}", seed, (*SAME, "--vocab", name)))
    concluded: list[int] = []
    monkeypatch.setattr("games.sweep.__main__._conclude", lambda _, wanted, __: concluded.append(len(wanted)))
    assert main([*GRID, *SLURM]) == main(GRID) == 0
    assert concluded == [4, 4] and len((cluster / "submitted").read_text().splitlines()) == 2


def test_what_slurm_refuses_is_one_line(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cluster / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpu' >&2; exit 1\n")
    with pytest.raises(SystemExit) as stop:
        main([*GRID, *SLURM])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.startswith("error: --slurm: the jobs were not taken:")
    assert "invalid partition specified: gpu" in said and said.count("\n") == 1
    assert not Path("runs/sweep/slurm/jobs.json").exists()


# In the place of a training: it ends by itself only where it goes on from a checkpoint.
TRAINING = """
case "$*" in *--resume*) touch {run}/went_on; exit 0;; esac
mkdir -p {run}; touch {run}/began
trap 'touch {run}/{checkpoint}; exit 143' TERM
while :; do sleep 0.05; done
"""


@pytest.mark.slow
@pytest.mark.process
def test_a_job_whose_time_is_up_goes_on_from_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="submitit, of the extra slurm, is not installed")
    cluster = _cluster(tmp_path, monkeypatch, "SLURM_JOB_ID=71 setsid bash {folder}/job.sh > {folder}/said 2>&1 &")
    run = tmp_path / "runs" / "one-0"
    (tmp_path / "training.sh").write_text(TRAINING.format(run=run, checkpoint=CHECKPOINT))
    setting = Comparison("sweep", "", Path("runs"), launcher=f"sh {tmp_path}/training.sh")
    submit(setting, [Training("one", 0, (*TINY,))], read_cluster(["time=60"]), None)
    _wait_for(run / "began")
    os.kill(int((cluster / "pid").read_text()), signal.SIGUSR2)
    _wait_for(run / "went_on")
    _wait_for(tmp_path / "runs" / "slurm" / "71_0_result.pkl")
    assert (run / CHECKPOINT).exists()


def _wait_for(path: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["partition"], "--slurm partition: give KEY=VALUE"),
        (["partition="], "--slurm partition=: give KEY=VALUE"),
        (["time=5", "time=6"], "--slurm gives time twice"),
        (["time=5", "array=0-3"], "--slurm array=0-3: array is set here"),
        (["time=5", "cluster=mine"], "--slurm cluster=mine: it is slurm, or local"),
        (["partition=gpu"], "--slurm needs time=MINUTES"),
        (["time=soon"], "--slurm time=soon: give minutes"),
        (["time=0"], "--slurm time=0: give minutes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_words_are_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["--lr", "1e-4", "1e-3", "--slurm", *words])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.startswith(f"error: {message}") and said.count("\n") == 1
    assert not Path("runs").exists()


def test_without_submitit_a_line_says_which_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = importlib.util.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name == "submitit" else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(SystemExit) as stop:
        main(["--lr", "1e-4", "--slurm", "time=5"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: --slurm needs submitit: pip install 'patchgame-egg[slurm]'\n"


def test_without_slurm_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit", reason="submitit, of the extra slurm, is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as stop:
        main(["--lr", "1e-4", "--slurm", "time=5"])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.startswith("error: --slurm: there is no SLURM here") and said.count("\n") == 1
