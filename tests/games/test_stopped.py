"""Ctrl-C ends every command with one line and the status that shells have for it, whatever it was doing."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

COMMANDS = {
    "games.compare": ("channels", "games.reproduce.runner.training.train_all"),
    "games.sweep": ("--lr 1e-4", "games.reproduce.runner.training.train_all"),
    "games.reproduce.__main__": ("fig5", "games.reproduce.runner.training.train_all"),
    "games.reproduce.who_speaks": ("--root . --voc .", "games.reproduce.who_speaks.split"),
    "games.convert": ("release.pth --to run", "games.build.pretrained.read_weights"),
    "analysis.__main__": ("messages.jsonl", "analysis.corpus.loading.load"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_stopped_says_so(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    words, busy = COMMANDS[command]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(busy, stop)
    with pytest.raises(SystemExit) as end:
        importlib.import_module(command).main(words.split())
    assert end.value.code == 130
    assert capsys.readouterr().err == "error: stopped by Ctrl-C\n"
