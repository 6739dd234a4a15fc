"""The language of a finished run: ``python -m games.record runs/first`` writes ``runs/first/corpus.npz``.

Every run does the same at its end. The held-out images are played as in the run's evaluation, then with interventions,
and what is known about them is added: `analysis` measures and shows what comes of it. Of other images than the run's
the language goes to a file of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from games.options.checks import check
from games.options.command_line import fail, failures, pick_device, read_options
from games.options.config import IMAGES, RANDOM, Config
from games.options.config_file import load_config, run_of
from games.options.flags import errors_with_flags
from games.runs.files import CONFIG, CORPUS

if TYPE_CHECKING:
    from patchgame_egg.data.images import ImageFiles, ImageSource


@dataclass(frozen=True)
class Options:
    """Plays the held-out images of a finished run, or others, and writes down its language."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    images: int = IMAGES
    """The most images to play; whole groups of the run's --candidates."""
    annotations: str | None = None
    """What the images show: JSON lines, CSV, COCO's JSON, or a folder of Pascal VOC's XML; None: the run's own."""
    captions: str | None = None
    """Sentences about the images: JSON lines or CSV with file and caption, several a file; None: the run's own."""
    data: str | None = None
    """Other images than the run's, by name; None: the run's."""
    root: str | None = None
    """Folder of other images than the run's: all of them are played, or those in its val/; None: the run's."""
    to: Path | None = None
    """The file to write; None: corpus.npz in the run's folder, for the run's own images."""
    force: bool = False
    """Let the file take the place of one that is there."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""


def main(argv: Sequence[str] | None = None) -> int:
    """Records a run; returns the exit status."""
    try:
        words = sys.argv[1:] if argv is None else argv
        options = read_options(Options, words, "python -m games.record", Options.__doc__ or "")
        with failures():
            print(f"wrote {_record_run(replace(options, run=run_of(options.run)))}")
    except ValueError as error:
        fail(error)
    return 0


def say(line: str) -> None:
    """Tells at once what is going on, also where what is printed goes into a file."""
    print(line, flush=True)


def _record_run(options: Options) -> Path:
    if options.to is not None and options.to.suffix != ".npz":
        raise ValueError(f"--to {options.to}: a name that ends in .npz is needed, by which analysis knows a language")
    if options.to is not None and options.to.exists() and not options.force:
        raise ValueError(f"--to {options.to} is there already: --force writes over it, another name keeps both")
    if options.images < 1:
        raise ValueError(f"--images {options.images}: must be at least 1")
    # Only now: torch takes seconds to import, help and mistakes do without.
    import torch

    from games.build.data import build_loader, load_images, say_understood
    from games.runs.corpus import check_annotations, check_captions, write_corpus
    from games.runs.distractors import distractors_for
    from games.runs.load import load_learnt_game
    from patchgame_egg.data.folders import unseen_folder
    from patchgame_egg.views.loader import ViewLoader
    from patchgame_egg.views.transforms import EvaluationView

    device = pick_device(options.device)
    game, own, learnt = load_learnt_game(options.run, device)
    _, preset = load_config(options.run / CONFIG)
    names = ("data", "root", "annotations", "captions")
    asked = {name: value for name in names if (value := getattr(options, name)) is not None}
    others = bool(asked.keys() & {"data", "root"})
    if others:
        asked = {"annotations": "", "captions": "", **asked}
    if others and options.to is None:
        raise ValueError(
            f"--to FILE is needed for other images than the run's, whose language is in {options.run / CORPUS}"
        )
    config = replace(own, images=replace(own.images, **asked))
    if others and Path(own.loss.distractors).is_file():
        print(f"note: {own.loss.distractors} names other images: these have random distractors")
        config = replace(config, loss=replace(config.loss, distractors=RANDOM))
    # No sentence is read here, whatever the run learnt by.
    check(replace(config, loss=replace(config.loss, ground="", ground_share=1.0)))
    game.to(memory_format=torch.channels_last)
    if config.images.data == "folder" and options.root is not None:
        with errors_with_flags():
            source: ImageSource = (folder := unseen_folder(options.root, config.load_size, config.images.class_level))
        say_understood("folder", options.root, {"to play": folder})
        _tell_of_seen(options.run, own, folder)
    else:
        source = load_images(config, config.load_size)[1]
    for understood in (check_annotations(config, source), check_captions(config, source)):
        if understood:
            print(understood)
    beside = distractors_for(config, source, device, training=False)
    held_out = build_loader(config, source, device, training=False, beside=beside)
    batches = ViewLoader(held_out, EvaluationView(config.images.image_size), device)
    path = options.to or options.run / CORPUS
    say(f"{options.run}: as it was after step {learnt['step']:,}, of epoch {learnt['epoch']}, on {device}")
    write_corpus(
        game, batches, config, preset, held_out.source, options.run.resolve().name, path, options.images,
        learnt=learnt, say=say,
    )  # fmt: skip
    return path


def _tell_of_seen(run: Path, own: Config, source: ImageFiles) -> None:
    """Says how many of other images the run was trained on after all."""
    from games.build.data import load_images

    if own.images.data == "folder":
        with suppress(ValueError):
            trained_on = {path.resolve() for path in load_images(own, own.load_size)[0].paths}  # type: ignore[attr-defined]
            if seen := sum(path.resolve() in trained_on for path in source.paths):
                print(f"note: {run} was trained on {seen} of these {len(source)} images")


if __name__ == "__main__":
    sys.exit(main())
