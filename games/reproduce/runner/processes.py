"""Trainings in processes of their own, which are told of the signals that reach this one."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_running: set[subprocess.Popen[bytes]] = set()
_caught: list[signal.Signals] = []


def run_apart(command: Sequence[str], output: Path) -> int:
    """Runs a command to its end.

    Args:
        command: its words.
        output: the file to which all that it says is appended.

    Returns:
        Its exit status, below 0 where a signal ended it.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("ab") as log:
        # In a session of its own, a Ctrl-C of the terminal reaches it once, through here, and not twice.
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        _running.add(process)
        try:
            # One that came between the start and the line above.
            for number in _caught:
                process.send_signal(number)
            return process.wait()
        finally:
            _running.discard(process)


@contextmanager
def signals_passed_on() -> Iterator[list[signal.Signals]]:
    """Hands Ctrl-C and SIGTERM to what `run_apart` runs: trainings then write a checkpoint and stop.

    Yields:
        The signals so far.
    """

    def hand_on(number: int, frame: FrameType | None) -> None:
        _caught.append(signal.Signals(number))
        for process in list(_running):
            process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield _caught
    finally:
        _caught.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
