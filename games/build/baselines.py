"""Options become a baseline: MoCo-v2, PatchVAE, VQ-VAE-2 or random weights."""

from __future__ import annotations

import torch
from torch import nn

from games.options.config import Config
from games.options.methods import METHODS
from patchgame_egg.agents.trunks import vision_trunk
from patchgame_egg.baselines.moco import MomentumContrast, momentum_for
from patchgame_egg.baselines.patch_vae import PartChannel, PartLoss, PartReceiver, PartSender, cell_trunk
from patchgame_egg.baselines.reconstruction import ReconstructionGame, SquaredError
from patchgame_egg.baselines.untrained import Untrained
from patchgame_egg.baselines.vq_vae import HierarchyChannel, HierarchyReceiver, HierarchySender

# The appearance of a part in the authors' ImageNet command.
_APPEARANCE_DIM = 16


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
