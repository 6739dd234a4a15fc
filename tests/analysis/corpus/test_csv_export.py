"""Texts in tables stay texts in a spreadsheet, numbers numbers."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from analysis.corpus.csv_export import csv_text

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"), ('=HYPERLINK("http://host.example")', "'=HYPERLINK(\"http://host.example\")"),
        ("@SUM(A1)", "'@SUM(A1)"), ("+cmd", "'+cmd"), ("-2+3", "'-2+3"), ("\t=1", "'\t=1"), ("\r=1", "'\n=1"),
        ("x\r=1+1", "x\n=1+1"), ("\n=1", "'\n=1"),
        ("-1", "-1"), ("+1.5e3", "+1.5e3"), ("a=b", "a=b"), ("cat-dog", "cat-dog"), ("'x", "'x"),
        (-1, "-1"), (-1.5, "-1.5"), (float("nan"), ""), (None, ""), (True, "True"),
    ],
)  # fmt: skip
def test_cells(cell: object, written: str) -> None:
    # Beside a text, a column holds objects of all types.
    text = csv_text(pd.DataFrame({"a": pd.Series([cell, "x"], dtype=object), "b": [-1.25, 3.0]}))
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows == [["a", "b"], [written, "-1.25"], ["x", "3.0"]]


def test_names_of_columns() -> None:
    assert csv_text(pd.DataFrame({"=a": [1]})) == "'=a\n1\n"


def test_nothing_else_writes_csv() -> None:
    others = [
        path
        for package in ("patchgame_egg", "analysis", "games")
        for path in (ROOT / package).rglob("*.py")
        if "to_csv(" in path.read_text() or "csv.writer" in path.read_text()
    ]
    assert [path.name for path in others] == ["csv_export.py"]
