"""A run's language is played once more, annotated and written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from analysis.corpus.annotation_files import Notes, notes_of, read_notes
from analysis.corpus.annotations import annotate_files, annotate_scenes
from analysis.corpus.caption_files import read_captions
from analysis.corpus.captions import caption_name, captions_of_files
from analysis.corpus.corpus import Corpus
from analysis.corpus.interventions import play_probes
from analysis.corpus.recording import record
from games.options.config import Config, DataOptions
from patchgame_egg.data.images import ImageFiles, ImageSource
from patchgame_egg.data.scenes import Scenes
from patchgame_egg.game import Game
from patchgame_egg.interaction import Batch
from patchgame_egg.population import Population

# Enough messages for every metric, few enough for seconds.
IMAGES = 4096


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
    """Adds what is known about the images: of the built-in scenes, or from ``--annotations`` and ``--captions``.

    Raises:
        ValueError: the annotations or the captions cannot be read, or say nothing of these images.
    """
    source = getattr(source, "source", source)
    if isinstance(source, Scenes):
        return annotate_scenes(corpus, source)
    notes = read_annotations(config.images, source)
    if notes and isinstance(source, ImageFiles):
        corpus = annotate_files(corpus, notes, source, Path(config.images.root))
    if config.images.captions and isinstance(source, ImageFiles):
        by_name = read_captions(Path(config.images.captions)).by_name
        corpus = captions_of_files(corpus, by_name, source, Path(config.images.root))
    return corpus


def check_captions(options: DataOptions, source: ImageSource) -> str:
    """Reads ``--captions`` before long work.

    Args:
        options: of the images.
        source: the held-out images.

    Returns:
        What was understood, in a line; empty without the option.

    Raises:
        ValueError: they cannot be read, or say nothing of the held-out images.
    """
    if not options.captions:
        return ""
    found, files = read_captions(Path(options.captions)), getattr(source, "source", source)
    if not isinstance(files, ImageFiles):
        raise ValueError(f"--captions describes files: it goes with --data folder, not {options.data}")
    root, by_name = Path(options.root), found.by_name
    known = sum(caption_name(path, root) in by_name for path in files.paths)
    if not known:
        raise ValueError(
            f"--captions {options.captions} speaks of {next(iter(by_name))!r} and others, but of none of the held-out "
            f"images in {options.root}, the first of which is {caption_name(files.paths[0], root)!r}"
        )
    sentences = sum(map(len, by_name.values()))
    said = f"captions: {sentences:,} of {len(by_name):,} images; {known:,} of {len(files):,} held-out images have some"
    return f"{said}; {found.blank:,} rows without a sentence left out" if found.blank else said


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
