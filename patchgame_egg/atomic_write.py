"""Files that are there whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file to write that takes the place of another when the block ends, and not if it fails.

    It is written under a temporary name, flushed to disk, then renamed: the old file stays until the new one is whole.
    Two processes must not do so at once.

    Args:
        path: the file to replace; its folder is made.

    Yields:
        The new file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
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
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(value: Any, path: Path) -> None:
    """Writes plain values as JSON, the whole file or nothing, by `replacing`."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())
