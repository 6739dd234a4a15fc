"""Baselines from the command line: options are read and checked here, `games.baselines.play` does the rest."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from games.options.command_line import Start, fail, failures, parse
from games.options.methods import METHODS
from games.runs.folder import method_of

ABOUT = "\n\n".join(
    [
        "The baselines of PatchGame's Table 1: moco, vqvae, patchvae or random.",
        *(f"{method}: {' '.join(text.split())}" for method, text in METHODS.items()),
        "All other options of speaker, channel, listener and loss are ignored, as are --compile, --pictures, --corpus,"
        " --analyse-every and --annotations.",
    ]
)


def read_command(argv: Sequence[str]) -> tuple[str, Start]:
    """Reads the command line: a baseline, or a run of one to resume, and options.

    Raises:
        ValueError: a bad option, in one line.
        SystemExit: after ``--help``.
    """
    named = argv[0] if argv and not argv[0].startswith("-") else ""
    if named and named not in METHODS:
        raise ValueError(f"unknown baseline {named!r}: one of {', '.join(METHODS)}")
    choice = named or f"{{{','.join(METHODS)}}}"
    start = parse(argv[1:] if named else argv, f"python -m games.baselines {choice}", ABOUT)
    if start.config.run.init_from and start.resume is None:
        former = Path(start.config.run.init_from)
        if named and method_of(former) != named:
            raise ValueError(f"--init-from {former} is a run of {method_of(former)}, not of {named}")
    if start.resume is None:
        if not named:
            raise ValueError(f"which baseline? Say one of {', '.join(METHODS)} first")
        return named, start
    method = method_of(start.resume)
    if method not in METHODS:
        raise ValueError(f"{start.resume} is a run of games.patchgame, not of a baseline")
    if named not in ("", method):
        raise ValueError(f"{start.resume} is a run of {method}, not of {named}")
    return method, start


def main(argv: Sequence[str] | None = None) -> int:
    """Trains a baseline with the given command line, or the process's own; returns the exit status."""
    with failures():
        try:
            method, start = read_command(sys.argv[1:] if argv is None else argv)
        except ValueError as error:
            fail(error)
        # Only now: torch takes seconds to import, help and mistakes do without.
        from games.baselines.play import play
        from games.runs.device import on_device

        return on_device(start.config, lambda device: play(method, start, device))


if __name__ == "__main__":
    sys.exit(main())
