"""From the command line, or a run's saved options, to a `Config`; mistakes end in one line."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import tyro

from games.options.checks import check
from games.options.config import Config
from games.options.config_file import load_config, run_of
from games.options.presets import PRESETS
from games.options.resume import check_initialised, check_resumed
from games.runs.files import CONFIG
from patchgame_egg import __version__
from patchgame_egg.atomic_write import NotWritten
from patchgame_egg.data.names import print_any_name
from patchgame_egg.distributed.peers_lost import PeersLost

if TYPE_CHECKING:
    import torch

_Options = TypeVar("_Options")
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Start:
    """What the command line asks for.

    Attributes:
        config: all options.
        preset: the preset that they started from.
        resume: the run to go on with, or None.
        dry_run: say what would be done, and write nothing.
        found: what told the run's checkpoint from later ones when the run was found, None without one.
    """

    config: Config
    preset: str
    resume: Path | None
    dry_run: bool = False
    found: tuple[int, ...] | None = None


def parse(argv: Sequence[str], prog: str = "python -m games.patchgame", about: str | None = None) -> Start:
    """Reads the command line: a preset, a file of options or a run to resume, then any option over it.

    Args:
        argv: the words.
        prog: the command, for ``--help``.
        about: what it does, for ``--help``; None: what the options say of themselves.

    Raises:
        ValueError: a bad option, in one line.
        SystemExit: after ``--help`` and ``--version``.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--preset", default=None)
    first.add_argument("--resume", type=Path, default=None)
    first.add_argument("--init-from", type=Path, default=None)
    first.add_argument("--config", type=Path, default=None)
    first.add_argument("--dry-run", action="store_true")
    try:
        known, rest = first.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from error
    if known.resume is not None and known.init_from is not None:
        raise ValueError("--init-from starts a new run: leave --resume out")
    former = known.resume or known.init_from
    if former is not None and known.preset is not None:
        option = "--resume" if known.resume else "--init-from"
        raise ValueError(f"{option} takes up the run's own options: leave --preset out")
    if known.config is not None and (former is not None or known.preset is not None):
        other = "--preset" if former is None else "--resume" if known.resume else "--init-from"
        raise ValueError(f"--config and {other} both say where the options start: leave one of them out")
    if known.dry_run and known.resume is not None:
        raise ValueError("--dry-run tries a new run: leave --resume out")
    preset = known.preset or "small"
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: one of {', '.join(PRESETS)}")
    default = PRESETS[preset]
    if former is not None:
        former = run_of(former)
        default, preset = load_config(former / CONFIG)
    if known.init_from is not None:
        default = replace(default, run=replace(default.run, name="", init_from=str(former)))
    if known.config is not None:
        default, preset = _options_of(known.config)
    description = (
        f"{inspect.cleandoc(about or Config.__doc__ or '')}\n\n"
        f"--preset small|paper|released   where the options start (now {preset})\n"
        "--resume RUN                    go on with the run in that folder\n"
        "--config FILE                   start a new run from the options of another, its config.json\n"
        "--dry-run                       say what would be done, from a few steps, and write nothing\n"
        "--version                       say which version this is\n"
    )
    config = read_options(Config, rest, prog, description, default)
    if known.resume is not None:
        check_resumed(config, default, former)
    elif known.init_from is not None:
        check_initialised(config, default, former)
    elif config.run.frozen_speaker:
        config = _with_speaker_of(config, Path(config.run.frozen_speaker))
    check(config)
    if known.dry_run:
        # What is fetched or kept for all runs is written too.
        config = replace(config, images=replace(config.images, cache="", download=False))
    return Start(config, preset, former if known.resume is not None else None, known.dry_run)


def _options_of(path: Path) -> tuple[Config, str]:
    """The options of any run, to start another from: all but its name.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    file = path / CONFIG if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"--config {path}: there is no file {file}; give the {CONFIG} of a run")
    config, preset = load_config(file)
    return replace(config, run=replace(config.run, name="")), preset


def _with_speaker_of(config: Config, run: Path) -> Config:
    # A run that is resumed has its speaker already, and the run that it came from may be gone.
    taught, _ = load_config(run / CONFIG)
    return replace(
        config,
        speaker=replace(taught.speaker, speakers=config.speaker.speakers),
        channel=taught.channel,
        images=replace(config.images, image_size=taught.images.image_size, load_size=taught.images.load_size),
    )


def read_options(
    kind: type[_Options], argv: Sequence[str], prog: str, description: str, default: _Options | None = None
) -> _Options:
    """Reads a command line into a dataclass of options.

    Args:
        kind: the dataclass.
        argv: the words.
        prog: the command, for ``--help``.
        description: of the command, for ``--help``.
        default: where the options start; None: at the dataclass's own defaults.

    Raises:
        ValueError: a bad option, in one line.
        SystemExit: after ``--help`` and ``--version``.
    """
    print_any_name()
    if "--version" in argv:
        print(f"patchgame_egg {__version__}")
        raise SystemExit(0)
    said = io.StringIO()
    try:
        # Trainings that are played several at a time read theirs in threads; tyro's caches are for one at a time, and
        # so is where errors go.
        with _one_at_a_time, contextlib.redirect_stderr(said):
            return tyro.cli(
                kind,
                prog=prog,
                description=description,
                default=tyro.MISSING_NONPROP if default is None else default,
                args=list(argv),
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ValueError(_one_line(said.getvalue())) from None


def pick_device(name: str) -> torch.device:
    """The device behind ``--device``.

    Raises:
        ValueError: no such device here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name}: {str(error).splitlines()[0]}") from error
    return device


def _one_line(box: str) -> str:
    """The message inside the box that tyro draws around an error, in line-drawing characters or in ASCII."""
    message: list[str] = []
    for line in (line.strip("│ ") for line in box.splitlines()[1:]):
        rule = not line.strip("─-╰╯ ")
        if rule and message:
            break
        if not rule:
            message.append(line)
    suggestion = re.search(r"Perhaps you meant:\s*[│\s]*(--[\w-]+)", box)
    return " ".join(message) + (f"; did you mean {suggestion[1]}?" if suggestion else "") + " (--help lists all)"


def fail(message: object, status: int = 2) -> NoReturn:
    """Ends the program with one line on stderr; who goes on all the same finds the line as a note.

    Args:
        message: what is wrong, and what to do.
        status: 2 for a wrong request, 1 for a failure.
    """
    line = " ".join(str(message).split())
    print(f"error: {line}", file=sys.stderr)
    end = SystemExit(status)
    end.add_note(line)
    raise end


@contextlib.contextmanager
def failures(kept: Callable[[], str] = str) -> Iterator[None]:
    """Ends the program with one line and status 1 where a file cannot be read or written, or a process is lost.

    Ctrl-C ends it with one line, too, and the status that shells have for it, 130.

    Args:
        kept: what to say of what is not lost, asked for when it is needed.

    Raises:
        SystemExit: see above.
    """
    try:
        yield
    except KeyboardInterrupt:
        # While a run is trained, it is no error; before that, after it, or the second time.
        fail(f"stopped by Ctrl-C{kept().replace('once that is mended, ', '')}", 130)
    except BrokenPipeError:
        # Whoever read what is printed has gone, as head does; there is nobody left to tell.
        raise
    except NotWritten as error:
        fail(f"{error}{kept()}", 1)
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename is not None else error
        fail(f"{named}{kept()}", 1)
    except PeersLost as error:
        fail("".join([str(error), *getattr(error.__cause__, "__notes__", [kept()])]), 1)
