"""Text files of any system: UTF-8, or whatever their first bytes say; a line ends at its line feed and nowhere else."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

# The longer marks first: that of UTF-16 begins that of UTF-32.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def marked_encoding(data: bytes) -> str | None:
    """The encoding that a file's byte order mark tells, None without a mark; it leaves the mark out of the text."""
    return next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)


def read_text(path: Path) -> str:
    """The text of a file, in UTF-8 or as its byte order mark says.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is in another encoding, or no text.
    """
    data = path.read_bytes()
    try:
        return data.decode(marked_encoding(data) or "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 (at byte {error.start}): save it in this encoding") from error


def read_lines(path: Path) -> list[str]:
    r"""The lines of a text file, as `read_text` reads it: apart at ``\n`` or ``\r\n``, not at U+2028 and its kind."""
    return split_lines(read_text(path))


def split_lines(text: str) -> list[str]:
    r"""Lines apart at ``\n`` or ``\r\n``; ``splitlines`` also cuts where a text in JSON may hold U+2028."""
    lines = text.split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def read_json(text: str) -> Any:
    """A value of JSON in which no object has a key twice: the last one would win without a word.

    Raises:
        ValueError: it is no JSON, or a key is there twice.
    """
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) < len(pairs):
        twice = next(key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n]))
        raise ValueError(f"{twice!r} is there twice")
    return entry
