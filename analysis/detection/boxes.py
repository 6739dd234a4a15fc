"""Records of detection: an image, what there is to find in it, and what is found.

H and W height and width of an image, N number of its objects, D of detections in it. Boxes are x0, y0, x1, y1 in
pixels, the end exclusive.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Objects:
    """What there is to find in an image.

    Attributes:
        boxes: float32 ``[N, 4]``.
        labels: int64 ``[N]``, class numbers from 1 on; 0 is the background's.
        difficult: bool ``[N]``, which objects count neither as found nor as missed.
    """

    boxes: Tensor
    labels: Tensor
    difficult: Tensor


@dataclass(frozen=True, eq=False)
class BoxedImage:
    """An image and what there is to find in it.

    Attributes:
        image: uint8 ``[3, H, W]``, RGB.
        objects: their boxes lie inside the image.
    """

    image: Tensor
    objects: Objects


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector finds in an image.

    Attributes:
        boxes: float32 ``[D, 4]``.
        labels: int64 ``[D]``, class numbers from 1 on.
        scores: float32 ``[D]``, how sure it is; only their order counts.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
