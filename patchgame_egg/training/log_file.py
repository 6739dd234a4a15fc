"""Reading the log of a run, JSON lines, however long it is. No torch is needed for that."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Record = dict[str, Any]
"""A line of a log: what kind of event, at which step, and its numbers."""

CURVE_STEPS = 10_000
"""Steps of a long log that are enough to draw curves of."""


def retrieval_key(records: Iterable[Mapping[str, Any]]) -> str:
    """Under which name validation records have the retrieval accuracy by which runs are compared.

    Args:
        records: of all the runs to compare.

    Returns:
        ``two_views_acc``, the game itself, where every validation has it; else, as of runs of version 0.1.0 and of
        other games, ``acc``, for which both agents see the same view.
    """
    validations = [record for record in records if record.get("kind", "validation") == "validation"]
    return "two_views_acc" if validations and all("two_views_acc" in record for record in validations) else "acc"


def record_of(line: bytes) -> Record | None:
    """The record in a line; None where there is none."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "kind" in found and isinstance(found.get("step"), int) else None


def iterate_log(path: Path) -> Iterator[Record]:
    """The records of a log file, one at a time, however long it is.

    A line that holds no record is left out, and how many there were is said on stderr at the end; a last line that is
    not finished, of a process that was killed or is still writing, is left out without a word.
    """
    broken = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            record = record_of(line)
            if record is not None:
                yield record
            elif line.strip() and line.endswith(b"\n"):
                broken.append(number)
    if broken:
        what = "line that holds no record is" if len(broken) == 1 else "lines that hold no record are"
        print(f"note: {path}: {len(broken)} {what} left out, the first is line {broken[0]}", file=sys.stderr)


def read_log(path: Path, most_steps: int | None = None) -> list[Record]:
    """The records of a log file; what holds none is left out, see `iterate_log`.

    Args:
        path: the file.
        most_steps: of longer logs, so many records of kind ``train``, or up to twice as many, evenly spread: enough
            to draw. None: all.
    """
    records: list[Record] = []
    seen, steps, stride = 0, 0, 1
    for record in iterate_log(path):
        if record["kind"] == "train":
            seen += 1
            if (seen - 1) % stride:
                continue
            steps += 1
        records.append(record)
        if most_steps is not None and steps > 2 * most_steps:
            stride, number, thinner = 2 * stride, 0, []
            for one in records:
                if one["kind"] == "train":
                    number += 1
                    if number % 2 == 0:
                        continue
                thinner.append(one)
            records, steps = thinner, (number + 1) // 2
    return records
