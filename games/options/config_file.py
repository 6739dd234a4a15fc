"""config.json: a run's options, written and read."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from games.options.config import Config
from games.runs.files import CHECKPOINT
from patchgame_egg.atomic_write import write_json
from patchgame_egg.text_files import read_json, read_text

# What earlier runs did where they had no option yet.
_FORMER: dict[str, dict[str, Any]] = {
    "speaker": {"rank_padding": "zeros", "rank_mirrored": False},
    "images": {"view_ramp": 0.0},
}


def save_config(config: Config, preset: str, path: Path) -> None:
    """Writes a run's options as JSON, the whole file or nothing."""
    write_json({"preset": preset, **asdict(config)}, path)


def run_of(path: Path) -> Path:
    """The run that is meant: its folder, or the checkpoint in it."""
    return path.parent if path.name == CHECKPOINT and not path.is_dir() else path


def load_config(path: Path) -> tuple[Config, str]:
    """Reads what `save_config` wrote, as (config, preset).

    Raises:
        ValueError: no such file, or not the options of a run.
    """
    try:
        values = read_json(read_text(path))
        if not isinstance(values, dict):
            raise ValueError(f"it holds a {type(values).__name__}")
        preset = values.pop("preset")
        if not isinstance(preset, str):
            raise ValueError(f"preset is {preset!r}, expected is a name")
        sections = {
            f.name: _section(f.name, getattr(Config(), f.name), {**_FORMER.get(f.name, {}), **values.pop(f.name)})
            for f in fields(Config)
        }
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(f"{path.parent} is not a run: it has no {path.name}") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except KeyError as error:
        raise ValueError(f"{path} does not hold the options of a run: it has no {error}") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} does not hold the options of a run: {error}") from error
    return Config(**sections), preset


def _section(section: str, default: Any, values: dict[str, Any]) -> Any:
    kinds = get_type_hints(type(default))
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name, value in plain.items():
        if name not in kinds:
            raise ValueError(f"{section} has no option {name}")
        if not _fits(value, kinds[name]):
            raise ValueError(f"{section}.{name} is {value!r}, expected is {_name(kinds[name])}")
    return replace(default, **plain)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type as the options name them."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(_fits, value, inner))
    if inner:
        return any(_fits(value, one) for one in inner)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _name(kind: Any) -> str:
    inner = get_args(kind)
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, inner))
    if inner:
        return (", " if get_origin(kind) is tuple else " or ").join(map(_name, inner))
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(kind, "null")
