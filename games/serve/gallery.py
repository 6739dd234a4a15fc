"""Images among which the listener of a page chooses: those of the run's language, of a folder, or built-in scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from games.runs.trained import TrainedRun
from patchgame_egg.counted import counted
from patchgame_egg.data.given_images import GivenImages
from patchgame_egg.data.images import ImageSource
from patchgame_egg.data.names import listed, printable
from patchgame_egg.data.pixels import UNREADABLE
from patchgame_egg.data.sources import image_sets
from patchgame_egg.views.transforms import EvaluationView, denormalise

MOST = 2048
"""The most images among which it chooses."""


@dataclass(frozen=True)
class Gallery:
    """M images, as both agents see them in evaluation.

    Attributes:
        images: uint8 ``[M, 3, S, S]``.
        names: of their files, or numbers.
        classes: their classes; empty where there is none.
        origin: what they are, for whoever starts the page.
        given: whether the user gave them, and they are not the run's own.
    """

    images: Tensor
    names: Sequence[str]
    classes: Sequence[str]
    origin: str
    given: bool = False


def gallery_of(run: TrainedRun, folder: Path | None = None) -> Gallery:
    """The images of a folder; else those that the run's language keeps; else, of a run on scenes, these once more.

    Args:
        run: a trained run.
        folder: of images of one's own, of which up to `MOST` are taken, evenly spread; None: the run's own.

    Returns:
        The images, none where a run on other images keeps none, as one that was shared.

    Raises:
        ValueError: the folder holds no image, or none that can be read.
    """
    if folder is not None:
        given = GivenImages(folder, run.config.load_size)
        names = [str(Path(given.name(i)).relative_to(folder)) for i in range(len(given))]
        return _looked_at(run, given, f"of {folder}", names, given=True)
    language = run.language
    if language is not None and language.images is not None:
        count = len(language.images[:MOST])
        labels = [-1] * count if language.labels is None else language.labels[:count].tolist()
        return Gallery(
            torch.from_numpy(language.images[:MOST]),
            language.files[:count] or [f"image {i}" for i in range(count)],
            [_class_of(label, language.label_names) for label in labels],
            f"{count:,} of its held-out images",
        )
    d = run.config.images
    if d.data == "scenes":
        scenes = image_sets(
            "scenes", "", run.config.load_size, seed=run.config.training.seed, scenes=d.scenes, limit=d.limit
        )[1]
        return _looked_at(
            run, scenes, "that are its held-out scenes, drawn anew", [f"scene {i}" for i in range(len(scenes))]
        )
    size = d.image_size
    return Gallery(torch.zeros(0, 3, size, size, dtype=torch.uint8), [], [], "")


def _class_of(label: int, names: Sequence[str]) -> str:
    return names[label] if 0 <= label < len(names) and len(names) > 1 else ""


def _looked_at(run: TrainedRun, source: ImageSource, origin: str, names: Sequence[str], given: bool = False) -> Gallery:
    """The images of a source, up to `MOST`, evenly spread; those that cannot be read are left out and named."""
    count = len(source)
    chosen = range(count) if count <= MOST else [i * count // MOST for i in range(MOST)]
    view, images, kept, classes, broken = EvaluationView(run.config.images.image_size), [], [], [], []
    for index in counted(chosen, "looks at images"):
        try:
            image, label = source[index]
        except UNREADABLE:
            broken.append(names[index])
            continue
        images.append((denormalise(view(image[None]))[0] * 255).round().to(torch.uint8))
        kept.append(names[index])
        classes.append(_class_of(label, source.classes))
    if not images:
        raise ValueError(f"none of {count} images {origin} can be read, the first is {printable(broken[0])}")
    if broken:
        print(f"left out {len(broken)} images that cannot be read: {listed(map(printable, broken))}")
    some = f" of {count:,}" if count > MOST else ""
    return Gallery(torch.stack(images), kept, classes, f"{len(images):,}{some} images {origin}", given)
