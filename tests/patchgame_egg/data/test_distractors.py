"""Images beside images: of their pools, never themselves, alike on any number of ranks, and seen by the receiver."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from patchgame_egg import ImageLoader, RandomViews, Scenes, ViewLoader
from patchgame_egg.data import loader as loaders
from patchgame_egg.data.distractors import Distractors
from patchgame_egg.views.transforms import EvaluationView

POOLS = [[1, 2, 3], [0], [], [0, 1, 2, 3, 4, 5], [4], [4, 4, 3]]


@pytest.mark.parametrize("pools", [None, POOLS])
def test_different_images_and_never_the_image_itself(pools: list[list[int]] | None) -> None:
    beside = Distractors(6, 3, pools)
    for epoch in range(200):
        for index, row in enumerate(beside(range(6), epoch)):
            assert len({index, *row}) == 4 and set(row) <= set(range(6))
            own = set(POOLS[index]) - {index} if pools else set()
            assert len(own & set(row)) >= min(3, len(own))


def test_whatever_is_allowed_is_drawn_alike() -> None:
    beside, draws = Distractors(6, 2, [[1, 2, 3], *[[0]] * 5]), 6000
    rows = [beside([0, 1], epoch) for epoch in range(draws)]
    pool = np.bincount([one for first, _ in rows for one in first], minlength=6) / draws
    filled = np.bincount([one for _, second in rows for one in second], minlength=6) / draws
    # 2 of 3; and image 0 always, with one of the four others. Five standard deviations are 0.03.
    assert np.allclose(pool, [0, 2 / 3, 2 / 3, 2 / 3, 0, 0], atol=0.03)
    assert np.allclose(filled, [1, 0, 1 / 4, 1 / 4, 1 / 4, 1 / 4], atol=0.03)
    assert beside.filled == 5


def test_a_seed_and_an_epoch_decide() -> None:
    images = range(50)
    first = Distractors(50, 4, seed=1)(images, 3)
    assert first == Distractors(50, 4, seed=1)(images, 3)
    assert first[7] == Distractors(50, 4, seed=1)([7], 3)[0]
    assert first != Distractors(50, 4, seed=2)(images, 3) != Distractors(50, 4, seed=1)(images, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((6, 6), "6 distractors beside each of 6 images"), ((6, 0), "0 distractors"), ((6, 2, [[1]]), "1 pools")],
)
def test_too_few_images(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Distractors(*arguments)


def batches(count: int, **options: int) -> list:
    images = ImageLoader(Scenes(24, 16), 8, seed=3, distractors=Distractors(24, count, seed=5), **options)
    images.set_epoch(2)
    return list(images)


def test_a_loader_has_them_beside_its_batches() -> None:
    source, beside = Scenes(24, 16), Distractors(24, 3, seed=5)
    plain = ImageLoader(Scenes(24, 16), 8, seed=3)
    plain.set_epoch(2)
    for batch, without in zip(batches(3), plain, strict=True):
        assert torch.equal(batch.sender_input, without.sender_input)
        index = batch.aux_input["index"].tolist()
        assert index == without.aux_input["index"].tolist() and torch.equal(batch.labels, without.labels)
        for row, others in zip(beside(index, 2), batch.receiver_input, strict=True):
            assert torch.equal(others, torch.stack([source[one][0] for one in row]))


def test_ranks_share_what_one_process_has(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = batches(2), []
    monkeypatch.setattr(loaders, "world_size", lambda: 2)
    for number in range(2):
        monkeypatch.setattr(loaders, "rank", lambda number=number: number)
        parts.append(batches(2))
    for batch, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(batch.receiver_input, torch.cat([first.receiver_input, second.receiver_input]))


def test_the_receiver_sees_the_image_first_and_its_distractors_through_its_own_view() -> None:
    images = ImageLoader(Scenes(24, 16), 8, shuffle=False, distractors=Distractors(24, 2))
    (batch, *_), view = list(ViewLoader(images, EvaluationView(16), "cpu")), EvaluationView(16)
    raw = next(iter(images))
    assert batch.receiver_input.shape == (8, 3, 3, 16, 16)
    assert torch.equal(batch.receiver_input[:, 0], batch.sender_input)
    assert torch.equal(batch.receiver_input[:, 2], view(raw.receiver_input[:, 1]))

    class Numbered(RandomViews):
        def _view(self, images, strength):  # type: ignore[no-untyped-def]
            return torch.full((len(images), 3, 16, 16), 1.0 if strength is self.first else 2.0)

    batch = next(iter(ViewLoader(images, Numbered(16), "cpu")))
    assert batch.sender_input.unique().tolist() == [1] and batch.receiver_input.unique().tolist() == [2]


def test_an_epoch_resumed_has_the_same() -> None:
    images = ImageLoader(Scenes(24, 16), 8, seed=3, distractors=Distractors(24, 2))
    images.set_epoch(2)
    whole = list(images)
    images.set_epoch(2, start=1)
    assert torch.equal(next(iter(images)).receiver_input, whole[1].receiver_input)
