"""Runs that end early and go on: begun anew, finished, with other options, on a disk that cannot be written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.__main__ import main as analyse
from analysis.compare import name_variants
from analysis.corpus.loading import load
from games import record
from games.patchgame import main
from patchgame_egg.training import checkpoint
from patchgame_egg.training.log_file import read_log


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for part, count in (("train", 16), ("val", 8)):
        (folder / part).mkdir()
        for i in range(count):
            pixels = rng.integers(256, size=(40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / part / f"{i:02d}.png")
    return folder


@pytest.fixture
def quick(tiny: list[str], photos: Path, tmp_path: Path) -> list[str]:
    """Two steps an epoch."""
    images = ["--data", "folder", "--root", str(photos), "--out", str(tmp_path)]
    return [*tiny, *images, "--no-tensorboard", "--no-pictures", "--name", "run"]


def refused(capsys: pytest.CaptureFixture[str], words: list[str], status: int = 2, command: Any = main) -> str:
    with pytest.raises(SystemExit) as stop:
        command(words)
    assert stop.value.code == status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.slow
def test_a_finished_run_goes_on_under_other_options(
    quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main([*quick, "--epochs", "3", "--warmup", "0.5", "--corpus"]) == 0
    files = {p: p.read_bytes() for p in run.iterdir()}
    assert "has finished its 3 epochs: --epochs N" in refused(capsys, ["--resume", str(run)])
    assert "has done 3 epochs already: --epochs 2" in refused(capsys, ["--resume", str(run), "--epochs", "2"])
    assert {p: p.read_bytes() for p in run.iterdir()} == files

    # Interrupted, the run is not whole, though it was before.
    words = ["--resume", str(run / "checkpoint.pt"), "--epochs", "5", "--lr", "5e-3", "--speaker-lr", "0.5"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "games.patchgame.play.finish", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left", "x.png"))
        )
        said = refused(capsys, words, status=1)
    assert said.startswith("error: x.png: No space left; ") and f"--resume {run} goes on" in said
    assert not (run / "metrics.json").exists()
    rates = {r["step"]: r["lr"] for r in read_log(run / "log.jsonl") if r["kind"] == "train"}
    assert rates[8] == pytest.approx(1.2575e-3) and list(rates) == list(range(1, 11))

    # The language is that of epoch 3, and says so.
    assert load(run).info["learnt"] == {"step": 6, "epoch": 3}
    assert load(run).info["config"]["training"]["lr"] == 5e-4
    capsys.readouterr()
    assert analyse([str(run), "--permutations", "2"]) == 0
    said = capsys.readouterr().out
    assert f"note: this language is of step 6 (epoch 3), and {run} has gone on to step 10 since" in said
    assert "measures success (1 of " in said
    assert "this language is of step 6 (epoch 3)" in (run / "report.html").read_text()
    other = tmp_path / "other"
    shutil.copytree(run, other)
    (other / "corpus.npz").unlink()
    assert record.main([str(other)]) == 0
    said = capsys.readouterr().out
    assert "after step 10, of epoch 5" in said and "plays 8 of 8 images" in said and "found their image" in said
    # The languages differ in what they were learnt with, the folders in nothing.
    assert name_variants([run, other]) == ["all alike", "all alike"]
    assert [n.split(", ")[0] for n in name_variants([run, other], [load(run), load(other)])] == ["epochs 3", "epochs 5"]

    # What was missing is made.
    assert main(["--resume", str(run)]) == 0
    assert json.loads((run / "metrics.json").read_text())["epoch"] == 5

    assert main(["--init-from", str(run), "--epochs", "1", "--name", "new", "--batch-size", "16"]) == 0
    new = checkpoint.load(tmp_path / "new" / "checkpoint.pt")
    assert new["position"]["step"] == 1
    first = checkpoint.load(run / "checkpoint.pt")["game"]["receiver.vision_head.mlp.0.weight"]
    assert 0 < (new["game"]["receiver.vision_head.mlp.0.weight"] - first).abs().max() < 2e-2


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(
    quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, quick = tmp_path / "run", [*quick, "--epochs", "1"]

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    for where in ("games.runs.training.save_config", "patchgame_egg.training.checkpoint.save"):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(where, killed)
            main(quick)
        assert run.is_dir() and not (run / "checkpoint.pt").exists()
        (run / "config.json.tmp").touch()
    capsys.readouterr()
    assert main(["--resume", str(run)]) == 0
    assert "begins anew: there is no checkpoint yet" in capsys.readouterr().out
    shutil.rmtree(run)
    run.mkdir()
    assert main(quick) == 0
    assert [r["step"] for r in read_log(run / "log.jsonl") if r["kind"] == "train"] == [1, 2]
    # What is somebody else's, or had steps, is left alone.
    (run / "checkpoint.pt").unlink()
    assert "holds no checkpoint to go on from: give another --name" in refused(capsys, quick)
    assert "no checkpoint at" in refused(capsys, ["--resume", str(run), "--epochs", "2"])


@pytest.mark.slow
def test_a_run_does_not_go_on_with_images_that_have_changed(
    quick: list[str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, run = tmp_path / "mine", tmp_path / "run"
    shutil.copytree(photos, mine)
    assert main([*quick, "--root", str(mine), "--epochs", "1"]) == 0
    seen, going_on = run / "images.json", ["--resume", str(run), "--epochs", "2"]
    files = {path: path.read_bytes() for path in run.iterdir()}
    last, held_out = mine / "train" / "15.png", mine / "val" / "00.png"
    shutil.copy(last, mine / "train" / "16.png")
    said = refused(capsys, going_on)
    assert f"the images to train on in {mine} are 17 now and were 16 when {run} learnt from them: put back" in said
    assert f"--init-from {run} starts a new run from it" in said
    last.unlink()
    assert "to train on in" in refused(capsys, going_on), "as many, under other names"
    (mine / "train" / "16.png").rename(last)
    kept = held_out.read_bytes()
    Image.new("RGB", (40, 40)).save(held_out)
    said = refused(capsys, going_on)
    assert f"the images held out in {mine} are 8 as before, under other names or of other sizes when {run}" in said
    held_out.write_bytes(kept)
    assert {path: path.read_bytes() for path in run.iterdir()} == files
    # They have moved, as its options say.
    mine.rename(tmp_path / "moved")
    config = json.loads((run / "config.json").read_text())
    config["images"]["root"] = str(tmp_path / "moved")
    (run / "config.json").write_text(json.dumps(config))
    before = seen.read_bytes()
    # A run of version 0.1.0 does not know; from here on it does.
    seen.unlink()
    assert main(going_on) == 0 and seen.read_bytes() == before
    seen.write_text("[")
    assert main([*going_on[:2], "--epochs", "3"]) == 0 and seen.read_bytes() == before


@pytest.mark.slow
def test_a_run_that_goes_on_knows_what_it_has_skipped(quick: list[str], photos: Path, tmp_path: Path) -> None:
    mine, run = tmp_path / "mine", tmp_path / "run"
    shutil.copytree(photos, mine)
    broken = [mine / "train" / "03.png", mine / "val" / "05.png"]
    for path in broken:
        path.write_bytes(b"")
    words = [*quick, "--root", str(mine), "--epochs", "1"]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr("games.patchgame.play.finish", lambda *_: (_ for _ in ()).throw(OSError(28, "full", "x.png")))
        main(words)
    assert not (run / "skipped.txt").exists()
    # Nothing is left to be trained or validated on.
    assert main(["--resume", str(run)]) == 0
    assert (run / "skipped.txt").read_text().splitlines() == [str(path) for path in broken]


def test_what_another_process_has_done_since_is_not_undone(
    quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    @contextmanager
    def late(folder: Path) -> Iterator[None]:
        # Another process has had the lock while this one was building its game.
        (folder / "checkpoint.pt").write_bytes(b"of another")
        yield

    monkeypatch.setattr("games.runs.training.run_lock", late)
    said = refused(capsys, quick)
    assert f"another process has just trained {run}: look at it, then python -m games.patchgame --resume {run}" in said
    assert [path.name for path in run.iterdir()] == ["checkpoint.pt"]
    assert (run / "checkpoint.pt").read_bytes() == b"of another"


def test_ctrl_c_before_and_after_training_is_one_line(
    quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("games.patchgame.play.build", pressed)
        assert refused(capsys, quick, status=130) == "error: stopped by Ctrl-C"
    monkeypatch.setattr("games.patchgame.play.finish", pressed)
    kept = (
        f"{tmp_path / 'run' / 'checkpoint.pt'} is kept: python -m games.patchgame --resume {tmp_path / 'run'} goes on"
    )
    assert refused(capsys, [*quick, "--epochs", "1"], status=130) == f"error: stopped by Ctrl-C; {kept}"


@pytest.mark.parametrize("name", ["../x", "/abs", ".", "..", "a/../../b"])
def test_a_name_stays_inside(name: str, quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, [*quick, "--name", name])
    assert f"--name {name} leaves --out {tmp_path}" in said and not list(tmp_path.iterdir())


def test_a_file_where_the_folder_belongs_is_one_line(
    quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for words in (["--name", "file"], ["--out", str(tmp_path / "file")], ["--out", str(tmp_path / "file" / "x")]):
        assert f"{tmp_path / 'file'} is a file, and a folder is needed there" in refused(capsys, [*quick, *words])


@pytest.mark.slow
@pytest.mark.parametrize("target", ["checkpoint.pt", "log.jsonl"])
def test_a_full_disk_names_the_file_the_room_and_the_last_checkpoint(
    target: str, quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calls = tmp_path / "run", []
    if target == "checkpoint.pt":
        whole = torch.save

        def fails_later(state: object, file: Any) -> None:
            calls.append(0)
            if len(calls) > 1:
                file.file.close()
                raise OSError(28, "No space left on device")
            whole(state, file)

        monkeypatch.setattr(torch, "save", fails_later)
    else:

        def full(*_: object) -> None:
            (run / target).unlink()
            (run / target).mkdir()

        monkeypatch.setattr("patchgame_egg.training.trainer.Trainer._optimizer_step", full)
    said = refused(capsys, [*quick, "--epochs", "2"], status=1)
    assert f"error: {run / target} cannot be written (" in said and "MiB are free on its disk" in said
    assert f"{run / 'checkpoint.pt'} is kept: once that is mended, python -m games.patchgame --resume {run}" in said
    assert checkpoint.load(run / "checkpoint.pt")["position"]["step"] == 0


def test_a_file_is_written_over_only_by_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = tmp_path / "a.npz"
    there.write_text("mine")
    said = refused(capsys, [str(tmp_path), "--to", str(there)], command=record.main)
    assert f"--to {there} is there already: --force writes over it" in said and there.read_text() == "mine"
    # With it, the next thing that is wrong is found.
    assert "is not a run" in refused(capsys, [str(tmp_path), "--to", str(there), "--force"], command=record.main)
