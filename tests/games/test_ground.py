"""``--ground``: which sentences are read, checked before anything is trained; a run that resumes; the experiment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.corpus.corpus import Corpus
from games import load
from games.options.command_line import parse
from games.patchgame import main
from games.record import main as record
from games.reproduce.__main__ import main as reproduce
from games.runs.corpus import ground_captions
from patchgame_egg.data.scenes import Scenes
from patchgame_egg.training.log_file import read_log


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--ground-share", "0.5"], "--ground-share is a share of the sentences of --ground, which is not given"),
        (["--ground", "scenes", "--ground-share", "0"], "--ground-share 0.0: must be above 0 and at most 1"),
        (["--ground", "scenes", "--ground-share", "1.5"], "--ground-share 1.5"),
        (["--ground", "a.jsonl"], "--ground a.jsonl does not go with --data scenes"),
        (["--ground", "scenes", "--data", "folder", "--root", "x"], "--ground scenes does not go with --data folder"),
        (["--ground", "scenes", "--channel", "reinforce"], "--ground does not go with --channel reinforce"),
    ],
)
def test_mistakes_end_in_one_line(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and why in said and said.count("\n") == 1


def test_a_share_of_the_sentences_is_drawn_by_the_seed() -> None:
    scenes = Scenes(40, 32)
    drawn = []
    for seed in ("0", "0", "1"):
        config = parse(["--ground", "scenes", "--ground-share", "0.25", "--seed", seed]).config
        captions, said = ground_captions(config, scenes)
        assert said == "ground: sentences about 10 of 40 images to train on are read" and len(captions) == 40
        drawn.append([bool(sentences) for sentences in captions])
    assert drawn[0] == drawn[1] != drawn[2] and sum(drawn[2]) == 10
    assert ground_captions(parse([]).config, scenes) == ([], "")


@pytest.mark.slow
def test_a_grounded_run_learns_resumes_and_is_opened(tmp_path: Path, tiny: list[str]) -> None:
    words = [*tiny, "--out", str(tmp_path), "--ground", "scenes", "--ground-share", "0.5", "--no-pictures"]
    assert main([*words, "--name", "whole", "--epochs", "2"]) == 0
    losses = [r["loss"] for r in read_log(tmp_path / "whole/log.jsonl") if r["kind"] == "train"]
    assert any(r.get("ground_loss", 0) > 0 for r in read_log(tmp_path / "whole/log.jsonl") if r["kind"] == "train")
    assert main([*words, "--name", "parts", "--epochs", "1"]) == 0
    assert main(["--resume", str(tmp_path / "parts"), "--epochs", "2"]) == 0
    resumed = [r["loss"] for r in read_log(tmp_path / "parts/log.jsonl") if r["kind"] == "train"]
    # The rates of one epoch and of two differ, the draws do not.
    assert len(resumed) == len(losses) and np.isfinite(resumed).all()
    assert json.loads((tmp_path / "whole/config.json").read_text())["loss"]["ground_share"] == 0.5
    spoken = load(tmp_path / "whole").speak([Image.fromarray(Scenes(1, 32).scene(0).image.transpose(1, 2, 0))] * 3)
    assert len(spoken.symbols) == 3
    alone = ["--init-from", str(tmp_path / "whole"), "--out", str(tmp_path), "--no-pictures", "--no-corpus"]
    assert main([*alone, "--name", "next", "--epochs", "1"]) == 0
    with pytest.raises(SystemExit):
        main(["--resume", str(tmp_path / "whole"), "--epochs", "3", "--ground-share", "0.1"])
    # Sentences are about images of the training: others need none, or have their own.
    for number, scene in enumerate(map(Scenes(40, 32).scene, range(40))):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(scene.image.transpose(1, 2, 0)).save(tmp_path / f"photos/{number}.png")
    others = ["--data", "folder", "--root", str(tmp_path / "photos")]
    assert record([str(tmp_path / "whole"), *others, "--to", str(tmp_path / "others.npz")]) == 0
    assert Corpus.load(tmp_path / "others.npz").info["config"]["loss"]["ground"] == "scenes"
    words = ["--val-share", "0.4", "--ground", "", "--ground-share", "1", "--name", "other", "--epochs", "1"]
    assert main([*alone, *others, *words]) == 0


@pytest.mark.slow
def test_the_curve_over_the_share_of_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("games.reproduce.ground.SHARES", (0.0, 1.0))
    assert reproduce(["ground", "--out", str(tmp_path), "--device", "cpu", "--candidates", "64"]) == 0
    table = json.loads((tmp_path / "toy/ground/table.json").read_text())
    assert [row["share"] for row in table] == ["0", "1"] and all(np.isfinite(row["bits"]) for row in table)
    lines = (tmp_path / "toy/ground/table.md").read_text().splitlines()
    assert lines[2].startswith("| 0 %") and lines[3].startswith("| 100 %") and lines[2].endswith("|  |")
    with pytest.raises(SystemExit):
        reproduce(["ground", "--out", str(tmp_path), "--data", "cifar10", "--root", "x"])
