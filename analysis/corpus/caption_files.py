"""Sentences about image files, as people write them down: JSON lines or CSV, a sentence a row.

    {"file": "val/cat/2.jpg", "caption": "A grey cat on a sofa."}

    file,caption
    val/cat/2.jpg,"A grey cat, asleep."

An image has as many rows as it has sentences; in JSON lines, ``caption`` may also be a list of texts.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from patchgame_egg.text_files import read_json, read_text

_COLUMNS = ("file", "caption")


@dataclass(frozen=True)
class CaptionFile:
    """What a file of captions says.

    Attributes:
        by_name: the sentences about each image, in the order of the file; names are as written, but for ``./``.
        blank: how many rows had no sentence, and were left out.
    """

    by_name: dict[str, tuple[str, ...]]
    blank: int


def read_captions(path: Path) -> CaptionFile:
    r"""Reads captions; a file that begins with a brace is JSON lines, any other is CSV.

    Args:
        path: text in UTF-8, or as its byte order mark says. Lines of JSON end at ``\n`` and nowhere else.

    Returns:
        The sentences by the names of the images, as `captions_of_files` takes them.

    Raises:
        ValueError: there is no such file, or it is something else; which line, what it holds and what to do.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): give JSON lines or CSV with captions") from error
    found: dict[str, list[str]] = {}
    blank = 0
    for number, name, sentences in _json_rows(text, path) if text.lstrip()[:1] == "{" else _csv_rows(text, path):
        if not name.strip():
            raise ValueError(f"{path}, line {number}: no file is named: give the image's name from the data's root on")
        kept = [" ".join(sentence.split()) for sentence in sentences if sentence.strip()]
        blank += len(sentences) - len(kept)
        if kept:
            found.setdefault(str(PurePosixPath(name.strip())), []).extend(kept)
    if not found:
        raise ValueError(f"{path} holds no caption: give rows with {' and '.join(_COLUMNS)}")
    return CaptionFile({name: tuple(sentences) for name, sentences in found.items()}, blank)


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, str, list[str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row: Any = read_json(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number} is not JSON ({error}): give an object a line") from error
        name, said = (row.get(key) if isinstance(row, dict) else None for key in _COLUMNS)
        sentences: list[Any] = said if isinstance(said, list) else [said]
        if not isinstance(name, str) or not all(isinstance(sentence, str) for sentence in sentences):
            raise ValueError(
                f"{path}, line {number}: expected an object with the texts file and caption, got {line[:60]}"
            )
        yield number, name, sentences


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, str, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        heads = [head.strip().lower() for head in next(reader, [])]
        if any(heads.count(name) != 1 for name in _COLUMNS):
            raise ValueError(f"{path} has the columns {', '.join(heads) or 'none'}: give a first line file,caption")
        places = [heads.index(name) for name in _COLUMNS]
        for row in reader:
            if not row:
                continue
            if len(row) != len(heads):
                raise ValueError(
                    f"{path}, line {reader.line_num}: {len(row)} columns instead of {len(heads)}: "
                    "put sentences that hold a comma in double quotes"
                )
            name, sentence = (row[place] for place in places)
            yield reader.line_num, name, [sentence]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num} is not CSV ({error}): give rows of file,caption") from error
