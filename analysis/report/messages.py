"""Every message of a report beside its image and its file: rows for a table that the page fills as it is scrolled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from analysis.corpus.corpus import Corpus
from analysis.report.thumbnails import data_uri
from patchgame_egg.data.names import printable

ROWS = 5000
"""The most messages in a page."""

# A sheet of pictures is decoded when its first row is seen; all sheets together take about so many bytes as text.
SIDE, PER_ROW = 32, 16
_BYTES = 3_000_000


def message_rows(corpus: Corpus, files_at: str) -> dict[str, Any] | None:
    """The messages with what they are of, for the page's script.

    Args:
        corpus: the record of a language.
        files_at: the folder of the files, from the page on, with forward slashes; empty: they are named and not linked.

    Returns:
        ``rows``: file, class, whether it was understood (1, 0 or null), and the symbols said, as one text; ``sheets``:
        data URIs of the first pictures, ``per_row`` by ``per_row`` of ``side`` pixels each; ``at``. None where neither
        files nor images are known.
    """
    if not corpus.files and (corpus.images is None or not len(corpus.images)):
        return None
    count = min(len(corpus), ROWS)
    played = corpus.probes.get("as played")
    named = corpus.labels is not None and len(corpus.label_names) > 1
    rows = []
    for i in range(count):
        label = int(corpus.labels[i]) if named and corpus.labels is not None else -1
        rows.append(
            [
                printable(corpus.files[i]) if corpus.files else f"image {i}",
                corpus.label_names[label] if 0 <= label < len(corpus.label_names) else "",
                None if played is None else int(played[i]),
                " ".join(map(str, corpus.symbols[i][corpus.mask[i]].tolist())),
            ]
        )
    return {
        "rows": rows, "sheets": _sheets(corpus, count), "side": SIDE, "per_row": PER_ROW, "all": len(corpus),
        "at": files_at if corpus.files else "",
    }  # fmt: skip


def _sheets(corpus: Corpus, count: int) -> list[str]:
    if corpus.images is None:
        return []
    sheets, room = [], _BYTES
    for start in range(0, min(count, len(corpus.images)), PER_ROW**2):
        part = corpus.images[start : min(start + PER_ROW**2, count)]
        sheet = Image.new("RGB", (SIDE * PER_ROW, SIDE * -(-len(part) // PER_ROW)))
        for i, pixels in enumerate(np.ascontiguousarray(part.transpose(0, 2, 3, 1))):
            place = (i % PER_ROW * SIDE, i // PER_ROW * SIDE)
            sheet.paste(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX), place)
        sheets.append(data_uri(sheet, quality=65))
        room -= len(sheets[-1])
        if room < 0:
            sheets.pop()
            break
    return sheets


def files_from(corpus: Corpus, page: Path) -> str:
    """Where the files of a run's images lie, from the page's folder on; empty where they are not there."""
    config = corpus.info.get("config")
    root = config["images"].get("root") if isinstance(config, dict) and isinstance(config.get("images"), dict) else None
    if not root or not corpus.files or not (Path(root) / corpus.files[0]).is_file():
        return ""
    try:
        return Path(os.path.relpath(root, page.resolve().parent)).as_posix()
    except ValueError:
        # On Windows, another drive.
        return Path(root).resolve().as_uri()
