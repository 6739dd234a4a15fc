"""Benchmarks in two checkouts: whose script and whose package runs, in which turn, and what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

SCRIPT = """
import json, os, sys
from pathlib import Path
from patchgame_egg import NUMBER
told = Path(os.environ["TURNS"])
told.write_text(told.read_text() + NAME)
Path(sys.argv[-1]).write_text(json.dumps({"s": {"mean": NUMBER * len(told.read_text())}, "words": sys.argv[1:-2]}))
"""


def checkout(folder: Path, number: int, name: str | None) -> Path:
    """A package that has a number, and a benchmark if it has a name."""
    (folder / "patchgame_egg").mkdir(parents=True)
    (folder / "patchgame_egg/__init__.py").write_text(f"NUMBER = {number}")
    if name is not None:
        (folder / "tests/benchmarks").mkdir(parents=True)
        (folder / "tests/benchmarks/fake.py").write_text(f"NAME = {name!r}{SCRIPT}")
    return folder


@pytest.mark.process
@pytest.mark.parametrize("name, turns", [("b", "abab"), (None, "aaaa")])
def test_turns_go_from_one_checkout_to_the_other(
    name: str | None, turns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import beside

    here, there = checkout(tmp_path / "here", 10, "a"), checkout(tmp_path / "there", 1, name)
    monkeypatch.setattr(beside, "HERE", here)
    monkeypatch.setenv("TURNS", str(tmp_path / "turns"))
    (tmp_path / "turns").write_text("")
    script = str(here / "tests/benchmarks/fake.py")
    assert not beside.compared(script, ["--size", "3"])
    assert beside.compared(script, ["--size", "3", "--beside", str(there), "--turns", "2"])
    assert (tmp_path / "turns").read_text() == turns
    # Turns 1 and 3 are here: 10 and 30; 2 and 4 are there: 2 and 4.
    assert "| s mean | 20 | 3 | 6.667 |" in capsys.readouterr().out


def test_what_is_no_checkout_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import beside

    with pytest.raises(SystemExit):
        beside.compared("step.py", ["--beside", str(tmp_path)])
    assert capsys.readouterr().err == f"error: --beside {tmp_path}, --turns 3: a checkout and at least 1\n"
