"""Who speaks once the image is changed: maps of the same images mirrored and rolled, and of a plain grey one.

A map that follows what is in an image goes along when that moves, and is flat where there is nothing. One that follows
places does neither. Letters in shapes: N images, P patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.corpus.recording import evaluating, one_pair, speak
from patchgame_egg.game import Game
from patchgame_egg.interaction import Batch
from patchgame_egg.patches import by_grid, grid_shapes, square_grid
from patchgame_egg.population import Population
from patchgame_egg.views.transforms import IMAGENET_MEAN, IMAGENET_STD

Maps = NDArray[np.float32]


def play_changed_images(game: Game | Population, batches: Iterable[Batch]) -> dict[str, Maps]:
    """How likely each patch is to speak, in evaluation, once its image is changed.

    - ``mirrored``: left and right change places; the map is mirrored back.
    - ``rolled by half``: what leaves at the bottom and on the right comes in on the other side; the map is rolled back.
      Of an odd grid, the smaller half. Left out where the coarsest grid is one patch.
    - ``plain grey``: one image, all of whose pixels lie in the middle of their range.

    Args:
        game: any game; of a population, the first speaker plays.
        batches: the groups, in order, of normalised square views (`EvaluationView`).

    Returns:
        Name to probabilities in [0, 1], float32 ``[N, P]``, of the grey image ``[1, P]``. A patch has the number that
        it has in the image as it is. Empty where the speaker has no patches, or does not see square images.
    """
    game = one_pair(game)
    found: dict[str, list[Maps]] = {}
    with evaluating(game) as device:
        for group in batches:
            batch = group.to(device)
            seen = batch.sender_input
            features, message = speak(game, batch)
            if message.keep_prob is None or seen.dim() != 4 or seen.shape[2] != seen.shape[3]:
                return {}
            grid, scales = square_grid(message.keep_prob.shape[1], features.scales), features.scales
            assert grid is not None
            cells = grid_shapes(grid, scales)[-1][0]
            shift = cells // 2 * seen.shape[2] // cells
            back = {"mirrored": _moved(grid, scales, _mirrored)}
            images = {"mirrored": seen.flip(3)}
            if shift:
                images["rolled by half"] = seen.roll((shift, shift), (2, 3))
                back["rolled by half"] = _moved(grid, scales, partial(_rolled_back, cells))
            for name, changed in images.items():
                found.setdefault(name, []).append(_probabilities(game, batch, changed)[:, back[name]])
            if "plain grey" not in found:
                mean, std = (torch.tensor(x, device=device)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
                found["plain grey"] = [_probabilities(game, batch, ((0.5 - mean) / std).expand_as(seen))[:1]]
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _probabilities(game: Game, batch: Batch, images: Tensor) -> Maps:
    message = speak(game, Batch(images, batch.labels, batch.receiver_input, batch.aux_input))[1]
    assert message.keep_prob is not None
    probabilities: Maps = message.keep_prob.float().cpu().numpy()
    return probabilities


def _moved(grid: tuple[int, int], scales: int, move: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> list[int]:
    """Which patch stands where once each grid has been moved: numbers ``[P]``."""
    patches = sum(rows * columns for rows, columns in grid_shapes(grid, scales))
    return [int(i) for map_ in by_grid(np.arange(patches), grid, scales) for i in move(map_).ravel()]


def _mirrored(map_: NDArray[np.int64]) -> NDArray[np.int64]:
    return map_[:, ::-1]


def _rolled_back(coarsest: int, map_: NDArray[np.int64]) -> NDArray[np.int64]:
    steps = coarsest // 2 * len(map_) // coarsest
    return np.roll(map_, (-steps, -steps), axis=(0, 1))
