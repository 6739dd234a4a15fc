"""What happens beside training: logs, checkpoints, schedules, a clean stop. Callbacks contain no maths.

The hooks are EGG's, and ``on_log``: the only place where numbers arrive, as plain records of finished steps
(``kind: train``), of validations (``kind: validation``), and of whatever else a callback hands to `Callback.log`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, ClassVar

from torch import Tensor

from patchgame_egg.interaction import Interaction
from patchgame_egg.training.log_file import Record
from patchgame_egg.training.progress import Progress


class Callback:
    """Does nothing at every hook; subclasses override what they need. Epochs count from 1.

    EGG's trainer calls the same hooks, but for ``on_log`` and ``close``, and knows no steps.

    Attributes:
        trainer: the trainer, from ``on_train_begin`` on; ``trainer.should_stop = True`` stops it.
        in_egg: of a callback that cannot work in EGG's trainer, what to use there; empty: it can.
    """

    trainer: Progress
    in_egg: ClassVar[str] = ""

    def on_train_begin(self, trainer: Progress) -> None:
        """Remembers the trainer.

        Raises:
            ValueError: it is EGG's, in which this callback cannot work.
        """
        if self.in_egg and not hasattr(trainer, "n_epochs"):
            raise ValueError(
                f"{type(self).__name__} needs the Trainer of patchgame_egg, this is {type(trainer).__module__}."
                f"{type(trainer).__name__}: use {self.in_egg} there"
            )
        self.trainer = trainer

    def on_epoch_begin(self, epoch: int) -> None: ...

    def on_batch_end(self, logs: Interaction, loss: Tensor, batch_id: int, is_training: bool = True) -> None: ...

    def on_epoch_end(self, loss: float, logs: Interaction, epoch: int) -> None: ...

    def on_validation_begin(self, epoch: int) -> None: ...

    def on_validation_end(self, loss: float, logs: Interaction, epoch: int) -> None: ...

    def on_early_stopping(
        self,
        train_loss: float,
        train_logs: Interaction,
        epoch: int,
        test_loss: float | None = None,
        test_logs: Interaction | None = None,
    ) -> None: ...

    def on_log(self, records: Sequence[Record]) -> None: ...

    def log(self, record: Record) -> None:
        """Hands a record of a ``kind`` of one's own to all callbacks, with the step and the epoch."""
        whole = {"kind": record["kind"], "step": self.trainer.step, "epoch": self.trainer.epoch, **record}
        for callback in self.trainer.callbacks:
            if hasattr(callback, "on_log"):
                callback.on_log([whole])

    def on_train_end(self) -> None: ...

    def close(self) -> None:
        """Called last, also where training ended by an error: gives back what the callback holds."""


class Schedule(Callback):
    """Sets something from the share of training that is done, before the first step and after every step.

    Args:
        apply: takes the value.
        value: from the share done, 0 to 1, to the value.
    """

    in_egg = "core.TemperatureUpdater, or a core.Callback that sets the value"

    def __init__(self, apply: Callable[[float], None], value: Callable[[float], float]) -> None:
        self.apply, self.value = apply, value

    def on_train_begin(self, trainer: Progress) -> None:
        super().on_train_begin(trainer)
        self.apply(self.value(trainer.progress))

    def on_batch_end(self, logs: Interaction, loss: Tensor, batch_id: int, is_training: bool = True) -> None:
        self.apply(self.value(self.trainer.progress))


class StopOnSignal(Callback):
    """Ctrl-C and SIGTERM stop training after the step under way; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.caught: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def on_train_begin(self, trainer: Progress) -> None:
        super().on_train_begin(trainer)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.caught = signal.Signals(number)
        self.trainer.should_stop = True
        signal.signal(number, self._before[self.caught])

    def on_train_end(self) -> None:
        # EGG's trainer does not close callbacks.
        self.close()

    def close(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
