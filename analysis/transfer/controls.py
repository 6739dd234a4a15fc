"""What nothing was learnt for: pixels, thumbnails and colors, against which trained networks and languages are held.

As features (`CONTROLS`) they stand beside trunks, and as judges of two views (`retrieval_controls`) beside agents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.counted import counted
from patchgame_egg.distributed.gather import gather_rows
from patchgame_egg.interaction import Batch
from patchgame_egg.losses import rivals
from patchgame_egg.views.transforms import denormalise

# Larger images are shrunk to this side: the pixels of ImageNet's would not fit in memory.
_SIDE = 28

# Levels of each color in the histogram: 64 bins.
_LEVELS = 4


def thumbnail(views: Tensor, side: int = 8, color: bool = False) -> Tensor:
    """Views ``[B, 3, H, W]``, normalised, as small pictures ``[B, D]`` of mean 0 and length 1, grey or in color."""
    small = F.interpolate(denormalise(views), side, mode="area")
    flat = (small if color else small.mean(dim=1)).flatten(1)
    return F.normalize(flat - flat.mean(dim=1, keepdim=True), dim=1)


def color_histogram(views: Tensor) -> Tensor:
    """Views ``[B, 3, H, W]``, normalised, as the square roots of the shares of 64 colors, ``[B, 64]``, of length 1."""
    levels = (denormalise(views) * _LEVELS).long().clamp(max=_LEVELS - 1)
    bins = (levels * torch.tensor([_LEVELS**2, _LEVELS, 1], device=views.device)[:, None, None]).sum(dim=1)
    return F.one_hot(bins.flatten(1), _LEVELS**3).float().mean(dim=1).sqrt()


# Each judges how alike first [B, ...] and second views [B, ...] are, [B, B], by features of a first and of a second.
_JUDGES: dict[str, Callable[[Tensor], Tensor]] = {
    "thumbnail": thumbnail,
    "color_thumbnail": lambda views: thumbnail(views, 4, color=True),
    "color_histogram": color_histogram,
}


def retrieval_controls(batches: Iterable[Batch], in_batch: bool = True) -> dict[str, float]:
    """Retrieval accuracy of three judges that see both views and know no language.

    The game asks agents to find an image among the batch's by another view of it. Where views keep the layout or the
    colors of an image, that is easy for who sees both: agents that do worse have learnt little, whatever the chance
    level.

    Args:
        batches: groups of candidates with both views, normalised, as `RepeatedViews` gives them; second views may be
            followed by those of distractors, ``[B, 1 + K, 3, S, S]``.
        in_batch: whether the group's other images are candidates, or distractors alone.

    Returns:
        The share of first views whose second view is the most alike one, 0 to 1, by the cosine of: ``thumbnail``, 8 x 8
        grey pixels, mirrored or not; ``color_thumbnail``, 4 x 4 pixels in color, mirrored or not; ``color_histogram``,
        the shares of 64 colors (Bhattacharyya's coefficient). Equals count as lost.

    Raises:
        ValueError: there is no batch, or one without a second view.

    Example:
        >>> views = torch.eye(4).reshape(4, 1, 2, 2).repeat(1, 3, 1, 1).repeat_interleave(4, 2).repeat_interleave(4, 3)
        >>> retrieval_controls([Batch(views, None, views)])["color_histogram"]
        0.0
        >>> retrieval_controls([Batch(views[:2], None, views[:2])])["thumbnail"]
        0.0
        >>> retrieval_controls([Batch(views[[0, 2]], None, views[[0, 2]])])["thumbnail"]
        1.0
    """
    right: dict[str, list[Tensor]] = {name: [] for name in _JUDGES}
    for batch in counted(batches, "looks at pixels, in batches"):
        first, second = batch.sender_input, batch.receiver_input
        if second is None:
            raise ValueError("a batch has no receiver_input: two views are needed, see RepeatedViews")
        for name, features in _JUDGES.items():
            asked = features(first)
            own = second[:, 0] if second.dim() == 5 else second
            alike = asked @ gather_rows(features(own)).T
            alike = torch.maximum(alike, asked @ gather_rows(features(own.flip(3))).T)
            if second.dim() == 5:
                both = [features(x.flatten(0, 1)).unflatten(0, x.shape[:2]) for x in (second, second.flip(4))]
                beside = torch.maximum(*((x @ asked[:, :, None])[:, :, 0] for x in both))
                alike = torch.cat([alike, beside[:, 1:]], dim=1) if in_batch else beside
            right[name].append(gather_rows((rivals(alike, first=not in_batch) == 0).float()))
    if not right["thumbnail"]:
        raise ValueError("there is no batch of views")
    return {name: float(torch.cat(found).mean()) for name, found in right.items()}


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
