"""PatchGame from the command line: ``python -m games.patchgame --vocab 128``.

`build` turns the options into a game, its data and an optimizer; `main` trains it and draws what was learnt. To swap a
part from Python, build your own `Game` beside what `build` shows.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from analysis.callback import LanguageAnalysis
from analysis.recording import one_pair
from analysis.vocabulary import usage
from games.agents import build_game, compile_networks, take_over_speaker
from games.command_line import Start, check_speaks, fail, load_config, parse, pick_device, save_config
from games.config import Config
from games.images import build_loaders, build_views
from games.record import read_annotations, write_corpus
from patchgame_egg import checkpoint
from patchgame_egg.callbacks import (
    Callback,
    Checkpoint,
    Console,
    JsonLines,
    Schedule,
    StopOnSignal,
    TensorBoard,
    WeightsAndBiases,
    read_log,
)
from patchgame_egg.channels import Channel, Gumbel
from patchgame_egg.data import ImageLoader, ImageSource
from patchgame_egg.distributed import (
    gather_names,
    is_rank_zero,
    is_restarted,
    leave_process_group,
    process_group,
    rank,
    sync_batch_norm,
    world_size,
)
from patchgame_egg.estimators import Reinforce
from patchgame_egg.game import Game
from patchgame_egg.interaction import Interaction
from patchgame_egg.memory import keep_freed_memory
from patchgame_egg.population import FrozenSpeakerGame, Population, cross_play
from patchgame_egg.trainer import NonFiniteLoss, Trainer
from patchgame_egg.views import EvaluationView, ViewLoader
from patchgame_egg.whole_file import write_json


def build_optimizer(config: Config, game: nn.Module, steps_per_epoch: int) -> tuple[Optimizer, LambdaLR]:
    """The optimizer, and the schedule of its learning rate: linear warm-up, then a cosine."""
    t = config.training
    groups: list[dict[str, Any]] = []
    for name, parameter in game.named_parameters():
        if parameter.requires_grad:
            share = config.speaker_lr if name.startswith("sender") else 1.0
            decay = t.weight_decay if parameter.dim() > 1 else 0.0
            kind = {"lr": share * t.lr, "weight_decay": decay, "wide": "_head.wide." in name}
            group = next((g for g in groups if all(g[k] == v for k, v in kind.items())), None)
            if group is None:
                groups.append(group := {"params": [], **kind})
            group["params"].append(parameter)
    optimizer: Optimizer = AdamW(groups, t.lr, fused=True) if t.optimizer == "adamw" else SGD(groups, t.lr, 0.9)
    warmup, total = round(t.warmup * steps_per_epoch), t.epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        low = t.min_lr / t.lr
        return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, total - warmup))))

    def factor_when_thawed(step: int) -> float:
        return factor(step) if step >= t.freeze_epochs * steps_per_epoch else 0.0

    return optimizer, LambdaLR(optimizer, [factor_when_thawed if g["wide"] else factor for g in groups])


def schedules(config: Config, game: nn.Module, optimizer: Optimizer) -> list[Callback]:
    """What changes during training beside the learning rate: temperature, weight of the entropy, weight decay."""
    c, t = config.channel, config.training

    def between(start: float, end: float) -> Callable[[float], float]:
        return lambda done: start + (end - start) * min(1.0, done / max(c.anneal, 1e-9))

    def set_temperature(value: float) -> None:
        for module in game.modules():
            if isinstance(module, Gumbel):
                module.temperature = value

    def set_entropy(value: float) -> None:
        for module in game.modules():
            if isinstance(module, Reinforce):
                module.entropy = value

    def set_price(value: float) -> None:
        for module in game.modules():
            if isinstance(module, Channel):
                module.speak_cost = value

    found: list[Callback] = [
        Schedule(set_temperature, between(c.gumbel_start, c.gumbel_end)),
        Schedule(set_entropy, between(c.entropy_start, c.entropy_end)),
        # At full price from the start, a speaker that nobody understands yet learns to say nothing.
        Schedule(set_price, between(0.0, c.speak_cost)),
    ]
    end = t.weight_decay_end
    if end is not None:
        decayed = [group for group in optimizer.param_groups if group["weight_decay"]]

        def set_decay(value: float) -> None:
            for group in decayed:
                group["weight_decay"] = value

        found.append(
            Schedule(set_decay, lambda done: end + (t.weight_decay - end) * 0.5 * (1 + math.cos(math.pi * done)))
        )
    return found


def find_run(start: Start, again: bool, kind: str = "") -> tuple[Start, Path]:
    """The run that a command plays: one to resume, or a new one, named by ``--name`` or counted up.

    Args:
        start: what the command line asks for.
        again: torchrun or SLURM has started the command once more. It then goes on with its own run: the named one, or
            else the newest of the same preset, images and options.
        kind: what nameless runs are named after; empty: the preset.

    Returns:
        What to start, with ``resume`` set if there is a checkpoint to go on from, and the run's folder.

    Raises:
        ValueError: the named run is there already, and this is not ``again``.
    """
    out, name = Path(start.config.run.out), start.config.run.name
    if start.resume is not None:
        return start, start.resume
    if name:
        folder = out / name
        if folder.exists() and not again:
            raise ValueError(f"the run {folder} exists: --resume {folder} goes on with it, another --name starts anew")
    else:
        stem = f"{kind or start.preset}-{start.config.images.data}"
        number = 1
        while (out / f"{stem}-{number}").exists():
            number += 1
        earlier = _newest_with_options(start, out.glob(f"{stem}-*/config.json")) if again else None
        folder = earlier or out / f"{stem}-{number}"
    if again and (folder / "checkpoint.pt").exists():
        start = replace(start, resume=folder)
    return start, folder


def _newest_with_options(start: Start, saved: Iterable[Path]) -> Path | None:
    # Another command of the same preset and images may be at work beside this one.
    for path in sorted(saved, key=lambda path: path.stat().st_mtime, reverse=True):
        with suppress(ValueError):
            if load_config(path) == (start.config, start.preset):
                return path.parent
    return None


def make_trainer(
    start: Start,
    game: nn.Module,
    train: ViewLoader,
    validation: ViewLoader,
    folder: Path,
    metrics: Callable[[Interaction], dict[str, float]],
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    """The trainer that the options describe, of whatever is called like a game.

    Args:
        start: the options, and the run to resume, if any.
        game: what learns, on its device.
        train: batches to learn from.
        validation: batches to validate on.
        folder: of the run.
        metrics: see `Trainer`.
        callbacks: called after those that log, before a checkpoint is written.

    Raises:
        ValueError: the checkpoint does not fit.
    """
    config, device = start.config, train.device
    steps = math.ceil(len(train) / config.training.accumulate)
    optimizer, scheduler = build_optimizer(config, game, steps)
    everything: list[Callback] = [*schedules(config, game, optimizer), Console()]
    if is_rank_zero():
        everything.append(JsonLines(folder / "log.jsonl"))
        if config.run.tensorboard:
            everything.append(TensorBoard(folder / "tensorboard"))
        if config.run.wandb:
            everything.append(WeightsAndBiases(config.run.wandb, folder.name, asdict(config)))
    everything += [*callbacks, Checkpoint(folder / "checkpoint.pt", config.run.checkpoint_every), StopOnSignal()]
    trainer = Trainer(
        game,
        optimizer,
        train,
        scheduler,
        validation,
        device,
        everything,
        config.training.grad_norm,
        precision=config.training.precision,
        accumulate=config.training.accumulate,
        metrics=metrics,
    )
    if start.resume is not None:
        trainer.load_state_dict(checkpoint.load(folder / "checkpoint.pt", device))
    return trainer


def build(start: Start, device: torch.device, folder: Path) -> tuple[Trainer, ImageSource, list[ImageLoader]]:
    """Everything that training needs.

    Returns:
        The trainer, the held-out images, and both loaders.

    Raises:
        ValueError: an option, the images or the checkpoint are wrong.
    """
    config = start.config
    train, val = build_loaders(config, device)
    read_annotations(config.images, val.source)
    views = build_views(config)
    game = build_game(config)
    if isinstance(game, FrozenSpeakerGame) and start.resume is None:
        take_over_speaker(game, Path(config.run.frozen_speaker))
    # Convolutions run up to twice as fast on pixels that lie beside each other.
    game.to(memory_format=torch.channels_last).to(device)
    sync_batch_norm(game, device)
    if config.training.compile:
        compile_networks(game)
    candidates = val.order.batch_size

    def language(logs: Interaction) -> dict[str, float]:
        assert logs.message is not None
        found = usage(logs.message.numpy(), logs.aux["message_mask"].numpy(), config.speaker.vocab)
        return {
            "active_symbols": found.active_symbols,
            "perplexity": found.perplexity,
            "mean_length": found.mean_length,
            "distinct_messages": found.distinct_messages,
            "symbol_bits": found.entropy / math.log(2),
            "message_bits": found.message_entropy / math.log(2),
            "images": logs.size,
            "candidates": candidates,
            "vocab_size": config.speaker.vocab,
            "slots": logs.message.shape[1],
        }

    analyses = config.run.analyse_every and config.channel.channel != "continuous" and is_rank_zero()
    trainer = make_trainer(
        start,
        game,
        ViewLoader(train, views, device),
        ViewLoader(val, EvaluationView(config.images.image_size), device),
        folder,
        language,
        [LanguageAnalysis(config.run.analyse_every)] if analyses else [],
    )
    return trainer, val.source, [train, val]


def finish(
    trainer: Trainer, config: Config, preset: str, folder: Path, source: ImageSource, skipped: list[str]
) -> None:
    """Writes the final metrics, the pictures and the language, and says which images could not be read."""
    records = read_log(folder / "log.jsonl")
    assert isinstance(trainer.game, (Game, Population))
    game = one_pair(trainer.game)
    if config.run.pictures:
        # Plotting packages take seconds to import; a run that stops early does without.
        from games.pictures import draw_pictures

        for path in draw_pictures(game, trainer.device, config, source, records, folder):
            print(f"wrote {path}")
    if config.run.corpus and config.channel.channel != "continuous" and trainer.validation_data is not None:
        path = folder / "corpus.npz"
        write_corpus(game, trainer.validation_data, config, preset, source, folder.name, path)
        print(f"wrote {path}")
    write_skipped(skipped, folder)
    last = next((r for r in reversed(records) if r["kind"] == "validation"), None)
    if last is not None:
        write_metrics(last, folder)


def write_metrics(record: dict[str, Any], folder: Path) -> None:
    """Writes a run's last file: where it is, the run is whole."""
    write_json(record, folder / "metrics.json")


def write_skipped(skipped: Sequence[str], folder: Path) -> None:
    """Prints and writes which images could not be read, if any."""
    if skipped:
        more = f" and {len(skipped) - 20} more" if len(skipped) > 20 else ""
        print(f"skipped {len(skipped)} unreadable images: {', '.join(skipped[:20])}{more}")
        (folder / "skipped.txt").write_text("".join(f"{name}\n" for name in skipped))


def write_cross_play(accuracy: torch.Tensor, candidates: int, folder: Path, picture: bool) -> None:
    """Writes who understood whom as a table and, if wanted, a picture, and prints it: a row is a speaker."""
    rows = [",".join(["", *(f"listener {m}" for m in range(accuracy.shape[1]))])]
    rows += [",".join([f"speaker {n}", *(f"{x:.4f}" for x in row)]) for n, row in enumerate(accuracy.tolist())]
    (folder / "cross_play.csv").write_text("\n".join(rows) + "\n")
    print("cross-play, top-1 in %, a row is a speaker, a column a listener:")
    for row in accuracy.tolist():
        print("  " + "  ".join(f"{100 * x:5.1f}" for x in row))
    if picture:
        # Plotting packages take seconds to import.
        from analysis.cross_play import draw_cross_play

        print(f"wrote {draw_cross_play(accuracy.numpy(), 1 / candidates, folder / 'cross_play.png')}")


LOCK = "training.lock"
"""File in a run's folder that is locked while a process trains the run."""


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other processes from training the same run, until the end or until this process dies.

    Raises:
        SystemExit: one is at it already.
    """
    lock, taken = FileLock(folder / LOCK), []
    # Some file systems have no locks.
    with suppress(NotImplementedError):
        if is_rank_zero():
            try:
                lock.acquire(timeout=0)
            except Timeout:
                taken.append(str(folder))
    if gather_names(taken):
        fail(f"{folder} is being trained by another process: wait until that has ended, or give another --name")
    try:
        yield
    finally:
        if lock.is_locked:
            # Windows cannot unlink what is open.
            with suppress(OSError):
                Path(lock.lock_file).unlink()
            lock.release()


def is_being_trained(folder: Path) -> bool:
    """Whether a process, here or on another machine that sees the folder, trains this run right now."""
    if (folder / LOCK).exists():
        with suppress(NotImplementedError):
            try:
                FileLock(folder / LOCK).acquire(timeout=0).lock.release()
            except Timeout:
                return True
    return False


def train_run(
    trainer: Trainer,
    start: Start,
    folder: Path,
    loaders: Sequence[ImageLoader],
    again: bool,
    command: str,
    epochs: int | None = None,
) -> int:
    """Writes the options into the run's folder and trains.

    Args:
        trainer: from `make_trainer`.
        start: what was asked for, after `find_run`.
        folder: of the run.
        loaders: of the training and the held-out images.
        again: see `find_run`.
        command: what resumes the run, for the reader of its output.
        epochs: how many; None: as the options say.

    Returns:
        0, or the exit status of whom a signal stopped.
    """
    config = start.config
    stop = next(c for c in trainer.callbacks if isinstance(c, StopOnSignal))
    if is_rank_zero():
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with _alone(folder):
            if is_rank_zero():
                save_config(config, start.preset, folder / "config.json")
                count = sum(p.numel() for p in trainer.game.parameters())
                print(
                    f"{folder}: {len(loaders[0].source)} images to train on, {len(loaders[1].source)} held out, "
                    f"{count / 1e6:.1f} M parameters, on {world_size()} x {trainer.device}"
                )
                if again or start.resume:
                    goes_on = f"goes on from step {trainer.step}"
                    print(goes_on if start.resume else "begins anew: there is no checkpoint yet")
            trainer.train(config.training.epochs if epochs is None else epochs)
    except NonFiniteLoss as error:
        fail(error)
    if stop.caught is None:
        return 0
    if is_rank_zero():
        print(f"stopped at step {trainer.step}; go on with: {command} --resume {folder}")
    return 128 + stop.caught


def play(start: Start, device: torch.device) -> int:
    """Trains, draws, and returns the exit status."""
    began = time.perf_counter()
    config = start.config
    again = is_restarted()
    try:
        start, folder = find_run(start, again)
        trainer, source, loaders = build(start, device, folder)
    except ValueError as error:
        fail(error)
    status = train_run(trainer, start, folder, loaders, again, "python -m games.patchgame")
    if status:
        return status
    if isinstance(trainer.game, Population):
        accuracy = cross_play(trainer)
        if is_rank_zero():
            write_cross_play(accuracy, loaders[1].order.batch_size, folder, config.run.pictures)
    skipped = gather_names(name for loader in loaders for name in loader.skipped.values())
    writes = is_rank_zero()
    leave_process_group()
    if writes:
        finish(trainer, config, start.preset, folder, source, skipped)
        print(f"done in {(time.perf_counter() - began) / 60:.1f} minutes")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the game with the given command line, or the process's own; returns the exit status."""
    try:
        start = parse(sys.argv[1:] if argv is None else argv)
        if start.resume is not None:
            check_speaks(start.resume)
        asked = pick_device(start.config.training.device)
    except ValueError as error:
        fail(error)
    keep_freed_memory()
    with process_group(asked) as device:
        # Only dropout draws from torch's own generator; ranks must differ in it.
        torch.manual_seed(start.config.training.seed + 1000 * rank())
        return play(start, device)


if __name__ == "__main__":
    sys.exit(main())
