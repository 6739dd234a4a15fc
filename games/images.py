"""The images behind the options: loaders and views to learn from, and every image once to evaluate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from games.config import Config, DataOptions
from patchgame_egg.augment import ViewStrength
from patchgame_egg.cache import CachedImages
from patchgame_egg.data import ImageLoader, ImageSource, Readable
from patchgame_egg.distributed import rank, world_size
from patchgame_egg.interaction import Batch
from patchgame_egg.jpeg import GpuJpegLoader
from patchgame_egg.sources import image_sets
from patchgame_egg.views import EvaluationView, RandomViews, ViewLoader


def build_views(config: Config) -> RandomViews:
    """The two random views of section 3.1."""
    d = config.images
    first, second = (
        ViewStrength(min_area=d.min_area, jitter=d.jitter, grey=d.grey, blur=blur, solarise=solarise)
        for blur, solarise in zip(d.blur, d.solarise, strict=True)
    )
    return RandomViews(d.image_size, config.training.seed + 2, first, second)


def decoders(options: DataOptions, device: torch.device) -> int:
    """Processes that decode, of each rank: unless asked for, none without a GPU, where the cores have other work."""
    if options.workers is not None:
        return options.workers
    if device.type == "cpu":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(16, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1))


def load_images(config: Config, size: int) -> tuple[ImageSource, ImageSource]:
    """The training and the held-out images.

    Args:
        config: the options.
        size: side to which images are resized and cropped, pixels.

    Raises:
        ValueError: the images are not there.
    """
    d, seed = config.images, config.training.seed
    return image_sets(d.data, d.root, size, val_root=d.val_root, download=d.download, seed=seed, scenes=d.scenes)


def build_loaders(config: Config, device: torch.device) -> tuple[ImageLoader, ImageLoader]:
    """Loaders of the training and the held-out images.

    Raises:
        ValueError: the images are not there, or too few.
    """
    batch_size = config.training.batch_size
    train, val = load_images(config, config.load_size)
    if len(train) < batch_size:
        raise ValueError(f"{len(train)} images to train on are less than --batch-size {batch_size}")
    return build_loader(config, train, device, training=True), build_loader(config, val, device, training=False)


def build_loader(config: Config, source: ImageSource, device: torch.device, training: bool) -> ImageLoader:
    """A loader of images: in the batches of training, shuffled anew in every epoch, or else in groups of candidates.

    Raises:
        ValueError: the options cannot be met on this device, or the images are too few.
    """
    d, t = config.images, config.training
    if d.decode == "gpu" and device.type != "cuda":
        raise ValueError(f"--decode gpu needs a CUDA GPU, the device is {device}")
    workers = decoders(d, device)
    size = t.batch_size if training else min(t.candidates, len(source) // world_size() * world_size())
    if d.cache:
        folder = Path(config.run.out) / "cache" if d.cache == "auto" else Path(d.cache)
        source = CachedImages(source, folder, workers)
    if d.decode == "gpu":
        return GpuJpegLoader(source, size, device=device, seed=t.seed, shuffle=training, workers=workers)
    return ImageLoader(source, size, t.seed, training, workers, pin_memory=device.type == "cuda")


class EveryImage:
    """All images of a source once, in order; each process has its share, and those that cannot be read are left out.

    Args:
        source: the images.
        batch_size: of each process.
        workers: processes that decode; 0 decodes in this one.
    """

    def __init__(self, source: ImageSource, batch_size: int = 256, workers: int = 0) -> None:
        mine = range(rank(), len(source), world_size())
        self.loader = DataLoader(Subset(Readable(source), mine), batch_size, num_workers=workers)
        self.mine = mine

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        done = 0
        for images, labels, index in self.loader:
            asked = torch.tensor(self.mine[done : done + len(index)])
            done += len(index)
            itself = index == asked
            if itself.any():
                yield Batch(images[itself], labels[itself], aux_input={"index": index[itself]})


def labelled_loaders(config: Config, device: torch.device, batch_size: int = 256) -> tuple[ViewLoader, ViewLoader]:
    """The training and the held-out images of a run, every one once, as evaluation shows them.

    An image's shorter side is resized to 8/7 of the image size and the middle is cut out: at 224 px, 256, as in the
    usual protocol.

    Args:
        config: the run's options.
        device: where the views are made.
        batch_size: of each process.

    Raises:
        ValueError: the images are not there.
    """
    size = config.images.image_size
    sources, workers = load_images(config, round(size * 8 / 7)), decoders(config.images, device)
    first, second = (ViewLoader(EveryImage(s, batch_size, workers), Middle(size), device) for s in sources)
    return first, second


class Middle(EvaluationView):
    """The middle of an image, without resizing it: `EvaluationView` shows all of it, smaller."""

    def forward(self, images: Tensor) -> Tensor:
        """uint8 ``[B, 3, H, W]`` to a normalised float32 ``[B, 3, S, S]``."""
        size = self.image_size
        top, left = ((side - size) // 2 for side in images.shape[-2:])
        return super().forward(images[:, :, top : top + size, left : left + size])
