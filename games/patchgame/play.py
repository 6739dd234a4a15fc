"""PatchGame is played, from options to pictures.

`build` turns the options into a game, its data and an optimizer; `play` trains it and draws what was learnt. To swap a
part from Python, build your own `Game` beside what `build` shows.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch

from analysis.callback import LanguageAnalysis
from analysis.corpus.recording import one_pair
from analysis.metrics.vocabulary_usage import usage
from analysis.transfer.controls import retrieval_controls
from games.build.agents import build_game, compile_networks, take_over_speaker
from games.build.data import build_loaders, build_views
from games.build.trainer import make_trainer
from games.options.command_line import Start, fail, failures
from games.options.config import Config
from games.runs.corpus import check_annotations, check_captions, ground_captions, write_corpus
from games.runs.device import with_precision
from games.runs.distractors import distractors_for
from games.runs.files import CORPUS, LOG
from games.runs.folder import find_run
from games.runs.rehearsal import rehearse
from games.runs.results import write_cross_play, write_metrics, write_skipped
from games.runs.training import check_unfinished, train_run, what_is_kept
from patchgame_egg.data.images import ImageSource
from patchgame_egg.data.loader import ImageLoader
from patchgame_egg.distributed.batch_norm import sync_batch_norm
from patchgame_egg.distributed.processes import (
    gather_names,
    is_rank_zero,
    is_restarted,
    leave_process_group,
)
from patchgame_egg.game import Game
from patchgame_egg.interaction import Interaction
from patchgame_egg.population import FrozenSpeakerGame, Population
from patchgame_egg.training.callback import Callback, Schedule
from patchgame_egg.training.evaluation import cross_play
from patchgame_egg.training.log_file import CURVE_STEPS, read_log
from patchgame_egg.training.trainer import Trainer
from patchgame_egg.views.loader import RepeatedViews, ViewLoader
from patchgame_egg.views.transforms import EvaluationView

COMMAND = "python -m games.patchgame"


def build(start: Start, device: torch.device, folder: Path) -> tuple[Trainer, ImageSource, list[ImageLoader]]:
    """Everything that training needs.

    Returns:
        The trainer, the held-out images, and both loaders.

    Raises:
        ValueError: an option, the images or the checkpoint are wrong.
    """
    config = start.config
    train, val = build_loaders(config, device, lambda part, training: distractors_for(config, part, device, training))
    sentences, grounded = ground_captions(config, train.source)
    for understood in (check_annotations(config, val.source), check_captions(config, val.source), grounded):
        if understood and is_rank_zero():
            print(understood)
    views = build_views(config)
    game = build_game(config, sentences)
    if isinstance(game, FrozenSpeakerGame) and start.resume is None and not config.run.init_from:
        take_over_speaker(game, Path(config.run.frozen_speaker))
    # Convolutions run up to twice as fast on pixels that lie beside each other.
    game.to(memory_format=torch.channels_last).to(device)
    sync_batch_norm(game, device)
    if config.training.compile:
        compile_networks(game)
    candidates = config.choices(val.order.batch_size)
    two_views = RepeatedViews(val, build_views(config, held_out=True), device)
    controls: dict[str, float] = {}
    # What a listener that knows nothing loses, where that is not the logarithm of the candidates.
    beside = {}
    if config.loss.distractors:
        both = (math.log(candidates) + math.log(val.order.batch_size)) / 2
        loss = both if config.loss.in_batch else math.log(candidates)
        beside = {"distractors": config.loss.num_distractors, "chance_loss": loss}

    def language(logs: Interaction) -> dict[str, float]:
        assert logs.message is not None
        # They are the same after every epoch.
        if not controls:
            controls.update(retrieval_controls(two_views, config.loss.in_batch))
        found = usage(logs.message.numpy(), logs.aux["message_mask"].numpy(), config.speaker.vocab)
        return {
            "active_symbols": found.active_symbols,
            "perplexity": found.perplexity,
            "mean_length": found.mean_length,
            "distinct_messages": found.distinct_messages,
            "symbol_entropy": found.symbol_entropy,
            "message_entropy": found.message_entropy,
            "images": logs.size,
            "candidates": candidates,
            **beside,
            "vocab_size": config.speaker.vocab,
            "slots": logs.message.shape[1],
            **{f"two_views_{name}": value for name, value in controls.items()},
        }

    callbacks: list[Callback] = []
    if ramp := config.view_ramp:

        def set_share(value: float) -> None:
            views.share = value

        callbacks.append(Schedule(set_share, lambda done: min(1.0, done / ramp)))
    if config.run.analyse_every and config.channel.channel != "continuous" and is_rank_zero():
        callbacks.append(LanguageAnalysis(config.run.analyse_every))
    trainer = make_trainer(
        start,
        game,
        ViewLoader(train, views, device),
        ViewLoader(val, EvaluationView(config.images.image_size), device),
        folder,
        language,
        callbacks,
        {"two_views": two_views},
    )
    return trainer, val.source, [train, val]


def finish(
    trainer: Trainer, config: Config, preset: str, folder: Path, source: ImageSource, skipped: list[str]
) -> None:
    """Writes the final metrics, the pictures and the language, and says which images could not be read."""
    records = read_log(folder / LOG, CURVE_STEPS)
    assert isinstance(trainer.game, (Game, Population))
    game = one_pair(trainer.game)
    if config.run.pictures:
        # Plotting packages take seconds to import; a run that stops early does without.
        from games.runs.pictures import draw_pictures

        for path in draw_pictures(game, trainer.device, config, source, records, folder):
            print(f"wrote {path}")
    if config.run.corpus and config.channel.channel != "continuous" and trainer.validation_data is not None:
        path = folder / CORPUS
        learnt = {"step": trainer.step, "epoch": trainer.epoch}
        write_corpus(game, trainer.validation_data, config, preset, source, folder.name, path, learnt=learnt)
        print(f"wrote {path}")
    write_skipped(skipped, folder)
    last = next((r for r in reversed(records) if r["kind"] == "validation"), None)
    if last is not None:
        write_metrics(last, folder)


def play(start: Start, device: torch.device) -> int:
    """Trains, draws, and returns the exit status."""
    began = time.perf_counter()
    again = is_restarted()
    try:
        start, folder = find_run(start, again)
        start = with_precision(start, device)
        trainer, source, loaders = build(start, device, folder)
        if start.resume is not None and not again:
            check_unfinished(trainer, start, folder)
    except ValueError as error:
        fail(error)
    config = start.config
    if start.dry_run:
        return rehearse(trainer, start, folder, loaders)
    status = train_run(trainer, start, folder, loaders, again, COMMAND)
    if status:
        return status
    with failures(lambda: what_is_kept(folder, COMMAND)):
        if isinstance(trainer.game, Population):
            accuracy = cross_play(trainer)
            if is_rank_zero():
                write_cross_play(accuracy, config.choices(loaders[1].order.batch_size), folder, config.run.pictures)
        skipped = gather_names(name for loader in loaders for name in loader.skipped.values())
        writes = is_rank_zero()
        leave_process_group()
        if writes:
            finish(trainer, config, start.preset, folder, source, skipped)
    if writes:
        print(f"done in {(time.perf_counter() - began) / 60:.1f} minutes")
    return 0
