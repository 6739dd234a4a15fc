"""A population evaluated: every listener hears every speaker."""

from __future__ import annotations

import torch
from torch import Tensor

from patchgame_egg.population import Population
from patchgame_egg.training.trainer import Trainer


def cross_play(trainer: Trainer) -> Tensor:
    """How well every listener understands every speaker.

    Args:
        trainer: of a `Population`, with validation data.

    Returns:
        The accuracy ``acc`` of each pair, ``[n, m]``; a row is a speaker.

    Raises:
        ValueError: the trainer's game is not a `Population`.
    """
    population = trainer.game
    if not isinstance(population, Population):
        raise ValueError(f"cross-play needs a Population, the trainer has a {type(population).__name__}")
    before, found = population.pair, torch.zeros(len(population.senders), len(population.receivers))
    try:
        for speaker in range(len(population.senders)):
            for listener in range(len(population.receivers)):
                population.pair = (speaker, listener)
                _, logs = trainer.eval()
                found[speaker, listener] = logs.aux["acc"].mean()
    finally:
        population.pair = before
    return found
