"""What a callback may read of a trainer, so that callbacks need not know the training loop."""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn
from torch.optim import Optimizer


class Progress(Protocol):
    """How far a training has come. `Trainer` is one; a loop of one's own can be another.

    Attributes:
        game: what is trained.
        optimizer: its optimizer.
        callbacks: all of them, in the order in which they are called.
        n_epochs: epochs that were asked for.
        epoch: finished epochs.
        batch: batches of the epoch that are done, 0 at its end.
        step: optimizer steps since the beginning.
        should_stop: a callback sets it to end the training after the batch.
    """

    game: nn.Module
    optimizer: Optimizer
    # Not `Callback`, whose module reads this one.
    callbacks: list[Any]
    n_epochs: int
    epoch: int
    batch: int
    step: int
    should_stop: bool

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""

    @property
    def progress(self) -> float:
        """The share of all optimizer steps that are done, 0 to 1."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the training goes on from."""
