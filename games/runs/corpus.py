"""A run's language is played once more, annotated and written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np

from analysis.corpus.annotation_files import read_notes
from analysis.corpus.annotations import annotate_files, annotate_scenes
from analysis.corpus.caption_files import read_captions
from analysis.corpus.captions import caption_name, captions_by_path, captions_of_files, describe_scene
from analysis.corpus.changed_images import play_changed_images
from analysis.corpus.corpus import Corpus, Names
from analysis.corpus.image_names import ImageNames
from analysis.corpus.interventions import play_probes
from analysis.corpus.recording import record
from games.build.data import load_images
from games.options.config import IMAGES, Config
from games.runs.load import in_precision
from patchgame_egg.counted import counted
from patchgame_egg.data.images import ImageFiles, ImageSource
from patchgame_egg.data.names import printable
from patchgame_egg.data.scenes import Scenes
from patchgame_egg.game import Game
from patchgame_egg.interaction import Batch
from patchgame_egg.population import Population


def write_corpus(
    game: Game | Population,
    batches: Iterable[Batch],
    config: Config,
    preset: str,
    source: ImageSource,
    run: str,
    path: Path,
    images: int = IMAGES,
    *,
    learnt: Mapping[str, int],
    say: Callable[[str], object] = lambda line: None,
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
        learnt: how far the game has come, ``step`` and ``epoch``: the run may go on after this.
        say: is told what is going on.

    Raises:
        ValueError: the run has no symbols, or its annotations cannot be used.
    """
    if config.channel.channel == "continuous":
        raise ValueError("--channel continuous passes numbers and not symbols: there is no language to record")
    among = min(config.training.candidates, len(source))
    groups = _Groups(batches, max(1, images // among), len(source) // among)
    played = min(groups.count * among, len(source) // among * among)
    say(f"plays {played:,} of {len(source):,} images, in groups of {among}")
    vocab, seed = config.speaker.vocab, config.training.seed
    device = next(game.parameters()).device
    with in_precision(config, device):
        corpus = record(game, groups.doing("plays groups"), vocab_size=vocab, label_names=source.classes)
        understood = corpus.probes["as played"].mean()
        said = int(corpus.mask.sum())
        say(f"{100 * understood:.1f} % of {len(corpus):,} messages, {said:,} symbols, found their image among {among}")
        say("plays them once more, with interventions")
        probes = play_probes(game, groups.doing("plays groups with interventions"), vocab_size=vocab, seed=seed)
        maps = play_changed_images(game, groups.doing("plays groups with changed images"))
    say(", ".join(f"{name} {100 * right.mean():.1f} %" for name, right in probes.items()))
    about = {"run": run, "preset": preset, "learnt": dict(learnt), "config": asdict(config)}
    files = name_files(corpus, source, config)
    corpus = replace(corpus, probes=probes, changed_maps=maps, info={**corpus.info, **about}, files=files)
    corpus = annotate(corpus, config, source)
    asked = min(images, len(source))
    if len(corpus) != asked:
        print(
            f"note: the language is that of {len(corpus)} images, not of {asked}: messages are matched in whole groups "
            f"of {corpus.candidates or len(corpus)} (--candidates)"
        )
    corpus.save(path)


class _Groups:
    """The first batches, as often as they are asked for."""

    def __init__(self, batches: Iterable[Batch], count: int, there: int) -> None:
        self.batches, self.count, self.total = batches, count, min(count, there)

    def doing(self, what: str) -> Iterator[Batch]:
        """Them, with a word of how far one has come."""
        return counted(islice(self.batches, self.count), what, self.total)


def name_files(corpus: Corpus, source: ImageSource, config: Config) -> tuple[str, ...]:
    """What the images of a corpus are called by their source: below ``--root``, where they lie there; else nothing."""
    source = getattr(source, "source", source)
    called = getattr(source, "name", None)
    if called is None:
        return ()
    root = Path(printable(config.images.root))
    names = [Path(called(index)) for index in corpus.info["index"]]
    return tuple(str(name.relative_to(root) if name.is_relative_to(root) else name) for name in names)


def annotate(corpus: Corpus, config: Config, source: ImageSource) -> Corpus:
    """Adds what is known about the images: of the built-in scenes, or from ``--annotations`` and ``--captions``.

    Raises:
        ValueError: the annotations or the captions cannot be read, or say nothing of these images.
    """
    source = getattr(source, "source", source)
    if isinstance(source, Scenes):
        return annotate_scenes(corpus, source)
    if config.images.annotations and isinstance(source, ImageFiles):
        notes, others = read_notes(Path(config.images.annotations)), _all_images(config)
        corpus = annotate_files(corpus, notes, source, Path(config.images.root), others)
    if config.images.captions and isinstance(source, ImageFiles):
        by_name = read_captions(Path(config.images.captions)).by_name
        corpus = captions_of_files(corpus, by_name, source, Path(config.images.root), _all_images(config))
    return corpus


def check_captions(config: Config, source: ImageSource) -> str:
    """Reads ``--captions`` before long work.

    Args:
        config: the options.
        source: the held-out images.

    Returns:
        What was understood, in a line; empty without the option.

    Raises:
        ValueError: they cannot be read, a name in them fits several images, or they say nothing of the held-out images.
    """
    options = config.images
    if not options.captions:
        return ""
    found, files = read_captions(Path(options.captions)), getattr(source, "source", source)
    if not isinstance(files, ImageFiles):
        raise ValueError(f"--captions describes files: it goes with --data folder, not {options.data}")
    root, by_name = Path(options.root), found.by_name
    said_of = _said_of(f"--captions {options.captions}", by_name, files, config)
    known = sum(path in said_of for path in files.paths)
    if not known:
        raise ValueError(
            f"--captions {options.captions} speaks of {next(iter(by_name))!r} and others, but of none of the held-out "
            f"images in {options.root}, the first of which is {caption_name(files.paths[0], root)!r}"
        )
    sentences = sum(map(len, by_name.values()))
    said = f"captions: {sentences:,} of {len(by_name):,} images; {known:,} of {len(files):,} held-out images have some"
    return f"{said}; {found.blank:,} rows without a sentence left out" if found.blank else said


def _said_of(option: str, by_name: Mapping[str, Names], files: ImageFiles, config: Config) -> dict[Path, Names]:
    """The sentences of an option's file, by the paths of the images that its names stand for."""
    try:
        return captions_by_path(by_name, [*files.paths, *_all_images(config)], Path(config.images.root))
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error


def ground_captions(config: Config, source: ImageSource) -> tuple[list[Names], str]:
    """The sentences of ``--ground`` that are read, of the share of images that is drawn by the seed.

    Args:
        config: the options.
        source: the images to train on.

    Returns:
        Sentences about each image, by number, none where nothing is read; and what was understood, in a line. Both
        are empty without the option.

    Raises:
        ValueError: the file cannot be read, or fewer than two images to train on have a sentence.
    """
    ground, share = config.loss.ground, config.loss.ground_share
    if not ground:
        return [], ""
    images, by_number = getattr(source, "source", source), {}
    if isinstance(images, ImageFiles):
        said_of = _said_of(f"--ground {ground}", read_captions(Path(ground)).by_name, images, config)
        by_number = {number: said_of[path] for number, path in enumerate(images.paths) if path in said_of}
        captioned = np.array(sorted(by_number), dtype=np.int64)
    else:
        captioned = np.arange(len(images))
    if len(captioned) < 2:
        raise ValueError(
            f"--ground {ground} speaks of {len(captioned)} of {len(images):,} images to train on: 2 are needed"
        )
    drawn = np.random.default_rng([config.training.seed, 6]).permutation(captioned)
    chosen = drawn[: max(2, round(share * len(captioned)))].tolist()
    if isinstance(images, Scenes):
        by_number = {number: (describe_scene(images.scene(number)),) for number in chosen}
    captions: list[Names] = [()] * len(images)
    for number in chosen:
        captions[number] = by_number[number]
    said = f"ground: sentences about {len(chosen):,} of {len(images):,} images to train on are read"
    return captions, f"{said}, of {len(captioned):,} that have some" if len(captioned) < len(images) else said


def check_annotations(config: Config, source: ImageSource) -> str:
    """Reads ``--annotations`` before long work.

    Args:
        config: the options.
        source: the held-out images.

    Returns:
        What was understood, in a line; empty without the option.

    Raises:
        ValueError: they cannot be read, a name in them fits several images, or they say nothing of the held-out images.
    """
    options = config.images
    if not options.annotations:
        return ""
    table, files = read_notes(Path(options.annotations)), getattr(source, "source", source)
    if not isinstance(files, ImageFiles):
        raise ValueError(f"--annotations describes files: it goes with --data folder, not {options.data}")
    names = ImageNames([*files.paths, *_all_images(config)], Path(options.root))
    found = names.find(table, table.path)
    held_out = sum(path in found.notes for path in files.paths)
    if not held_out:
        raise ValueError(
            f"--annotations {options.annotations} speaks of {next(iter(table))!r} and others, but of none of the "
            f"held-out images in {options.root}, the first of which is {files.paths[0]}"
        )
    said = f"annotations: {table.summary(list(found.notes.values()))}; {held_out:,} of {len(files):,} held-out images"
    lost = len(found.lost)
    return f"{said}; {lost:,} names fit no image, the first is {found.lost[0]!r}" if lost else said


def _all_images(config: Config) -> list[Path]:
    """All images in the folder, those that are trained on too: an annotation may mean any of them."""
    # A folder of held-out images alone has no others.
    with suppress(ValueError):
        parts = load_images(config, config.load_size)
        return [path for part in parts if isinstance(part, ImageFiles) for path in part.paths]
    return []
