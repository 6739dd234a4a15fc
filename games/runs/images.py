"""Which images a run has learnt from, so that it does not go on with others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from games.runs.files import IMAGES_SEEN
from patchgame_egg.atomic_write import write_json
from patchgame_egg.data.fingerprint import fingerprint
from patchgame_egg.data.images import ImageSource


def check_images(sources: Mapping[str, ImageSource], root: str, run: Path) -> None:
    """Looks whether a run that goes on has the images that it had; a run of version 0.1.0 does not know.

    Args:
        sources: what they are for (``to train on``, ``held out``) -> the images.
        root: where they lie.
        run: its folder.

    Raises:
        ValueError: files were added, removed or replaced since.
    """
    known = _known(run)
    for use, source in sources.items():
        now, then = fingerprint(source), known.get(use)
        if then is None or now == then:
            continue
        differ = f"{now['count']:,} now and were {then['count']:,}"
        if now["count"] == then["count"]:
            differ = f"{now['count']:,} as before, under other names or of other sizes"
        raise ValueError(
            f"the images {use} in {root or 'this data set'} are {differ} when {run} learnt from them: put back what "
            f"was there, or --init-from {run} starts a new run from it"
        )


def write_images(sources: Mapping[str, ImageSource], run: Path, anew: bool) -> None:
    """Writes down which images a run learns from; where it does not begin anew, only if that is not known."""
    if anew or set(sources) - set(_known(run)):
        write_json({use: fingerprint(source) for use, source in sources.items()}, run / IMAGES_SEEN)


def _known(run: Path) -> dict[str, Any]:
    # What cannot be read is as good as not there: it is written anew.
    try:
        found = json.loads((run / IMAGES_SEEN).read_bytes())
    except (OSError, ValueError):
        return {}
    parts = found.values() if isinstance(found, dict) else [None]
    return found if all(isinstance(part, dict) and "count" in part for part in parts) else {}
