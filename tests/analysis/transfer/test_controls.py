"""Features that nothing was learnt for, and judges of two views that know no language, against slow loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.transfer.controls import CONTROLS, Control, color_histogram, retrieval_controls, thumbnail
from patchgame_egg.interaction import Batch
from patchgame_egg.views.transforms import denormalise, normalise


def views(rows: int, seed: int) -> torch.Tensor:
    images = torch.rand(rows, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return normalise(images, out=images)


def test_features_are_those_of_a_loop() -> None:
    batch = views(3, 0)
    for image, grey, colors, shares in zip(
        denormalise(batch).numpy(),
        thumbnail(batch),
        thumbnail(batch, 4, color=True),
        color_histogram(batch),
        strict=True,
    ):
        small = np.array([[image[:, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4].mean() for c in range(8)] for r in range(8)])
        small = small.ravel() - small.mean()
        np.testing.assert_allclose(grey, small / np.linalg.norm(small), atol=1e-5)
        parts = [
            image[k, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8].mean() for k in range(3) for r in range(4) for c in range(4)
        ]
        rest = np.array(parts) - np.mean(parts)
        np.testing.assert_allclose(colors, rest / np.linalg.norm(rest), atol=1e-5)
        counts = np.zeros(64)
        for r in range(32):
            for c in range(32):
                red, green, blue = (min(3, int(4 * image[k, r, c])) for k in range(3))
                counts[16 * red + 4 * green + blue] += 1
        np.testing.assert_allclose(shares, np.sqrt(counts / 1024), atol=1e-6)


def test_who_sees_the_same_image_or_its_mirror_finds_it() -> None:
    first = views(32, 1)
    second = first.clone()
    second[::2] = second[::2].flip(3)
    found = retrieval_controls([Batch(first, None, second)])
    assert found == {"thumbnail": 1.0, "color_thumbnail": 1.0, "color_histogram": 1.0}


def test_what_has_nothing_in_common_is_found_by_luck() -> None:
    batches = [Batch(views(64, seed), None, views(64, seed + 100)) for seed in range(10)]
    for share in retrieval_controls(batches).values():
        assert abs(share - 1 / 64) < 4 * (1 / 64 / 640) ** 0.5


def test_where_all_look_alike_nobody_is_found() -> None:
    grey = torch.zeros(8, 3, 32, 32)
    assert set(retrieval_controls([Batch(grey, None, grey)]).values()) == {0.0}


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="no batch"):
        retrieval_controls([])
    with pytest.raises(ValueError, match="two views are needed"):
        retrieval_controls([Batch(views(2, 0), None)])


def test_controls_are_trunks() -> None:
    images = views(5, 3)
    sizes = {name: Control(name)(images).shape for name in CONTROLS}
    assert sizes == {"raw pixels": (5, 3 * 28**2), "4 x 4 thumbnails": (5, 48), "color histogram": (5, 64)}
    small = images[:, :, :28, :28]
    pixels = Control("raw pixels")(small)
    np.testing.assert_allclose(pixels.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(pixels - pixels[:, :1], (small.flatten(1) - small[:, 0, 0, :1]), atol=1e-5)
