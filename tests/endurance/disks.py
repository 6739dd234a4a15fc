"""Disks that fill up and disks that turn read-only, in the middle of a run: mounted in memory, for root alone.

Where nothing can be mounted, files are cut at a largest size, and a disk is read-only to a user without rights.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from kills import finish
from play import GAMES, Lost, Play, Stage, after_a_blow

_SIZE = 4 * 2**20


@contextmanager
def _disk(place: Path) -> Iterator[bool]:
    """A small disk at a place; whether it could be mounted."""
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "endurance", place], capture_output=True)
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", place], check=True)


def _drawn(stage: Stage, rng: np.random.Generator) -> tuple[Play, list[str]]:
    play = stage.play(str(rng.choice(list(GAMES))), str(rng.choice(["scenes", "folder, cached", "shards"])))
    return play, [*play.words, "--out", str(stage.folder / "disk"), "--name", "run", "--checkpoint-every", "2"]


def full_disk(stage: Stage, rng: np.random.Generator) -> None:
    """There is room for a part of the run, the command says so in one line, and goes on once there is room."""
    # What the real command is asked is to be found by it alone.
    stage.real = False
    play, words = _drawn(stage, rng)
    with _disk(stage.folder / "disk") as mounted:
        for _ in range(rng.integers(1, 4)):
            room = int(rng.uniform(0, 2**20))
            following = after_a_blow(stage.folder / "disk" / "run", words, rng)
            if following is None:
                break
            if mounted:
                ballast, there = stage.folder / "disk" / "ballast", os.statvfs(stage.folder / "disk")
                ballast.write_bytes(b"x" * max(0, there.f_bavail * there.f_frsize - room))
                process = stage.start(following)
            else:
                process = stage.start(following, partial(resource.setrlimit, resource.RLIMIT_FSIZE, (room, room)))
            if process.ended():
                # A cache that does not fit is a wrong request; a file that cannot be written is a failure.
                process.check_one_line(1, 2)
                stage.hit("full disk")
            if mounted:
                ballast.unlink()
        _finish(stage, play, words, rng)


def read_only_disk(stage: Stage, rng: np.random.Generator) -> None:
    """The disk turns read-only at a moment of the run; it is said in one line, and nothing is lost."""
    stage.real = False
    play, words = _drawn(stage, rng)
    disk = stage.folder / "disk"
    with _disk(disk) as mounted:
        process = stage.start(words, _nobody(disk, mounted))
        process.wait(float(rng.uniform(0, play.seconds)))
        struck = False
        while process.status() is None and not (struck := _read_only(disk, mounted)):
            # Not while a file is open for writing.
            process.status(0.005)
        if process.ended() and struck:
            process.check_one_line(1, 2)
            stage.hit("read-only disk")
        following = after_a_blow(disk / "run", words, rng)
        if struck and following is not None:
            before = _contents(disk)
            again = stage.start(following, _nobody(disk, mounted))
            again.ended()
            again.check_one_line(1, 2)
            stage.hit("read-only disk")
            if _contents(disk) != before:
                raise Lost("a read-only disk has changed")
        _writable(disk, mounted)
        _finish(stage, play, words, rng)


def _finish(stage: Stage, play: Play, words: list[str], rng: np.random.Generator) -> None:
    outer = stage.folder
    stage.folder = outer / "disk"
    try:
        finish(stage, play, words, rng)
    finally:
        stage.folder = outer


def _nobody(disk: Path, mounted: bool) -> Callable[[], object]:
    """Root may write anywhere: where nothing is mounted, the process becomes somebody else."""
    if mounted or os.getuid():
        return lambda: None
    os.chown(disk, 65534, 65534)
    return lambda: os.setuid(65534)


def _read_only(disk: Path, mounted: bool) -> bool:
    if mounted:
        return subprocess.run(["mount", "-o", "remount,ro", disk], capture_output=True).returncode == 0
    for folder in (disk, *(path for path in disk.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    return True


def _writable(disk: Path, mounted: bool) -> None:
    if mounted:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        return
    for folder in (disk, *(path for path in disk.rglob("*") if path.is_dir())):
        folder.chmod(0o755)


def _contents(disk: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
