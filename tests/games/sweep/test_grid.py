"""Grids of options: which runs they are, that each is played once, and that wrong ones end before any is played."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path

import pandas as pd
import pytest

from games.options.command_line import parse
from games.sweep import main, read_grid, split_words, trainings
from tests.support.tiny import TINY


def test_a_grid_of_egg_is_all_its_combinations(tmp_path: Path) -> None:
    file = tmp_path / "grid.json"
    grid = {"lr": [0.001, 5e-05], "random_seed": [1, 2], "vocab_size": [8, 16], "n_epochs": 3, "pictures": False,
            "context": [True, False], "speaker": "patch", "keep": None, "blur": [[0.1, 0.2], [0, 1]]}  # fmt: skip
    file.write_text(json.dumps(grid))
    found = trainings(read_grid(file))
    configs = [(training.seed, parse([*TINY, *training.words]).config) for _, training in found]
    asked = {
        (seed, c.training.lr, c.speaker.vocab, c.training.epochs, c.run.pictures, c.speaker.context, c.images.blur)
        for seed, c in configs
    }
    expected = itertools.product([1, 2], [0.001, 5e-05], [8, 16], [3], [False], [True, False], [(0.1, 0.2), (0, 1)])
    assert asked == set(expected) and len(found) == len(asked) == 32
    assert [training.seed for _, training in found] == [1] * 16 + [2] * 16
    names, first = found[0]
    assert names == {
        "variant": "lr 0.001, vocab 8, context true, blur 0.1 0.2",
        "lr": "0.001", "vocab": "8", "context": "true", "blur": "0.1 0.2",
    }  # fmt: skip
    assert first.name == "lr-0.001_vocab-8_context-true_blur-0.1-0.2"


def test_words_are_a_grid_too() -> None:
    words = "--lr 1e-4 5e-4 --blur 0.1 0.2 0.3 0.4 --no-pictures --fixed-len --root=photos --seed 0 1"
    assert split_words(words.split()) == {
        "lr": [("1e-4",), ("5e-4",)],
        "blur": [("0.1", "0.2"), ("0.3", "0.4")],
        "pictures": [("false",)],
        "fixed-len": [("true",)],
        "root": [("photos",)],
        "seed": [("0",), ("1",)],
    }
    assert [t.name for _, t in trainings({"epochs": [("1",)]})] == ["all"]


@pytest.mark.slow
def test_every_run_is_played_once_and_all_are_one_table(
    tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photos = {"data": "folder", "root": str(photo_folder)}
    Path("grid.json").write_text(json.dumps({"vocab_size": [8, 99], "random_seed": 3, **photos}))
    tiny = [w for w in TINY if w != "--no-corpus"]
    del tiny[tiny.index("--vocab") : tiny.index("--vocab") + 2]
    # What is given beside the file counts over it.
    words = ["grid.json", *tiny, "--vocab", "8", "12", "--epochs", "1", "--no-tensorboard", "--permutations", "2"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.count("== ") == 2 and "best: vocab " in out
    frame = pd.read_csv("runs/sweep/table.csv")
    assert frame[["vocab", "seed"]].to_numpy().tolist() == [[8, 3], [12, 3]]
    for vocab in (8, 12):
        metrics = json.loads(Path(f"runs/sweep/vocab-{vocab}-3/metrics.json").read_text())
        assert frame.retrieval[frame.vocab == vocab].item() == pytest.approx(100 * metrics["two_views_acc"])
    assert {p.name for p in Path("runs/sweep").iterdir()} >= {"table.md", "learning.png", "comparison"}
    assert {p.name for p in Path("runs/sweep/comparison").iterdir()} == {"table.csv", "metrics.png"}
    assert main(words) == 0
    assert "== " not in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main([*words, "--lr", "0.1"])
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert "was trained otherwise: lr is 0.0005, asked for is 0.1" in said and "\n" not in said


def test_a_dry_run_lists_what_can_be_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--vocab", "8", "16", "--seed", "0", "1", "--folder", "runs/mine", "--dry-run"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == "4 runs in runs/mine"
    asked = [parse(shlex.split(line)[3:]).config for line in lines]
    assert [(c.speaker.vocab, c.training.seed) for c in asked] == [(8, 0), (16, 0), (8, 1), (16, 1)]
    assert {c.run.out for c in asked} == {"runs/mine"} and len({c.run.name for c in asked}) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to sweep: give a file"),
        (["none.json"], "none.json cannot be read"),
        (["list.json"], "list.json holds a list: a grid is an object"),
        (["text.json"], "text.json is not JSON"),
        (["empty.json"], "empty.json: lr has no value"),
        (["nested.json"], 'nested.json: lr is {"a": 1}: values are'),
        (["twice.json"], "twice.json gives --vocab twice"),
        (["again.json"], "again.json is not JSON: 'vocab' is there twice"),
        (["--lr", "1e-4", "--lr", "1e-3"], "--lr is given twice"),
        (["--lr", "1e-4", "1e-4"], "two runs would be called lr-1e-4-0"),
        (["--hidden", "10", "20"], "--hidden"),
        (["--vocab", "8", "1"], "--vocab 1: must be at least 2"),
        (["--blur", "0.1", "0.2", "0.3"], "--blur takes 2 numbers at a time, given are 3"),
        (["--seed", "a"], "--seed a: a whole number"),
        (["--name", "x"], "--name is set for each run here"),
        (["--lr", "1", "--jobs", "0"], "--jobs 0: must be at least 1"),
        (["--lr", "1", "--task", "3/2"], "--task '3/2'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_swept_is_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (
        ("list", "[1]"), ("text", "lr: 1"), ("empty", '{"lr": []}'), ("nested", '{"lr": [{"a": 1}]}'),
        ("twice", '{"vocab": 8, "vocab_size": 16}'), ("again", '{"vocab": 8, "vocab": 16}'),
    ):  # fmt: skip
        Path(f"{name}.json").write_text(text)
    with pytest.raises(SystemExit) as stop:
        main(words)
    said = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and said.startswith("error: ") and message in said and "\n" not in said
    assert not Path("runs").exists()
