"""The rivals of Table 1, trained like PatchGame: ``python -m games.baselines moco --data folder --root photos``.

Same images, views, optimizer, trainer, checkpoints and log; what differs is who plays. Options are PatchGame's.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from analysis.vocabulary import usage
from games.command_line import Start, fail, method_of, parse, pick_device
from games.config import Config
from games.images import build_loaders, build_views
from games.patchgame import (
    find_run,
    make_trainer,
    train_run,
    write_metrics,
    write_skipped,
)
from patchgame_egg.callbacks import read_log
from patchgame_egg.data import ImageLoader
from patchgame_egg.distributed import (
    gather_names,
    is_rank_zero,
    is_restarted,
    leave_process_group,
    process_group,
    rank,
    sync_batch_norm,
)
from patchgame_egg.interaction import Batch, Interaction
from patchgame_egg.losses import symmetric_info_nce
from patchgame_egg.memory import keep_freed_memory
from patchgame_egg.momentum_contrast import MomentumContrast, group_batch_norm, momentum_for
from patchgame_egg.patch_vae import PartChannel, PartLoss, PartReceiver, PartSender, cell_trunk
from patchgame_egg.reconstruction import ReconstructionGame, SquaredError, relative_error
from patchgame_egg.trainer import Trainer
from patchgame_egg.trunks import vision_trunk
from patchgame_egg.views import EvaluationView, ViewLoader
from patchgame_egg.vq_vae import HierarchyChannel, HierarchyReceiver, HierarchySender

METHODS = {
    "moco": """MoCo-v2 (He et al., 2020; Chen et al., 2020). Counts: --vision, --vision-width. Queries are first views,
    keys second ones; head to 128, temperature 0.2, a queue of an eighth of the images (at most 65536), momentum 0.999
    or 1 - 20 / steps where that is less. Held-out images are matched by two random views, the same in every epoch.""",
    "vqvae": """VQ-VAE-2 (Razavi et al., 2019). Counts: --vocab (codes in each of two codebooks), --code-dim,
    --commitment, --vision-width (half the width of its networks; 64 unless --vision is resnet9). Rebuilds first
    views.""",
    "patchvae": """PatchVAE (Gupta et al., 2020). Counts: --vision (resnet9 or a residual network of torchvision),
    --vision-width, --patch-size (2 to 32), --vocab (parts), --gumbel-start, --gumbel-end, --anneal. Rebuilds first
    views.""",
    "random": """An untrained vision trunk: nothing is learnt. Counts: --vision, --vision-width.""",
}  # fmt: skip
"""The baselines, and which options beside images, training and run they heed."""

ABOUT = "\n\n".join(
    [
        "The baselines of PatchGame's Table 1: moco, vqvae, patchvae or random.",
        *(f"{method}: {' '.join(text.split())}" for method, text in METHODS.items()),
        "All other options of speaker, channel, listener and loss are ignored, as are --compile, --pictures, --corpus,"
        " --analyse-every and --annotations.",
    ]
)

# The appearance of a part in the authors' ImageNet command.
_APPEARANCE_DIM = 16


class Untrained(nn.Module):
    """A trunk that plays without learning: it matches two views of an image by their features.

    Args:
        trunk: images to features ``[B, D]``.
        trunk_dim: D.
        temperature: of the loss.
    """

    def __init__(self, trunk: nn.Module, trunk_dim: int, temperature: float) -> None:
        super().__init__()
        self.trunk, self.trunk_dim, self.temperature = trunk, trunk_dim, temperature

    def forward(
        self,
        sender_input: Tensor,
        labels: Tensor | None = None,
        receiver_input: Tensor | None = None,
        aux_input: dict[str, Tensor] | None = None,
    ) -> tuple[Tensor, Interaction]:
        """The loss and a record, as of any game."""
        second = sender_input if receiver_input is None else receiver_input
        first, other = self.trunk(sender_input).float(), self.trunk(second).float()
        per_sample, aux = symmetric_info_nce(first, other, self.temperature)
        record = Interaction(labels=labels, aux_input=aux_input, aux={"loss": per_sample, **aux})
        return per_sample.mean(), record.map(Tensor.detach)


class RepeatedViews(ViewLoader):
    """Random views that are the same every time the images are gone through."""

    def __iter__(self) -> Iterator[Batch]:
        self.views.draws = 0  # type: ignore[assignment]
        return super().__iter__()


def queue_size(images: int, batch_size: int) -> int:
    """Keys in the queue: an eighth of the images in whole batches, at least one batch, at most the paper's 65,536."""
    return min(65536, max(1, images // 8 // batch_size) * batch_size)


def build_baseline(method: str, config: Config, images: int | None = None) -> nn.Module:
    """What a baseline trains, with weights drawn from the seed.

    Args:
        method: one of `METHODS`.
        config: the options.
        images: to train on, from which MoCo's queue and momentum follow; None where nothing is trained, as a queue
            takes up the size of a saved one.

    Returns:
        A module that is called like a `Game`, with the attributes ``trunk``, images to features, and ``trunk_dim``.

    Raises:
        ValueError: no such baseline, or an option that does not go with it.
    """
    if method not in METHODS:
        raise ValueError(f"unknown baseline {method!r}: one of {', '.join(METHODS)}")
    t, h, size, seed = config.training, config.listener, config.images.image_size, config.training.seed
    width = h.vision_width if h.vision == "resnet9" else 64
    with torch.random.fork_rng(devices=[]):
        # Weights are drawn on the CPU; torch.manual_seed would also reseed every GPU, for good.
        torch.default_generator.manual_seed(seed)
        if method == "vqvae":
            return _vq_vae(config, 2 * width)
        if method == "patchvae":
            return _patch_vae(config, width)
        trunk, dim = vision_trunk(h.vision, size, h.vision_width)
        if method == "random":
            return Untrained(trunk, dim, config.loss.temperature)
        if images is None:
            return MomentumContrast(trunk, dim, queue=1, seed=seed + 1)
        momentum = momentum_for(t.epochs * (images // t.batch_size))
        return MomentumContrast(trunk, dim, 128, queue_size(images, t.batch_size), momentum, seed=seed + 1)


def _vq_vae(config: Config, width: int) -> ReconstructionGame:
    c, vocab, seed = config.channel, config.speaker.vocab, config.training.seed
    sender = HierarchySender(width, c.code_dim)
    receiver = HierarchyReceiver(width, c.code_dim, config.images.image_size)
    channel = HierarchyChannel(c.code_dim, vocab, c.commitment, seed=seed + 3)
    return ReconstructionGame(sender, channel, receiver, SquaredError())


def _patch_vae(config: Config, width: int) -> ReconstructionGame:
    s, size = config.speaker, config.images.image_size
    trunk, dim = cell_trunk(config.listener.vision, s.patch_size, width)
    return ReconstructionGame(
        PartSender(trunk, dim, s.vocab, _APPEARANCE_DIM),
        PartChannel(config.channel.gumbel_start, config.training.seed + 1),
        PartReceiver(size, s.patch_size, s.vocab, _APPEARANCE_DIM, width),
        PartLoss(s.patch_size, 1 / s.vocab),
    )


def build(method: str, start: Start, device: torch.device, folder: Path) -> tuple[Trainer, list[ImageLoader]]:
    """Everything that training needs: the trainer, and the loaders of the training and the held-out images.

    Raises:
        ValueError: an option, the images or the checkpoint are wrong.
    """
    config = start.config
    foreign = {"--micro-batch": config.training.micro_batch, "--frozen-speaker": config.run.frozen_speaker}
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
        trainer, loaders = build(method, start, device, folder)
    except ValueError as error:
        fail(error)
    if is_rank_zero():
        folder.mkdir(parents=True, exist_ok=True)
        chosen: dict[str, str | int | float] = {"method": method}
        if isinstance(trainer.game, MomentumContrast):
            chosen |= {"queue": len(trainer.game.queue.keys), "momentum": trainer.game.momentum}
        (folder / "method.json").write_text(json.dumps(chosen, indent=2) + "\n")
    epochs = 0 if method == "random" else None
    status = train_run(trainer, start, folder, loaders, again, "python -m games.baselines", epochs)
    if status:
        return status
    # Where nothing is learnt, nothing was validated.
    record = trainer.validation_record(trainer.eval()[1]) if epochs == 0 else None
    skipped = gather_names(name for loader in loaders for name in loader.skipped.values())
    writes = is_rank_zero()
    leave_process_group()
    if writes:
        if record is None:
            record = next(r for r in reversed(read_log(folder / "log.jsonl")) if r["kind"] == "validation")
        write_skipped(skipped, folder)
        write_metrics(record, folder)
        print(f"done in {(time.perf_counter() - began) / 60:.1f} minutes")
    return 0


def read_command(argv: Sequence[str]) -> tuple[str, Start]:
    """Reads the command line: a baseline, or a run of one to resume, and options.

    Raises:
        ValueError: a bad option, in one line.
        SystemExit: after ``--help``.
    """
    named = argv[0] if argv and not argv[0].startswith("-") else ""
    if named and named not in METHODS:
        raise ValueError(f"unknown baseline {named!r}: one of {', '.join(METHODS)}")
    choice = named or f"{{{','.join(METHODS)}}}"
    start = parse(argv[1:] if named else argv, f"python -m games.baselines {choice}", ABOUT)
    if start.resume is None:
        if not named:
            raise ValueError(f"which baseline? Say one of {', '.join(METHODS)} first")
        return named, start
    method = method_of(start.resume)
    if method not in METHODS:
        raise ValueError(f"{start.resume} is a run of games.patchgame, not of a baseline")
    if named not in ("", method):
        raise ValueError(f"{start.resume} is a run of {method}, not of {named}")
    return method, start


def main(argv: Sequence[str] | None = None) -> int:
    """Trains a baseline with the given command line, or the process's own; returns the exit status."""
    try:
        method, start = read_command(sys.argv[1:] if argv is None else argv)
        asked = pick_device(start.config.training.device)
    except ValueError as error:
        fail(error)
    keep_freed_memory()
    with process_group(asked) as device:
        # Only dropout draws from torch's own generator; ranks must differ in it.
        torch.manual_seed(start.config.training.seed + 1000 * rank())
        return play(method, start, device)


if __name__ == "__main__":
    sys.exit(main())
