"""What experiments measure is kept in files, and what they found is written as tables, with how it came about."""

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

from games.reproduce.experiment import Diverged, Setting, Training, alone, command_of, lasting
from patchgame_egg.callbacks import read_log
from patchgame_egg.whole_file import write_json


def measured(path: Path, measure: Callable[[], dict[str, Any]], made_with: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured before and kept in a file, or else what is measured now.

    Args:
        path: of the file.
        measure: measures it.
        made_with: all that the result depends on, see `made_of`; kept under that name.

    Raises:
        ValueError: what is kept was measured of something else.
    """
    with alone(path):
        if not path.exists():
            found = {**measure(), "made_with": made_with}
            write_json(found, path)
    found = json.loads(path.read_text())
    asked, kept = json.loads(json.dumps(made_with)), found.get("made_with", {})
    if asked != kept:
        differ = [key for key in asked if asked[key] != kept.get(key)]
        other = ", ".join(f"{key} was {kept.get(key)}, asked for is {asked[key]}" for key in differ)
        raise ValueError(f"{path} was measured otherwise: {other}. Delete it, or give another --out")
    return found


def measured_run(
    setting: Setting,
    training: Training,
    measure: Callable[[Setting, Training], dict[str, Any]],
    beside: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What was measured of a training and kept among the experiment's parts, or else what is measured now.

    Args:
        setting: of the experiment.
        training: the training.
        measure: measures it.
        beside: what the result depends on beside the training.

    Raises:
        ValueError: what is kept was measured of something else.
    """
    path = setting.folder / "parts" / f"{setting.folder_of(training).name}.json"
    return measured(path, lambda: measure(setting, training), {**made_of(setting, training), **(beside or {})})


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


def made_of(setting: Setting, training: Training) -> dict[str, Any]:
    """A training's options, of those that change a number, by name; for `measured`."""
    sections = vars(lasting(setting.config(training))).items()
    options = {f"{section}.{name}": value for section, part in sections for name, value in vars(part).items()}
    return {"method": training.method, **options}


def images_seen(run: Path) -> int:
    """Images that a run was trained on, counted as often as they were shown."""
    log = run / "log.jsonl"
    return round(sum(r["images"] for r in read_log(log) if r["kind"] == "train")) if log.exists() else 0


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
    setting.folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(setting.folder / "table.csv", index=False)
    frame.to_json(setting.folder / "table.json", orient="records", indent=2)
    (setting.folder / "table.md").write_text(text)
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
