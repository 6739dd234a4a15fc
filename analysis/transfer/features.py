"""Features of a frozen network, for classifiers that are trained on them (section 4.4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from analysis.corpus.recording import evaluating
from patchgame_egg.counted import counted
from patchgame_egg.distributed.processes import is_distributed, world_size
from patchgame_egg.interaction import Batch

# Images whose features are looked at together.
_BLOCK = 4096


@dataclass(frozen=True)
class Features:
    """What a network makes of N images, on the CPU.

    Attributes:
        values: float32 ``[N, D]``.
        labels: classes, int64 ``[N]``, -1 where there is none.
        index: the images' numbers in their data set, int64 ``[N]``; None: the batches did not say.
    """

    values: Tensor
    labels: Tensor
    index: Tensor | None = None

    def labelled(self) -> Features:
        """The images whose class is known.

        Raises:
            ValueError: there is none, or one of their features is not a finite number.
        """
        known = self.labels >= 0
        if not known.any():
            raise ValueError(
                f"none of {len(known)} images has a class: give a folder with one folder for each class, "
                "or a set whose images have labels"
            )
        # A few at a time, and without a copy where all are known: the features of a large set fill the memory.
        finite = torch.cat([part.isfinite().all(dim=1) for part in self.values.split(_BLOCK)])
        broken = int((known & ~finite).sum())
        if broken:
            raise ValueError(
                f"{broken} of {int(known.sum())} images have features that are not finite numbers: the network's "
                "training has diverged, take one of an earlier checkpoint or a lower learning rate"
            )
        if known.all():
            return self
        return Features(self.values[known], self.labels[known], None if self.index is None else self.index[known])


def extract_features(trunk: nn.Module, batches: Iterable[Batch], device: torch.device | str) -> Features:
    """Plays images through a network in evaluation mode, without gradients.

    On several processes each plays its own batches; all of them return the images of all, in order of
    ``aux_input["index"]`` where batches have it, and then none twice.

    Args:
        trunk: images ``[B, 3, H, W]`` to features ``[B, D]``; its modules' modes are restored.
        batches: of images as the network should see them.
        device: where it is.

    Returns:
        The features, in order.

    Raises:
        ValueError: there is no image, or the network does not give one row for each.
    """
    values, labels, places = [], [], []
    with evaluating(trunk):
        for batch in counted(batches, "computes features, in batches"):
            found = trunk(batch.sender_input.to(device)).float().cpu()
            if found.dim() != 2 or len(found) != len(batch.sender_input):
                raise ValueError(
                    f"expected features [{len(batch.sender_input)}, D], got {list(found.shape)}: pool them"
                )
            index = (batch.aux_input or {}).get("index")
            values.append(found)
            labels.append(torch.full((len(found),), -1) if batch.labels is None else batch.labels.cpu())
            places.append(torch.full((len(found),), -1) if index is None else index.cpu())
    parts = [(torch.cat(values), torch.cat(labels), torch.cat(places))] if values else []
    if is_distributed():
        everyone: list[list[tuple[Tensor, Tensor, Tensor]]] = [[]] * world_size()
        dist.all_gather_object(everyone, parts)
        parts = [part for own in everyone for part in own]
    if not parts:
        raise ValueError("there is no image to take features of")
    feature, label, place = (torch.cat(column) for column in zip(*parts, strict=True))
    if (place < 0).any():
        return Features(feature, label)
    order = place.argsort(stable=True)
    first = torch.ones(len(order), dtype=torch.bool)
    first[1:] = place[order][1:] != place[order][:-1]
    return Features(feature[order][first], label[order][first], place[order][first])
