"""A run of version 0.1.0, before the folders, loads, is analysed and goes on.

It was made at commit 1c2affe by ``python -m games.patchgame`` with the tests' tiny options (networks of width 2,
``--candidates 16 --workers 0``), its language by ``python -m games.record RUN --images 48``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis import compare, load, measure
from analysis.corpus.corpus import dotted
from games.options import config_file
from games.patchgame import main
from games.record import main as record
from games.runs.load import load_game, load_trunk
from patchgame_egg import read_log
from tests.support.tiny import LEAST_HELD_OUT

FORMER = Path(__file__).parent / "run_of_0_1_0"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Which scenes are held out depends on how many there are.
    monkeypatch.setattr("patchgame_egg.data.sources.LEAST_HELD_OUT", LEAST_HELD_OUT)
    folder = tmp_path / "runs" / "former"
    shutil.copytree(FORMER, folder)
    config = folder / "config.json"
    options = json.loads(config.read_text())
    options["run"]["out"] = str(folder.parent)
    config.write_text(json.dumps(options))
    return folder


@pytest.mark.slow
def test_its_language_is_played_again_to_the_symbol(run: Path) -> None:
    before = load(run)
    assert record([str(run), "--images", "48", "--device", "cpu"]) == 0
    after = load(run)
    assert (after.symbols == before.symbols).mean() > 0.99
    assert before.keep_prob is not None and after.keep_prob is not None
    np.testing.assert_allclose(after.keep_prob, before.keep_prob, atol=1e-4)
    # Then, those of at least 1/2 spoke in evaluation, 7 to 11 of 16; now as many as speak in training.
    assert (after.mask.sum(1) == 9).all() and (after.mask == before.mask).mean() > 0.9
    np.testing.assert_array_equal(after.images, before.images)
    assert len(measure(after, permutations=3)) > 50


def test_it_is_compared_by_what_it_did(run: Path) -> None:
    assert dotted(config_file._FORMER) == compare._FORMER
    options = json.loads((run / "config.json").read_text())
    for name in ("alike", "mirrored"):
        options["speaker"] |= {"rank_padding": "zeros", "rank_mirrored": name == "mirrored"}
        options["images"]["view_ramp"] = 0.0
        (run.parent / name).mkdir()
        (run.parent / name / "config.json").write_text(json.dumps(options))
    runs = [run, run.parent / "alike", run.parent / "mirrored"]
    assert compare.name_variants(runs[:2]) == ["all alike"] * 2
    assert compare.name_variants(runs) == [f"rank_mirrored {x}" for x in (False, False, True)]


def test_its_networks_load(run: Path) -> None:
    game, config = load_game(run, torch.device("cpu"))
    assert (config.speaker.rank_padding, config.speaker.rank_mirrored) == ("zeros", False)
    assert config.images.view_ramp == 0
    assert config.speaker.vocab == 16 and sum(p.numel() for p in game.parameters()) > 10_000
    assert load_trunk(run, torch.device("cpu")).trunk(torch.zeros(1, 3, 32, 32)).shape[0] == 1


@pytest.mark.slow
def test_it_goes_on(run: Path) -> None:
    before = read_log(run / "log.jsonl")
    assert main(["--resume", str(run), "--epochs", "2"]) == 0
    after = read_log(run / "log.jsonl")
    assert after[: len(before)] == before and max(r["epoch"] for r in after) == 2
