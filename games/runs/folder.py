"""A run's folder: how it is called, what was played in it, and which one a command goes on with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from games.options.command_line import Start
from games.options.config_file import load_config
from games.options.resume import as_recorded
from games.runs.files import CHECKPOINT, CONFIG, IMAGES_SEEN, LOCK, LOG, METHOD, TENSORBOARD
from patchgame_egg.text_files import read_text


def method_of(run: Path) -> str:
    """What a run trains: ``patchgame``, or a baseline of `games.baselines`.

    Raises:
        ValueError: its file is damaged.
    """
    path = run / METHOD
    try:
        return str(json.loads(read_text(path))["method"]) if path.exists() else "patchgame"
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not say what the run trains: {error}") from error


def check_speaks(run: Path) -> None:
    """Looks whether a run is one of PatchGame, whose agents have a language.

    Raises:
        ValueError: it is a baseline's.
    """
    method = method_of(run)
    if method != "patchgame":
        raise ValueError(
            f"{run} is a run of {method}: only runs of games.patchgame have a language "
            f"(python -m games.baselines --resume {run} trains this one on)"
        )


# What a run leaves that was killed before its first checkpoint.
_BEGINNINGS = {CONFIG, METHOD, IMAGES_SEEN, LOG, LOCK, TENSORBOARD}


def is_unbegun(folder: Path) -> bool:
    """Whether a run was killed before its first checkpoint: its folder holds no step, and nothing of anybody else."""
    if not folder.is_dir():
        return False
    names = {path.name.removesuffix(".tmp") for path in folder.iterdir()}
    if (folder / CHECKPOINT).exists() or names - _BEGINNINGS - {CHECKPOINT}:
        return False
    log = folder / LOG
    return not log.exists() or log.stat().st_size == 0


def checkpoint_stamp(folder: Path) -> tuple[int, ...] | None:
    """What tells a run's checkpoint from every later one, which is another file; None where there is none."""
    try:
        status = (folder / CHECKPOINT).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def find_run(start: Start, again: bool, kind: str = "") -> tuple[Start, Path]:
    """The run that a command plays: one to resume, or a new one, named by ``--name`` or counted up.

    Args:
        start: what the command line asks for.
        again: torchrun or SLURM has started the command once more. It then goes on with its own run: the named one, or
            else the newest of the same preset, images and options.
        kind: what nameless runs are named after; empty: the preset.

    Returns:
        What to start, with ``resume`` set if there is a checkpoint to go on from and ``found``, and the run's folder.

    Raises:
        ValueError: the named run is there already, and this is not ``again``; or the run to resume has no checkpoint.
    """
    start, folder = _find(start, again, kind)
    return replace(start, found=checkpoint_stamp(folder)), folder


def _find(start: Start, again: bool, kind: str) -> tuple[Start, Path]:
    out, name = Path(start.config.run.out), start.config.run.name
    if start.resume is not None:
        if is_unbegun(start.resume):
            # Killed before its first checkpoint: nothing was learnt, and nothing is lost by beginning anew.
            return replace(start, resume=None), start.resume
        return start, start.resume
    for place in (out, *out.parents, *([out / name] if name else [])):
        if place.exists() and not place.is_dir():
            raise ValueError(f"{place} is a file, and a folder is needed there: give another --out or --name")
    if name:
        folder = out / name
        if folder.exists() and not again and not is_unbegun(folder):
            if not (folder / CHECKPOINT).exists():
                raise ValueError(f"{folder} exists and holds no checkpoint to go on from: give another --name")
            raise ValueError(f"the run {folder} exists: --resume {folder} goes on with it, another --name starts anew")
    else:
        stem = f"{kind or start.preset}-{start.config.images.data}"
        number = 1
        while (out / f"{stem}-{number}").exists():
            number += 1
        earlier = _newest_with_options(start, out.glob(f"{stem}-*/{CONFIG}")) if again else None
        folder = earlier or out / f"{stem}-{number}"
    if again and (folder / CHECKPOINT).exists():
        start = replace(start, resume=folder)
    return start, folder


def _newest_with_options(start: Start, saved: Iterable[Path]) -> Path | None:
    # Another command of the same preset and images may be at work beside this one.
    for path in sorted(saved, key=lambda path: path.stat().st_mtime, reverse=True):
        with suppress(ValueError):
            theirs, preset = load_config(path)
            if (theirs, preset) == (as_recorded(start.config, theirs), start.preset):
                return path.parent
    return None
