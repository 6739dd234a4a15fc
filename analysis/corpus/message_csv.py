"""Messages as CSV, made by hand, by a spreadsheet or by ``python -m analysis messages``.

    message,class,colour                    3,5,2
    3 5,cat,red                             1,4
    1 4 4,dog,

With names of columns, ``message`` holds symbols with spaces between, ``class`` the class of its item, ``file`` its
name, and other columns its attributes. Without, every cell is a symbol, and an empty one is silent.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.corpus.annotation_table import known_values
from analysis.corpus.corpus import Corpus, Names
from analysis.corpus.json_lines import as_table, vocabulary
from patchgame_egg.text_files import read_text

# Columns of `Corpus.to_frame` that are about the message.
_OF_MESSAGES = {"image", "message", "slots", "length", "understood", "file", "class"}


def read_message_csv(path: Path) -> Corpus:
    """Reads a corpus.

    Args:
        path: text in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: it is something else; which line, what it holds and what to do.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num} is not CSV ({error})") from error
    if not rows:
        raise ValueError(f"{path} holds no message")
    heads = [head.strip() for head in rows[0][1]]
    if all(_is_symbol(cell) or not cell.strip() for cell in rows[0][1]):
        return _corpus([_symbols(path, line, row) for line, row in rows])
    if heads.count("message") != 1:
        raise ValueError(
            f"{path} has the columns {', '.join(heads)}: give one called message, with symbols such as 3 5 2, or no "
            "names of columns and a symbol a cell"
        )
    if twice := next((head for n, head in enumerate(heads) if head in heads[:n]), None):
        raise ValueError(f"{path} has two columns called {twice}: give each a name of its own")
    for line, row in rows[1:]:
        if len(row) != len(heads):
            raise ValueError(f"{path}, line {line}: {len(row)} columns instead of {len(heads)}")
    if len(rows) == 1:
        raise ValueError(f"{path} holds no message")
    columns = {head: [row[i].strip() for _, row in rows[1:]] for i, head in enumerate(heads)}
    lines = [line for line, _ in rows[1:]]
    messages = [_symbols(path, line, cell.split()) for line, cell in zip(lines, columns["message"], strict=True)]
    if "slots" in columns:
        messages = [_at_slots(path, *x) for x in zip(lines, messages, columns["slots"], strict=True)]
    found: dict[str, Any] = {}
    if any(columns.get("file", ())):
        found["files"] = tuple(columns["file"])
    if any(columns.get("class", ())):
        found["labels"], found["label_names"] = _numbered(columns["class"])
    attributes = {
        head: _numbered([_known(cell) for cell in cells]) for head, cells in columns.items() if head not in _OF_MESSAGES
    }
    attributes = {head: (numbers, names) for head, (numbers, names) in attributes.items() if names}
    if attributes:
        found["attributes"] = np.stack([numbers for numbers, _ in attributes.values()], axis=1)
        found["attribute_names"] = tuple(attributes)
        found["value_names"] = tuple(names for _, names in attributes.values())
    return _corpus(messages, **found)


def _corpus(messages: list[list[int | None]], **known: Any) -> Corpus:
    symbols, mask, ids = as_table(messages)
    return Corpus(symbols, mask, vocabulary(symbols, mask), symbol_ids=ids, **known)


def _is_symbol(text: str) -> bool:
    return text.strip().isascii() and text.strip().isdigit()


def _symbols(path: Path, line: int, cells: list[str]) -> list[int | None]:
    for cell in cells:
        if cell.strip() and not _is_symbol(cell):
            raise ValueError(f"{path}, line {line}: {cell.strip()!r} is no symbol: give whole numbers from 0")
    return [int(cell) if cell.strip() else None for cell in cells]


def _at_slots(path: Path, line: int, message: list[int | None], slots: str) -> list[int | None]:
    places = [int(slot) for slot in slots.split() if _is_symbol(slot)]
    if len(places) != len(message) or len(set(places)) != len(places) or max(places, default=0) >= 2**16:
        raise ValueError(f"{path}, line {line}: {len(message)} symbols at the slots {slots!r}: give one slot for each")
    held = dict(zip(places, message, strict=True))
    return [held.get(slot) for slot in range(max(places, default=-1) + 1)]


def _known(cell: str) -> str:
    """A value as annotations have it: equal numbers are one, and what a table writes for not known is empty."""
    return known_values({"value": cell}).get("value", "")


def _numbered(cells: list[str]) -> tuple[NDArray[np.int64], Names]:
    """Values as numbers, -1 where a cell is empty, and their names in alphabetical order."""
    names = sorted({cell for cell in cells if cell})
    number = {name: i for i, name in enumerate(names)}
    return np.array([number.get(cell, -1) for cell in cells], dtype=np.int64), tuple(names)
