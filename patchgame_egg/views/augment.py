"""One random view of an image: how strong it is, how its parameters are drawn, and how it is made from them.

Views are made as for BYOL (Grill et al., 2020), which section 3.1 of the PatchGame paper follows: a resized crop, a
flip, colour jitter, greyscale, Gaussian blur and solarisation, in this order. The default strengths are those of the
authors' release. Every function is pure; `patchgame_egg.views.transforms` draws the uniform numbers. Parameters stay on
the CPU: the CPU and a GPU make the same views but for rounding, and nothing waits for a GPU. Pixels are worked on where
the images are. On a GPU all changes but one are kornia's functions for batches (`patchgame_egg.views.kornia_changes`);
on a CPU, where a view would take three times as long by them, the same values are computed here. The exception:

- *Crop.* kornia's crops of a batch alias when they shrink. Here every crop goes through torch's antialiased bicubic
  resize, which is torchvision's and Pillow's: where a crop has more pixels than the view, every one of them counts.

Differences from the release: it works on 8-bit numbers after the crop too, and its blur (Pillow's) approximates a
Gaussian by boxes.

One file, because a view is one chain: what is drawn for a step is read beside what the step does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
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
        contrast: the factor is drawn in the same way; it moves colours away from the mean grey.
        saturation: the factor is drawn in the same way; it moves colours away from the grey image.
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

    def scaled(self, share: float) -> ViewStrength:
        """Weaker views: what a crop may leave out, and all probabilities but that of a flip, times a share.

        Args:
            share: from 0, the whole image, mirrored or not, to 1, these views.
        """
        _check_range("share", share, 0, 1, "it is a share of the full strength")
        return replace(
            self,
            min_area=1 - (1 - self.min_area) * share,
            jitter=self.jitter * share,
            grey=self.grey * share,
            blur=self.blur * share,
            solarise=self.solarise * share,
        )


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

    def split(self, rows: int) -> list[ViewParameters]:
        """Those of so many images at a time, in their order."""
        parts = (getattr(self, field.name).split(rows) for field in fields(self))
        return [ViewParameters(*part) for part in zip(*parts, strict=True)]


def draw_parameters(
    numbers: Tensor, strength: ViewStrength, height: int, width: int, image_size: int
) -> ViewParameters:
    """Turns uniform numbers into the parameters of one view per row.

    Crops have the distribution of torchvision's RandomResizedCrop. It draws until a crop fits into the image; here
    `CROP_TRIES` are drawn for every image and the first that fits is taken, else the largest one of an allowed ratio.

    Args:
        numbers: ``[B, NUMBERS_PER_VIEW]`` in [0, 1), on the CPU.
        strength: the view's strengths.
        height: height of the source images, in pixels.
        width: width of the source images, in pixels.
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


def pack(images: Tensor) -> Tensor:
    """Lays the four bytes of a pixel side by side, as torch's 8-bit kernel wants them; the fourth is 0.

    Args:
        images: uint8 ``[B, 3, H, W]``.

    Returns:
        uint8 ``[B, 4, H, W]``, each pixel an int32 in memory: that is many times as fast as moving single bytes.
    """
    red, green, blue = images.unbind(1)
    pixels = red.to(torch.int32).add_(green, alpha=1 << 8).add_(blue, alpha=1 << 16)
    return pixels.unsqueeze(3).view(torch.uint8).permute(0, 3, 1, 2)


def unpack(pixels: Tensor) -> Tensor:
    """Pixels as `pack` makes them, each an int32, ``[B, H, W]``, to float32 ``[B, 3, H, W]`` in [0, 1]."""
    images = torch.empty(len(pixels), 3, *pixels.shape[1:])
    byte = torch.empty_like(pixels)
    for shift, channel in zip((0, 8, 16), images.unbind(1), strict=True):
        # A byte is divided where it stands: to shift it takes a pass more.
        channel.copy_(torch.bitwise_and(pixels, 255 << shift, out=byte)).div_(255 << shift)
    return images


def crop_resize(images: Tensor, box: Tensor, flip: Tensor, size: int) -> Tensor:
    """Crops every image by its own box, resizes with antialiasing (bicubic) to whole numbers of 8 bits, and flips.

    On a CPU image by image, by torch's 8-bit kernel; on a GPU by `crop_by_matrices`. Like Pillow, the kernel rounds and
    clips between columns and rows, so the two differ by rounding, and by a few levels at the sharpest edges.

    Args:
        images: uint8 ``[B, 3, H, W]``; on a CPU, also what `pack` made of them.
        box: ``[B, 4]``, on the CPU: top, left, height, width.
        flip: bool ``[B]``, on the CPU.
        size: side of the result.

    Returns:
        float32 ``[B, 3, size, size]`` in [0, 1].
    """
    if images.device.type != "cpu":
        return crop_by_matrices(images, box, flip, size)
    packed = images if images.shape[1] == 4 else pack(images)
    # The kernel tells by the strides of all four dimensions how pixels lie: an image alone is a slice.
    crops = [
        F.interpolate(
            packed[i : i + 1, :, top : top + height, left : left + width], (size, size), mode="bicubic", antialias=True
        )
        for i, (top, left, height, width) in enumerate(box.int().tolist())
    ]
    resized = torch.cat(crops) if len(crops) > 1 else crops[0]
    pixels = resized.permute(0, 2, 3, 1).contiguous().view(torch.int32).squeeze(3)
    return unpack(_change(pixels, flip, lambda x: x.flip(2)))


def crop_by_matrices(images: Tensor, box: Tensor, flip: Tensor, size: int) -> Tensor:
    """What `crop_resize` does, as two matrix products for all images at once: a GPU would starve on single crops."""
    height, width = images.shape[2:]
    top, left, tall, wide = box.to(images.device, non_blocking=True).unbind(1)
    rows, columns = _resize_matrices(top, tall, height, size), _resize_matrices(left, wide, width, size)
    columns = torch.where(flip.to(images.device, non_blocking=True)[:, None, None], columns.flip(1), columns)
    resized = rows[:, None] @ images.float() @ columns[:, None].mT  # [B, 3, size, size]
    return resized.round_().clamp_(0, 255).div_(255)


def _resize_matrices(start: Tensor, length: Tensor, source: int, size: int) -> Tensor:
    """Rows of weights ``[B, size, source]`` that resize ``length`` pixels from ``start`` on, both ``[B]``.

    Keys' cubic with a = -1/2, stretched where the crop shrinks and cut off at the crop's edge, as in Pillow.
    """
    start, length = start[:, None, None], length[:, None, None]
    scale = length / size
    centre = (torch.arange(size, device=start.device)[:, None] + 0.5) * scale  # [B, size, 1]
    pixel = torch.arange(source, device=start.device) - start + 0.5  # [B, 1, source], counted inside the crop
    distance = ((pixel - centre) / scale.clamp(min=1)).abs()  # [B, size, source]
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((2.5 - 0.5 * distance) * distance - 4) * distance + 2
    weights = torch.where(distance < 1, near, far).where((distance < 2) & (pixel > 0) & (pixel < length), 0.0)
    return weights / weights.sum(dim=2, keepdim=True)


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turns the colour circle.

    Over the hue a channel is a trapezium between the smallest and the largest colour of its pixel, with slopes of a
    sixth of a turn. So turned by up to a sixth, it is ``2 * channel - middle``, plus ``(largest - smallest) * sixths``
    on one side of its own hue and minus that on the other, clipped to both; the middle is the median. A turn by a third
    exchanges channels. Neither divides nor chooses pixel by pixel, which takes three times as long.

    Args:
        images: ``[B, 3, H, W]`` in [0, 1].
        turns: ``[B]``, on the CPU; 1 is the whole circle.

    Returns:
        Images of the same shape.
    """
    thirds = [round(3 * turn) for turn in turns.tolist()]
    if any(thirds):
        planes = [3 * row + (channel - third) % 3 for row, third in enumerate(thirds) for channel in range(3)]
        where = torch.tensor(planes).to(images.device, non_blocking=True)
        images = images.flatten(0, 1).index_select(0, where).view_as(images)
    rest = [6 * turn - 2 * third for turn, third in zip(turns.tolist(), thirds, strict=True)]
    sixths = torch.tensor(rest).view(-1, 1, 1).to(images.device, non_blocking=True)
    red, green, blue = images.unbind(1)
    high, low = torch.maximum(green, blue), torch.minimum(green, blue)
    largest, middle = torch.maximum(red, high), torch.minimum(red, high)
    smallest = torch.minimum(middle, low)
    middle = torch.maximum(middle, low, out=middle)
    step = torch.sub(largest, smallest, out=high).mul_(sixths)
    result = torch.empty_like(images)
    for into, before, own, after in zip(
        result.unbind(1), (blue, red, green), (red, green, blue), (green, blue, red), strict=True
    ):
        side = torch.sub(before, after, out=low).sign_()
        # The lerp is 2 * own - middle in one pass.
        torch.lerp(own, middle, -1.0, out=into).addcmul_(side, step).clamp_(smallest, largest)
    return result


def grey_of(images: Tensor) -> Tensor:
    """The luma of images, ``[B, 3, H, W]`` to ``[B, 1, H, W]``."""
    red, green, blue = images.unbind(1)
    return (0.299 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114).unsqueeze(1)


def _blend_(images: Tensor, factor: Tensor, other: Tensor | None) -> Tensor:
    """Moves images away from others, or from black, by a factor each, in place: what Pillow calls to enhance."""
    # Where images move towards others nothing leaves [0, 1] but by rounding.
    outwards = max(factor.tolist()) > 1
    if len(images) == 1 and other is not None:
        # By one number, and in one pass.
        share = float(factor)
        torch.add(other * (1 - share), images, alpha=share, out=images)
    else:
        factor = factor.to(images.device, non_blocking=True).view(-1, 1, 1, 1)
        images.mul_(factor)
        if other is not None:
            images.add_(other * (1 - factor))
    return images.clamp_(0, 1) if outwards else images


def adjust_brightness_(images: Tensor, factor: Tensor) -> Tensor:
    """Away from black: ``[B, 3, H, W]`` in [0, 1], in place, by ``[B]`` factors; 1 changes nothing."""
    return _blend_(images, factor, None)


def adjust_contrast_(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the mean grey: ``[B, 3, H, W]`` in [0, 1], in place, by ``[B]`` factors; 1 changes nothing."""
    return _blend_(images, factor, grey_of(images.mean((2, 3), keepdim=True)))


def adjust_saturation_(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the grey image: ``[B, 3, H, W]`` in [0, 1], in place, by ``[B]`` factors; 1 changes nothing."""
    return _blend_(images, factor, grey_of(images))


COLOUR_CHANGES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    adjust_brightness_,
    adjust_contrast_,
    adjust_saturation_,
    shift_hue,
)


def _change(images: Tensor, chosen: Tensor, change: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """Applies ``change`` to the chosen images alone; ``chosen`` is on the CPU, so counting them waits for no GPU."""
    count = int(chosen.sum())
    if count == 0:
        return images
    if count == len(chosen):
        return change(images, *values)
    rows = chosen.nonzero().squeeze(1)
    where = rows.to(images.device, non_blocking=True)
    return images.index_copy_(0, where, change(images.index_select(0, where), *(value[rows] for value in values)))


def jitter(view: Tensor, parameters: ViewParameters, changes: Sequence[Callable[[Tensor, Tensor], Tensor]]) -> Tensor:
    """Jitters the colours of the images that were chosen for it, each in its own order.

    Args:
        view: ``[B, 3, S, S]`` in [0, 1]; may be changed in place.
        parameters: B rows.
        changes: brightness, contrast, saturation and hue, as `COLOUR_CHANGES`.

    Returns:
        The images with their new colours, in [0, 1].
    """
    if len(view) == 1:
        factors = parameters.factors.unbind(1)
        for index in parameters.order[0].tolist() if parameters.jitter else []:
            view = changes[index](view, factors[index])
        return view
    for turn in range(4):
        for index, change in enumerate(changes):
            chosen = parameters.jitter & (parameters.order[:, turn] == index)
            view = _change(view, chosen, change, parameters.factors[:, index])
    return view


def to_gray(images: Tensor) -> Tensor:
    """The luma in all three channels, ``[B, 3, H, W]``; of one image a plane that all channels share in memory."""
    grey = grey_of(images)
    return grey.expand(-1, 3, -1, -1) if len(images) == 1 else grey.repeat(1, 3, 1, 1)


def solarize(images: Tensor) -> Tensor:
    """Inverts pixel values of 0.5 or more: x or 1 - x, whichever is less, without a choice pixel by pixel."""
    inverted = 1 - images
    return torch.minimum(images, inverted, out=inverted)


def blur(images: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """Gaussian blur, as kornia's: by convolutions or, of one image on a CPU, by sums of shifted copies, three times as
    fast.

    Args:
        images: ``[B, C, H, W]``.
        sigma: standard deviation of each image's kernel, above 0, ``[B]``, on the CPU.
        reach: pixels on each side that count, less than H and W; images are mirrored at their edges.

    Returns:
        Images of the same shape.
    """
    if len(images) > 1 or images.device.type != "cpu":
        taps = (-0.5 * (torch.arange(-reach, reach + 1) / sigma[:, None]).square()).exp()
        taps = (taps / taps.sum(dim=1, keepdim=True)).to(images.device, non_blocking=True)  # [B, 2 * reach + 1]
        taps = taps.repeat_interleave(images.shape[1], dim=0)[:, None, None]  # a kernel for every channel
        planes = images.flatten(0, 1)[None]  # [1, B * 3, H, W]
        for edges, kernel in (((reach, reach, 0, 0), taps), ((0, 0, reach, reach), taps.mT)):
            planes = F.conv2d(F.pad(planes, edges, mode="reflect"), kernel, groups=len(kernel))
        return planes.view_as(images)
    if images.shape[1] > 1 and images.stride(1) == 0:  # grey
        return blur(images[:, :1], sigma, reach).expand_as(images)
    weights = (-0.5 * (torch.arange(reach + 1) / sigma).square()).exp()
    weights = weights / (2 * weights.sum() - 1)
    first, *others = (w for w in weights.tolist() if w > 1e-7)
    pad = len(others)
    for dim, edges in ((3, (pad, pad, 0, 0)), (2, (0, 0, pad, pad))):
        # Of both dimensions the one that is shifted comes last.
        shifted = F.pad(images, edges, mode="reflect").unfold(dim, images.shape[dim], 1).unbind(dim)
        images = shifted[pad] * first
        for k, weight in enumerate(others, 1):
            images.add_(shifted[pad - k], alpha=weight).add_(shifted[pad + k], alpha=weight)
    return images.mT


def make_view(
    images: Tensor,
    parameters: ViewParameters,
    strength: ViewStrength,
    image_size: int,
    by_kornia: bool | None = None,
) -> Tensor:
    """Makes one view of every image.

    Args:
        images: uint8 ``[B, 3, H, W]``, on any device; on a CPU, also what `pack` made of them.
        parameters: B rows.
        strength: what the parameters were drawn from; its largest sigma sets the reach of the blur.
        image_size: side S of the view.
        by_kornia: whether kornia's functions make all changes but the crop; None: on a GPU. Both ways work anywhere.

    Returns:
        float32 ``[B, 3, S, S]`` in [0, 1], on the images' device.
    """
    # Three standard deviations; reflection needs the reach to be smaller than the image.
    reach = min(math.ceil(3 * strength.sigma[1] * image_size / 224), image_size - 1)
    if images.device.type == "cuda" if by_kornia is None else by_kornia:
        # It takes seconds to import.
        from patchgame_egg.views import kornia_changes

        view = crop_resize(images, parameters.box, torch.zeros_like(parameters.flip), image_size)
        view = _change(view, parameters.flip, kornia_changes.flip)
        view = jitter(view, parameters, kornia_changes.COLOR_CHANGES)
        grey, blurred, inverted = kornia_changes.to_gray, kornia_changes.blur, kornia_changes.solarize
    else:
        view = crop_resize(images, parameters.box, parameters.flip, image_size)
        view = jitter(view, parameters, COLOUR_CHANGES)
        grey, blurred, inverted = to_gray, blur, solarize
    view = _change(view, parameters.grey, grey)
    view = _change(view, parameters.sigma > 0, lambda x, sigma: blurred(x, sigma, reach), parameters.sigma)
    return _change(view, parameters.solarise, inverted)
