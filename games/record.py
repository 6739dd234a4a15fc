"""The language of a finished run: ``python -m games.record runs/first`` writes ``runs/first/corpus.npz``.

Every run does the same at its end. The held-out images are played as in the run's evaluation, then with interventions,
and what is known about them is added: `analysis` measures and shows what comes of it. Of other images than the run's
the language goes to a file of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import tyro

from analysis.annotation_files import Notes, notes_of, read_notes
from analysis.annotations import annotate_files, annotate_scenes
from analysis.corpus import Corpus
from analysis.probes import play_probes
from analysis.recording import record
from games.command_line import fail, load_config, pick_device, read_options
from games.config import Config, DataOptions
from games.images import build_loader, load_images
from games.trained import load_game
from patchgame_egg.data import ImageFiles, ImageSource
from patchgame_egg.game import Game
from patchgame_egg.interaction import Batch
from patchgame_egg.population import Population
from patchgame_egg.scenes import Scenes
from patchgame_egg.sources import unseen_folder
from patchgame_egg.views import EvaluationView, ViewLoader

# Enough messages for every metric, few enough for seconds.
IMAGES = 4096


@dataclass(frozen=True)
class Options:
    """Plays the held-out images of a finished run, or others, and writes down its language."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    images: int = IMAGES
    """The most images to play; whole groups of the run's --candidates."""
    annotations: str | None = None
    """What the images show: a file of JSON lines or a folder of Pascal VOC's XML; None: the run's own."""
    data: str | None = None
    """Other images than the run's, by name; None: the run's."""
    root: str | None = None
    """Folder of other images than the run's: all of them are played, or those in its val/; None: the run's."""
    to: Path | None = None
    """The file to write; None: corpus.npz in the run's folder, for the run's own images."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""


def write_corpus(
    game: Game | Population,
    batches: Iterable[Batch],
    config: Config,
    preset: str,
    source: ImageSource,
    run: str,
    path: Path,
    images: int = IMAGES,
) -> None:
    """Plays a trained game and writes down its language.

    Args:
        game: of a population, the first pair plays.
        batches: the held-out images as in evaluation, in groups of candidates.
        config: the run's options.
        preset: where they started.
        source: the held-out images.
        run: its name.
        path: the file.
        images: the most to play, in whole groups and at least in one.

    Raises:
        ValueError: the run has no symbols, or its annotations cannot be used.
    """
    if config.channel.channel == "continuous":
        raise ValueError("--channel continuous passes numbers and not symbols: there is no language to record")
    groups = _Groups(batches, max(1, images // min(config.training.candidates, len(source))))
    vocab, seed = config.speaker.vocab, config.training.seed
    device = next(game.parameters()).device
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.training.precision)
    with torch.autocast(
        device.type, half, enabled=half is not None and not (device.type == "cpu" and half == torch.half)
    ):
        corpus = record(game, groups, vocab_size=vocab, label_names=source.classes)
        probes = play_probes(game, groups, vocab_size=vocab, seed=seed)
    about = {"run": run, "preset": preset, "config": asdict(config)}
    corpus = annotate(replace(corpus, probes=probes, info={**corpus.info, **about}), config, source)
    corpus.save(path)


class _Groups:
    """The first batches, as often as they are asked for."""

    def __init__(self, batches: Iterable[Batch], count: int) -> None:
        self.batches, self.count = batches, count

    def __iter__(self) -> Any:
        return islice(self.batches, self.count)


def annotate(corpus: Corpus, config: Config, source: ImageSource) -> Corpus:
    """Adds what is known about the images: of the built-in scenes, or from ``--annotations``.

    Raises:
        ValueError: see `read_annotations`.
    """
    source = getattr(source, "source", source)
    if isinstance(source, Scenes):
        return annotate_scenes(corpus, source)
    notes = read_annotations(config.images, source)
    if notes and isinstance(source, ImageFiles):
        return annotate_files(corpus, notes, source, Path(config.images.root))
    return corpus


def read_annotations(options: DataOptions, source: ImageSource) -> dict[str, Notes]:
    """Reads ``--annotations``, empty without the option.

    Raises:
        ValueError: they cannot be read, or say nothing of these images.
    """
    if not options.annotations:
        return {}
    notes, files = read_notes(Path(options.annotations)), getattr(source, "source", source)
    if not isinstance(files, ImageFiles):
        raise ValueError(f"--annotations describes files: it goes with --data folder, not {options.data}")
    if not any(notes_of(notes, path, Path(options.root)) for path in files.paths):
        raise ValueError(
            f"--annotations {options.annotations} speaks of {next(iter(notes))!r} and others, but of none of the "
            f"held-out images in {options.root}, the first of which is {files.paths[0]}"
        )
    return notes


def main(argv: Sequence[str] | None = None) -> int:
    """Records a run; returns the exit status."""
    try:
        words = sys.argv[1:] if argv is None else argv
        options = read_options(Options, words, "python -m games.record", Options.__doc__ or "")
        print(f"wrote {_record_run(options)}")
    except ValueError as error:
        fail(error)
    return 0


def _record_run(options: Options) -> Path:
    if options.to is not None and options.to.suffix != ".npz":
        raise ValueError(f"--to {options.to}: a name that ends in .npz is needed, by which analysis knows a language")
    if options.images < 1:
        raise ValueError(f"--images {options.images}: must be at least 1")
    device = pick_device(options.device)
    game, own = load_game(options.run, device)
    _, preset = load_config(options.run / "config.json")
    asked = {name: value for name in ("data", "root", "annotations") if (value := getattr(options, name)) is not None}
    others = bool(asked.keys() & {"data", "root"})
    if others:
        asked = {"annotations": "", **asked}
    if others and options.to is None:
        raise ValueError(
            f"--to FILE is needed for other images than the run's, whose language is in {options.run / 'corpus.npz'}"
        )
    config = replace(own, images=replace(own.images, **asked))
    config.check()
    game.to(memory_format=torch.channels_last)
    if config.images.data == "folder" and options.root is not None:
        source: ImageSource = (folder := unseen_folder(options.root, config.load_size))
        _tell_of_seen(options.run, own, folder)
    else:
        source = load_images(config, config.load_size)[1]
    read_annotations(config.images, source)
    held_out = build_loader(config, source, device, training=False)
    batches = ViewLoader(held_out, EvaluationView(config.images.image_size), device)
    path = options.to or options.run / "corpus.npz"
    write_corpus(game, batches, config, preset, held_out.source, options.run.name, path, options.images)
    return path


def _tell_of_seen(run: Path, own: Config, source: ImageFiles) -> None:
    """Says how many of other images the run was trained on after all."""
    if own.images.data == "folder":
        with suppress(ValueError):
            trained_on = {path.resolve() for path in load_images(own, own.load_size)[0].paths}  # type: ignore[attr-defined]
            if seen := sum(path.resolve() in trained_on for path in source.paths):
                print(f"note: {run} was trained on {seen} of these {len(source)} images")


if __name__ == "__main__":
    sys.exit(main())
