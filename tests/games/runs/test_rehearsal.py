"""Ways to start a run: from a file of options, or only on trial."""

from __future__ import annotations

import importlib
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import patchgame_egg
from analysis.__main__ import main as analysis
from games.baselines import main as baselines
from games.build.agents import build_game
from games.compare import main as compare
from games.options.command_line import parse
from games.options.config_file import save_config
from games.patchgame import main
from games.record import main as record
from games.reproduce.__main__ import main as reproduce

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]


def said(out: str, line: str) -> str:
    (found,) = re.findall(rf"^{line}: (.*)$", out, re.MULTILINE)
    return str(found)


def test_a_dry_run_measures_and_writes_nothing(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [*tiny, "--scenes", "80", "--epochs", "3", "--accumulate", "4", "--cache", "auto", "--name", "run"]
    assert main([*options, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert said(out, "images") == "80 to train on, 32 held out"
    game = build_game(parse(options).config)
    count = sum(p.numel() for p in game.parameters())
    assert said(out, "parameters").startswith(f"{count / 1e6:.1f} M (speaker ")
    # Ten batches of 8 images, four of them a step, the last one of two.
    assert said(out, "steps") == "3 an epoch, 9 in 3 epochs, of 32 images each"
    assert re.search(r"a step takes [\d.]+ s, measured on 3\n", out)
    assert 0 < float(said(out, "memory").split()[0]) < 100
    assert said(out, "time to expect")


def test_the_time_to_expect_is_that_of_all_steps(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr("games.runs.rehearsal.perf_counter", lambda: 10.0 * next(ticks))
    options = ["--scenes", "40", "--epochs", "2", "--candidates", "16", "--out", str(tmp_path), "--dry-run"]
    assert main([*tiny, *options]) == 0
    out = capsys.readouterr().out
    # Two epochs of 5 steps of 10 s, and of 2 groups, each played twice, in 10 s: 100 s and 80 s.
    assert said(out, "time to expect") == "3.0 minutes, of which evaluation takes 1.3 minutes"


def test_a_dry_run_of_a_baseline(tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for method, line in (("moco", "a step takes"), ("random", "nothing is learnt")):
        assert baselines([method, *tiny, "--epochs", "1", "--out", str(tmp_path), "--dry-run"]) == 0
        out = capsys.readouterr().out
        assert f"{method}-scenes-1: a dry run" in out and line in out
    assert not list(tmp_path.iterdir())


def test_a_dry_run_fails_as_a_run_would(tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in (
        (["--resume", str(tmp_path)], "--dry-run tries a new run: leave --resume out"),
        (["--batch-size", "64"], "32 images to train on are less than --batch-size 64"),
        (["--lr", "1e30", "--grad-norm", "None"], "the loss is nan at step"),
    ):
        with pytest.raises(SystemExit) as stop:
            main([*tiny, *options, "--dry-run", "--out", str(tmp_path / "runs")])
        assert stop.value.code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_options_can_come_from_a_file(tiny: list[str], tmp_path: Path) -> None:
    first = parse([*tiny, "--preset", "paper", "--name", "first", "--blur", "0.5", "0.25", "--seed", "7"])
    file = tmp_path / "config.json"
    save_config(first.config, first.preset, file)
    unnamed = replace(first.config, run=replace(first.config.run, name=""))
    again = parse(["--config", str(file)])
    assert (again.config, again.preset, again.resume) == (unnamed, "paper", None)
    assert parse(["--config", str(tmp_path)]).config == unnamed
    over = parse(["--vocab", "32", "--config", str(file), "--name", "second"]).config
    assert over.speaker.vocab == 32 and over.run.name == "second" and over.images.blur == (0.5, 0.25)
    (tmp_path / "other.json").write_text("{}")
    for words, message in (
        (["--config", str(tmp_path / "none.json")], r"--config .*none\.json: there is no file .*none\.json; give the"),
        (["--config", str(tmp_path / "other.json")], "does not hold the options of a run"),
        (["--config", str(file), "--preset", "paper"], "--config and --preset both say where the options start"),
        (["--config", str(file), "--resume", "runs/x"], "--config and --resume both say"),
        (["--config", str(file), "--vocab", "1"], "--vocab 1: must be at least 2"),
    ):
        with pytest.raises(ValueError, match=message):
            parse(words)


@pytest.mark.parametrize(
    "words",
    [(main,), (baselines, "moco"), (record,), (compare,), (reproduce,), (analysis,), (analysis, "compare")],
    ids=lambda words: words[0].__module__,
)
def test_commands_say_their_version(words: tuple, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[type-arg]
    with pytest.raises(SystemExit) as stop:
        words[0]([*words[1:], "--version"])
    assert not stop.value.code
    assert capsys.readouterr().out == f"patchgame_egg {PROJECT['version']}\n"
    assert patchgame_egg.__version__ == PROJECT["version"]


def test_installed_commands_are_those_of_the_modules() -> None:
    assert set(PROJECT["scripts"]) == {"patchgame", "patchgame-analysis", "patchgame-reproduce"}
    for goal in PROJECT["scripts"].values():
        module, _, name = goal.partition(":")
        assert getattr(importlib.import_module(module), name) in (main, analysis, reproduce)
    assert torch.get_num_threads() == 1
