"""Batches of images become batches of views, on the device of the training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from patchgame_egg.data.map_style import image_batch
from patchgame_egg.interaction import Batch


class Loader(Protocol):
    """What a `ViewLoader` wraps: batches of images, and how many of them."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


class ViewLoader:
    """Moves each batch to a device and replaces its images by their views.

    Args:
        loader: gives `Batch` records of images, with distractors as ``receiver_input`` ``[B, K, 3, H, W]`` or without,
            or what `patchgame_egg.data.map_style.image_batch` makes one of: tuples, lists and dicts, as torch's
            DataLoader has them. Of distractors the receiver sees the second view, after that of the image itself:
            ``[B, 1 + K, 3, S, S]``.
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
            batch = image_batch(batch).to(self.device)
            views = self.views(batch.sender_input)
            first, second = views if isinstance(views, tuple) else (views, views)
            others = batch.receiver_input
            # Loaders of EGG may give something else here.
            if isinstance(others, Tensor) and others.dim() == 5:
                seen = getattr(self.views, "second_view", self.views)(others.flatten(0, 1))
                second = torch.cat([second[:, None], seen.unflatten(0, others.shape[:2])], dim=1)
            yield Batch(first, batch.labels, second, batch.aux_input)

    @property
    def skipped(self) -> dict[int, str]:
        """The images that the wrapped loader could not read, where it counts them."""
        return getattr(self.loader, "skipped", {})

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


class RepeatedViews(ViewLoader):
    """Random views that are the same every time the images are gone through."""

    def __iter__(self) -> Iterator[Batch]:
        self.views.draws = 0  # type: ignore[assignment]
        return super().__iter__()
