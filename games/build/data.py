"""The images behind the options: loaders and views to learn from, and every image once to evaluate."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

import torch

from games.options.config import Config, DataOptions
from games.options.flags import errors_with_flags, with_flags
from patchgame_egg.data.cache import CachedImages
from patchgame_egg.data.distractors import Distractors
from patchgame_egg.data.images import ImageSource
from patchgame_egg.data.loader import EveryImage, ImageLoader
from patchgame_egg.data.names import printable
from patchgame_egg.data.sources import image_sets
from patchgame_egg.data.understood import understood
from patchgame_egg.distributed.processes import is_rank_zero, world_size
from patchgame_egg.views.augment import ViewStrength
from patchgame_egg.views.loader import ViewLoader
from patchgame_egg.views.transforms import Middle, RandomViews, Transform

# Held-out images have the same views in every run of the same strengths, whatever its seed.
_HELD_OUT_VIEWS = 1_000_000


def build_views(config: Config, held_out: bool = False) -> RandomViews:
    """The two random views of section 3.1, of images to learn from or of those held out."""
    d = config.images
    seed = _HELD_OUT_VIEWS if held_out else config.training.seed + 2
    if d.views:
        return RandomViews(d.image_size, seed, *views_of(d.views, d.image_size))
    first, second = (
        ViewStrength(min_area=d.min_area, jitter=d.jitter, grey=d.grey, blur=blur, solarise=solarise)
        for blur, solarise in zip(d.blur, d.solarise, strict=True)
    )
    return RandomViews(d.image_size, seed, first, second)


def views_of(name: str, image_size: int) -> tuple[Transform, Transform]:
    """Somebody's own views.

    Args:
        name: ``module:function``; the module may lie in the working folder.
        image_size: what the function is called with.

    Returns:
        What the function gives: the speaker's transform and the listener's.

    Raises:
        ValueError: there is no such module or function, or it gives something else.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise ValueError(f"--views {name}: give module:function, such as myviews:both")
    # An installed command does not look there by itself.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(import_module(module), function)(image_size)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"--views {name}: {error}") from error
    if not (isinstance(found, tuple | list) and len(found) == 2 and all(map(callable, found))):
        raise ValueError(
            f"--views {name}: {function}({image_size}) is to give two transforms, the speaker's and the listener's"
        )
    return found[0], found[1]


def decoders(options: DataOptions, device: torch.device) -> int:
    """Processes that decode, of each rank: unless asked for, none without a GPU, where the cores have other work."""
    if options.workers is not None:
        return options.workers
    if device.type == "cpu":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(16, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1))


def load_images(config: Config, size: int) -> tuple[ImageSource, ImageSource]:
    """The training and the held-out images; what was understood of them is printed once.

    Args:
        config: the options.
        size: side to which images are resized and cropped, pixels.

    Raises:
        ValueError: the images are not there.
    """
    d, seed = config.images, config.training.seed
    with errors_with_flags():
        train, held_out = image_sets(
            d.data,
            d.root,
            size,
            val_root=d.val_root,
            download=d.download,
            seed=seed,
            scenes=d.scenes,
            class_level=d.class_level,
            val_share=d.val_share,
            limit=d.limit,
        )
    say_understood(d.data, d.root, {"to train on": train, "held out": held_out})
    return train, held_out


def say_understood(data: str, root: str, sources: Mapping[str, ImageSource]) -> None:
    """Prints how many images and classes were found, and what was left out: once in a command, by one process.

    Args:
        data: name of the images.
        root: where they lie.
        sources: what they are for (``to train on``, ``held out``) -> the images.
    """
    if is_rank_zero():
        lines = understood(f"{data} {root}".strip(), sources)
        _print_once("\n".join(printable(with_flags(line)) for line in lines))


@cache
def _print_once(text: str) -> None:
    print(text, flush=True)


def build_loaders(
    config: Config, device: torch.device, beside: Callable[[ImageSource, bool], Distractors | None] = lambda *_: None
) -> tuple[ImageLoader, ImageLoader]:
    """Loaders of the training and the held-out images.

    Args:
        config: the options.
        device: of the training.
        beside: gives the distractors of a part, and is told whether it is trained on.

    Raises:
        ValueError: the images are not there, or too few.
    """
    batch_size = config.training.batch_size
    train, val = load_images(config, config.load_size)
    if len(train) < batch_size:
        raise ValueError(f"{len(train)} images to train on are less than --batch-size {batch_size}")
    return (
        build_loader(config, train, device, True, beside(train, True)),
        build_loader(config, val, device, False, beside(val, False)),
    )


def build_loader(
    config: Config, source: ImageSource, device: torch.device, training: bool, beside: Distractors | None = None
) -> ImageLoader:
    """A loader of images: in the batches of training, shuffled anew in every epoch, or else in groups of candidates.

    Args:
        config: the options.
        source: the images.
        device: of the training.
        training: whether they are trained on.
        beside: which images stand beside each image.

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
        try:
            source = CachedImages(source, folder, workers)
        except ValueError as error:
            raise ValueError(f"--cache {d.cache}: {error}") from error
    if d.decode == "gpu":
        from patchgame_egg.data.gpu_jpeg import GpuJpegLoader, NoDecoder

        try:
            return GpuJpegLoader(
                source, size, device=device, seed=t.seed, shuffle=training, workers=workers, distractors=beside
            )
        except NoDecoder as error:
            raise ValueError(f"--decode gpu: {error}") from error
    return ImageLoader(source, size, t.seed, training, workers, device.type == "cuda", beside)


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
