"""Networks that have learnt, from finished runs and from other people's checkpoints."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from games.build.agents import build_game, load_agents
from games.options.config import Config
from games.options.config_file import load_config
from games.runs.files import CHECKPOINT, CONFIG, METRICS, WEIGHTS
from games.runs.folder import check_speaks, method_of
from patchgame_egg.agents.trunks import vision_trunk
from patchgame_egg.game import Game
from patchgame_egg.population import Population
from patchgame_egg.text_files import read_text
from patchgame_egg.training import checkpoint


@dataclass(frozen=True)
class Trained:
    """A vision trunk that has learnt.

    Attributes:
        trunk: images ``[B, 3, H, W]`` to features ``[B, dim]``.
        dim: their width.
        config: the options of the run.
        method: ``patchgame``, or a baseline of `games.baselines`.
    """

    trunk: nn.Module
    dim: int
    config: Config
    method: str


def load_game(run: Path, device: torch.device) -> tuple[Game | Population, Config]:
    """The agents of a run of PatchGame, as its last checkpoint has them, or as they were shared.

    Raises:
        ValueError: not such a run, or its checkpoint does not fit.
    """
    game, config, _ = load_learnt_game(run, device)
    return game, config


def load_learnt_game(run: Path, device: torch.device) -> tuple[Game | Population, Config, dict[str, int]]:
    """The same, and how far they have come: ``step``, and ``epoch``, the finished ones.

    Raises:
        ValueError: not such a run, or its checkpoint does not fit.
    """
    check_speaks(run)
    config, _ = load_config(run / CONFIG)
    game = build_game(config)
    position = _load(game, run, device)
    return game.to(device), config, {"step": position["step"], "epoch": position["epoch"]}


def in_precision(config: Config, device: torch.device) -> AbstractContextManager[object]:
    """The number format in which a run is evaluated, as a block; fp16 is for GPUs alone."""
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.training.precision)
    on = half is not None and not (device.type == "cpu" and half == torch.half)
    return torch.autocast(device.type, half, enabled=on)


def load_trunk(run: Path, device: torch.device) -> Trained:
    """What Table 1 evaluates of a run: the listener's vision trunk (of a population, the first one's) or a baseline's.

    Raises:
        ValueError: not a run, or its checkpoint does not fit.
    """
    config, _ = load_config(run / CONFIG)
    name = method_of(run)
    if name != "patchgame":
        # That module trains, and imports much.
        from games.build.baselines import build_baseline

        baseline: Any = build_baseline(name, config)
        _load(baseline, run, device)
        return Trained(baseline.trunk.to(device), baseline.trunk_dim, config, name)
    game, config = load_game(run, device)
    receiver: Any = game.receivers[0] if isinstance(game, Population) else game.receiver
    return Trained(receiver.vision, vision_trunk_width(config), config, name)


def vision_trunk_width(config: Config) -> int:
    """The number of features that the options' trunk gives."""
    with torch.random.fork_rng(devices=[]):
        return vision_trunk(config.listener.vision, config.images.image_size, config.listener.vision_width)[1]


def _load(module: nn.Module, run: Path, device: torch.device) -> dict[str, int]:
    try:
        if (run / WEIGHTS).exists() and not (run / CHECKPOINT).exists():
            # It holds tensors alone. What else modules have counts what they drew, in training.
            rest = {name: value for name, value in module.state_dict().items() if not isinstance(value, Tensor)}
            module.load_state_dict(load_file(run / WEIGHTS) | rest)
            last = json.loads(read_text(run / METRICS)) if (run / METRICS).exists() else {}
            position = {name: int(last.get(name, 0)) for name in ("step", "epoch")}
        else:
            state = checkpoint.load(run / CHECKPOINT, device)
            load_agents(module, state["game"])
            position = state["position"]
    except SafetensorError as error:
        raise ValueError(f"{run / WEIGHTS} cannot be read as weights: {error}") from error
    except (RuntimeError, KeyError) as error:
        first = " ".join(str(error).split())[:300]
        raise ValueError(f"{run}: its checkpoint does not fit its options: {first}") from error
    return position
