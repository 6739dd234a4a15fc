"""How far a loop has come: nothing of short ones, few lines in a log, a bar on a terminal, all items as they were."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from torch.utils.data import DataLoader, IterableDataset

from patchgame_egg import counted as module
from patchgame_egg.counted import counted


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)

    def through(self, items: Iterator[Any], seconds: float) -> list[Any]:
        found = []
        for item in items:
            found.append(item)
            self.now += seconds
        return found


def test_short_loops_say_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert Clock(monkeypatch).through(counted(range(10), "works"), 0.19) == list(range(10))
    assert capsys.readouterr() == ("", "")


def test_long_loops_say_how_far_they_are_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Clock(monkeypatch).through(counted(range(1000), "works"), 1.0) == list(range(1000))
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["works: 2 of 1,000, about 17 minutes left", "works: 6 of 1,000, about 17 minutes left"]
    done = [int(line.split()[1]) for line in said]
    gaps = [b - a for a, b in pairwise(done)]
    assert gaps == sorted(gaps) and gaps[-1] <= 300 and len(said) < 12
    assert said[-1] == f"works: {done[-1]} of 1,000, about {(1000 - done[-1]) / 60:.0f} minutes left"


def test_what_has_no_length_is_counted_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    assert clock.through(counted(iter(range(4)), "works"), 3.0) == [0, 1, 2, 3]
    assert capsys.readouterr().err.splitlines()[0] == "works: 1"
    assert clock.through(counted(iter(range(4)), "works", total=4), 3.0) == [0, 1, 2, 3]
    assert capsys.readouterr().err.splitlines()[0] == "works: 1 of 4, about 9 seconds left"


def test_what_is_done_again_and_again_does_not_fill_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_silence", {})
    clock = Clock(monkeypatch)

    def lines(count: int, **how: bool) -> int:
        assert clock.through(counted(range(count), "plays", **how), 1.0) == list(range(count))
        return capsys.readouterr().err.count("\n")

    # After 2, 6 and 14 seconds, then after 16 more: not in the next times, until one takes longer.
    assert [lines(20, again=True) for _ in range(4)] == [3, 1, 0, 0]
    assert lines(100, again=True) > 0
    # Anything else is told of as ever.
    assert [lines(20) for _ in range(2)] == [3, 3]


def test_a_length_that_raises_is_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Stream(IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            return iter(range(4))

    loader = DataLoader(Stream(), batch_size=2)
    with pytest.raises(TypeError):
        len(loader)
    assert [batch.tolist() for batch in Clock(monkeypatch).through(counted(loader, "works"), 3.0)] == [[0, 1], [2, 3]]
    assert capsys.readouterr().err == "works: 1\n"
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", screen)
    assert len(list(counted(loader, "works"))) == 2


def test_one_process_alone_speaks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "is_rank_zero", lambda: False)
    assert Clock(monkeypatch).through(counted(range(9), "works"), 9.0) == list(range(9))
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_a_bar_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    assert list(counted(range(3), "works")) == [0, 1, 2]
    assert "works" in screen.getvalue() and "/3" in screen.getvalue()


def test_an_error_passes() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        list(counted(broken(), "works"))
