"""The training loop and what happens beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on

if TYPE_CHECKING:
    from patchgame_egg.training.callback import Callback as Callback, Schedule as Schedule, StopOnSignal as StopOnSignal
    from patchgame_egg.training.checkpoint import Checkpoint as Checkpoint
    from patchgame_egg.training.evaluation import cross_play as cross_play
    from patchgame_egg.training.log_file import read_log as read_log
    from patchgame_egg.training.loggers import (
        Console as Console,
        JsonLines as JsonLines,
        TensorBoard as TensorBoard,
        WeightsAndBiases as WeightsAndBiases,
    )
    from patchgame_egg.training.malloc import keep_freed_memory as keep_freed_memory
    from patchgame_egg.training.muon import Muon as Muon
    from patchgame_egg.training.optimizer import (
        cosine as cosine,
        decay_groups as decay_groups,
        linear_warmup as linear_warmup,
    )
    from patchgame_egg.training.trainer import NonFiniteLoss as NonFiniteLoss, Trainer as Trainer

__getattr__, __dir__, __all__ = hand_on(__name__)
