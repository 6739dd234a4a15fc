"""``--dry-run``: what a training would be, measured on its own first steps; nothing is written."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn

from games.options.command_line import Start, fail
from games.options.flags import with_flags
from patchgame_egg.data.loader import ImageLoader
from patchgame_egg.distributed.processes import is_rank_zero, world_size
from patchgame_egg.interaction import Interaction
from patchgame_egg.training.callback import Callback, StopOnSignal
from patchgame_egg.training.trainer import NonFiniteLoss, Trainer

# The first step waits for what is made once; so many more are measured.
_STEPS = 3

# What their parameters are called; of populations with an s.
_AGENTS = {"speaker": "sender", "listener": "receiver"}


class _Clock(Callback):
    """Notes when each of the first steps ends, then stops the training."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_batch_end(self, logs: Interaction, loss: Tensor, batch_id: int, is_training: bool = True) -> None:
        if loss.is_cuda:
            torch.cuda.synchronize(loss.device)
        self.ends.append(perf_counter())
        self.trainer.should_stop = self.trainer.should_stop or len(self.ends) > _STEPS


def rehearse(
    trainer: Trainer, start: Start, folder: Path, loaders: Sequence[ImageLoader], epochs: int | None = None
) -> int:
    """Takes the first steps of a training and says what all of it would be.

    Args:
        trainer: from `make_trainer`; it is of no use afterwards.
        start: what was asked for, after `find_run`.
        folder: where the run would go.
        loaders: of the training and the held-out images.
        epochs: how many; None: as the options say.

    Returns:
        0, or the exit status of whom a signal stopped.
    """
    validation, others = trainer.validation_data, 1 + len(trainer.also_validate)
    stop = next(c for c in trainer.callbacks if isinstance(c, StopOnSignal))
    clock, epochs = _Clock(), start.config.training.epochs if epochs is None else epochs
    # Whatever writes is a callback.
    trainer.callbacks, trainer.validation_data = [clock, stop], None
    begin = perf_counter()
    try:
        trainer.train(epochs)
        once = 0.0
        if validation is not None and stop.caught is None:
            before = perf_counter()
            trainer.validation_data = [next(iter(validation))]
            trainer.eval()
            once = perf_counter() - before
    except NonFiniteLoss as error:
        fail(with_flags(error))
    if stop.caught is not None:
        return 128 + stop.caught
    ends = [begin, *clock.ends]
    # All but the first step, where there are others.
    measured = ends[1:] if len(ends) > 2 else ends
    batch = (measured[-1] - measured[0]) / max(1, len(measured) - 1)
    batches, accumulate = len(loaders[0]), start.config.training.accumulate
    steps = math.ceil(batches / accumulate)
    training, evaluating = epochs * batches * batch, epochs * len(loaders[1]) * others * once
    taken = f"a step takes {batch * accumulate:.3g} s, measured on {len(measured) - 1}"
    if is_rank_zero():
        print(
            f"{folder}: a dry run, nothing is written\n"
            f"images: {len(loaders[0].source)} to train on, {len(loaders[1].source)} held out\n"
            f"parameters: {_parameters(trainer.game)}, on {world_size()} x {trainer.device} in {trainer.precision}\n"
            f"memory: {_memory(trainer.device)}\n"
            f"steps: {steps} an epoch, {epochs * steps} in {epochs} epochs, of "
            f"{start.config.training.batch_size * accumulate} images each\n"
            f"{taken if epochs else 'nothing is learnt'}\n"
            f"time to expect: {_minutes(training + evaluating)}, of which evaluation takes {_minutes(evaluating)}"
        )
    return 0


def _parameters(game: nn.Module) -> str:
    named = {name: parameter.numel() for name, parameter in game.named_parameters()}
    shares = {who: sum(n for name, n in named.items() if name.startswith(part)) for who, part in _AGENTS.items()}
    agents = ", ".join(f"{who} {count / 1e6:.1f} M" for who, count in shares.items() if count)
    return f"{sum(named.values()) / 1e6:.1f} M{f' ({agents})' if agents else ''}"


def _memory(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB of the GPU at the peak of these steps"
    try:
        import resource
    except ImportError:  # Windows
        return "not known on this system"
    # Kilobytes, but on macOS bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return f"{peak / 2**30:.2f} GiB in this process at the peak of these steps"


def _minutes(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
