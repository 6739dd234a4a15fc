"""Trainings in processes of their own, which are told of the signals that reach this one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Self

# Between looks at a process that is to be stopped for what it has done.
_SECONDS_BETWEEN_LOOKS = 1.0


class ChildProcesses:
    """Commands that run beside this process, from several threads. Entered, it hands Ctrl-C and SIGTERM on to them.

    Trainings then write a checkpoint and stop.

    Attributes:
        caught: the signals so far.
    """

    def __init__(self) -> None:
        self.caught: list[signal.Signals] = []
        self._running: set[subprocess.Popen[bytes]] = set()
        self._before: dict[signal.Signals, Any] = {}

    def run(self, command: Sequence[str], output: Path, stops: Callable[[], bool] | None = None) -> int:
        """Runs a command to its end.

        Args:
            command: its words.
            output: the file to which all that it says is appended.
            stops: asked every second: whether it is enough. The command is then stopped as by Ctrl-C.

        Returns:
            Its exit status, below 0 where a signal ended it.
        """
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("ab") as log:
            # In a session of its own, a Ctrl-C of the terminal reaches it once, through here, and not twice.
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            self._running.add(process)
            try:
                # One that came between the start and the line above.
                for number in self.caught:
                    process.send_signal(number)
                while stops is not None:
                    try:
                        return process.wait(_SECONDS_BETWEEN_LOOKS)
                    except subprocess.TimeoutExpired:
                        if stops():
                            process.send_signal(signal.SIGINT)
                            stops = None
                return process.wait()
            finally:
                self._running.discard(process)

    def stop(self) -> None:
        """Stops all as SIGTERM does, and waits for their ends; for a signal handler, which may interrupt `run`."""
        self._hand_on(signal.SIGTERM, None)
        for process in list(self._running):
            # Popen.wait holds a lock, which whoever was interrupted has; this waits beside it.
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        self.caught.append(signal.Signals(number))
        for process in list(self._running):
            process.send_signal(number)
