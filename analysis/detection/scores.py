"""How good detections are: mean average precision at an overlap of one half, as Pascal VOC means it.

torchmetrics computes it, with COCO's own code (pycocotools) behind. Two numbers come out of one evaluation, which
differ in the recalls at which the interpolated precision is averaged: VOC 2007's eleven (0, 0.1, ..., 1; Everingham et
al., 2010, section 4.2), as is usual on VOC 2007, and COCO's 101 ("AP50"), close to the area under the whole curve that
VOC took from 2010 on. Which of them Table 2 has is not said.

Three details are COCO's. Of equal scores the detection of the earlier image counts first, and of one image the one that
is named first, so that the order of images matters where scores are equal. Of two objects that a detection overlaps by
half, one that is already found does not make it a false alarm: it may count for the other. And of an image's detections
of a class the 100 surest count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torchvision.ops import box_iou

from analysis.detection.boxes import Detections, Objects

OVERLAP = 0.5


@dataclass(frozen=True)
class AveragePrecision:
    """Mean average precision at an overlap of 0.5; all shares are 0 to 1, chance is next to 0.

    Attributes:
        voc2007: mean over classes, averaged over 11 recalls as in VOC 2007; NaN without any object.
        coco: mean over classes, averaged over 101 recalls as COCO's AP50; NaN without any object.
        per_class: class number -> its eleven-point average precision; classes without objects are left out.
        images: how many images.
        objects: how many objects, difficult ones not counted.
    """

    voc2007: float
    coco: float
    per_class: dict[int, float]
    images: int
    objects: int


def average_precision(detections: Sequence[Detections], objects: Sequence[Objects]) -> AveragePrecision:
    """Compares detections with what there is.

    Args:
        detections: of each image.
        objects: of each image, in the same order.

    Raises:
        ValueError: not as many of one as of the other, or a score or a box that is not a finite number.

    Example:
        >>> there = Objects(torch.tensor([[0.0, 0.0, 8.0, 8.0]]), torch.tensor([1]), torch.tensor([False]))
        >>> nothing = Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
        >>> average_precision([nothing], [there]).voc2007
        0.0
    """
    if len(detections) != len(objects):
        raise ValueError(f"detections of {len(detections)} images, but objects of {len(objects)}")
    for i, claims in enumerate(detections):
        broken = ~(claims.scores.isfinite() & claims.boxes.isfinite().all(dim=-1))
        if broken.any():
            raise ValueError(
                f"image {i}: {int(broken.sum())} of {len(broken)} detections have a score or a box that is not a "
                "finite number: the detector has diverged, or they are to be left out first"
            )
    pairs = [excuse_difficult(found, there) for found, there in zip(detections, objects, strict=True)]
    count = sum(len(there.labels) for _, there in pairs)
    if not count:
        return AveragePrecision(math.nan, math.nan, {}, len(objects), 0)
    # Importing it takes seconds.
    from torchmetrics.detection import MeanAveragePrecision

    # As a fraction is rounded, so that a recall of 3 in 10 reaches 0.3.
    recalls = [i / 100 for i in range(101)]
    metric = MeanAveragePrecision(iou_thresholds=[OVERLAP], rec_thresholds=recalls, extended_summary=True)
    metric.warn_on_many_detections = False
    metric.update(
        [{"boxes": d.boxes, "labels": d.labels, "scores": d.scores} for d, _ in pairs],
        [{"boxes": o.boxes, "labels": o.labels} for _, o in pairs],
    )
    found = metric.compute()
    # Overlap, recall, class, size of the object (first: any), detections per image (last: 100); -1 for no objects.
    curves = found["precision"][0, :, :, 0, -1].double()
    eleven, all_points = curves[::10].mean(dim=0), curves.mean(dim=0)
    there = all_points >= 0
    numbers = found["classes"].reshape(-1)[there].tolist()
    return AveragePrecision(
        float(eleven[there].mean()),
        float(all_points[there].mean()),
        dict(zip(numbers, eleven[there].tolist(), strict=True)),
        len(objects),
        count,
    )


def excuse_difficult(found: Detections, there: Objects) -> tuple[Detections, Objects]:
    """Leaves out difficult objects, and the detections that belong to them, as VOC's own evaluation does.

    A detection belongs to that object of its class which it overlaps most, if it does so by half. COCO's nearest
    notion, crowds, measures the overlap otherwise, so detections are left out before the library sees them.
    """
    kept = torch.ones(len(found.labels), dtype=torch.bool)
    if len(found.labels) and len(there.labels):
        overlaps = box_iou(found.boxes, there.boxes) * (found.labels[:, None] == there.labels)  # [D, N]
        most, which = overlaps.max(dim=1)
        kept = ~((most >= OVERLAP) & there.difficult[which])
    counts = ~there.difficult
    return (
        Detections(found.boxes[kept], found.labels[kept], found.scores[kept]),
        Objects(there.boxes[counts], there.labels[counts], there.difficult[counts]),
    )
