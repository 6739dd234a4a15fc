"""The one place where tables become CSV: texts that a spreadsheet would take for formulas are kept texts."""

from __future__ import annotations

import pandas as pd

# What spreadsheets begin a formula with; a tab or a line's end before it does not stop them.
_FORMULA = ("=", "+", "-", "@", "\t", "\n")


def csv_text(frame: pd.DataFrame) -> str:
    """A table as CSV with a header and without row numbers.

    Texts from annotations, labels and folder names may begin with ``=``, and a spreadsheet that opens the file would
    carry out what follows. Such texts, names of columns too, get an apostrophe in front. Numbers stay as they are, and
    so do texts that are numbers, such as ``-1``.

    Args:
        frame: the table.

    Example:
        >>> print(csv_text(pd.DataFrame({"of": ["=1+1", "-1", "cat"], "value": [-1.0, 2.0, 3.0]})), end="")
        of,value
        '=1+1,-1.0
        -1,2.0
        cat,3.0
    """
    return frame.rename(columns=_defused).map(_defused).to_csv(index=False)


def _defused(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    # pandas leaves carriage returns bare, and what follows one is a row of its own to spreadsheets.
    cell = cell.replace("\r\n", "\n").replace("\r", "\n")
    if not cell.startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
