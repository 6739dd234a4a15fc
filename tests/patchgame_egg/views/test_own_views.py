"""Anybody's transforms as views: seeded, resumed and checked like ours."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kornia.augmentation import AugmentationSequential, RandomHorizontalFlip, RandomResizedCrop
from torch import Tensor
from torchvision.transforms import v2

from games.build.data import build_views
from games.options.command_line import parse
from patchgame_egg.views.transforms import EvaluationView, RandomViews, denormalise

IMAGES = torch.randint(256, (6, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
KORNIA = AugmentationSequential(RandomResizedCrop((16, 16), scale=(0.5, 1.0)), RandomHorizontalFlip())
TORCHVISION = v2.Compose([v2.RandomResizedCrop(16, scale=(0.5, 1.0)), v2.RandomHorizontalFlip()])


def noisy(image: Tensor) -> Tensor:
    return (image + 0.1 * torch.rand(1)).clamp(0, 1)


def test_a_transform_is_given_shares_and_its_result_is_normalised() -> None:
    first, second = RandomViews(20, first=lambda image: image, second=AugmentationSequential())(IMAGES)
    torch.testing.assert_close(first, EvaluationView(20)(IMAGES))
    torch.testing.assert_close(second, first)
    flipped, _ = RandomViews(20, first=v2.RandomHorizontalFlip(p=1.0))(IMAGES)
    torch.testing.assert_close(flipped, first.flip(3))
    # One view may be ours; what it draws does not depend on the other.
    _, ours = RandomViews(20, seed=3)(IMAGES)
    mixed = RandomViews(20, seed=3, first=lambda image: image)
    assert torch.equal(mixed(IMAGES)[1], ours)


@pytest.mark.parametrize("transform", [KORNIA, TORCHVISION], ids=["kornia", "torchvision"])
def test_draws_follow_the_seed_and_are_resumed(transform: object) -> None:
    views = RandomViews(16, 5, transform, transform)  # type: ignore[arg-type]
    before = torch.random.get_rng_state()
    played = [views(IMAGES) for _ in range(3)]
    assert torch.equal(torch.random.get_rng_state(), before)
    again = RandomViews(16, 5, transform, transform)  # type: ignore[arg-type]
    again.load_state_dict({"_extra_state": {"draws": 2}}, strict=False)
    torch.manual_seed(123)
    for here, there in zip(again(IMAGES), played[1], strict=True):
        assert torch.equal(here, there)
    other = RandomViews(16, 6, transform, transform)(IMAGES)  # type: ignore[arg-type]
    assert not torch.equal(other[0], played[0][0]) and not torch.equal(played[0][0], played[0][1])
    same = RandomViews(16, 5, transform, transform)(IMAGES[:1].expand(6, -1, -1, -1))  # type: ignore[arg-type]
    # Every image has draws of its own.
    assert len(same[0].flatten(1).unique(dim=0)) > 1


def test_draws_are_those_of_the_image_alone() -> None:
    views = RandomViews(20, 0, noisy, noisy)
    shift = denormalise(views(torch.zeros(4, 3, 20, 20, dtype=torch.uint8))[0]).flatten(1)
    assert (shift.amax(dim=1) - shift.amin(dim=1)).max() < 1e-5 and len(shift[:, 0].unique()) == 4


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda image: image, r"<lambda> made torch.float32 of shape \(6, 3, 20, 20\): .*resize to 16 pixels"),
        (v2.Compose([v2.Resize((16, 16)), v2.ToDtype(torch.uint8, scale=True)]), "Compose made torch.uint8"),
        (v2.Compose([v2.Resize((16, 16)), v2.Normalize([0.5] * 3, [0.1] * 3)]), "leave out its normalisation"),
        (lambda image: image[:, :16, :16] * float("nan"), "made pixels from nan to nan"),
    ],
)
def test_what_is_no_view_is_an_error(transform: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomViews(16, first=transform)(IMAGES)  # type: ignore[arg-type]


def test_a_command_finds_views_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("views_of_a_test.py").write_text(
        "both = lambda size: (lambda x: x[:, :size, :size], lambda x: x[:, -size:, -size:])\n"
        "one = lambda size: both(size)[0]\n"
    )
    views = build_views(parse(["--views", "views_of_a_test:both", "--image-size", "16", "--patch-size", "8"]).config)
    first, second = views(IMAGES)
    torch.testing.assert_close(first, EvaluationView(16)(IMAGES[:, :, :16, :16]))
    torch.testing.assert_close(second, EvaluationView(16)(IMAGES[:, :, 4:, 4:]))
    for name, message in (
        ("views_of_a_test", "give module:function"),
        ("views_of_a_test:none", "no attribute 'none'"),
        ("no_module_of_a_test:both", "No module named 'no_module_of_a_test'"),
        ("views_of_a_test:one", r"one\(48\) is to give two transforms"),
    ):
        with pytest.raises(ValueError, match=f"--views {name}: .*{message}|--views {name}: {message}"):
            build_views(parse(["--views", name]).config)
