"""What is asked for: an experiment's setting, its trainings, their commands and options."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from games.options.command_line import parse
from games.options.config import Config
from games.options.config_file import load_config
from games.options.resume import as_recorded
from games.reproduce.runner.scales import SCALES
from games.runs.files import CONFIG


@dataclass(frozen=True)
class Training:
    """One training of `games.patchgame`, or of a method of `games.baselines`.

    Attributes:
        name: of its folder, without the seed.
        seed: seed of everything random in it.
        words: options that make it what it is; they count over all others.
        method: ``patchgame``, or a method of `games.baselines`.
    """

    name: str
    seed: int
    words: tuple[str, ...] = ()
    method: str = "patchgame"


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
        run: finished run to draw (figures 3 to 5), or a language that `games.record` wrote (3 and 5); None: one is
            trained.
        voc: folder in Pascal VOC's format (table 2).
        rates: learning rates to choose from (tables 1 and 2); empty: those of the scale.
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
    rates: tuple[str, ...] = ()
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
        """The options of a training, or of the run that was given in the place of all trainings.

        Raises:
            ValueError: a bad option, or not a run.
        """
        if self.run is not None:
            return load_config(self.run / CONFIG)[0]
        return _read(tuple(self.words(training)))


@cache
def _read(words: tuple[str, ...]) -> Config:
    # An experiment asks for the options of each training many times, and a look takes a twentieth of a second.
    return parse(words).config


def ours(setting: Setting, seed: int, paper: int = 32) -> Training:
    """PatchGame with the paper's patches of 32 or 16 pixels, or as many at this scale."""
    words = ("--patch-size", str(setting.patch_size(paper)))
    # Figures are drawn from the language of the coarser one.
    return Training(f"ours-s{paper}", seed, (*words, "--corpus") if paper == 32 else words)


def lasting(config: Config) -> Config:
    """Options without those that change no number."""
    return replace(
        config,
        run=replace(Config().run, frozen_speaker=config.run.frozen_speaker, init_from=config.run.init_from),
        training=replace(config.training, device="auto", compile=False),
        images=replace(
            config.images, root=str(Path(config.images.root).resolve()), workers=None, cache="", download=False
        ),
    )


def difference(asked: Config, saved: Config) -> str:
    found = []
    for section in vars(asked):
        ours, theirs = vars(getattr(asked, section)), vars(getattr(saved, section))
        found += [f"{name} is {theirs[name]}, asked for is {ours[name]}" for name in ours if ours[name] != theirs[name]]
    return ", ".join(found)


def command_of(setting: Setting, training: Training, words: Sequence[str] | None = None) -> list[str]:
    """The command of a training, as one would type it."""
    module = ["games.patchgame"] if training.method == "patchgame" else ["games.baselines", training.method]
    start = shlex.split(setting.launcher) if setting.launcher else ["python"]
    return [*start, "-m", *module, *(setting.words(training) if words is None else words)]


def made_of(setting: Setting, training: Training) -> dict[str, Any]:
    """A training's options, of those that change a number, by name; for `measured`."""
    config, saved = setting.config(training), setting.folder_of(training) / CONFIG
    if saved.exists():
        config = as_recorded(config, load_config(saved)[0])
    sections = vars(lasting(config)).items()
    options = {f"{section}.{name}": value for section, part in sections for name, value in vars(part).items()}
    return {"method": training.method, **options}


def share_of(task: str) -> tuple[int, int] | None:
    """Reads ``--task I/N``: of N tasks, the one with number I; None where it is empty.

    Raises:
        ValueError: it is something else.
    """
    if not task:
        return None
    first, _, step = task.partition("/")
    if not (first.isdigit() and step.isdigit() and int(first) < int(step)):
        raise ValueError(f"--task {task!r}: give I/N with I from 0 to N - 1, such as 0/8")
    return int(first), int(step)
