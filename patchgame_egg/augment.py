"""One random view of an image: how strong it is, how its parameters are drawn, and how it is made from them.

Views are made as for BYOL (Grill et al., 2020), which section 3.1 of the PatchGame paper follows: a resized crop, a
flip, colour jitter, greyscale, Gaussian blur and solarisation, in this order. The default strengths are those of the
authors' release. Every function is pure; `patchgame_egg.views` draws the uniform numbers. Parameters stay on the CPU:
the CPU and a GPU make the same views, and nothing waits for a GPU. Pixels are worked on where the images are, by
kornia's functions, with two exceptions:

- *Crop.* kornia's crops of a batch alias when they shrink. Here every crop goes through torch's antialiased bicubic
  resize, which is torchvision's: where a crop has more pixels than the view, every one of them counts.
- *Hue.* `shift_hue` gives the values of kornia's ``adjust_hue`` in a quarter of its time on a CPU.

Differences from the release: it works on 8-bit numbers, and its blur (Pillow's) approximates a Gaussian by boxes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

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
from torch import Tensor

# As many as torchvision's RandomResizedCrop makes before it gives up.
CROP_TRIES = 10
NUMBERS_PER_VIEW = 2 * CROP_TRIES + 4 + 4 + 8


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
