"""The pictures that a finished run leaves in its folder: learning curves, importance maps, a symbol gallery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.corpus.recording import confidence_of
from analysis.plots.curves import learning_curves
from analysis.plots.patch_maps import importance_maps, symbol_gallery
from games.options.config import Config
from games.runs.files import CURVES, GALLERY, IMPORTANCE
from patchgame_egg.data.images import ImageSource
from patchgame_egg.data.loader import readable
from patchgame_egg.game import Game
from patchgame_egg.views.transforms import EvaluationView, denormalise

# Enough images for six good examples of every frequent symbol, few enough to take seconds.
_IMAGES = 512
_MAPS = 16


def draw_pictures(
    game: Game,
    device: torch.device,
    config: Config,
    source: ImageSource,
    records: Sequence[dict[str, Any]],
    folder: Path,
) -> list[Path]:
    """Draws a run over held-out images: its curves and, of a speaker of patches, which patches speak and say what.

    Args:
        game: a trained game.
        device: where it is.
        config: the run's options.
        source: the held-out images.
        records: the run's log.
        folder: where the pictures go.

    Returns:
        The files written.
    """
    curves = learning_curves(records, folder / CURVES)
    if config.speaker.speaker != "patch":
        return [curves]
    chosen = np.random.default_rng(config.training.seed).permutation(len(source))[:_IMAGES]
    images, labels = readable(source, chosen.tolist())
    view = EvaluationView(config.images.image_size).to(device)
    game.eval()
    shown, symbols, spoken, importance, confidence = [], [], [], [], []
    with torch.no_grad():
        for part in images.split(64):
            seen = view(part.to(device))
            features = game.sender(seen)
            message = game.channel(features)
            shape = features.logits.shape[:3]
            shown.append(denormalise(seen).cpu().numpy())
            symbols.append(message.symbols.view(shape).cpu().numpy())
            spoken.append(message.mask.view(shape)[:, :, 0].cpu().numpy())
            importance.append(message.keep_prob.cpu().numpy())
            confidence.append(confidence_of(features, message.symbols.view(shape), game.channel).cpu().numpy())
    pictures, said = np.concatenate(shown), np.concatenate(spoken)
    # Of photos without classes, all are called the same.
    names = [source.classes[n] for n in labels] if len(source.classes) > 1 else None
    grid, scales = (config.grid, config.grid), config.speaker.patch_scales
    drawn = [
        curves,
        importance_maps(
            pictures[:_MAPS], np.concatenate(importance)[:_MAPS], said[:_MAPS], folder / IMPORTANCE,
            grid=grid, scales=scales, titles=names and names[:_MAPS],
        ),
    ]  # fmt: skip
    # Without a bottleneck no symbol is ever sent.
    if game.channel.estimator.discrete:
        drawn.append(
            symbol_gallery(
                pictures, np.concatenate(symbols), said, np.concatenate(confidence), folder / GALLERY, grid=grid,
                scales=scales,
            )
        )  # fmt: skip
    return drawn
