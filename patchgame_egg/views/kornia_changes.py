"""The changes of a view by kornia's functions, which are made for batches on a GPU: those that agree with torchvision.

kornia has two functions for most changes. Its plain ``adjust_brightness`` adds, ``adjust_contrast`` has no mean and
``adjust_saturation`` goes through HSV; torchvision and Pillow do none of this. The functions here are the others. They
take images ``[B, 3, H, W]`` in [0, 1] and values ``[B]`` on the CPU, and give new images.
"""

from __future__ import annotations

import math

import torch
from kornia.color import rgb_to_grayscale
from kornia.enhance import (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_hue,
    adjust_saturation_with_gray_subtraction,
    solarize as _solarize,
)
from kornia.filters import gaussian_blur2d
from kornia.geometry.transform import hflip
from torch import Tensor


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turns the colour circle; kornia counts in radians."""
    return adjust_hue(images, 2 * math.pi * turns.to(images.device, non_blocking=True))


COLOR_CHANGES = (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_saturation_with_gray_subtraction,
    shift_hue,
)


def flip(images: Tensor) -> Tensor:
    """Left and right change places."""
    return hflip(images)


def to_gray(images: Tensor) -> Tensor:
    """The luma in all three channels."""
    return rgb_to_grayscale(images).repeat(1, 3, 1, 1)


def blur(images: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """Gaussian blur, mirrored at the edges; ``reach`` pixels on each side count."""
    both = torch.stack([sigma, sigma], dim=1).to(images.device, non_blocking=True)
    return gaussian_blur2d(images, 2 * reach + 1, both, border_type="reflect")


def solarize(images: Tensor) -> Tensor:
    """Inverts pixel values of 0.5 or more."""
    return _solarize(images, 0.5)
