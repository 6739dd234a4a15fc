"""The endurance program tells a run that lost something from one that did not; it plays in docs/reliability.md."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

LOG = [{"kind": "train", "step": step, "loss": 1 / (step + 3), "images_per_s": 5.0} for step in range(4)]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that scripts find beside them."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "endurance")
    return import_module("play")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in LOG))
    (folder / "metrics.json").write_text(json.dumps({"loss": float("nan")}))
    (folder / "skipped.txt").write_text("a\nb\n")
    np.savez(folder / "corpus.npz", symbols=np.eye(3, dtype=int), mask=np.eye(3, dtype=bool))
    return folder


def test_only_the_clock_may_differ(run: Path, play: Any) -> None:
    whole = play.outcome(run)
    (run / "log.jsonl").write_text("".join(json.dumps({**record, "images_per_s": 7.0}) + "\n" for record in LOG))
    (run / "curves.png").touch()
    play.check_same(run, whole)


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("log.jsonl", lambda path: path.write_text(path.read_text().replace("0.25", "0.25000000000000006")), "line 2"),
        ("log.jsonl", lambda path: path.write_text(path.read_text() + path.read_text()[-90:].split("\n")[-2] + "\n"),
         "line 5"),
        ("log.jsonl", lambda path: path.write_text("".join(path.read_text().splitlines(True)[:-1])), "line 4"),
        ("metrics.json", lambda path: path.unlink(), "not whole"),
        ("skipped.txt", lambda path: path.write_text("a\n"), "skipped.txt, line 2"),
        ("corpus.npz", lambda path: np.savez(path, symbols=np.eye(3, dtype=int), mask=np.ones((3, 3))), "corpus.npz"),
        ("checkpoint.pt.tmp", lambda path: path.touch(), "files, line 1"),
    ],
)  # fmt: skip
def test_what_is_lost_is_found(name: str, spoil: Any, said: str, run: Path, play: Any) -> None:
    whole = play.outcome(run)
    spoil(run / name)
    with pytest.raises(play.Lost, match=said):
        play.check_same(run, whole)


def test_what_a_user_types_next(run: Path, play: Any) -> None:
    rng = np.random.default_rng(0)
    assert play.after_a_blow(run, ["--name", "run"], rng) is None
    (run / "metrics.json").unlink()
    (run / "checkpoint.pt").touch()
    assert play.after_a_blow(run, ["--name", "run"], rng) == ["--resume", str(run)]
    shutil.rmtree(run)
    assert play.after_a_blow(run, ["--name", "run"], rng) == ["--name", "run"]
