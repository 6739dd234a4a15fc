"""A run's folder: how it is called, what was played in it, and which one a command goes on with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from games.options.command_line import Start
from games.options.config_file import load_config
from games.runs.files import CHECKPOINT, CONFIG, METHOD
from patchgame_egg.text_files import read_text


def method_of(run: Path) -> str:
    """What a run trains: ``patchgame``, or a baseline of `games.baselines`."""
    path = run / METHOD
    return str(json.loads(read_text(path))["method"]) if path.exists() else "patchgame"


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


def find_run(start: Start, again: bool, kind: str = "") -> tuple[Start, Path]:
    """The run that a command plays: one to resume, or a new one, named by ``--name`` or counted up.

    Args:
        start: what the command line asks for.
        again: torchrun or SLURM has started the command once more. It then goes on with its own run: the named one, or
            else the newest of the same preset, images and options.
        kind: what nameless runs are named after; empty: the preset.

    Returns:
        What to start, with ``resume`` set if there is a checkpoint to go on from, and the run's folder.

    Raises:
        ValueError: the named run is there already, and this is not ``again``.
    """
    out, name = Path(start.config.run.out), start.config.run.name
    if start.resume is not None:
        return start, start.resume
    if name:
        folder = out / name
        if folder.exists() and not again:
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
            if load_config(path) == (start.config, start.preset):
                return path.parent
    return None
