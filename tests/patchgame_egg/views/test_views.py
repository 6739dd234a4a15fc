"""Random views against torchvision's functions, one image at a time, with the parameters that were drawn."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from kornia.enhance import adjust_hue
from scipy.stats import ks_2samp
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from patchgame_egg.distributed import gather, random_module
from patchgame_egg.interaction import Batch
from patchgame_egg.views import transforms as views
from patchgame_egg.views.augment import (
    CROP_TRIES,
    FIRST_VIEW,
    NUMBERS_PER_VIEW,
    SECOND_VIEW,
    ViewParameters,
    ViewStrength,
    crop_by_matrices,
    crop_resize,
    draw_parameters,
    make_view,
    pack,
    shift_hue,
    unpack,
)
from patchgame_egg.views.loader import ViewLoader
from patchgame_egg.views.transforms import IMAGENET_MEAN, IMAGENET_STD, EvaluationView, RandomViews, denormalise

NO_CHANGE = ViewStrength(min_area=1.0, ratio=(1.0, 1.0), flip=0.0, jitter=0.0, grey=0.0, blur=0.0, solarise=0.0)
SIZE = 48


def pictures(count: int, height: int = SIZE, width: int = SIZE, seed: int = 0) -> Tensor:
    """Colourful blobs with some noise, uint8: all of 0 to 255 occurs."""
    generator = torch.Generator().manual_seed(seed)
    blobs = F.interpolate(torch.rand(count, 3, 6, 6, generator=generator), (height, width), mode="bicubic")
    noise = torch.randn(count, 3, height, width, generator=generator)
    return ((blobs - 0.5) * 1.5 + 0.5 + 0.05 * noise).clamp(0, 1).mul(255).round().to(torch.uint8)


def numbers(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, NUMBERS_PER_VIEW, generator=torch.Generator().manual_seed(seed))


def plain(count: int, height: int = SIZE, width: int = SIZE) -> ViewParameters:
    """Parameters that change nothing, with a different order of the colour changes in every row."""
    drawn = draw_parameters(numbers(count), NO_CHANGE, height, width, SIZE)
    return replace(drawn, factors=torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(count, 1))


def as_drawn(image: Tensor, p: ViewParameters, row: int, size: int, taps: int) -> Tensor:
    """One image's view by torchvision; what p says about row ``row``."""
    top, left, height, width = (int(x) for x in p.box[row])
    x = tv.resized_crop(
        image, top, left, height, width, [size, size], interpolation=InterpolationMode.BICUBIC, antialias=True
    )
    x = x / 255
    x = tv.horizontal_flip(x) if p.flip[row] else x
    changes = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
    for index in p.order[row].tolist() if p.jitter[row] else []:
        x = changes[index](x, float(p.factors[row, index]))
    x = tv.rgb_to_grayscale(x, 3) if p.grey[row] else x
    x = tv.gaussian_blur(x, [taps, taps], [float(p.sigma[row])]) if p.sigma[row] > 0 else x
    return tv.solarize(x, 0.5) if p.solarise[row] else x


# torchvision rounds the weights of grey to 4 digits, kornia to 3: 1e-4 of the red channel.
TOLERANCE = 5e-4


@pytest.mark.parametrize("height, width", [(48, 48), (100, 130), (40, 60), (20, 20)])
def test_crop_and_flip(height: int, width: int) -> None:
    images = pictures(12, height, width)
    strength = replace(NO_CHANGE, min_area=0.14, ratio=(3 / 4, 4 / 3), flip=0.5)
    p = draw_parameters(numbers(12), strength, height, width, SIZE)
    assert p.flip.any() and not p.flip.all()
    made = make_view(images, p, strength, SIZE)
    for row in range(12):
        torch.testing.assert_close(made[row], as_drawn(images[row], p, row, SIZE, 1), atol=2e-5, rtol=0)


@pytest.mark.parametrize("height, width", [(48, 48), (100, 130), (40, 60), (20, 20)])
def test_matrices_crop_as_torchvision_does_without_rounding(height: int, width: int) -> None:
    images = pictures(12, height, width)
    strength = replace(NO_CHANGE, min_area=0.14, ratio=(3 / 4, 4 / 3), flip=0.5)
    p = draw_parameters(numbers(12), strength, height, width, SIZE)
    made = crop_by_matrices(images, p.box, p.flip, SIZE)
    assert torch.equal(made, (made * 255).round() / 255)
    for row in range(12):
        top, left, tall, wide = p.box[row].int().tolist()
        crop = tv.resized_crop(
            images[row].double(), top, left, tall, wide, [SIZE, SIZE], InterpolationMode.BICUBIC, antialias=True
        )
        crop = (crop.flip(2) if p.flip[row] else crop).clamp(0, 255) / 255
        torch.testing.assert_close(made[row].double(), crop, atol=0.501 / 255, rtol=0)
    by_kernel = crop_resize(images, p.box, p.flip, SIZE)
    difference = (255 * (made - by_kernel)).abs()
    assert difference.mean() < 0.3 and difference.max() < 12


def test_pixels_packed_once_are_cropped_like_images() -> None:
    images = pictures(3, 30, 41)
    packed = pack(images)
    assert torch.equal(packed[:, :3], images) and not packed[:, 3].any()
    pixels = packed.permute(0, 2, 3, 1).view(torch.int32).squeeze(3)
    assert torch.equal(unpack(pixels), images / 255)
    box, flip = torch.tensor([[0, 0, 30, 41], [3, 5, 1, 1], [2, 7, 20, 30]]), torch.tensor([True, False, True])
    alone = torch.cat([crop_resize(images[i : i + 1], box[i : i + 1], flip[i : i + 1], 24) for i in range(3)])
    assert torch.equal(crop_resize(packed, box, flip, 24), alone)


def test_shrinking_a_fine_pattern_gives_its_mean() -> None:
    checkers = (torch.arange(256)[:, None] + torch.arange(256)).remainder(2).mul(255).to(torch.uint8)
    images = checkers.expand(4, 3, -1, -1)
    p = draw_parameters(numbers(4), replace(NO_CHANGE, min_area=0.9), 256, 256, 32)
    inside = make_view(images, p, NO_CHANGE, 32)[:, :, 2:-2, 2:-2]
    assert (inside - 0.5).abs().max() < 0.02


@pytest.mark.parametrize("index, values", [(0, (0.6, 1.4)), (1, (0.6, 1.4)), (2, (0.8, 1.2)), (3, (-0.1, 0.1))])
def test_each_colour_change(index: int, values: tuple[float, float]) -> None:
    images, p = pictures(6), plain(6)
    p.factors[:, index] = torch.linspace(*values, 6)
    p = replace(p, jitter=torch.tensor([True] * 5 + [False]))
    made = make_view(images, p, NO_CHANGE, SIZE)
    for row in range(6):
        torch.testing.assert_close(made[row], as_drawn(images[row], p, row, SIZE, 1), atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(made[5], images[5] / 255)
    assert (made[:5] - images[:5] / 255).abs().amax((1, 2, 3)).min() > 0.005


@pytest.mark.parametrize("name", ["grey", "solarise"])
def test_grey_and_solarise(name: str) -> None:
    images = pictures(4)
    p = replace(plain(4), **{name: torch.tensor([True, False, True, True])})
    made = make_view(images, p, NO_CHANGE, SIZE)
    for row in range(4):
        torch.testing.assert_close(made[row], as_drawn(images[row], p, row, SIZE, 1), atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(made[1], images[1] / 255)
    assert (made[0] - images[0] / 255).abs().max() > 0.1


# Three standard deviations of the largest blur, which scales with the view, on both sides.
@pytest.mark.parametrize("size, taps", [(224, 13), (112, 7), (32, 3)])
def test_blur(size: int, taps: int) -> None:
    images = pictures(4, size, size)
    sigma = torch.tensor([0.2, 0.0, 1.1, 2.0]) * size / 224
    p = replace(plain(4, size, size), sigma=sigma)
    made = make_view(images, p, FIRST_VIEW, size)
    for row in range(4):
        torch.testing.assert_close(made[row], as_drawn(images[row], p, row, size, taps), atol=1e-5, rtol=0)
    torch.testing.assert_close(made[1], images[1] / 255)


def test_a_grey_image_alone_is_changed_like_one_of_many() -> None:
    images, strength = pictures(6, 60, 60), replace(SECOND_VIEW, jitter=1.0, grey=1.0, blur=0.5, solarise=0.5)
    p = draw_parameters(numbers(6, seed=1), strength, 60, 60, SIZE)
    assert (p.sigma > 0).any() and not (p.sigma > 0).all() and p.solarise.any()
    together = make_view(images, p, strength, SIZE)
    for image, alone, expected in zip(images, p.split(1), together, strict=True):
        torch.testing.assert_close(make_view(image[None], alone, strength, SIZE)[0], expected, atol=2e-6, rtol=0)


def test_everything_together() -> None:
    images = pictures(40, 60, 60)
    strength = replace(SECOND_VIEW, blur=0.5, solarise=0.3)
    p = draw_parameters(numbers(40, seed=2), strength, 60, 60, SIZE)
    made = make_view(images, p, strength, SIZE)
    expected = torch.stack([as_drawn(images[row], p, row, SIZE, 5) for row in range(40)])
    # Near one half, solarisation turns the smallest difference into a visible one.
    close = (made - expected).abs() < 2e-3
    assert close.float().mean() > 0.999
    assert close[~p.solarise].all()


def test_hue_at_the_corners_of_the_colour_cube() -> None:
    levels = torch.tensor([0.0, 0.5, 1.0])
    cube = torch.cartesian_prod(levels, levels, levels).T[None, :, :, None].repeat(9, 1, 1, 1)  # [9, 3, 27, 1]
    turns = torch.linspace(-0.5, 0.5, 9)
    turned = shift_hue(cube, turns)
    torch.testing.assert_close(turned, adjust_hue(cube, turns * 2 * torch.pi), atol=1e-5, rtol=0)
    for image, turn, result in zip(cube, turns, turned, strict=True):
        torch.testing.assert_close(result, tv.adjust_hue(image, float(turn)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("spread", [1.0, 0.05])
def test_hue_is_that_of_the_standard_library(spread: float) -> None:
    generator = torch.Generator().manual_seed(0)
    grey, colour = torch.rand(61, 1, 8, 1, generator=generator), torch.rand(61, 3, 8, 1, generator=generator)
    images, turns = (1 - spread) * grey + spread * colour, torch.linspace(-0.5, 0.5, 61)
    for image, turn, result in zip(images, turns.tolist(), shift_hue(images, turns), strict=True):
        for before, after in zip(image.flatten(1).T.tolist(), result.flatten(1).T.tolist(), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*before)
            assert after == pytest.approx(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value), abs=1e-6)


def test_views_grow_from_the_whole_image() -> None:
    full = replace(SECOND_VIEW, grey=0.4, blur=0.6, solarise=0.2)
    half = full.scaled(0.5)
    assert (half.min_area, half.jitter, half.grey) == pytest.approx((1 - 0.86 / 2, 0.4, 0.2))
    assert (half.blur, half.solarise, half.flip) == pytest.approx((0.3, 0.1, full.flip))
    assert full.scaled(1.0) == full
    with pytest.raises(ValueError, match=r"share must be .*1\.5"):
        full.scaled(1.5)
    images, views = pictures(16), RandomViews(SIZE, 0, full, full)
    views.share = 0.0
    whole = EvaluationView(SIZE)(images)
    for view in views(images):
        flipped = torch.stack([(x - y).abs().amax(dim=(1, 2, 3)) for x, y in ((view, whole), (view, whole.flip(3)))])
        assert (flipped.amin(dim=0) < 1e-5).all() and (flipped.argmin(dim=0).float().mean() - 0.5).abs() < 0.4
    views.share = 1.0
    assert ((views(images)[0] - whole).abs().amax(dim=(1, 2, 3)) > 0.1).all()


@pytest.mark.parametrize("strength", [FIRST_VIEW, SECOND_VIEW])
def test_rates_and_ranges(strength: ViewStrength) -> None:
    count = 20_000
    p = draw_parameters(numbers(count), strength, 64, 64, 224)
    rates = {"flip": p.flip, "jitter": p.jitter, "grey": p.grey, "blur": p.sigma > 0, "solarise": p.solarise}
    for name, chosen in rates.items():
        probability = getattr(strength, name)
        error = 4 * (probability * (1 - probability) / count) ** 0.5
        assert float(chosen.float().mean()) == pytest.approx(probability, abs=error), name
    for column, (low, high) in enumerate([(0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1)]):
        assert float(p.factors[:, column].min()) == pytest.approx(low, abs=0.001)
        assert float(p.factors[:, column].max()) == pytest.approx(high, abs=0.001)
    blurred = p.sigma[p.sigma > 0]
    assert float(blurred.min()) == pytest.approx(0.1, abs=0.01)
    assert float(blurred.max()) == pytest.approx(2.0, abs=0.01)
    orders, counts = p.order.unique(dim=0, return_counts=True)
    assert len(orders) == 24
    assert (orders.sort(1).values == torch.arange(4)).all()
    assert counts.min() > 0.8 * count / 24
    # Any two draws of an image are unrelated.
    low, right = (p.box[:, axis] > (64 - p.box[:, axis + 2]) / 2 for axis in (0, 1))
    flags = torch.stack([p.flip, p.jitter, p.grey, p.order[:, 0] > 1, low, right, p.sigma > 1])
    assert (torch.corrcoef(flags.float()) - torch.eye(7)).abs().max() < 0.05


def test_small_views_are_blurred_less() -> None:
    large, small = (draw_parameters(numbers(10), FIRST_VIEW, 64, 64, size).sigma for size in (224, 56))
    torch.testing.assert_close(large, 4 * small)


@pytest.mark.parametrize("height, width", [(96, 96), (60, 120), (150, 40)])
def test_crops_have_torchvisions_distribution(height: int, width: int) -> None:
    ours = draw_parameters(numbers(4000), FIRST_VIEW, height, width, SIZE).box
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blank = torch.empty(3, height, width)
        theirs = torch.tensor([RandomResizedCrop.get_params(blank, [0.14, 1], [3 / 4, 4 / 3]) for _ in range(4000)])
    for box in (ours, theirs):
        assert (box[:, :2] >= 0).all() and (box[:, 2:] >= 1).all()
        assert (box[:, 0] + box[:, 2] <= height).all() and (box[:, 1] + box[:, 3] <= width).all()
    # Where no try fits, torchvision centres the largest crop and we do not: the place is compared for the others.
    inner = [box[(box[:, 2] < height) & (box[:, 3] < width)] for box in (ours, theirs)]
    for measure in (lambda box: box[:, 2] * box[:, 3], lambda box: box[:, 3] / box[:, 2]):
        assert ks_2samp(measure(ours), measure(theirs)).pvalue > 0.001
    for axis in (0, 1):
        assert ks_2samp(inner[0][:, axis], inner[1][:, axis]).pvalue > 0.001


def test_no_try_fits() -> None:
    p = draw_parameters(numbers(50), replace(FIRST_VIEW, min_area=1.0), 20, 200, SIZE)
    assert (p.box[:, 2] == 20).all()
    assert (p.box[:, 3] == round(20 * 4 / 3)).all()
    assert len(p.box[:, 1].unique()) > 20


@pytest.mark.parametrize("side", [63, 64, 65, 1000, 4097])
def test_position_stays_inside_at_the_largest_float_below_one(side: int) -> None:
    extreme = torch.zeros(1, NUMBERS_PER_VIEW)
    extreme[:, 2 * CROP_TRIES :] = 1 - 2**-24
    p = draw_parameters(extreme, replace(FIRST_VIEW, min_area=0.0001), side, side, SIZE)
    assert (p.box[:, :2] + p.box[:, 2:] == side).all()


def test_same_seed_same_views() -> None:
    images = pictures(8)
    for one, other in zip(RandomViews(32, seed=3)(images), RandomViews(32, seed=3)(images), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(RandomViews(32, seed=3)(images)[0], RandomViews(32, seed=4)(images)[0])


def test_everything_else_differs() -> None:
    images = pictures(1).repeat(8, 1, 1, 1)
    module = RandomViews(32)
    made = torch.cat([*module(images), *module(images)]).flatten(1)  # 2 calls x 2 views x 8 images
    assert made.dtype == torch.float32
    assert torch.pdist(made).min() > 1


def test_global_random_state_is_untouched() -> None:
    before = torch.get_rng_state()
    RandomViews(32)(pictures(4))
    assert torch.equal(before, torch.get_rng_state())


def test_resuming_goes_on_with_the_stream() -> None:
    images, module = pictures(4), RandomViews(32, seed=1)
    module(images)
    state = module.state_dict()
    expected = module(images)
    resumed = RandomViews(32, seed=1)
    resumed.load_state_dict(state)
    for one, other in zip(resumed(images), expected, strict=True):
        assert torch.equal(one, other)


def test_two_ranks_see_what_one_process_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(8)
    whole = RandomViews(32)(images)
    for module in (gather, random_module):
        monkeypatch.setattr(module, "world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(gather, "rank", lambda rank=rank: rank)
        rows = slice(4 * rank, 4 * rank + 4)
        for part, one in zip(RandomViews(32)(images[rows]), whole, strict=True):
            torch.testing.assert_close(part, one[rows])


@pytest.mark.parametrize("pixels", [1, 3 * SIZE**2])
def test_grouping_on_the_cpu_changes_nothing(monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    images = pictures(10)
    whole = RandomViews(32)(images)
    monkeypatch.setattr(views, "CPU_GROUP_PIXELS", pixels)
    for one, other in zip(RandomViews(32)(images), whole, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_no_strength_is_a_resize() -> None:
    module = RandomViews(SIZE, first=NO_CHANGE, second=replace(NO_CHANGE, flip=1.0))
    images = pictures(4, 64, 64)
    first, second = module(images)
    # The evaluation's view is not rounded to 8 bits, nor clipped between rows and columns.
    difference = (first - EvaluationView(SIZE)(images)).abs()
    assert difference.mean() < 0.01 and difference.max() < 0.2
    torch.testing.assert_close(second, first.flip(3), atol=1e-5, rtol=0)
    images = pictures(4)
    torch.testing.assert_close(denormalise(module(images)[0]), images / 255, atol=1e-6, rtol=0)


def test_views_stay_in_the_range_of_images() -> None:
    images = torch.cat([pictures(30), torch.zeros(1, 3, SIZE, SIZE), torch.full((1, 3, SIZE, SIZE), 255)]).byte()
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    for view in RandomViews(64)(images):
        colours = view * std + mean
        assert colours.min() > -1e-5 and colours.max() < 1 + 1e-5
        torch.testing.assert_close(denormalise(view), colours.clamp(0, 1))


@pytest.mark.parametrize("module", [RandomViews(32), EvaluationView(32)])
@pytest.mark.parametrize(
    "images", [torch.rand(2, 3, 8, 8), torch.zeros(2, 1, 8, 8).byte(), torch.zeros(3, 8, 8).byte()]
)
def test_wrong_images_are_refused(module: torch.nn.Module, images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"uint8 images \[B, 3, H, W\].*images \* 255"):
        module(images)


@pytest.mark.parametrize(
    "wrong",
    [
        {"flip": 1.5},
        {"blur": -0.1},
        {"min_area": 0.0},
        {"hue": 0.6},
        {"contrast": -1.0},
        {"ratio": (2.0, 1.0)},
        {"sigma": (0.0, 1.0)},
    ],
)
def test_wrong_strengths_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ViewStrength(**wrong)


def test_views_of_no_pixels_are_refused() -> None:
    for make in (RandomViews, EvaluationView):
        with pytest.raises(ValueError, match="image_size"):
            make(0)


@pytest.mark.parametrize("height, width", [(48, 48), (64, 64), (30, 30), (75, 101), (101, 75), (48, 61)])
def test_evaluation_view(height: int, width: int) -> None:
    images = pictures(3, height, width)
    module = EvaluationView(SIZE)
    made = module.train()(images)
    assert torch.equal(made, module.eval()(images))
    expected = tv.resize(images / 255, [SIZE], interpolation=InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
    expected = tv.normalize(tv.center_crop(expected, [SIZE, SIZE]), list(IMAGENET_MEAN), list(IMAGENET_STD))
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


class FewBatches:
    """A loader of two batches, without epochs."""

    def __init__(self) -> None:
        index = torch.arange(3)
        self.batches = [Batch(pictures(3, seed=s), index + s, aux_input={"index": index}) for s in range(2)]

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)

    def __len__(self) -> int:
        return 2


class EpochBatches(FewBatches):
    """One that wants to know the epoch."""

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        self.told = (epoch, start)


def test_loader_gives_a_view_to_each_agent() -> None:
    loader = FewBatches()
    batches = list(ViewLoader(loader, RandomViews(32, seed=5), "cpu"))
    assert len(batches) == len(ViewLoader(loader, RandomViews(32), "cpu")) == 2
    module = RandomViews(32, seed=5)
    for batch, source in zip(batches, loader.batches, strict=True):
        first, second = module(source.sender_input)
        assert torch.equal(batch.sender_input, first)
        assert batch.receiver_input is not None and torch.equal(batch.receiver_input, second)
        assert batch.labels is not None and source.labels is not None and torch.equal(batch.labels, source.labels)
        assert batch.aux_input is not None and torch.equal(batch.aux_input["index"], torch.arange(3))


def test_loader_gives_both_agents_the_view_for_evaluation() -> None:
    loader = FewBatches()
    for batch, source in zip(ViewLoader(loader, EvaluationView(32), "cpu"), loader.batches, strict=True):
        assert torch.equal(batch.sender_input, EvaluationView(32)(source.sender_input))
        assert batch.receiver_input is batch.sender_input


def test_loader_passes_the_epoch_on() -> None:
    inner = EpochBatches()
    ViewLoader(inner, EvaluationView(32), "cpu").set_epoch(3, start=1)
    assert inner.told == (3, 1)
    ViewLoader(FewBatches(), EvaluationView(32), "cpu").set_epoch(3)


def test_loader_resumes() -> None:
    loader = ViewLoader(FewBatches(), RandomViews(32), "cpu")
    list(loader)
    state = loader.state_dict()
    expected = list(loader)
    resumed = ViewLoader(FewBatches(), RandomViews(32), "cpu")
    resumed.load_state_dict(state)
    for one, other in zip(resumed, expected, strict=True):
        assert torch.equal(one.sender_input, other.sender_input)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_makes_the_same_views() -> None:
    images = pictures(16, 60, 80)
    on_cpu, on_gpu = RandomViews(SIZE)(images), RandomViews(SIZE)(images.cuda())
    for one, other in zip(on_cpu, on_gpu, strict=True):
        assert other.is_cuda
        # Near one half, solarisation turns the smallest difference into a visible one.
        assert ((one - other.cpu()).abs() < 2e-3).float().mean() > 0.999


@pytest.mark.parametrize("strength", [FIRST_VIEW, SECOND_VIEW])
@pytest.mark.parametrize("count", [1, 24])
def test_kornias_functions_make_the_same_views(strength: ViewStrength, count: int) -> None:
    """What a GPU does, here on the CPU: the same parameters, drawn once."""
    images = pictures(count, 60, 80)
    parameters = draw_parameters(numbers(count), replace(strength, solarise=0.5), 60, 80, SIZE)
    ours, theirs = (make_view(images, parameters, strength, SIZE, by_kornia) for by_kornia in (False, True))
    # Solarisation turns the smallest difference around 0.5 into a jump of nothing: x and 1 - x meet there.
    torch.testing.assert_close(theirs, ours, atol=2 * TOLERANCE, rtol=0)
    assert torch.equal(make_view(images, parameters, strength, SIZE), ours)


@pytest.mark.parametrize("change", ["flip", "jitter", "grey", "blur", "solarise"])
def test_each_change_alone_is_the_same_by_kornia(change: str) -> None:
    images, strength = pictures(12, 48, 48), replace(NO_CHANGE, **{change: 1.0})
    parameters = draw_parameters(numbers(12), strength, 48, 48, SIZE)
    plain = make_view(images, parameters, strength, SIZE, by_kornia=False)
    torch.testing.assert_close(
        make_view(images, parameters, strength, SIZE, by_kornia=True), plain, atol=TOLERANCE, rtol=0
    )
    unchanged = make_view(images, draw_parameters(numbers(12), NO_CHANGE, 48, 48, SIZE), NO_CHANGE, SIZE)
    assert not torch.allclose(plain, unchanged, atol=0.01)
