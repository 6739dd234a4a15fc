"""config.json: a run's options, written and read."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from games.options.config import Config
from patchgame_egg.text_files import read_text

# What runs of version 0.1.0 did where they had no option yet.
_FORMER: dict[str, dict[str, Any]] = {"speaker": {"rank_padding": "zeros"}}


def save_config(config: Config, preset: str, path: Path) -> None:
    """Writes a run's options as JSON."""
    path.write_text(json.dumps({"preset": preset, **asdict(config)}, indent=2) + "\n")


def load_config(path: Path) -> tuple[Config, str]:
    """Reads what `save_config` wrote, as (config, preset).

    Raises:
        ValueError: no such file, or not the options of a run.
    """
    try:
        values = json.loads(read_text(path))
        preset = values.pop("preset")
        sections = {
            f.name: _section(getattr(Config(), f.name), {**_FORMER.get(f.name, {}), **values.pop(f.name)})
            for f in fields(Config)
        }
    except FileNotFoundError as error:
        raise ValueError(f"{path.parent} is not a run: it has no {path.name}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not hold the options of a run: {error}") from error
    return Config(**sections), preset


def _section(default: Any, values: dict[str, Any]) -> Any:
    return replace(default, **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
