"""Features that nothing was learnt for: what the features of a trained network are held against."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from analysis.evaluation.view_controls import color_histogram, thumbnail

# Larger images are shrunk to this side: the pixels of ImageNet's would not fit in memory.
_SIDE = 28


def raw_pixels(images: Tensor) -> Tensor:
    """Images ``[B, 3, H, W]`` as their pixels, each image's mean taken off, ``[B, D]``; beyond 28 px they are shrunk.

    Example:
        >>> import torch
        >>> raw_pixels(torch.arange(12.0).reshape(1, 3, 2, 2)).tolist()[0][:3]
        [-5.5, -4.5, -3.5]
    """
    small = F.interpolate(images, _SIDE, mode="area") if images.shape[-1] > _SIDE else images
    flat = small.flatten(1)
    return flat - flat.mean(dim=1, keepdim=True)


CONTROLS: dict[str, Callable[[Tensor], Tensor]] = {
    "raw pixels": raw_pixels,
    "4 x 4 thumbnails": lambda images: thumbnail(images, 4, color=True),
    "color histogram": color_histogram,
}


class Control(nn.Module):
    """A trunk that computes one of `CONTROLS`, for whatever takes a network.

    Args:
        name: of the control.

    Raises:
        KeyError: no such control.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.features = CONTROLS[name]

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images ``[B, 3, H, W]`` to ``[B, D]``."""
        return self.features(images)
