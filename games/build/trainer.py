"""Options become a `Trainer` with its callbacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from games.build.agents import take_over_agents
from games.build.optimizer import build_optimizer, schedules, with_rates_of
from games.options.command_line import Start
from games.options.config import Config
from games.runs.files import CHECKPOINT, LOG, TENSORBOARD
from patchgame_egg.distributed.gather import gather_rows
from patchgame_egg.distributed.processes import is_rank_zero
from patchgame_egg.interaction import Interaction
from patchgame_egg.training import checkpoint
from patchgame_egg.training.callback import Callback, StopOnSignal
from patchgame_egg.training.checkpoint import Checkpoint
from patchgame_egg.training.loggers import Console, JsonLines, TensorBoard, WeightsAndBiases
from patchgame_egg.training.precision import Precision, native_precision
from patchgame_egg.training.trainer import Trainer
from patchgame_egg.views.loader import ViewLoader


def make_trainer(
    start: Start,
    game: nn.Module,
    train: ViewLoader,
    validation: ViewLoader,
    folder: Path,
    metrics: Callable[[Interaction], dict[str, float]],
    callbacks: Sequence[Callback] = (),
    also_validate: Mapping[str, ViewLoader] | None = None,
) -> Trainer:
    """The trainer that the options describe, of whatever is called like a game.

    Args:
        start: the options, and the run to resume, if any.
        game: what learns, on its device.
        train: batches to learn from.
        validation: batches to validate on.
        folder: of the run.
        metrics: further numbers for the validation record, from the epoch's `Interaction`.
        callbacks: called after those that log, before a checkpoint is written.
        also_validate: further batches to validate on, by name.

    Raises:
        ValueError: the checkpoint, or that of the run to start from, does not fit.
    """
    config, device = start.config, train.device
    steps = math.ceil(len(train) / config.training.accumulate)
    precision = chosen_precision(config, device)
    optimizer, scheduler = build_optimizer(config, game, steps, precision)
    everything: list[Callback] = [*schedules(config, game, optimizer), Console()]
    if is_rank_zero():
        everything.append(JsonLines(folder / LOG))
        if config.run.tensorboard:
            everything.append(TensorBoard(folder / TENSORBOARD))
        if config.run.wandb:
            everything.append(WeightsAndBiases(config.run.wandb, folder.name, asdict(config)))
    everything += [*callbacks, Checkpoint(folder / CHECKPOINT, config.run.checkpoint_every), StopOnSignal()]
    trainer = Trainer(
        game,
        optimizer,
        train,
        scheduler,
        validation,
        device,
        everything,
        config.training.grad_norm,
        precision=precision,
        accumulate=config.training.accumulate,
        metrics=metrics,
        also_validate=also_validate,
    )
    if start.resume is not None:
        state = checkpoint.load(folder / CHECKPOINT, device)
        if "optimizer" not in state:
            raise ValueError(
                f"{folder} holds agents alone, as games.convert makes a run, and no optimizer to go on with: "
                f"--init-from {folder} starts a new run from them"
            )
        trainer.load_state_dict(with_rates_of(state, game, optimizer, scheduler))
    elif config.run.init_from:
        take_over_agents(game, Path(config.run.init_from))
    return trainer


def chosen_precision(config: Config, device: torch.device) -> Precision:
    """The number format that is asked for; where that is open, the one that all processes are fast in."""
    if config.training.precision != "auto":
        return config.training.precision
    fast = torch.tensor([native_precision(device) == "bf16"], dtype=torch.float32, device=device)
    return "bf16" if bool(gather_rows(fast).all()) else "fp32"
