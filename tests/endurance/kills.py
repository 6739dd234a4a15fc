"""SIGKILL, SIGTERM and Ctrl-C at random moments, and the run goes on."""

from __future__ import annotations

import signal
import time

import numpy as np
from play import GAMES, IMAGES, Lost, Play, Process, Stage, after_a_blow, check_same


def _drawn(stage: Stage, rng: np.random.Generator) -> tuple[Play, list[str]]:
    """A game, and the words that begin it: with few or many checkpoints, with and without pictures."""
    play = stage.play(str(rng.choice(list(GAMES))), str(rng.choice(IMAGES)))
    words = [*play.words, "--out", str(stage.folder), "--name", "run", "--checkpoint-every"]
    words += [str(rng.choice([1, 2, 99]))]
    if rng.random() < 0.125:
        words += ["--pictures", "--tensorboard"]
    return play, words


def wait_for_a_moment(stage: Stage, process: Process, seconds: float, rng: np.random.Generator) -> None:
    """Waits until any moment of a run; a real command takes most of its time to import, in which nothing happens."""
    imports = 0.0
    if stage.real and rng.random() < 0.8:
        while (imports := process.used()) < 60 and not (stage.folder / "run").exists() and process.status() is None:
            time.sleep(0.01)
    process.wait(imports + float(rng.uniform(0, seconds)))
    # The clock of the system ticks a hundred times a second; a checkpoint is written faster.
    time.sleep(float(rng.uniform(0, 0.01)))


def finish(stage: Stage, play: Play, words: list[str], rng: np.random.Generator) -> None:
    """Lets a run end in peace, and compares it.

    Raises:
        Lost: it does not end well, or not as an uninterrupted one.
    """
    run = stage.folder / "run"
    following = after_a_blow(run, words, rng)
    if following is not None:
        stage.real = False
        process = stage.start(following)
        if process.ended():
            raise Lost(f"{' '.join(following)[-200:]} ends with {process.ended()}: {process.said()[-1500:]}")
    check_same(run, play.whole)


def killed(stage: Stage, rng: np.random.Generator) -> None:
    """Up to eight times, whatever the run is at."""
    play, words = _drawn(stage, rng)
    # A real command takes ten seconds to import what it needs.
    for _ in range(1 if stage.real else rng.integers(1, 9)):
        following = after_a_blow(stage.folder / "run", words, rng)
        if following is None:
            break
        process = stage.start(following)
        wait_for_a_moment(stage, process, play.seconds, rng)
        if not process.blow(signal.SIGKILL):
            if process.ended():
                raise Lost(f"{' '.join(following)[-200:]} ends with {process.ended()}: {process.said()[-1500:]}")
            break
        stage.hit("SIGKILL")
        process.ended()
    finish(stage, play, words, rng)


def signalled(stage: Stage, rng: np.random.Generator) -> None:
    """Ctrl-C or SIGTERM, once or twice in a row; no traceback, and the exit status of the signal."""
    play, words = _drawn(stage, rng)
    for _ in range(1 if stage.real else rng.integers(1, 4)):
        following = after_a_blow(stage.folder / "run", words, rng)
        if following is None:
            break
        process, number = stage.start(following), signal.SIGINT if rng.random() < 0.5 else signal.SIGTERM
        wait_for_a_moment(stage, process, play.seconds, rng)
        struck = process.blow(number)
        if rng.random() < 0.3:
            process.status(float(rng.uniform(0, 0.05)))
            process.blow(number)
        status = process.ended()
        stage.hit(number.name, struck)
        # Who has done all but exit may exit with 0.
        if status not in ((0, 128 + number) if struck else (0,)) or "Traceback" in process.said():
            raise Lost(f"{number.name} ends with {status}: {process.said()[-1500:]}")
    finish(stage, play, words, rng)
