"""A run as a page in a browser: drop an image, see which patches speak, what they say, and which images are picked.

    python -m analysis play runs/first
    python -m analysis play shared/first --images photos

The page is for this machine alone, and ends with Ctrl-C. Images that are dropped are not kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from games.options.command_line import fail, failures, pick_device
from patchgame_egg import __version__

_PORTS = range(2**16)


def main(argv: Sequence[str] | None = None) -> int:
    """Serves a run until it is interrupted; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis play", description=__doc__, allow_abbrev=False, exit_on_error=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.error = lambda message: fail(f"{message} (--help lists all)")  # type: ignore[method-assign, assignment]
    parser.add_argument("--version", action="version", version=f"patchgame_egg {__version__}")
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of a finished run, or one that was shared")
    parser.add_argument(
        "--images", metavar="FOLDER", type=Path, default=None,
        help="among whose images the listener chooses; if not given, the run's own, or built-in scenes drawn anew",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=8000, help="of this machine; 0: any that is free")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    asked = parser.parse_args(argv)
    if asked.port not in _PORTS:
        fail(f"--port {asked.port}: must be between 0 and {_PORTS[-1]}")
    if not asked.run.is_dir():
        fail(f"{asked.run} is no folder: give a run, such as runs/first")
    if asked.images is not None and not asked.images.is_dir():
        fail(f"--images {asked.images} is no folder: give one with images")
    # Only now: torch takes seconds to import, help and mistakes do without.
    from games.runs.trained import load
    from games.serve.answers import Answers
    from games.serve.server import serve

    with failures():
        try:
            pick_device(asked.device)
            answers = Answers(load(asked.run, asked.device), asked.images)
            server = serve(answers, asked.port)
            if answers.gallery.origin:
                print(f"the listener chooses among {answers.gallery.origin}", flush=True)
            else:
                print(f"{asked.run} keeps no images for the listener to choose among: --images FOLDER gives it some")
            answers.prepare()
        except ValueError as error:
            fail(error)
        print(f"{asked.run} plays at http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")
        finally:
            server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
