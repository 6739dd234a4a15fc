"""Random views of images for training, and the one fixed view for evaluation.

Section 3.1 of the PatchGame paper shows the agents two random views of every image, made as for BYOL (Grill et al.,
2020): a resized crop, a flip, colour jitter, greyscale, Gaussian blur and solarisation, in this order. The defaults are
the strengths of the authors' release. Parameters are drawn per image, on the CPU: the CPU and a GPU make the same
views, and nothing waits for a GPU. Pixels are worked on where the images are, by kornia's functions, with two
exceptions:

- *Crop.* kornia's crops of a batch alias when they shrink. Here every crop goes through torch's antialiased bicubic
  resize, which is torchvision's: where a crop has more pixels than the view, every one of them counts.
- *Hue.* `shift_hue` gives the values of kornia's ``adjust_hue`` in a quarter of its time on a CPU.

Differences from the release: it works on 8-bit numbers, and its blur (Pillow's) approximates a Gaussian by boxes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Protocol

import torch
import torch.nn.functional as F
from kornia.color import rgb_to_grayscale
from kornia.enhance import (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_saturation_with_gray_subtraction,
    solarize,
)
from kornia.filters import gaussian_blur2d
from torch import Tensor, nn

from patchgame_egg.distributed import RandomModule
from patchgame_egg.interaction import Batch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# As many as torchvision's RandomResizedCrop makes before it gives up.
CROP_TRIES = 10
NUMBERS_PER_VIEW = 2 * CROP_TRIES + 4 + 4 + 8
# On a CPU images go through in groups of about this many pixels, which stay in its cache: at 224, a third less time.
CPU_GROUP_PIXELS = 2**19


@dataclass(frozen=True)
class ViewStrength:
    """How strongly one view changes an image. The defaults are the release's first view.

    Attributes:
        min_area: the smallest share of the image's area that a crop may take; the largest is 1.
        ratio: smallest and largest width / height of a crop, drawn log-uniformly.
        flip: probability of a horizontal flip.
        jitter: probability of the four colour changes below, which come in a random order.
        brightness: the factor is drawn from ``[max(0, 1 - brightness), 1 + brightness]``.
        contrast: likewise, about the mean grey.
        saturation: likewise, about the grey image.
        hue: the turn is drawn from ``[-hue, hue]``, in turns of the colour circle, at most 0.5.
        grey: probability of greyscale.
        blur: probability of Gaussian blur.
        sigma: smallest and largest standard deviation of the blur, in pixels of a view of 224 pixels; smaller or
            larger views scale it.
        solarise: probability that pixel values of 0.5 or more are inverted.

    Raises:
        ValueError: a strength is out of its range.
    """

    min_area: float = 0.14
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grey: float = 0.2
    blur: float = 1.0
    sigma: tuple[float, float] = (0.1, 2.0)
    solarise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "jitter", "grey", "blur", "solarise"):
            _check_range(name, getattr(self, name), 0, 1, "it is a probability")
        _check_range("min_area", self.min_area, 1e-4, 1, "it is a share of the image's area")
        _check_range("hue", self.hue, 0, 0.5, "half a turn reaches every colour")
        for name in ("brightness", "contrast", "saturation"):
            _check_range(name, getattr(self, name), 0, math.inf, "0 leaves the image as it is")
        for name in ("ratio", "sigma"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be (low, high) with 0 < low <= high, got {(low, high)}")


def _check_range(name: str, value: float, low: float, high: float, why: str) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, as {why}; got {value}")


# The release's pair is asymmetric: its speaker always sees a blurred view, its listener rarely one, at times solarised.
FIRST_VIEW = ViewStrength()
SECOND_VIEW = ViewStrength(blur=0.1, solarise=0.2)


@dataclass(frozen=True)
class ViewParameters:
    """What was drawn for the B images of one view; all tensors are on the CPU.

    Attributes:
        box: float ``[B, 4]``, whole numbers: the crop's top, left, height and width in the source's pixels.
        flip: bool ``[B]``.
        jitter: bool ``[B]``.
        order: int64 ``[B, 4]``, a permutation of 0 to 3 per row: `COLOUR_CHANGES` in the order of their turns.
        factors: float ``[B, 4]``: brightness, contrast, saturation (1 changes nothing) and hue in turns (0 does not).
        grey: bool ``[B]``.
        sigma: float ``[B]``, in the view's pixels; 0 where there is no blur.
        solarise: bool ``[B]``.
    """

    box: Tensor
    flip: Tensor
    jitter: Tensor
    order: Tensor
    factors: Tensor
    grey: Tensor
    sigma: Tensor
    solarise: Tensor

    def __getitem__(self, rows: slice) -> ViewParameters:
        return ViewParameters(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def draw_parameters(
    numbers: Tensor, strength: ViewStrength, height: int, width: int, image_size: int
) -> ViewParameters:
    """Turns uniform numbers into the parameters of one view per row.

    Crops have the distribution of torchvision's RandomResizedCrop. It draws until a crop fits into the image; here
    `CROP_TRIES` are drawn for every image and the first that fits is taken, else the largest one of an allowed ratio.

    Args:
        numbers: ``[B, NUMBERS_PER_VIEW]`` in [0, 1), on the CPU.
        strength: the view's strengths.
        height: of the source images, in pixels.
        width: likewise.
        image_size: side of the view, in pixels.

    Returns:
        The parameters of B views.
    """
    areas, ratios, order, factors, rest = torch.split(numbers, [CROP_TRIES, CROP_TRIES, 4, 4, 8], dim=1)
    top, left, flip, jitter, grey, blur, sigma, solarise = rest.unbind(1)

    low, high = (math.log(ratio) for ratio in strength.ratio)
    areas = height * width * (strength.min_area + (1 - strength.min_area) * areas)
    ratios = (low + (high - low) * ratios).exp()
    widths, heights = (areas * ratios).sqrt().round().clamp(min=1), (areas / ratios).sqrt().round().clamp(min=1)
    fits = (widths <= width) & (heights <= height)
    first = fits.int().argmax(1, keepdim=True)
    nearest = min(max(width / height, strength.ratio[0]), strength.ratio[1])
    crop_width = widths.gather(1, first).squeeze(1).where(fits.any(1), min(width, round(height * nearest)))
    crop_height = heights.gather(1, first).squeeze(1).where(fits.any(1), min(height, round(width / nearest)))
    top = (top * (height - crop_height + 1)).floor()
    left = (left * (width - crop_width + 1)).floor()

    strengths = torch.tensor([strength.brightness, strength.contrast, strength.saturation])
    lowest = (1 - strengths).clamp(min=0)
    scales = lowest + (1 + strengths - lowest) * factors[:, :3]
    hue = strength.hue * (2 * factors[:, 3:] - 1)
    sigma = (strength.sigma[0] + (strength.sigma[1] - strength.sigma[0]) * sigma) * image_size / 224
    return ViewParameters(
        box=torch.stack([top, left, crop_height, crop_width], 1),
        flip=flip < strength.flip,
        jitter=jitter < strength.jitter,
        order=order.argsort(1),
        factors=torch.cat([scales, hue], 1),
        grey=grey < strength.grey,
        sigma=sigma.where(blur < strength.blur, 0.0),
        solarise=solarise < strength.solarise,
    )


def crop_resize(images: Tensor, box: Tensor, flip: Tensor, size: int) -> Tensor:
    """Crops every image by its own box, resizes with antialiasing (bicubic) and flips.

    Args:
        images: uint8 ``[B, 3, H, W]``.
        box: ``[B, 4]``, on the CPU: top, left, height, width.
        flip: bool ``[B]``, on the CPU.
        size: side of the result.

    Returns:
        float32 ``[B, 3, size, size]`` in [0, 1].
    """
    crops = []
    boxes, flips = box.int().tolist(), flip.tolist()
    for image, (top, left, height, width), flipped in zip(images.float(), boxes, flips, strict=True):
        crop = image[None, :, top : top + height, left : left + width]
        crop = crop.flip(3) if flipped else crop
        crops.append(F.interpolate(crop, (size, size), mode="bicubic", antialias=True))
    return torch.cat(crops).div_(255).clamp_(0, 1)


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turns the colour circle.

    With the hue h in sixths of a turn, a channel is ``min + (max - min) * f(h)``, where f is a trapezium over h: 1 up
    to a sixth from the channel's own colour (red 0, green 2, blue 4), 0 from two sixths on.

    Args:
        images: ``[B, 3, H, W]`` in [0, 1].
        turns: ``[B]``, 1 is the whole circle.

    Returns:
        Images of the same shape.
    """
    red, green, blue = images.unbind(1)
    largest, smallest = images.amax(1), images.amin(1)
    span = largest - smallest
    is_red, is_green = red == largest, green == largest
    hue = torch.where(is_red, green - blue, torch.where(is_green, blue - red, red - green))
    hue = hue.div_(span.clamp(min=1e-12)).add_(torch.where(is_red, 0.0, torch.where(is_green, 2.0, 4.0)))
    turns = turns.to(images.device, non_blocking=True).view(-1, 1, 1)
    hue = hue.add_(6 * turns).remainder_(6)
    shares = (
        (hue - 3).abs_().sub_(1).clamp_(0, 1),
        (hue - 2).abs_().neg_().add_(2).clamp_(0, 1),
        (hue - 4).abs_().neg_().add_(2).clamp_(0, 1),
    )
    return torch.stack([torch.addcmul(smallest, span, share) for share in shares], 1)


COLOUR_CHANGES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_saturation_with_gray_subtraction,
    shift_hue,
)


def _change(images: Tensor, chosen: Tensor, change: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """Applies ``change`` to the chosen images alone; ``chosen`` is on the CPU, so counting them waits for no GPU."""
    rows = chosen.nonzero().squeeze(1)
    if len(rows) == 0:
        return images
    if len(rows) == len(images):
        return change(images, *values)
    where = rows.to(images.device, non_blocking=True)
    return images.index_copy_(0, where, change(images.index_select(0, where), *(value[rows] for value in values)))


def make_view(images: Tensor, parameters: ViewParameters, strength: ViewStrength, image_size: int) -> Tensor:
    """Makes one view of every image.

    Args:
        images: uint8 ``[B, 3, H, W]``, on any device.
        parameters: B rows.
        strength: what the parameters were drawn from; its largest sigma sets the reach of the blur.
        image_size: side S of the view.

    Returns:
        float32 ``[B, 3, S, S]`` in [0, 1], on the images' device.
    """
    view = crop_resize(images, parameters.box, parameters.flip, image_size)
    for turn in range(4):
        for index, change in enumerate(COLOUR_CHANGES):
            chosen = parameters.jitter & (parameters.order[:, turn] == index)
            view = _change(view, chosen, change, parameters.factors[:, index])
    view = _change(view, parameters.grey, lambda x: rgb_to_grayscale(x).repeat(1, 3, 1, 1))

    # Three standard deviations; reflection needs the reach to be smaller than the image.
    reach = min(math.ceil(3 * strength.sigma[1] * image_size / 224), image_size - 1)

    def blur(x: Tensor, sigma: Tensor) -> Tensor:
        return gaussian_blur2d(x, 2 * reach + 1, sigma[:, None].expand(-1, 2))

    view = _change(view, parameters.sigma > 0, blur, parameters.sigma)
    return _change(view, parameters.solarise, lambda x: solarize(x, torch.full((len(x),), 0.5, device=x.device)))


def normalise_(images: Tensor) -> Tensor:
    """Subtracts ImageNet's mean and divides by its standard deviation, in place: ``[B, 3, H, W]`` in [0, 1]."""
    for channel, mean, std in zip(images.unbind(1), IMAGENET_MEAN, IMAGENET_STD, strict=True):
        channel.sub_(mean).div_(std)
    return images


def denormalise(images: Tensor) -> Tensor:
    """Undoes the normalisation, for pictures.

    Args:
        images: ``[B, 3, H, W]``, as a view comes out.

    Returns:
        RGB in [0, 1], a new tensor of the same shape; what lies outside is clipped.
    """
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images * std + mean).clamp(0, 1)


def _check_images(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != 3:
        raise ValueError(
            f"views are made from uint8 images [B, 3, H, W] with values 0 to 255, got {images.dtype} of shape "
            f"{tuple(images.shape)}; turn floats in [0, 1] into them with (images * 255).round().to(torch.uint8)"
        )


def _check_size(image_size: int) -> None:
    if image_size < 2:
        raise ValueError(f"image_size must be at least 2 pixels, got {image_size}")


class RandomViews(RandomModule):
    """Two random views of every image.

    The draws go on in evaluation mode: use `EvaluationView` there.

    Args:
        image_size: side S of the views, in pixels.
        seed: of the draws.
        first: strengths of the speaker's view; the default is the release's.
        second: strengths of the listener's view; likewise.

    Raises:
        ValueError: a size that is too small, or images that are not uint8 ``[B, 3, H, W]``.
    """

    def __init__(
        self, image_size: int, seed: int = 0, first: ViewStrength = FIRST_VIEW, second: ViewStrength = SECOND_VIEW
    ) -> None:
        super().__init__(seed)
        _check_size(image_size)
        self.image_size = image_size
        self.first = first
        self.second = second

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Draws and makes the views.

        Args:
            images: uint8 ``[B, 3, H, W]``, on any device.

        Returns:
            Two float32 ``[B, 3, S, S]`` on that device, normalised by ImageNet's mean and standard deviation.
        """
        _check_images(images)
        return self._view(images, self.first), self._view(images, self.second)

    def _view(self, images: Tensor, strength: ViewStrength) -> Tensor:
        count, _, height, width = images.shape
        size = self.image_size
        parameters = draw_parameters(self.uniform(count, NUMBERS_PER_VIEW), strength, height, width, size)
        group = CPU_GROUP_PIXELS // max(height * width, size * size) if images.device.type == "cpu" else count
        views = torch.empty(count, 3, size, size, device=images.device)
        for start in range(0, count, max(1, group)):
            rows = slice(start, start + max(1, group))
            views[rows] = normalise_(make_view(images[rows], parameters[rows], strength, size))
        return views


class EvaluationView(nn.Module):
    """The one view for evaluation: the shorter side is resized to the view's, then the middle is cut out.

    Args:
        image_size: side S of the view, in pixels.

    Raises:
        ValueError: a size that is too small, or images that are not uint8 ``[B, 3, H, W]``.
    """

    def __init__(self, image_size: int) -> None:
        super().__init__()
        _check_size(image_size)
        self.image_size = image_size

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Makes the view: uint8 ``[B, 3, H, W]`` to normalised float32 ``[B, 3, S, S]``, on the same device."""
        _check_images(images)
        size = self.image_size
        height, width = images.shape[-2:]
        height, width = (size * side // min(height, width) for side in (height, width))
        view = images.float() / 255
        if view.shape[-2:] != (height, width):
            view = F.interpolate(view, (height, width), mode="bicubic", antialias=True).clamp_(0, 1)
        top, left = round((height - size) / 2), round((width - size) / 2)
        return normalise_(view[:, :, top : top + size, left : left + size].contiguous())


class Loader(Protocol):
    """What a `ViewLoader` wraps: batches of uint8 images, and how many of them."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int: ...


class ViewLoader:
    """Moves each batch to a device and replaces its images by their views.

    Args:
        loader: gives `Batch` records whose ``sender_input`` holds uint8 images ``[B, 3, H, W]``.
        views: `RandomViews`, whose two views go to sender and receiver, or a module that returns one tensor, like
            `EvaluationView`, which goes to both.
        device: where the views are made and the batches come out.
    """

    def __init__(self, loader: Loader, views: nn.Module, device: torch.device | str) -> None:
        self.loader = loader
        self.views = views
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.loader:
            batch = batch.to(self.device)
            views = self.views(batch.sender_input)
            first, second = views if isinstance(views, tuple) else (views, views)
            yield Batch(first, batch.labels, second, batch.aux_input)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Tells the wrapped loader, if it wants to know, which epoch comes next and at which batch it starts."""
        set_epoch = getattr(self.loader, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch, start)

    def state_dict(self) -> dict[str, object]:
        """What the views to come depend on: how many were drawn."""
        return self.views.state_dict()

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Goes on with the views where `state_dict` was taken."""
        self.views.load_state_dict(state)
