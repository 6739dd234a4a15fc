"""PatchGame from the command line: options are read and checked here, `games.patchgame.play` does the rest."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from games.options.command_line import fail, failures, parse
from games.runs.folder import check_speaks


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the game with the given command line, or the process's own; returns the exit status."""
    with failures():
        try:
            start = parse(sys.argv[1:] if argv is None else argv)
            for former in (start.resume, Path(start.config.run.init_from) if start.config.run.init_from else None):
                if former is not None:
                    check_speaks(former)
        except ValueError as error:
            fail(error)
        # Only now: torch takes seconds to import, help and mistakes do without.
        from games.patchgame.play import play
        from games.runs.device import on_device

        return on_device(start.config, lambda device: play(start, device))


if __name__ == "__main__":
    sys.exit(main())
