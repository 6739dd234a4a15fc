"""Files that are there whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


class NotWritten(OSError):
    """A file could not be written; one line says which, why, and how much room there is."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(error.errno, error.strerror or str(error), str(path))
        self.path = path

    def __str__(self) -> str:
        return f"{self.path} cannot be written ({self.strerror}): {_room(self.path)}"


def _room(path: Path) -> str:
    folder = next((p for p in path.absolute().parents if p.is_dir()), None)
    if folder is None:
        return "there is no such disk"
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return f"its disk does not answer ({error.strerror})"
    return f"{free / 2**20:,.1f} MiB are free on its disk"


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Every ``OSError`` from inside, where a file is written, leaves as `NotWritten`.

    Raises:
        NotWritten: see above.
    """
    try:
        yield
    except NotWritten:
        raise
    except OSError as error:
        raise NotWritten(path, error) from error


@contextmanager
def replacing(path: Path, together: bool = False) -> Iterator[BinaryIO]:
    """Opens a file to write that takes the place of another when the block ends, and not if it fails.

    It is written under a temporary name, flushed to disk, then renamed: the old file stays until the new one is whole.

    Args:
        path: the file to replace; its folder is made.
        together: several processes may write the same here at once; each then has a temporary name of its own.

    Yields:
        The new file.

    Raises:
        NotWritten: the disk is full, the folder cannot be written to, or a file is in its place.
    """
    own = f".{socket.gethostname()}-{os.getpid()}" if together else ""
    temporary = path.with_name(f"{path.name}{own}.tmp")
    with errors_of(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            # A disk that is full should not stay so.
            temporary.unlink(missing_ok=True)
            raise
        _flush(path.parent)


@contextmanager
def making(folder: Path, draft: Path) -> Iterator[Path]:
    """Makes a folder of files that is there when the block ends, whole, and not if it fails.

    Args:
        folder: the folder; it must not be there.
        draft: its name until it is whole, beside it; what a process that was killed has left there is deleted.

    Yields:
        The draft, an empty folder.

    Raises:
        NotWritten: the disk is full, or the folder cannot be made there.
    """
    with errors_of(folder):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            yield draft
            for parent, _, names in os.walk(draft):
                for name in names:
                    _flush(Path(parent, name))
                _flush(Path(parent))
            os.rename(draft, folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        _flush(folder.parent)


def _flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(text: str, path: Path, together: bool = False) -> None:
    """Writes a text in UTF-8, the whole file or nothing, by `replacing`.

    What is no character, such as a byte of a file's name that is not UTF-8, is written escaped.
    """
    with replacing(path, together) as file:
        file.write(text.encode(errors="backslashreplace"))


def write_json(value: Any, path: Path) -> None:
    """Writes plain values as JSON, the whole file or nothing, by `replacing`."""
    write_text(json.dumps(value, indent=2) + "\n", path)
