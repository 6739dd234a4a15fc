"""File names: which are nobody's image, which are images, and how any name is shown."""

from __future__ import annotations

import io
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache

from PIL import Image

# What systems, archives and notebooks leave beside the files of people; names that begin with a dot are theirs as well.
_SYSTEM = frozenset(
    name.casefold()
    for name in (
        "__MACOSX", "Icon\r", "Thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$RECYCLE.BIN",
        "System Volume Information", "lost+found", "@eaDir", "@tmp", "#recycle", "#snapshot", "@Recycle",
        "@Recently-Snapshot", "__pycache__",
    )
)  # fmt: skip

# Pillow tells these apart without reading them, or has another program draw them.
_NOT_READ = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF")

PICTURES = frozenset(
    (
        ".heic", ".heif", ".hif", ".avif", ".webp", ".jp2", ".jxl", ".svg", ".eps", ".pdf", ".wmf", ".emf", ".dng",
        ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf",
    )
)  # fmt: skip
"""Suffixes of pictures that Pillow reads in no installation, or not in every one."""


@cache
def image_suffixes() -> frozenset[str]:
    """The suffixes of what Pillow reads here, in lower case and with their dot."""
    Image.init()
    known = Image.registered_extensions().items()
    # MPO is a JPEG with more pictures behind the first, and opened as one.
    return frozenset(s for s, form in known if form == "MPO" or (form in Image.OPEN and form not in _NOT_READ))


def is_system(name: str) -> bool:
    """Whether a file or folder of this name is hidden or a system's, and nobody's image or class.

    Example:
        >>> [is_system(n) for n in (".ipynb_checkpoints", "__MACOSX", "@eaDir", "._x.jpg", "thumbs.db", "x.jpg")]
        [True, True, True, True, True, False]
    """
    return name.startswith(".") or name.casefold() in _SYSTEM


def printable(name: str) -> str:
    r"""A name that can be printed and written in one line: bytes that are no UTF-8, and controls, as escapes.

    Example:
        >>> printable("caf\udce9\n")
        'caf\\xe9\\n'
    """
    return "".join(c if unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp") else _escaped(c) for c in name)


def print_any_name() -> None:
    """From now on, what an output's encoding lacks is printed as an escape: a name ends no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def listed(names: Iterable[str], most: int = 5) -> str:
    """The first few names, and dots for the rest."""
    every = list(names)
    return ", ".join([*every[:most], *(["..."] if len(every) > most else [])])


def _escaped(character: str) -> str:
    # Python reads the bytes of a name that are no UTF-8 as half characters from U+DC80 on.
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else character.encode("unicode_escape").decode()
