"""Maps of changed images, put back: equal where who speaks follows the content, unlike where it follows places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis.corpus.changed_images import play_changed_images
from patchgame_egg.agents.patch_speaker import PatchFeatures
from patchgame_egg.channels.patch import PatchChannel
from patchgame_egg.game import Game
from patchgame_egg.interaction import Batch, Message


class Brightest(nn.Module):
    """Scores patches of 2 px by their brightness, or by their place alone, on one grid or two."""

    def __init__(self, by_place: bool, scales: int) -> None:
        super().__init__()
        self.by_place, self.scales = by_place, scales

    def forward(self, seen: Tensor, aux: dict[str, Tensor] | None = None) -> PatchFeatures:
        grids = [nn.functional.avg_pool2d(seen.mean(1, keepdim=True), 2 * 2**scale) for scale in range(self.scales)]
        scores = torch.cat([grid.flatten(1) for grid in grids], dim=1)
        if self.by_place:
            scores = torch.arange(scores.shape[1]).float().expand_as(scores)
        return PatchFeatures(torch.zeros(*scores.shape, 1, 3), scores, self.scales)


def play(by_place: bool, side: int, scales: int = 1) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    game = Game(Brightest(by_place, scales), PatchChannel(rank_spread=0.29), nn.Identity(), nn.Identity())  # type: ignore[arg-type]
    images = torch.randn(6, 3, side, side, generator=torch.Generator().manual_seed(0))
    found = play_changed_images(game, [Batch(images[:4]), Batch(images[4:])])
    game.eval()
    keep = game.channel(game.sender(images)).keep_prob
    assert keep is not None
    return keep.numpy(), found


@pytest.mark.parametrize(("side", "scales"), [(8, 1), (10, 1), (8, 2), (12, 2)])
def test_a_map_of_the_content_comes_back_as_it_was(side: int, scales: int) -> None:
    keep, found = play(by_place=False, side=side, scales=scales)
    assert list(found) == ["mirrored", "rolled by half", "plain grey"]
    np.testing.assert_allclose(found["mirrored"], keep, atol=1e-6)
    np.testing.assert_allclose(found["rolled by half"], keep, atol=1e-6)
    assert found["plain grey"].shape == (1, keep.shape[1]) and np.ptp(found["plain grey"]) < 1e-4


def test_a_map_of_places_does_not() -> None:
    keep, found = play(by_place=True, side=8)
    np.testing.assert_allclose(found["mirrored"].reshape(6, 4, 4), keep.reshape(6, 4, 4)[:, :, ::-1], atol=1e-6)
    assert np.ptp(found["plain grey"]) > 0.5


class SaysNothing(nn.Module):
    """A channel whose messages are sequences."""

    def forward(self, features: PatchFeatures) -> Message:
        symbols = torch.zeros(len(features.scores), 2, dtype=torch.long)
        return Message(symbols, nn.functional.one_hot(symbols, 3).float(), torch.ones_like(symbols, dtype=torch.bool))


def test_one_patch_cannot_be_rolled_and_a_sequence_has_no_map() -> None:
    assert list(play(by_place=False, side=2)[1]) == ["mirrored", "plain grey"]
    game = Game(Brightest(False, 1), SaysNothing(), nn.Identity(), nn.Identity())  # type: ignore[arg-type]
    assert play_changed_images(game, [Batch(torch.zeros(2, 3, 8, 8))]) == {}
