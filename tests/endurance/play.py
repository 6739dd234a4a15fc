"""What is played and how: games, images, processes that can be killed, and what an uninterrupted run ends with."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
GAME = "games.patchgame"

_LSTM = ["--speaker", "lstm", "--max-len", "4", "--encoder-width", "4", "--decoder-dim", "16"]
GAMES: Mapping[str, Sequence[str]] = {
    "patch": ["--corpus"],
    "patch free, dropout": ["--gate", "free", "--rank-dropout", "0.2"],
    "patch, two batches a step": ["--accumulate", "2"],
    "patch reinforce": ["--channel", "reinforce"],
    "patch quantised": ["--channel", "quantised", "--code-dim", "4"],
    "patch continuous": ["--channel", "continuous"],
    "lstm": [*_LSTM, "--corpus"],
    "lstm reinforce": [*_LSTM, "--channel", "reinforce"],
    "population": ["--corpus", "--speakers", "2", "--listeners", "2"],
}
IMAGES = ("scenes", "folder", "folder, cached", "folder, workers", "shards")

# Seconds without any progress after which a process hangs, and the most processor time that one takes.
PATIENCE, MOST_SECONDS = 240.0, 300.0


class Lost(Exception):
    """Something is not what it would be without the blow, or was not said in one line."""


def import_everything() -> None:
    """Imports what any of the games needs, so that a fork has it."""
    for name in (
        "analysis.callback", "analysis.plots.curves", "analysis.plots.patch_maps", "games.patchgame.play",
        "games.runs.pictures", "games.shards", "patchgame_egg.data.shards", "torchvision", "webdataset",
    ):  # fmt: skip
        importlib.import_module(name)
    import torch

    from games.options.command_line import parse

    torch.set_num_threads(1)
    # The reader of command lines prepares itself once.
    parse([])
    if len(os.listdir("/proc/self/task")) > 1:
        raise SystemExit("error: an import has started threads, and what has threads cannot be forked")


@dataclass
class Process:
    """A command under way, the leader of a group of its own.

    Attributes:
        pid: of the process.
        output: the file of all it prints.
        seconds: of processor time that it took, once it has ended.
    """

    pid: int
    output: Path
    seconds: float = 0.0
    _status: int | None = None

    def status(self, patience: float = 0.0) -> int | None:
        """How it ended, as a shell says it, waiting so many seconds; None: it has not."""
        end = time.monotonic() + patience
        while self._status is None:
            pid, code, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.seconds = used.ru_utime + used.ru_stime
                code = os.waitstatus_to_exitcode(code)
                self._status = code if code >= 0 else 128 - code
            elif time.monotonic() >= end:
                break
            else:
                time.sleep(0.002)
        return self._status

    def ended(self) -> int:
        """How it ended.

        Raises:
            Lost: it hangs.
        """
        used, since = self.used(), time.monotonic()
        while (status := self.status(0.5)) is None:
            if self.used() > used:
                used, since = self.used(), time.monotonic()
            # One that is starved by others still moves; one that turns in circles takes more than any game here.
            if time.monotonic() - since > PATIENCE or used > MOST_SECONDS:
                self.blow(signal.SIGKILL)
                raise Lost(f"hangs after {used:.1f} s of processor time: {self.said()[-500:]}")
        return status

    def wait(self, seconds: float) -> None:
        """Waits until it has taken so many seconds of processor time, or ends: others may slow the machine down."""
        end = time.monotonic() + PATIENCE
        while self.status() is None and self.used() < seconds and time.monotonic() < end:
            time.sleep(0.002)

    def used(self) -> float:
        """Seconds of processor time so far."""
        if self._status is not None:
            return self.seconds
        times = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")

    def blow(self, number: int) -> bool:
        """Sends a signal; whether it was still there."""
        if self.status() is not None:
            return False
        os.kill(self.pid, number)
        return True

    def said(self) -> str:
        """All that it has printed."""
        return self.output.read_text(errors="replace")

    def check_one_line(self, *statuses: int) -> str:
        """The one line in which a process says why it failed.

        Raises:
            Lost: it said something else, or ended in another way.
        """
        errors = [line for line in self.said().splitlines() if line.startswith("error: ")]
        if "Traceback" in self.said() or len(errors) != 1 or self.ended() not in statuses:
            raise Lost(f"ended with {self.ended()}, not in one line: {self.said()[-1500:]}")
        return errors[0]


def fork(words: Sequence[str], output: Path, module: str, before: Callable[[], object]) -> int:
    """Plays a command in a fork of this process; returns its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    # From here on this is another process, which must not return.
    code = 1
    try:
        # A group, and no session, which would have a share of the machine of its own.
        os.setpgid(0, 0)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        before()
        code = importlib.import_module(module).main(list(words))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        traceback.print_exc()
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def command(words: Sequence[str], output: Path, module: str, environment: Mapping[str, str]) -> int:
    """Starts the real command; returns its number."""
    with output.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", *module.split(), *words], stdout=file, stderr=file, cwd=ROOT,
            env={**os.environ, **environment}, process_group=0,
        ).pid  # fmt: skip


@dataclass
class Play:
    """A game that is tried.

    Attributes:
        words: of its command, without the run's place.
        whole: what an uninterrupted run ends with, see `outcome`.
        seconds: of processor time that it takes, of each of its processes.
    """

    words: list[str]
    whole: dict[str, Any]
    seconds: float


@dataclass
class Stage:
    """Where everything lies, and what is known of uninterrupted runs.

    Attributes:
        folder: of the try under way.
        real: whether the real command is to be started.
        blows: how often something was done to a run in this try.
        about: what is played in this try.
        counted: blows by games, by images, and by ways of starting.
    """

    scratch: Path
    folder: Path = Path()
    real: bool = False
    blows: int = 0
    about: str = ""
    counted: dict[str, Counter[str]] = field(default_factory=dict)
    _plays: dict[str, Play] = field(default_factory=dict)
    _started: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        photos(self.scratch / "photos", 24, 16)
        words = ["--root", str(self.scratch / "photos"), "--out", str(self.scratch / "shards"), "--per-shard", "12"]
        done = Process(
            fork(words, self.scratch / "shards.txt", "games.shards", lambda: None), self.scratch / "shards.txt"
        )
        if done.ended():
            raise SystemExit(f"error: no shards: {done.said()}")

    def begin(self, folder: Path, real: bool) -> None:
        """Begins a try."""
        folder.mkdir()
        self.folder, self.real, self.blows, self.about, self._started = folder, real, 0, "", []

    def end(self) -> None:
        """Ends whatever a try has left: worker processes, and those that hang."""
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.status(PATIENCE)

    def hit(self, what: str, times: int = 1) -> None:
        """Counts what was done to a run."""
        self.blows += times
        names = dict(zip(("by games", "by images"), self.about.split(" on ", 1), strict=True))
        for by, name in {"blows": what, **names, "to": "commands" if self.real else "forks"}.items():
            self.counted.setdefault(by, Counter())[name] += times

    def start(
        self,
        words: Sequence[str],
        before: Callable[[], object] = lambda: None,
        environment: Mapping[str, str] | None = None,
        module: str = GAME,
    ) -> Process:
        """Starts a command, as a fork or for real.

        Args:
            words: of its command line.
            before: called in a fork before it plays.
            environment: of the process, over this one's.
            module: whose command.
        """
        output = self.folder / f"output-{len(self._started)}.txt"
        output.touch()
        given = environment or {}
        if self.real:
            pid = command(words, output, module, given)
        else:
            pid = fork(words, output, module, lambda: (os.environ.update(given), before()))
        self._started.append(Process(pid, output))
        return self._started[-1]

    def play(self, game: str, images: str, more: Sequence[str] = (), ranks: int = 1) -> Play:
        """A game, and what it ends with when nothing is done to it.

        Args:
            game: one of `GAMES`.
            images: one of `IMAGES`, or a folder.
            more: further options.
            ranks: processes that play it.

        Raises:
            SystemExit: it does not even end when nothing is done to it.
        """
        from tests.support.tiny import TINY

        self.about = f"{game} on {images}"
        words = [*TINY, "--candidates", "16", "--epochs", "2", "--no-pictures", "--no-tensorboard", *GAMES[game]]
        words += [*self._images(images), *more]
        key = " ".join([self.about, *more, str(ranks)])
        if key not in self._plays:
            self._plays[key] = self._uninterrupted(words, ranks)
        known = self._plays[key]
        return Play(words, known.whole, known.seconds)

    def _images(self, images: str) -> list[str]:
        folder = ["--data", "folder", "--root", str(self.scratch / "photos")]
        return {
            "scenes": ["--limit", "24"],
            "folder": folder,
            "folder, cached": [*folder, "--cache", "auto"],
            "folder, workers": [*folder, "--workers", "1"],
            "shards": ["--data", "shards", "--root", str(self.scratch / "shards/train-{0000..0001}.tar")],
        }.get(images) or ["--data", "folder", "--root", images]

    def _uninterrupted(self, words: list[str], ranks: int) -> Play:
        out = self.folder / "uninterrupted"
        real, self.real = self.real, False
        group = self.start_ranks([*words, "--out", str(out), "--name", "run"], ranks)
        if any([process.ended() for process in group]):
            raise SystemExit(f"error: {' '.join(words)} fails by itself: {group[0].said()}")
        play = Play(words, outcome(out / "run"), group[0].seconds)
        shutil.rmtree(out)
        self.real = real
        return play

    def start_ranks(self, words: Sequence[str], ranks: int) -> list[Process]:
        """Starts one process, or a group that finds itself."""
        if ranks == 1:
            return [self.start(words)]
        from tests.support.processes import free_port

        meeting = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        return [
            self.start(words, environment={**meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(ranks)
        ]


def photos(folder: Path, train: int, held_out: int) -> None:
    """Small JPEGs of two classes, each of another color and noise."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("val", held_out)):
        for index in range(count):
            place = folder / part / ("cat" if index % 2 else "dog")
            place.mkdir(parents=True, exist_ok=True)
            color = rng.integers(0, 200, 3)
            pixels = (color + rng.integers(0, 56, (40, 40, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{index:03d}.jpg", quality=95)


def after_a_blow(run: Path, words: Sequence[str], rng: np.random.Generator) -> list[str] | None:
    """What a user types next; None where the run is whole."""
    if (run / "metrics.json").exists():
        return None
    begun = (run / "checkpoint.pt").exists()
    if begun or ((run / "config.json").exists() and rng.random() < 0.5):
        return ["--resume", str(run)]
    return list(words)


def outcome(run: Path) -> dict[str, Any]:
    """What a run ends with, all that does not depend on the clock."""
    found: dict[str, Any] = {
        "files": sorted(path.name for path in run.iterdir() if path.suffix != ".png" and path.is_file()),
        # Text, so that NaN is itself and every digit counts.
        "log.jsonl": [_timeless(line) for line in (run / "log.jsonl").read_text().splitlines()],
        "metrics.json": _timeless((run / "metrics.json").read_text()),
    }
    for name in ("skipped.txt", "cross_play.csv"):
        if (run / name).exists():
            found[name] = (run / name).read_text().splitlines()
    if (run / "corpus.npz").exists():
        with np.load(run / "corpus.npz") as file:
            found["corpus.npz"] = {name: file[name].tolist() for name in ("symbols", "mask")}
    return found


def _timeless(record: str) -> str:
    return json.dumps({k: v for k, v in json.loads(record).items() if k != "images_per_s"}, sort_keys=True)


def check_same(run: Path, whole: Mapping[str, Any]) -> None:
    """Compares a run that suffered with one that did not.

    Raises:
        Lost: they differ, or it is not whole; the message says where first.
    """
    try:
        found = outcome(run)
    except (OSError, ValueError) as error:
        raise Lost(f"the run is not whole: {error}") from error
    for name in {**whole, **found}:
        there, wanted = found.get(name), whole.get(name)
        if there == wanted:
            continue
        if isinstance(there, list) and isinstance(wanted, list):
            pairs = enumerate(zip([*there, None], [*wanted, None], strict=False), 1)
            number, (there, wanted) = next((n, pair) for n, pair in pairs if pair[0] != pair[1])
            name = f"{name}, line {number}"
        raise Lost(f"{name} is {str(there)[:400]}, and of an uninterrupted run {str(wanted)[:400]}")
