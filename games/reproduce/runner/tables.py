"""Tables: a row for every seed and method, written for readers and for programs, with how they came about."""

from __future__ import annotations

import json
import os
import platform
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analysis.corpus.csv_export import csv_text
from games.reproduce.runner.setting import Setting, Training, command_of
from games.reproduce.runner.training import Diverged
from patchgame_egg.atomic_write import write_json, write_text


def table_rows(
    wanted: Iterable[tuple[Mapping[str, str], Training]], measure: Callable[[Training], dict[str, Any]]
) -> pd.DataFrame:
    """A row for each training: what was measured of it, or that it ``diverged``.

    Args:
        wanted: trainings, each with the columns that name it in the table.
        measure: the other columns of a training.

    Raises:
        RuntimeError: all of them diverged.
    """
    rows = []
    for names, training in wanted:
        row: dict[str, Any] = {**names, "seed": training.seed, "diverged": False}
        try:
            rows.append({**row, **measure(training)})
        except Diverged:
            rows.append({**row, "diverged": True})
    frame = pd.DataFrame(rows)
    if frame.diverged.all():
        raise RuntimeError("all trainings diverged: a smaller --lr may help, with another --out")
    return frame


def mean_and_spread(values: pd.Series, digits: int = 1) -> str:
    """For a table: the mean, and the standard deviation where there are several values."""
    values = values.dropna()
    if values.empty:
        return ""
    spread = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def fate(runs: pd.DataFrame) -> str:
    """What to add to the name of those of whose trainings some ``diverged``."""
    lost = int(runs.diverged.sum())
    if not lost:
        return ""
    return " (diverged)" if lost == len(runs) else f" ({lost} of {len(runs)} diverged)"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def write_table(setting: Setting, frame: pd.DataFrame, text: str) -> None:
    """Writes numbers as CSV and JSON, a row each, and the table for readers; prints that."""
    write_text(csv_text(frame), setting.folder / "table.csv")
    write_text(frame.to_json(orient="records", indent=2), setting.folder / "table.json")
    write_text(text, setting.folder / "table.md")
    print(text)


def write_about(setting: Setting, trainings: Sequence[Training], argv: Sequence[str], seconds: float) -> None:
    """Writes how the results came about: commands, seeds, machine, and earlier calls, which may have made most."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    path = setting.folder / "experiment.json"
    calls = []
    if path.exists():
        last = json.loads(path.read_text())
        calls = [*last.get("earlier", []), {key: last[key] for key in ("command", "finished", "seconds", "machine")}]
    about = {
        "experiment": setting.experiment,
        **({"scale": setting.scale} if setting.run is None else {"run": str(setting.run)}),
        "command": shlex.join(["python", "-m", "games.reproduce", *argv]),
        "trainings": [shlex.join(command_of(setting, training)) for training in trainings],
        "seeds": list(setting.seeds),
        "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
        "seconds": round(seconds, 1),
        "machine": {
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "gpu": gpu,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "earlier": calls,
    }
    write_json(about, path)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
