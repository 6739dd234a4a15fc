"""The rivals of Table 1 are trained like PatchGame.

Same images, views, optimizer, trainer, checkpoints and log; what differs is who plays. Options are PatchGame's.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch

from analysis.metrics.vocabulary_usage import usage
from games.build.baselines import build_baseline
from games.build.data import build_loaders, build_views
from games.build.trainer import make_trainer
from games.options.command_line import Start, fail, failures
from games.runs.device import with_precision
from games.runs.files import LOG
from games.runs.folder import find_run
from games.runs.rehearsal import rehearse
from games.runs.results import write_metrics, write_skipped
from games.runs.training import check_unfinished, train_run, what_is_kept
from patchgame_egg.baselines.moco import MomentumContrast, group_batch_norm
from patchgame_egg.baselines.reconstruction import relative_error
from patchgame_egg.data.loader import ImageLoader
from patchgame_egg.distributed.batch_norm import sync_batch_norm
from patchgame_egg.distributed.processes import (
    gather_names,
    is_rank_zero,
    is_restarted,
    leave_process_group,
)
from patchgame_egg.interaction import Interaction
from patchgame_egg.training.log_file import iterate_log
from patchgame_egg.training.trainer import Trainer
from patchgame_egg.views.loader import RepeatedViews, ViewLoader
from patchgame_egg.views.transforms import EvaluationView

COMMAND = "python -m games.baselines"


def build(method: str, start: Start, device: torch.device, folder: Path) -> tuple[Trainer, list[ImageLoader]]:
    """Everything that training needs: the trainer, and the loaders of the training and the held-out images.

    Raises:
        ValueError: an option, the images or the checkpoint are wrong.
    """
    config = start.config
    foreign = {
        "--micro-batch": config.training.micro_batch,
        "--frozen-speaker": config.run.frozen_speaker,
        "--distractors": config.loss.distractors,
        "--ground": config.loss.ground,
    }
    for name, given in foreign.items():
        if given:
            raise ValueError(f"{name} is PatchGame's: no baseline has it")
    # A price per symbol is PatchGame's; every code and part is free.
    start = replace(start, config=replace(config, channel=replace(config.channel, speak_cost=0.0)))
    train, val = build_loaders(config, device)
    game = build_baseline(method, config, len(train.source))
    game.to(memory_format=torch.channels_last).to(device)  # type: ignore[call-overload]
    if method == "moco":
        # Eight groups, as on the authors' eight GPUs, but not so small that their statistics are noise.
        group_batch_norm(game, max(1, min(8, config.training.batch_size // 16)))
    else:
        sync_batch_norm(game, device)
    views = build_views(config)
    if method in ("moco", "random"):
        # In one view alone, everybody recognises everything.
        validation: ViewLoader = RepeatedViews(val, build_views(config), device)
    else:
        validation = ViewLoader(val, EvaluationView(config.images.image_size), device)
    candidates = val.order.batch_size

    def metrics(logs: Interaction) -> dict[str, float]:
        found: dict[str, float] = {"images": logs.size}
        if "acc" in logs.aux:
            return found | {"candidates": candidates}
        found["relative_error"] = relative_error(logs)
        if method == "vqvae" and logs.message is not None:
            sizes = 2 * config.speaker.vocab, logs.message.shape[1]
            used = usage(logs.message.numpy(), logs.aux["message_mask"].numpy(), sizes[0])
            found |= {"active_symbols": used.active_symbols, "perplexity": used.perplexity, "vocab_size": sizes[0]}
            found |= {"mean_length": used.mean_length, "slots": sizes[1]}
        return found

    return make_trainer(start, game, ViewLoader(train, views, device), validation, folder, metrics), [train, val]


def play(method: str, start: Start, device: torch.device) -> int:
    """Trains, writes the final metrics, and returns the exit status."""
    began = time.perf_counter()
    again = is_restarted()
    try:
        start, folder = find_run(start, again, method)
        start = with_precision(start, device)
        trainer, loaders = build(method, start, device, folder)
        if start.resume is not None and not again:
            check_unfinished(trainer, start, folder)
    except ValueError as error:
        fail(error)
    if start.dry_run:
        return rehearse(trainer, start, folder, loaders, 0 if method == "random" else None)
    chosen: dict[str, str | int | float] = {"method": method}
    if isinstance(trainer.game, MomentumContrast):
        chosen |= {"queue": len(trainer.game.queue.keys), "momentum": trainer.game.momentum}
    epochs = 0 if method == "random" else None
    status = train_run(trainer, start, folder, loaders, again, COMMAND, epochs, chosen)
    if status:
        return status
    with failures(lambda: what_is_kept(folder, COMMAND)):
        # Where nothing is learnt, nothing was validated.
        record = trainer.validation_record(trainer.eval()[1]) if epochs == 0 else None
        skipped = gather_names(name for loader in loaders for name in loader.skipped.values())
        writes = is_rank_zero()
        leave_process_group()
        if not writes:
            return 0
        if record is None:
            record = [r for r in iterate_log(folder / LOG) if r["kind"] == "validation"][-1]
        write_skipped(skipped, folder)
        write_metrics(record, folder)
    print(f"done in {(time.perf_counter() - began) / 60:.1f} minutes")
    return 0
