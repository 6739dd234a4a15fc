"""One process at a run, and at whatever else is made once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from games.options.command_line import fail
from games.runs.files import LOCK
from patchgame_egg.distributed.processes import gather_names, is_rank_zero


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keeps other processes from training the same run, until the end or until this process dies.

    Raises:
        SystemExit: one is at it already.
    """
    lock, taken = FileLock(folder / LOCK), []
    # Some file systems have no locks.
    with suppress(NotImplementedError):
        if is_rank_zero():
            try:
                lock.acquire(timeout=0)
            except Timeout:
                taken.append(str(folder))
    if gather_names(taken):
        fail(f"{folder} is being trained by another process: wait until that has ended, or give another --name")
    try:
        yield
    finally:
        if lock.is_locked:
            # Windows cannot unlink what is open.
            with suppress(OSError):
                Path(lock.lock_file).unlink()
            lock.release()


def is_being_trained(folder: Path) -> bool:
    """Whether a process, here or on another machine that sees the folder, trains this run right now."""
    if (folder / LOCK).exists():
        with suppress(NotImplementedError):
            try:
                FileLock(folder / LOCK).acquire(timeout=0).lock.release()
            except Timeout:
                return True
    return False


@contextmanager
def output_lock(path: Path) -> Iterator[None]:
    """Keeps other processes from making the same file or folder until this one has; waits for its turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.parent / f".{path.name}.lock")
    # Some file systems have no locks.
    with suppress(NotImplementedError):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"{path.name} is being made by another process: waits for it", flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
