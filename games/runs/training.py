"""A run is trained, to its end or to a signal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from games.options.command_line import Start, fail
from games.options.config_file import save_config
from games.options.flags import with_flags
from games.runs.files import CONFIG
from games.runs.lock import run_lock
from patchgame_egg.data.loader import ImageLoader, NothingReadable
from patchgame_egg.distributed.processes import is_rank_zero, world_size
from patchgame_egg.training.callback import StopOnSignal
from patchgame_egg.training.trainer import NonFiniteLoss, Trainer


def train_run(
    trainer: Trainer,
    start: Start,
    folder: Path,
    loaders: Sequence[ImageLoader],
    again: bool,
    command: str,
    epochs: int | None = None,
) -> int:
    """Writes the options into the run's folder and trains.

    Args:
        trainer: from `make_trainer`.
        start: what was asked for, after `find_run`.
        folder: of the run.
        loaders: of the training and the held-out images.
        again: torchrun or SLURM has started the command once more.
        command: what resumes the run, for the reader of its output.
        epochs: how many; None: as the options say.

    Returns:
        0, or the exit status of whom a signal stopped.
    """
    config = start.config
    stop = next(c for c in trainer.callbacks if isinstance(c, StopOnSignal))
    if is_rank_zero():
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with run_lock(folder):
            if is_rank_zero():
                save_config(config, start.preset, folder / CONFIG)
                count = sum(p.numel() for p in trainer.game.parameters())
                print(
                    f"{folder}: {len(loaders[0].source)} images to train on, {len(loaders[1].source)} held out, "
                    f"{count / 1e6:.1f} M parameters, on {world_size()} x {trainer.device}"
                )
                if again or start.resume:
                    goes_on = f"goes on from step {trainer.step}"
                    print(goes_on if start.resume else "begins anew: there is no checkpoint yet")
            trainer.train(config.training.epochs if epochs is None else epochs)
    except NonFiniteLoss as error:
        fail(with_flags(error))
    except NothingReadable as error:
        # A worker process adds its traceback before it.
        fail(str(error).splitlines()[-1].split("NothingReadable: ")[-1])
    if stop.caught is None:
        return 0
    if is_rank_zero():
        print(f"stopped at step {trainer.step}; go on with: {command} --resume {folder}")
    return 128 + stop.caught
