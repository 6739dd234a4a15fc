"""A run is trained, to its end or to a signal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from games.options.command_line import Start, fail, failures
from games.options.config_file import save_config
from games.options.flags import with_flags
from games.runs.files import CHECKPOINT, CONFIG, METHOD, METRICS
from games.runs.folder import checkpoint_stamp
from games.runs.images import check_images, write_images
from games.runs.lock import run_lock
from patchgame_egg.atomic_write import write_json
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
    method: dict[str, str | int | float] | None = None,
) -> int:
    """Writes the options into the run's folder and trains. A file that cannot be written ends the program.

    Args:
        trainer: from `make_trainer`.
        start: what was asked for, after `find_run`.
        folder: of the run.
        loaders: of the training and the held-out images.
        again: torchrun or SLURM has started the command once more.
        command: what resumes the run, for the reader of its output.
        epochs: how many; None: as the options say.
        method: what a baseline's run is, for its file.

    Returns:
        0, or the exit status of whom a signal stopped.

    Raises:
        SystemExit: another process trains the run, its images have changed, the loss became NaN or infinite, or the
            disk is full.
    """
    config = start.config
    began = folder.exists()
    stop = next(c for c in trainer.callbacks if isinstance(c, StopOnSignal))

    def kept() -> str:
        return what_is_kept(folder, command)

    images = {"to train on": loaders[0].source, "held out": loaders[1].source}
    if start.resume:
        try:
            check_images(images, config.images.root, folder)
        except ValueError as error:
            fail(error)
    try:
        with failures(kept), _locked(folder):
            if is_rank_zero():
                if checkpoint_stamp(folder) != start.found:
                    # What was read before the lock was taken is of the past: going on from it would undo the rest.
                    fail(f"another process has just trained {folder}: look at it, then {command} --resume {folder}")
                # From here on the run is not whole, whenever it is killed.
                (folder / METRICS).unlink(missing_ok=True)
                if method is not None:
                    write_json(method, folder / METHOD)
                save_config(config, start.preset, folder / CONFIG)
                # Killed before its first checkpoint, a run begins anew, on what there is now.
                write_images(images, folder, anew=not start.resume)
                count = sum(p.numel() for p in trainer.game.parameters())
                print(
                    f"{folder}: {len(loaders[0].source)} images to train on, {len(loaders[1].source)} held out, "
                    f"{count / 1e6:.1f} M parameters, on {world_size()} x {trainer.device} in {trainer.precision}"
                )
                if start.resume:
                    print(f"goes on from step {trainer.step}")
                elif again or began:
                    print("begins anew: there is no checkpoint yet")
            trainer.train(config.training.epochs if epochs is None else epochs)
    except NonFiniteLoss as error:
        fail(with_flags(error))
    except NothingReadable as error:
        # A worker process adds its traceback before it.
        fail(str(error).splitlines()[-1].split("NothingReadable: ")[-1])
    except RuntimeError as error:
        # For whoever tells of it, such as of a process that no longer answers.
        error.add_note(kept())
        raise
    if stop.caught is None:
        return 0
    if is_rank_zero():
        print(f"stopped at step {trainer.step}; go on with: {command} --resume {folder}")
    return 128 + stop.caught


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    if is_rank_zero():
        folder.mkdir(parents=True, exist_ok=True)
    with run_lock(folder):
        yield


def check_unfinished(trainer: Trainer, start: Start, folder: Path) -> None:
    """Looks whether there is anything left to do in a run that was asked to go on.

    Raises:
        ValueError: it has done all, or more, that is asked for.
    """
    epochs = start.config.training.epochs
    done = trainer.epoch + (trainer.batch > 0)
    if done > epochs:
        part = f" and {trainer.batch} batches" if trainer.batch else ""
        raise ValueError(
            f"{folder} has done {trainer.epoch} epochs{part} already: --epochs {epochs} is less, give at least {done}"
        )
    if trainer.epoch == epochs and (folder / METRICS).exists():
        raise ValueError(f"{folder} has finished its {epochs} epochs: --epochs N, with a larger N, goes on")


def what_is_kept(folder: Path, command: str) -> str:
    """What is not lost of a run that ends early, for the end of a message."""
    if not (folder / CHECKPOINT).is_file():
        return ""
    return f"; {folder / CHECKPOINT} is kept: once that is mended, {command} --resume {folder} goes on"
