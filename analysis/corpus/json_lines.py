"""Corpora as JSON lines, one message a line, for other programs and from them.

    messages   [3, 5]                                             XferBench (Boldt and Mortensen, 2024)
    pairs      [[3, 5], ["colour=red", "size=small"]]             CSAR (Boldt and Mortensen, 2025)
    full       {"message": [3, null, 5], "file": "cat/1.jpg", "label": 1, "attributes": [0, null]}

CSAR's files of one JSON array of pairs, on one line or many, are read as well, and so is an array of messages. Beside
ELCC's corpora (Boldt and Mortensen, 2024), JSON lines of messages, lies a ``metadata.json``, which is kept in ``info``.

``full`` keeps messages with their holes, file names, labels and attributes. Its first line holds what is true of the
whole corpus: ``{"corpus": {"vocab_size": 8, "label_names": ["cat", "dog"]}}``. Letters in shapes: N items, T slots, V
vocabulary, A attributes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.corpus.corpus import Corpus
from analysis.corpus.numbering import LARGEST
from patchgame_egg.atomic_write import replacing
from patchgame_egg.text_files import read_json, read_lines, read_text

Kind = Literal["full", "messages", "pairs"]

# What the first line of a full file may hold; names are lists of texts there.
_HEADER = ("vocab_size", "grid", "scales", "info", "label_names", "attribute_names", "value_names")


def write_json_lines(corpus: Corpus, path: Path | str, kind: Kind = "full") -> None:
    """Writes a corpus.

    Args:
        corpus: the language.
        path: the file.
        kind: see the module. ``messages`` and ``pairs`` leave silent slots out. What is meant are the attributes that
            are known of an item; in a corpus without attributes, its class.

    Raises:
        ValueError: pairs are asked for, and neither attributes nor labels are known.
    """
    lines = {"full": _full, "messages": _said, "pairs": _pairs}[kind](corpus)
    with replacing(Path(path)) as file:
        file.writelines((json.dumps(line, ensure_ascii=False) + "\n").encode() for line in lines)


def read_json_lines(path: Path | str) -> Corpus:
    """Reads a corpus of any kind; the first line tells which.

    Args:
        path: JSON lines; or one JSON array of them, which is what a file whose name ends in .json is taken for.

    Returns:
        The corpus. V is one more than the largest symbol that is said, where the file does not tell. Everything that
        is meant in a file of pairs becomes an attribute, ``no`` or ``yes``.

    Raises:
        ValueError: a line is of another kind than the first or of none, or there is no message.
    """
    header, lines = _read(Path(path))
    metadata = _metadata(Path(path))
    kind = _kind(lines[0][1])
    for number, line in lines:
        if kind is None or _kind(line) != kind:
            expected = f"{kind} as in the first line" if kind else "messages, pairs or objects with a message"
            raise ValueError(f"{path}, line {number}: expected {expected}, got {json.dumps(line)[:60]}")
    entries = [line for _, line in lines]
    take = {"full": lambda e: e["message"], "messages": lambda e: e, "pairs": lambda e: e[0]}[str(kind)]
    symbols, mask, ids = as_table([take(e) for e in entries])
    found: dict[str, Any] = {"vocab_size": vocabulary(symbols, mask), "symbol_ids": ids}
    if kind == "pairs":
        found |= _meant([e[1] for e in entries])
    if kind == "full":
        # Of symbols that are numbered anew, those that are never said are no longer counted.
        found |= {name: value for name, value in header.items() if name != "vocab_size" or not ids}
        if "file" in entries[0]:
            found["files"] = tuple(str(e.get("file", "")) for e in entries)
        for name, key in (("labels", "label"), ("attributes", "attributes")):
            if key in entries[0]:
                try:
                    found[name] = _numbers([e[key] for e in entries])
                except (KeyError, TypeError, ValueError) as error:
                    raise ValueError(f"{path}: {key} is not alike in all lines ({error!r})") from error
                except OverflowError as error:
                    raise ValueError(f"{path}: a number of {key} is beyond 2^63 - 1") from error
    if metadata:
        found["info"] = {**found.get("info", {}), "metadata": metadata}
    return Corpus(symbols, mask, **found)


def _metadata(path: Path) -> dict[str, Any]:
    """What ELCC says of a corpus, in the file beside it."""
    beside = path.parent / "metadata.json"
    if not beside.is_file():
        return {}
    try:
        found = json.loads(read_text(beside))
    except (ValueError, OSError) as error:
        raise ValueError(f"{beside} beside {path.name} is not JSON: {error}") from error
    return found if isinstance(found, dict) else {}


def vocabulary(symbols: NDArray[np.int64], mask: NDArray[np.bool_]) -> int:
    """One more than the largest symbol that is said in ``[N, T]``."""
    return int(symbols[mask].max(initial=0)) + 1


def _said(corpus: Corpus) -> Iterator[list[int]]:
    return map(corpus.said, range(len(corpus)))


def _pairs(corpus: Corpus) -> Iterator[list[list[Any]]]:
    numbers, names, values = corpus.attributes, corpus.attribute_names, corpus.value_names
    if numbers is None and corpus.labels is not None:
        numbers, names = corpus.labels[:, None], ("class",)
        values = (corpus.label_names or tuple(map(str, range(int(corpus.labels.max(initial=0)) + 1))),)
    if numbers is None:
        raise ValueError("nothing is known about what is meant: pairs need a corpus with attributes or labels")
    for said, row in zip(_said(corpus), numbers.tolist(), strict=True):
        yield [said, [f"{names[a]}={values[a][v]}" for a, v in enumerate(row) if v >= 0]]


def _full(corpus: Corpus) -> Iterator[dict[str, Any]]:
    header = {name: value for name in _HEADER if (value := getattr(corpus, name))}
    yield {"corpus": header | ({"vocab_size": max(corpus.symbol_ids) + 1} if corpus.symbol_ids else {})}
    for i, mask in enumerate(corpus.mask.tolist()):
        said = iter(corpus.said(i))
        line: dict[str, Any] = {"message": [next(said) if speaks else None for speaks in mask]}
        if corpus.files:
            line["file"] = corpus.files[i]
        if corpus.labels is not None:
            line["label"] = int(corpus.labels[i])
        if corpus.attributes is not None:
            line["attributes"] = [v if v >= 0 else None for v in corpus.attributes[i].tolist()]
        yield line


def _read(path: Path) -> tuple[dict[str, Any], list[tuple[int, Any]]]:
    """What the first line says of the corpus, and the other lines with their numbers."""
    lines: list[tuple[int, Any]] = []
    whole = _array(path)
    # Entries are counted like lines, so that a wrong one is found.
    lines += enumerate(whole or [], 1)
    for number, text in enumerate(read_lines(path) if whole is None else [], 1):
        try:
            if text.strip():
                lines.append((number, read_json(text)))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number} is not JSON: {error}") from error
    header: dict[str, Any] = {}
    if lines and isinstance(lines[0][1], dict) and isinstance(lines[0][1].get("corpus"), dict):
        header = {name: value for name, value in lines.pop(0)[1]["corpus"].items() if name in _HEADER}
    if not lines:
        raise ValueError(f"{path} holds no message")
    for name in ("vocab_size", "scales"):
        if type(header.get(name, 1)) is not int or header.get(name, 1) < 1:
            raise ValueError(f"{path}: {name} is {json.dumps(header[name])[:60]}: a whole number from 1 is needed")
    for name in ("grid", "label_names", "attribute_names"):
        header |= {name: tuple(header[name])} if name in header else {}
    if "value_names" in header:
        header["value_names"] = tuple(map(tuple, header["value_names"]))
    return header, lines


def _array(path: Path) -> list[Any] | None:
    """The entries of a file that is one JSON array of them; None of JSON lines.

    A line may hold one pair or one message, which are arrays, too: of other files than .json, only an array of pairs is
    taken for more than one of them.
    """
    text = read_text(path)
    if path.suffix != ".json" and ("\n" in text.strip() or not text.lstrip().startswith("[[[")):
        return None
    try:
        found = read_json(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(entry, list | dict) for entry in found):
        raise ValueError(f'{path} is no array of messages or pairs: give [[3, 5], [2]] or [[[3, 5], ["red"]]]')
    return found


def _kind(line: Any) -> Kind | None:
    if isinstance(line, dict) and _are_symbols(line.get("message"), holes=True):
        return "full"
    if isinstance(line, list) and len(line) == 2 and _are_symbols(line[0]) and isinstance(line[1], list):
        return "pairs"
    return "messages" if _are_symbols(line) else None


def _are_symbols(values: Any, holes: bool = False) -> bool:
    return isinstance(values, list) and all((holes and v is None) or (type(v) is int and v >= 0) for v in values)


def as_table(
    messages: Sequence[Sequence[int | None]],
) -> tuple[NDArray[np.int64], NDArray[np.bool_], tuple[int, ...]]:
    """Messages as arrays.

    Args:
        messages: symbols, None where a slot is silent.

    Returns:
        Symbols and mask, ``[N, T]``, T being the longest, silent slots hold 0; and ids, where they are numbered anew.
    """
    longest = max(map(len, messages))
    ids: tuple[int, ...] = tuple(sorted({s for message in messages for s in message if s is not None}))
    if ids and ids[-1] >= LARGEST:
        # JSON knows integers of any size, arrays do not.
        numbers = {symbol: number for number, symbol in enumerate(ids)}
        messages = [[s if s is None else numbers[s] for s in message] for message in messages]
    else:
        ids = ()
    padded = [[*message, *[None] * (longest - len(message))] for message in messages]
    symbols = np.array([[s or 0 for s in message] for message in padded], dtype=np.int64)
    mask = np.array([[s is not None for s in message] for message in padded], dtype=bool)
    return symbols.reshape(len(messages), longest), mask.reshape(len(messages), longest), ids


def _numbers(column: Iterable[Any]) -> NDArray[np.int64]:
    """Numbers ``[N]`` or ``[N, A]``; null, which is not known, becomes -1."""
    rows = [[-1 if v is None else _whole(v) for v in row] if isinstance(row, list) else _whole(row) for row in column]
    return np.array(rows, dtype=np.int64)


def _whole(value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"{value} is no whole number")
    return int(value)


def _meant(meanings: Sequence[Sequence[Any]]) -> dict[str, Any]:
    sets = [set(map(str, meaning)) for meaning in meanings]
    atoms = sorted(set().union(*sets))
    has = np.array([[int(atom in meant) for atom in atoms] for meant in sets], dtype=np.int64)
    return {
        "attributes": has.reshape(len(sets), len(atoms)),
        "attribute_names": tuple(atoms),
        "value_names": (("no", "yes"),) * len(atoms),
    }
