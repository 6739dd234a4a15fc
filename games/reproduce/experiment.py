"""What all experiments share: what is asked for, and trainings that are finished once.

A training lies in ``OUT/SCALE/runs/NAME-SEED`` and serves every experiment that asks for it; an experiment leaves its
table or figure in ``OUT/SCALE/EXPERIMENT``.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from games import baselines, patchgame
from games.agents import build_game
from games.command_line import load_config, method_of, parse
from games.config import Config
from games.images import build_views, load_images
from games.reproduce.processes import run_apart, signals_passed_on
from games.reproduce.scales import SCALES
from patchgame_egg.callbacks import read_log
from patchgame_egg.interaction import Batch
from patchgame_egg.trainer import Trainer
from patchgame_egg.views import ViewLoader

SECONDS_BETWEEN_LOOKS = 5.0


@dataclass(frozen=True)
class Training:
    """One training of `games.patchgame`, or of a method of `games.baselines`.

    Attributes:
        name: of its folder, without the seed.
        seed: of everything random in it.
        words: options that make it what it is; they count over all others.
        method: ``patchgame``, or a method of `games.baselines`.
    """

    name: str
    seed: int
    words: tuple[str, ...] = ()
    method: str = "patchgame"


class Diverged(RuntimeError):
    """The loss of a training became NaN or infinite: with the same options it would again."""


class Stopped(RuntimeError):
    """A signal ended a training, and so all that was asked for."""


@dataclass(frozen=True)
class Setting:
    """What the command line asks for.

    Attributes:
        experiment: its name.
        scale: a key of `SCALES`.
        out: folder of everything that is reproduced.
        root: folder of the images, where the scale needs one.
        seeds: of the trainings.
        device: auto, cpu, cuda, ...
        jobs: trainings at a time.
        launcher: command that starts a training on several processes, such as ``torchrun --nproc-per-node 4``.
        task: (i, n): train only every n-th training, from number i on, and measure nothing; None: everything.
        dry_run: check options and data, and take one step of each training on generated images.
        options: further options of `games.patchgame`, for every training.
        run: finished run to draw (figures 3 and 5), or a language that `games.record` wrote; None: one is trained.
        voc: folder in Pascal VOC's format (table 2).
        vit: timm's name of a Vision Transformer (figure 4); empty: a small one is trained.
        vit_checkpoint: its weights; empty: timm's pretrained ones.
        fast: distil PatchRank into a smaller network (figure 4).
    """

    experiment: str
    scale: str
    out: Path
    root: str = ""
    seeds: tuple[int, ...] = (0,)
    device: str = "auto"
    jobs: int = 1
    launcher: str = ""
    task: tuple[int, int] | None = None
    dry_run: bool = False
    options: tuple[str, ...] = ()
    run: Path | None = None
    voc: str = ""
    vit: str = ""
    vit_checkpoint: str = ""
    fast: bool = False

    @property
    def folder(self) -> Path:
        """Where the experiment's results go: of a given run into it, of a file of `games.record` beside it."""
        if self.run is None:
            return self.out / self.scale / self.experiment
        return (self.run if self.run.is_dir() else self.run.with_suffix("")) / self.experiment

    @property
    def runs(self) -> Path:
        """Where the trainings lie."""
        return self.out / self.scale / "runs"

    def patch_size(self, paper: int) -> int:
        """The patch size, in pixels, that stands for one of the paper's (32 or 16, at 224 pixels)."""
        return SCALES[self.scale].patches[paper]

    def folder_of(self, training: Training) -> Path:
        """Where a training lies."""
        return self.runs / f"{training.name}-{training.seed}"

    def words(self, training: Training) -> list[str]:
        """The options of a training, as on a command line; of several values the last one counts."""
        root = ["--root", self.root] if self.root else []
        place = ["--out", str(self.runs), "--name", self.folder_of(training).name, "--seed", str(training.seed)]
        scale = SCALES[self.scale]
        start = [*scale.words, *scale.methods.get(training.method, ()), *root, "--device", self.device]
        return [*start, *self.options, *training.words, *place]

    def config(self, training: Training) -> Config:
        """The options of a training.

        Raises:
            ValueError: a bad option.
        """
        return parse(self.words(training)).config


def ours(setting: Setting, seed: int, paper: int = 32) -> Training:
    """PatchGame with the paper's patches of 32 or 16 pixels, or as many at this scale."""
    words = ("--patch-size", str(setting.patch_size(paper)))
    # Figures are drawn from the language of the coarser one.
    return Training(f"ours-s{paper}", seed, (*words, "--corpus") if paper == 32 else words)


def train(setting: Setting, training: Training) -> Path:
    """Finishes a training: a finished one is left alone, an interrupted one goes on, another process's is waited for.

    Returns:
        Its folder.

    Raises:
        ValueError: there is a run of that name with other options.
        Diverged: its loss became NaN or infinite, now or earlier.
        Stopped: a signal ended it.
        RuntimeError: it failed otherwise.
    """
    folder, status, why = setting.folder_of(training), 0, ""
    with _claimed(folder):
        if is_finished(setting, training):
            return folder
        if _diverged_at(folder) is None:
            words = _words_to_finish(setting, training)
            print(f"== {folder.name}", flush=True)
            status, why = (_train_apart if is_apart(setting) else _train_here)(setting, training, words)
        step = _diverged_at(folder)
    if step is not None:
        raise Diverged(
            f"{folder} diverged: its loss is not finite at step {step}. A smaller --lr may help, with another --out; "
            "if the folder is deleted it is trained anew"
        )
    if status >= 128 and not is_apart(setting):
        raise Stopped(f"the training {folder} ended with status {status}; the same command goes on with it")
    if status:
        raise RuntimeError(f"the training {folder} ended with status {status}{why}")
    return folder


def is_apart(setting: Setting) -> bool:
    """Whether trainings have processes of their own."""
    return bool(setting.launcher) or setting.jobs > 1


def _diverged_at(folder: Path) -> int | None:
    """The step at which a training's loss was not finite, or None."""
    log = folder / "log.jsonl"
    last = read_log(log)[-1:] if log.exists() else []
    return int(last[0]["step"]) if last and last[0]["kind"] == "diverged" else None


def _train_here(setting: Setting, training: Training, words: list[str]) -> tuple[int, str]:
    """Trains in this process, which hears signals: exit status, and why it is not 0."""
    try:
        if training.method == "patchgame":
            return patchgame.main(words), ""
        return baselines.main([training.method, *words]), ""
    except SystemExit as end:
        why = "".join(f": {note}" for note in getattr(end, "__notes__", []))
        return end.code if isinstance(end.code, int) else 1, why


def _train_apart(setting: Setting, training: Training, words: list[str]) -> tuple[int, str]:
    """Trains in processes of its own: exit status, and why it is not 0, with the file that has their output."""
    command = command_of(setting, training, words)
    if not setting.launcher:
        command[0] = sys.executable
    path = setting.runs / f"{setting.folder_of(training).name}.txt"
    status = run_apart(command, path)
    said = [line for line in path.read_text(errors="replace").splitlines() if line.startswith("error: ")]
    return status, "".join(line.removeprefix("error") for line in said[-1:]) + f" (its output is in {path})"


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keeps a file or a folder from other experiments until it is made; waits for its turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.parent / f".{path.name}.lock")
    # Some file systems have no locks.
    with suppress(NotImplementedError):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"{path.name} is being made by another process: waits for it", flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Keeps a training from other experiments, from the look whether it is there to the last file; waits for its turn.

    A run that `games.patchgame` trains by itself is waited for too.
    """
    with alone(folder):
        if patchgame.is_being_trained(folder):
            print(f"{folder.name} is being trained by another process: waits for it", flush=True)
            while patchgame.is_being_trained(folder):
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

    def attempt(training: Training) -> None:
        try:
            train(setting, training)
        except Stopped:
            raise
        except RuntimeError as error:
            print(error, flush=True)
            if not isinstance(error, Diverged):
                name = setting.folder_of(training).name
                failed.setdefault(str(error).replace(name, "..."), []).append(name)

    if is_apart(setting):
        with signals_passed_on() as caught, ThreadPoolExecutor(setting.jobs) as pool:
            list(pool.map(lambda training: None if caught else attempt(training), mine))
            if caught:
                raise Stopped(f"stopped by {caught[0].name}: the same command goes on")
    else:
        # In this thread: a training in this process hears signals.
        for training in mine:
            attempt(training)
    if failed:
        count = sum(map(len, failed.values()))
        reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in failed.items())
        raise RuntimeError(f"{count} of {len(mine)} trainings failed: {reasons}")


def check_images(setting: Setting, trainings: Sequence[Training]) -> None:
    """Looks for the images of trainings, and whether they are enough, and says how many there are.

    Raises:
        ValueError: they are not there, which is only said in a dry run, or too few.
    """
    # Seeds have the same images, but for the built-in scenes, of which there is never a lack.
    for config in {config.images: config for config in map(setting.config, trainings)}.values():
        try:
            train_set, held_out = load_images(config, config.load_size)
        except ValueError as error:
            if not setting.dry_run:
                raise
            print(f"the images are not there yet: {error}")
            continue
        least = config.training.batch_size
        if len(train_set) < least:
            raise ValueError(f"{len(train_set)} images to train on are less than --batch-size {least}")
        if setting.dry_run:
            print(f"{config.images.data}: {len(train_set)} images to train on, {len(held_out)} held out")


def is_finished(setting: Setting, training: Training) -> bool:
    """Whether a training is there, whole.

    Raises:
        ValueError: a bad option, or there is one of that name with other options.
    """
    folder, asked = setting.folder_of(training), setting.config(training)
    if not (folder / "config.json").exists():
        return False
    saved, _ = load_config(folder / "config.json")
    method = method_of(folder)
    if method != training.method or lasting(asked) != lasting(saved):
        raise ValueError(
            f"{folder} was trained otherwise: {_difference(lasting(asked), lasting(saved)) or method}. "
            "Another --out keeps both; if the run is not needed, delete it"
        )
    return (folder / "metrics.json").exists()


def lasting(config: Config) -> Config:
    """Options without those that change no number."""
    return replace(
        config,
        run=replace(Config().run, frozen_speaker=config.run.frozen_speaker),
        training=replace(config.training, device="auto", compile=False),
        images=replace(
            config.images, root=str(Path(config.images.root).resolve()), workers=None, cache="", download=False
        ),
    )


def _difference(asked: Config, saved: Config) -> str:
    found = []
    for section in vars(asked):
        ours, theirs = vars(getattr(asked, section)), vars(getattr(saved, section))
        found += [f"{name} is {theirs[name]}, asked for is {ours[name]}" for name in ours if ours[name] != theirs[name]]
    return ", ".join(found)


def _words_to_finish(setting: Setting, training: Training) -> list[str]:
    folder = setting.folder_of(training)
    if (folder / "checkpoint.pt").exists():
        return ["--resume", str(folder), "--device", setting.device]
    # It was interrupted before there was anything to go on from.
    if folder.exists():
        shutil.rmtree(folder)
    return setting.words(training)


def command_of(setting: Setting, training: Training, words: Sequence[str] | None = None) -> list[str]:
    """The command of a training, as one would type it."""
    module = ["games.patchgame"] if training.method == "patchgame" else ["games.baselines", training.method]
    start = shlex.split(setting.launcher) if setting.launcher else ["python"]
    return [*start, "-m", *module, *(setting.words(training) if words is None else words)]


def rehearse(setting: Setting, trainings: Sequence[Training]) -> None:
    """Checks the options of trainings and the images, and takes one step of each on four generated images.

    Raises:
        ValueError: an option is wrong.
        RuntimeError: a loss is not finite.
    """
    device = patchgame.pick_device(setting.device)
    for training in dict.fromkeys(trainings):
        config = setting.config(training)
        ours = training.method == "patchgame"
        game = build_game(config) if ours else baselines.build_baseline(training.method, config)
        side = config.load_size
        images = torch.randint(256, (4, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        batch = Batch(images, torch.zeros(4, dtype=torch.int64), aux_input={"index": torch.arange(4)})
        views = ViewLoader([batch], build_views(config), device)
        trainer = Trainer(
            game.to(device),
            patchgame.build_optimizer(config, game, 1)[0],
            views,
            device=device,
            grad_norm=config.training.grad_norm,
            precision=config.training.precision,
        )
        # Random weights stay as they are.
        trainer.train(0 if training.method == "random" else 1)
        trainer.validation_data = views
        print(f"{training.name}, seed {training.seed}: loss {trainer.eval()[0]:.3f} on generated images", flush=True)
    check_images(setting, trainings)


def classes_of(setting: Setting, training: Training) -> int | None:
    """How many classes a training's images have; None where a dry run does not find the images.

    Raises:
        ValueError: the images are not there, or have no classes to tell apart: better known before the trainings.
    """
    config = setting.config(training)
    try:
        classes = len(load_images(config, config.load_size)[1].classes)
    except ValueError:
        if setting.dry_run:
            return None
        raise
    if classes < 2:
        raise ValueError(
            f"{setting.experiment} tells classes apart and the images in {config.images.root} have none: --root takes "
            "a folder with one folder for each class, or train/ and val/ with these"
        )
    return classes
