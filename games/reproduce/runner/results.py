"""What experiments measure is kept in files, with all that it depends on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from games.reproduce.runner.setting import Setting, Training, made_of
from games.runs.files import LOG
from games.runs.lock import output_lock
from patchgame_egg.atomic_write import write_json
from patchgame_egg.training.log_file import iterate_log


def measured(path: Path, measure: Callable[[], dict[str, Any]], made_with: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured before and kept in a file, or else what is measured now.

    Args:
        path: of the file.
        measure: measures it.
        made_with: all that the result depends on, as `games.reproduce.runner.setting.made_of` gives it; kept under
            that name.

    Raises:
        ValueError: what is kept was measured of something else.
    """
    with output_lock(path):
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


def images_seen(run: Path) -> int:
    """Images that a run was trained on, counted as often as they were shown."""
    log = run / LOG
    return round(sum(r["images"] for r in iterate_log(log) if r["kind"] == "train")) if log.exists() else 0
