"""``--precision auto`` and ``--no-keep-memory``: what a run takes, says, writes down and keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from games.build import trainer
from games.options.command_line import parse
from games.patchgame import main
from games.runs import device
from games.runs.device import with_precision
from games.runs.folder import find_run


def recorded(run: Path) -> str:
    return str(json.loads((run / "config.json").read_text())["training"]["precision"])


@pytest.mark.slow
def test_a_run_keeps_the_format_that_it_began_in(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*tiny, "--out", str(tmp_path), "--epochs", "1", "--no-tensorboard", "--no-pictures"]
    formats: dict[str, str] = {}
    for here in ("bf16", "fp32"):
        monkeypatch.setattr(trainer, "native_precision", lambda device, here=here: here)
        assert main([*words, "--name", here]) == 0
        assert f"on 1 x cpu in {here}\n" in capsys.readouterr().out
        formats[here] = recorded(tmp_path / here)
    assert formats == {"bf16": "bf16", "fp32": "fp32"}
    # On a machine that is fast in the other format: on request too, and where torchrun starts the command again.
    for again in ([], ["--precision", "auto"]):
        assert main(["--resume", str(tmp_path / "bf16"), "--epochs", str(2 + len(again)), *again]) == 0
        assert "on 1 x cpu in bf16\n" in capsys.readouterr().out and recorded(tmp_path / "bf16") == "bf16"
    start, folder = find_run(parse([*words, "--name", "bf16"]), again=True)
    assert with_precision(start, torch.device("cpu")).config.training.precision == "bf16"
    # A nameless run that is started again is found by options that say auto.
    (tmp_path / "bf16").rename(tmp_path / "small-scenes-1")
    config = json.loads((tmp_path / "small-scenes-1" / "config.json").read_text())
    config["run"]["name"], config["training"]["epochs"] = "", 1
    (tmp_path / "small-scenes-1" / "config.json").write_text(json.dumps(config))
    start, folder = find_run(parse(words), again=True)
    assert start.resume == folder == tmp_path / "small-scenes-1"
    # Another format changes at once.
    assert main(["--resume", str(folder), "--epochs", "5", "--precision", "fp32"]) == 0
    assert recorded(folder) == "fp32"


def test_freed_memory_is_kept_unless_the_options_say_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    monkeypatch.setattr(device, "keep_freed_memory", lambda: kept.append(True))
    config = parse(["--device", "cpu"]).config
    assert device.on_device(config, lambda where: 0) == 0 and kept == [True]
    config = replace(config, run=parse(["--no-keep-memory"]).config.run)
    assert device.on_device(config, lambda where: 0) == 0 and kept == [True]
