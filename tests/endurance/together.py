"""Two ranks of which one is killed, and several processes that want the same run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
from kills import finish, wait_for_a_moment
from play import GAMES, Lost, Stage, after_a_blow, check_same


def rank_killed(stage: Stage, rng: np.random.Generator) -> None:
    """One rank of two is killed: the other ends by itself, in one line, and both go on. For real, under torchrun."""
    game = str(rng.choice([name for name in GAMES if "dropout" not in name]))
    play = stage.play(game, "folder", ["--timeout", "120"], ranks=2)
    words = [*play.words, "--out", str(stage.folder), "--name", "run", "--checkpoint-every", "2"]
    if stage.real:
        _killed_under_torchrun(stage, words, play.seconds, rng)
    for _ in range(0 if stage.real else rng.integers(1, 3)):
        following = after_a_blow(stage.folder / "run", words, rng)
        if following is None:
            break
        group, victim = stage.start_ranks(following, 2), int(rng.integers(2))
        # Who waits at the meeting point waits for five minutes, unless torchrun ends it.
        while not group[0].said() and group[0].status() is None:
            time.sleep(0.01)
        group[victim].wait(group[victim].used() + float(rng.uniform(0, play.seconds)))
        hit = group[victim].blow(signal.SIGKILL)
        group[victim].ended()
        # A rank that had ended before is no loss; the other may still be writing.
        failed = group[1 - victim].ended()
        if not hit:
            break
        stage.hit("SIGKILL")
        if failed:
            group[1 - victim].check_one_line(1)
    following = after_a_blow(stage.folder / "run", words, rng)
    stage.real = False
    if following is not None:
        group = stage.start_ranks(following, 2)
        for process in group:
            if process.ended():
                raise Lost(f"two ranks end with {process.ended()}: {process.said()[-1500:]}")
    check_same(stage.folder / "run", play.whole)


def _killed_under_torchrun(stage: Stage, words: list[str], seconds: float, rng: np.random.Generator) -> None:
    """One rank is killed, and torchrun starts both once more: no step is lost."""
    launch = "torch.distributed.run --standalone --nproc-per-node=2 --max-restarts=1 -m games.patchgame"
    process = stage.start(words, module=launch)
    wait_for_a_moment(stage, process, seconds, rng)
    if workers := Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(rng.choice(workers)), signal.SIGKILL)
        stage.hit("SIGKILL")
    if process.ended():
        raise Lost(f"torchrun ends with {process.ended()}: {process.said()[-1500:]}")


def many_on_one_run(stage: Stage, rng: np.random.Generator) -> None:
    """Three processes want one run: one has it, the others are refused in one line; all are killed, and again."""
    stage.real = False
    play = stage.play(str(rng.choice(list(GAMES))), str(rng.choice(["folder, cached", "shards"])))
    words = [*play.words, "--out", str(stage.folder), "--name", "run", "--checkpoint-every", "1"]
    for _ in range(rng.integers(1, 4)):
        following = after_a_blow(stage.folder / "run", words, rng)
        if following is None:
            break
        group = []
        for _ in range(3):
            group.append(stage.start(following))
            time.sleep(float(rng.choice([0, 0.05, 0.3])))
        # Two are refused: any of them waits for the one that plays, or for none.
        group[int(rng.integers(3))].wait(float(rng.uniform(0, play.seconds)))
        struck = [process.blow(signal.SIGKILL) for process in group]
        stage.hit("SIGKILL", sum(struck))
        for process, hit in zip(group, struck, strict=True):
            if not hit and process.ended():
                process.check_one_line(2)
    finish(stage, play, words, rng)
