"""Errors of the library name its arguments, ``root='photos'``; a command shows them as options, ``--root photos``."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

# Argument of the library -> option of a command.
FLAGS = {
    "name": "--data",
    "root": "--root",
    "pattern": "--root",
    "val_root": "--val-root",
    "val_pattern": "--val-root",
    "download": "--download",
    "class_level": "--class-level",
    "val_share": "--val-share",
    "limit": "--limit",
    "grad_norm": "--grad-norm",
    "precision": "--precision",
}
# Only whole words with a value as Python writes it: a folder may be called lr=0.1.
_ARGUMENT = re.compile(rf"(?<!\S)({'|'.join(FLAGS)})=('[^']*'|\"[^\"]*\"|True|[\d.]+)(?![^\s,;:)])")


def with_flags(message: object) -> str:
    """A message in which arguments with values are options of the command line."""

    def option(found: re.Match[str]) -> str:
        value = ast.literal_eval(found[2])
        return FLAGS[found[1]] if value is True else f"{FLAGS[found[1]]} {shlex.quote(str(value))}"

    return _ARGUMENT.sub(option, str(message))


@contextmanager
def errors_with_flags() -> Iterator[None]:
    """Every ``ValueError`` from inside leaves `with_flags`.

    Raises:
        ValueError: one was raised inside.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(with_flags(error)) from error
