"""EGG's callbacks in our `Trainer`: those that can work do, the others are refused by name. EGG is not imported."""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

from torch import Tensor, nn

from patchgame_egg.distributed.processes import is_distributed, is_rank_zero, rank, world_size
from patchgame_egg.egg.trainers import for_eggs_callbacks
from patchgame_egg.interaction import Interaction
from patchgame_egg.training.callback import Callback
from patchgame_egg.training.progress import Progress

# Those that read the sender's input, which is not kept, and what does the same here.
_INSTEAD = {
    "TopographicSimilarity": "analysis.callback.LanguageAnalysis with a metric that calls topographic_similarity",
    "Disent": "analysis.callback.LanguageAnalysis with a metric that calls positional_disentanglement",
    "PrintValidationEvents": "trainer.eval(), which gives all messages with their labels",
}
# Those that print or write what all processes have alike.
_WRITERS = {
    "ConsoleLogger", "ProgressBarLogger", "TensorboardLogger", "WandbLogger", "CheckpointSaver", "MessageEntropy",
}  # fmt: skip


def hosted(callback: Any) -> Any:
    """A callback as our trainer calls it: one of EGG's is wrapped, any other handed back.

    Raises:
        ValueError: it is one of EGG's that cannot work here.
    """
    kinds = type(callback).__mro__
    if not any(k.__name__ == "Callback" and k.__module__.split(".")[0] == "egg" for k in kinds):
        return callback
    names = {kind.__name__ for kind in kinds if kind.__module__.startswith("egg.core.")}
    for name in names & _INSTEAD.keys():
        raise ValueError(f"{name} needs every input of the sender, which is not kept here: use {_INSTEAD[name]}")
    if "MessageEntropy" in names and callback.print_train:
        raise ValueError("MessageEntropy(print_train=True): no messages of training are kept here, give False")
    if "MessageEntropy" in names and callback.is_gumbel:
        raise ValueError("MessageEntropy(is_gumbel=True): messages are ids here, give False")
    if "InteractionSaver" in names and callback.train_epochs:
        raise ValueError(
            f"InteractionSaver(train_epochs={callback.train_epochs}): no messages of training are kept here, give "
            "test_epochs alone"
        )
    return EggCallback(callback, writes=bool(names & _WRITERS))


class EggCallback(Callback):
    """A callback of EGG, given records and a trainer as EGG has them; `hosted` makes one.

    Args:
        callback: of EGG.
        writes: only the first process calls it.
    """

    def __init__(self, callback: Any, writes: bool = False) -> None:
        self.callback, self.writes = callback, writes

    def on_train_begin(self, trainer: Progress) -> None:
        super().on_train_begin(trainer)
        self._call("on_train_begin", EggTrainer(trainer))

    def on_epoch_begin(self, epoch: int) -> None:
        self._call("on_epoch_begin", epoch)

    def on_batch_end(self, logs: Interaction, loss: Tensor, batch_id: int, is_training: bool = True) -> None:
        self._call("on_batch_end", logs, loss, batch_id, is_training)

    def on_epoch_end(self, loss: float, logs: Interaction, epoch: int) -> None:
        self._call("on_epoch_end", loss, logs, epoch)

    def on_validation_begin(self, epoch: int) -> None:
        self._call("on_validation_begin", epoch)

    def on_validation_end(self, loss: float, logs: Interaction, epoch: int) -> None:
        self._call("on_validation_end", loss, logs, epoch)

    def on_early_stopping(
        self,
        train_loss: float,
        train_logs: Interaction,
        epoch: int,
        test_loss: float | None = None,
        test_logs: Interaction | None = None,
    ) -> None:
        self._call("on_early_stopping", train_loss, train_logs, epoch, test_loss, test_logs)

    def on_train_end(self) -> None:
        self._call("on_train_end")

    def _call(self, hook: str, *args: Any) -> None:
        if self.writes and not is_rank_zero():
            return
        # Whoever has a callback of EGG has its records.
        theirs = getattr(sys.modules.get("egg.core.interaction"), "Interaction", Interaction)
        getattr(self.callback, hook)(
            *(for_eggs_callbacks(x, theirs) if isinstance(x, Interaction) else x for x in args)
        )


class DistributedContext(NamedTuple):
    """What EGG's trainer says of its processes."""

    is_distributed: bool
    is_leader: bool
    rank: int
    local_rank: int
    world_size: int
    mode: str


class Wrapped(NamedTuple):
    """A game where EGG's trainer has one in DistributedDataParallel."""

    module: nn.Module


class EggTrainer:
    """Our trainer as callbacks of EGG know theirs: with a ``distributed_context``, everything else is ours."""

    def __init__(self, trainer: Progress) -> None:
        object.__setattr__(self, "trainer", trainer)

    trainer: Progress

    @property
    def distributed_context(self) -> DistributedContext:
        together, place = is_distributed(), int(os.environ.get("LOCAL_RANK", 0))
        mode = "launch" if together else "none"
        return DistributedContext(together, is_rank_zero(), rank(), place, world_size(), mode)

    @property
    def game(self) -> nn.Module | Wrapped:
        return Wrapped(self.trainer.game) if is_distributed() else self.trainer.game

    def __getattr__(self, name: str) -> Any:
        return getattr(self.trainer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "should_stop":
            # An EarlyStopper sets it after every validation, and must not take back what a signal asked for.
            value = bool(value) or self.trainer.should_stop
        setattr(self.trainer, name, value)
