"""The modules that turn batches of images into views: two random ones for training, a fixed one for evaluation.

Section 3.1 of the PatchGame paper shows the agents two random views of every image; `patchgame_egg.views.augment` says
how one is made of uniform numbers, which are drawn here per image. All views come out normalised by ImageNet's mean and
standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.distributed.random_module import RandomModule
from patchgame_egg.views.augment import (
    FIRST_VIEW,
    NUMBERS_PER_VIEW,
    SECOND_VIEW,
    ViewStrength,
    draw_parameters,
    make_view,
    pack,
)

Transform = Callable[[Tensor], Tensor]
"""What makes views in the place of a `ViewStrength`, see `RandomViews`."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)


IMAGENET_STD = (0.229, 0.224, 0.225)


# Single numbers on the CPU are added in one pass and need no copy to a GPU.
_OFFSETS = [torch.tensor(-m / s, device="cpu") for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]


# A CPU is fastest on what stays in its cache, so images go through in groups of about this many pixels, and larger
# ones singly: nothing has then to be picked out of a batch and put back.
CPU_GROUP_PIXELS, CPU_SINGLE_PIXELS = 2**18, 2**15


def normalise(images: Tensor, out: Tensor) -> Tensor:
    """Subtracts ImageNet's mean and divides by its standard deviation.

    Args:
        images: ``[B, 3, H, W]`` in [0, 1].
        out: where the result goes, of the same shape; may be ``images``.

    Returns:
        ``out``.
    """
    for channel, into, offset, std in zip(images.unbind(1), out.unbind(1), _OFFSETS, IMAGENET_STD, strict=True):
        torch.add(offset, channel, alpha=1 / std, out=into)
    return out


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

    A view may also be anybody's transform, such as kornia's ``AugmentationSequential`` or one of torchvision's
    ``transforms.v2``: of floats in [0, 1] it makes floats in [0, 1] of S x S pixels, and leaves the normalisation to
    this module. kornia's take whole batches ``[B, 3, H, W]``, all others one image ``[3, H, W]`` at a time, so that
    every image gets draws of its own. What they draw from torch's generators follows this module's seed and is resumed
    like ours; on another number of ranks they draw other numbers.

    Args:
        image_size: side S of the views, in pixels.
        seed: seed of all random draws.
        first: strengths of the speaker's view, by default the release's; or a transform.
        second: strengths of the listener's view, by default the release's; or a transform.

    Attributes:
        share: strength of views by a `ViewStrength`, see `ViewStrength.scaled`: 1, or what a callback sets it to where
            views grow while training goes on. Transforms do not mind it.

    Raises:
        ValueError: a size that is too small, images that are not uint8 ``[B, 3, H, W]``, or a transform that gives
            something else than it should.
    """

    def __init__(
        self,
        image_size: int,
        seed: int = 0,
        first: ViewStrength | Transform = FIRST_VIEW,
        second: ViewStrength | Transform = SECOND_VIEW,
    ) -> None:
        super().__init__(seed)
        _check_size(image_size)
        self.image_size = image_size
        self.first = first
        self.second = second
        self.share = 1.0
        self._looked_at: set[int] = set()

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Draws and makes the views.

        Args:
            images: uint8 ``[B, 3, H, W]``, on any device.

        Returns:
            Two float32 ``[B, 3, S, S]`` on that device, normalised by ImageNet's mean and standard deviation.
        """
        images = self._packed(images)
        return self._view(images, self.first), self._view(images, self.second)

    @torch.no_grad()
    def second_view(self, images: Tensor) -> Tensor:
        """The listener's view alone, of images ``[N, 3, H, W]`` that nobody speaks of: ``[N, 3, S, S]``."""
        return self._view(self._packed(images), self.second)

    def _packed(self, images: Tensor) -> Tensor:
        """On a CPU what `pack` makes of the images, once for all their views."""
        _check_images(images)
        return pack(images) if images.device.type == "cpu" else images

    def _view(self, images: Tensor, strength: ViewStrength | Transform) -> Tensor:
        if not isinstance(strength, ViewStrength):
            # What a transform draws by `randn_like` follows the order in memory: colours beside each other.
            return self._made_by(strength, images[:, :3].contiguous(memory_format=torch.channels_last))
        count, _, height, width = images.shape
        size, strength = self.image_size, strength.scaled(self.share)
        parameters = draw_parameters(self.uniform(count, NUMBERS_PER_VIEW), strength, height, width, size)
        group = count
        if images.device.type == "cpu":
            pixels = max(height * width, size * size)
            group = max(1, CPU_GROUP_PIXELS // pixels) if size * size < CPU_SINGLE_PIXELS else 1
        views = torch.empty(count, 3, size, size, device=images.device)
        groups = zip(images.split(group), parameters.split(group), views.split(group), strict=True) if count else ()
        for part, drawn, out in groups:
            normalise(make_view(part, drawn, strength, size), out=out)
        return views

    def _made_by(self, transform: Transform, images: Tensor) -> Tensor:
        if isinstance(transform, nn.Module):
            transform.to(images.device)
        pixels = images.float() / 255
        with self.local_randomness(images.device, apart=True):
            if type(transform).__module__.partition(".")[0] == "kornia":
                view = transform(pixels)
            else:
                view = torch.stack([transform(image) for image in pixels])
        expected = (len(images), 3, self.image_size, self.image_size)
        if tuple(view.shape) != expected or not view.is_floating_point():
            raise ValueError(
                f"{_name(transform)} made {view.dtype} of shape {tuple(view.shape)}: a view is floats of shape "
                f"{expected}; a crop or a resize to {self.image_size} pixels may be missing"
            )
        # Looking at pixels waits for a GPU, so the first batch stands for all.
        if id(transform) not in self._looked_at:
            low, high = float(view.min()), float(view.max())
            if not -0.01 <= low <= high <= 1.01:
                raise ValueError(
                    f"{_name(transform)} made pixels from {low:.3g} to {high:.3g}: a view is in [0, 1]; leave out its "
                    "normalisation, which is done here"
                )
            self._looked_at.add(id(transform))
        view = view.clamp(0, 1)
        return normalise(view, out=view)


def _name(transform: Transform) -> str:
    return getattr(transform, "__name__", type(transform).__name__)


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
        view = view[:, :, top : top + size, left : left + size].contiguous()
        return normalise(view, out=view)


class Middle(EvaluationView):
    """The middle of an image, without resizing it: `EvaluationView` shows all of it, smaller."""

    def forward(self, images: Tensor) -> Tensor:
        """uint8 ``[B, 3, H, W]`` to a normalised float32 ``[B, 3, S, S]``."""
        size = self.image_size
        top, left = ((side - size) // 2 for side in images.shape[-2:])
        return super().forward(images[:, :, top : top + size, left : left + size])
