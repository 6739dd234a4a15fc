"""Trainings that are finished once.

A training lies in ``OUT/SCALE/runs/NAME-SEED`` and serves every experiment that asks for it; an experiment leaves its
table or figure in ``OUT/SCALE/EXPERIMENT``.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from games import baselines, patchgame
from games.options.config_file import load_config
from games.options.resume import as_recorded
from games.reproduce.runner.dry_run import check_images
from games.reproduce.runner.processes import ChildProcesses
from games.reproduce.runner.setting import Setting, Training, command_of, difference, lasting
from games.runs.files import CHECKPOINT, CONFIG, LOG, METRICS
from games.runs.folder import method_of
from games.runs.lock import is_being_trained, output_lock
from patchgame_egg.training.log_file import iterate_log

SECONDS_BETWEEN_LOOKS = 5.0


class Diverged(RuntimeError):
    """The loss of a training became NaN or infinite: with the same options it would again."""


class Stopped(RuntimeError):
    """A signal ended a training, and so all that was asked for."""


def train(
    setting: Setting,
    training: Training,
    children: ChildProcesses | None = None,
    stops: Callable[[], bool] | None = None,
) -> Path:
    """Finishes a training: a finished one is left alone, an interrupted one goes on, another process's is waited for.

    Args:
        setting: says how.
        training: the training.
        children: to which its process belongs, told of signals; None: it gets one only where the setting says so.
        stops: asked every second while ``children`` train: whether it is to be stopped, as by Ctrl-C.

    Returns:
        Its folder.

    Raises:
        ValueError: there is a run of that name with other options.
        Diverged: its loss became NaN or infinite, now or earlier.
        Stopped: a signal ended it, or ``stops`` did.
        RuntimeError: it failed otherwise.
    """
    folder, status, why = setting.folder_of(training), 0, ""
    apart = is_apart(setting) or children is not None
    with _claimed(folder):
        if is_finished(setting, training):
            return folder
        if _diverged_at(folder) is None:
            words = _words_to_finish(setting, training)
            print(f"== {folder.name}", flush=True)
            if apart:
                status, why = _train_apart(setting, training, words, children or ChildProcesses(), stops)
            else:
                status, why = _train_here(training, words)
        step = _diverged_at(folder)
    if step is not None:
        raise Diverged(
            f"{folder} diverged: its loss is not finite at step {step}. A smaller --lr may help, with another --out; "
            "if the folder is deleted it is trained anew"
        )
    if status >= 128 and (stops is not None or not apart):
        raise Stopped(f"the training {folder} ended with status {status}; the same command goes on with it")
    if status:
        raise RuntimeError(f"the training {folder} ended with status {status}{why}")
    return folder


def is_apart(setting: Setting) -> bool:
    """Whether trainings have processes of their own."""
    return bool(setting.launcher) or setting.jobs > 1


def _diverged_at(folder: Path) -> int | None:
    """The step at which a training's loss was not finite, or None."""
    log = folder / LOG
    last = deque(iterate_log(log), maxlen=1) if log.exists() else []
    return int(last[0]["step"]) if last and last[0]["kind"] == "diverged" else None


def _train_here(training: Training, words: list[str]) -> tuple[int, str]:
    """Trains in this process, which hears signals: exit status, and why it is not 0."""
    try:
        if training.method == "patchgame":
            return patchgame.main(words), ""
        return baselines.main([training.method, *words]), ""
    except SystemExit as end:
        why = "".join(f": {note}" for note in getattr(end, "__notes__", []))
        return end.code if isinstance(end.code, int) else 1, why


def _train_apart(
    setting: Setting,
    training: Training,
    words: list[str],
    children: ChildProcesses,
    stops: Callable[[], bool] | None,
) -> tuple[int, str]:
    """Trains in processes of its own: exit status, and why it is not 0, with the file that has their output."""
    command = command_of(setting, training, words)
    if not setting.launcher:
        command[0] = sys.executable
    path = setting.runs / f"{setting.folder_of(training).name}.txt"
    status = children.run(command, path, stops)
    said = [line for line in path.read_text(errors="replace").splitlines() if line.startswith("error: ")]
    return status, "".join(line.removeprefix("error") for line in said[-1:]) + f" (its output is in {path})"


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Keeps a training from other experiments, from the look whether it is there to the last file; waits for its turn.

    A run that `games.patchgame` trains by itself is waited for too.
    """
    with output_lock(folder):
        if is_being_trained(folder):
            print(f"{folder.name} is being trained by another process: waits for it", flush=True)
            while is_being_trained(folder):
                time.sleep(SECONDS_BETWEEN_LOOKS)
        yield


def train_all(setting: Setting, trainings: Sequence[Training]) -> None:
    """Finishes trainings, ``setting.jobs`` at a time; of a task, its share of them. One that fails stops no other.

    A training that diverged is told of and left to the experiment, of which it may be a result.

    Raises:
        ValueError: a wrong option, or there is a run of that name with others: before any is trained.
        Stopped: a signal ended one of them.
        RuntimeError: some failed, after all others.
    """
    first, step = setting.task or (0, 1)
    everything = list(dict.fromkeys(trainings))
    mine = everything[first::step]
    if setting.task:
        print(f"task {first} of {step}: {len(mine)} of {len(everything)} trainings", flush=True)
    check_images(setting, [training for training in mine if not is_finished(setting, training)])
    failed: dict[str, list[str]] = {}
    children = ChildProcesses()

    def attempt(training: Training) -> None:
        try:
            train(setting, training, children if is_apart(setting) else None)
        except Stopped:
            raise
        except RuntimeError as error:
            print(error, flush=True)
            if not isinstance(error, Diverged):
                name = setting.folder_of(training).name
                failed.setdefault(str(error).replace(name, "..."), []).append(name)

    if is_apart(setting):
        with children, ThreadPoolExecutor(setting.jobs) as pool:
            list(pool.map(lambda training: None if children.caught else attempt(training), mine))
        if children.caught:
            raise Stopped(f"stopped by {children.caught[0].name}: the same command goes on")
    else:
        # In this thread: a training in this process hears signals.
        for training in mine:
            attempt(training)
    if failed:
        count = sum(map(len, failed.values()))
        reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in failed.items())
        raise RuntimeError(f"{count} of {len(mine)} trainings failed: {reasons}")


def is_finished(setting: Setting, training: Training) -> bool:
    """Whether a training is there, whole.

    Raises:
        ValueError: a bad option, or there is one of that name with other options.
    """
    folder, asked = setting.folder_of(training), setting.config(training)
    if not (folder / CONFIG).exists():
        return False
    saved, _ = load_config(folder / CONFIG)
    asked, method = as_recorded(asked, saved), method_of(folder)
    if method != training.method or lasting(asked) != lasting(saved):
        raise ValueError(
            f"{folder} was trained otherwise: {difference(lasting(asked), lasting(saved)) or method}. "
            "Another --out keeps both; if the run is not needed, delete it"
        )
    return (folder / METRICS).exists()


def is_over(setting: Setting, training: Training) -> bool:
    """Whether there is nothing left to train: it is finished, or its loss was not finite.

    Raises:
        ValueError: a bad option, or there is one of that name with other options.
    """
    return is_finished(setting, training) or _diverged_at(setting.folder_of(training)) is not None


def _words_to_finish(setting: Setting, training: Training) -> list[str]:
    folder = setting.folder_of(training)
    if (folder / CHECKPOINT).exists():
        return ["--resume", str(folder), "--device", setting.device]
    # It was interrupted before there was anything to go on from.
    if folder.exists():
        shutil.rmtree(folder)
    return setting.words(training)
