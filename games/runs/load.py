"""Networks that have learnt, from finished runs and from other people's checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from games.build.agents import build_game
from games.options.config import Config
from games.options.config_file import load_config
from games.runs.files import CHECKPOINT, CONFIG
from games.runs.folder import check_speaks, method_of
from patchgame_egg.agents.trunks import vision_trunk
from patchgame_egg.game import Game
from patchgame_egg.population import Population
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
    """The agents of a run of PatchGame, as its last checkpoint has them.

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
    state = checkpoint.load(run / CHECKPOINT, device)
    try:
        module.load_state_dict(state["game"])
        position: dict[str, int] = state["position"]
    except (RuntimeError, KeyError) as error:
        first = " ".join(str(error).split())[:300]
        raise ValueError(f"{run}: its checkpoint does not fit its options: {first}") from error
    return position
