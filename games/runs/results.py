"""The files that a run ends with: metrics.json, skipped.txt, cross_play.csv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from games.runs.files import CROSS_PLAY, CROSS_PLAY_PICTURE, METRICS, SKIPPED
from patchgame_egg.atomic_write import write_json, write_text
from patchgame_egg.data.names import printable


def write_metrics(record: dict[str, Any], folder: Path) -> None:
    """Writes a run's last file: where it is, the run is whole."""
    write_json(record, folder / METRICS)


def write_skipped(skipped: Sequence[str], folder: Path) -> None:
    """Prints and writes which images could not be read, if any."""
    if skipped:
        skipped = [printable(name) for name in skipped]
        more = f" and {len(skipped) - 20} more" if len(skipped) > 20 else ""
        print(f"skipped {len(skipped)} unreadable images: {', '.join(skipped[:20])}{more}")
        write_text("".join(f"{name}\n" for name in skipped), folder / SKIPPED)


def write_cross_play(accuracy: torch.Tensor, candidates: int, folder: Path, picture: bool) -> None:
    """Writes who understood whom as a table and, if wanted, a picture, and prints it: a row is a speaker."""
    rows = [",".join(["", *(f"listener {m}" for m in range(accuracy.shape[1]))])]
    rows += [",".join([f"speaker {n}", *(f"{x:.4f}" for x in row)]) for n, row in enumerate(accuracy.tolist())]
    write_text("\n".join(rows) + "\n", folder / CROSS_PLAY)
    print("cross-play, top-1 in %, a row is a speaker, a column a listener:")
    for row in accuracy.tolist():
        print("  " + "  ".join(f"{100 * x:5.1f}" for x in row))
    if picture:
        # Plotting packages take seconds to import.
        from analysis.plots.cross_play import draw_cross_play

        print(f"wrote {draw_cross_play(accuracy.numpy(), 1 / candidates, folder / CROSS_PLAY_PICTURE)}")
