"""The built-in images: rendered scenes of textured shapes with known concepts, to hold a language against.

A scene is one main object, up to two smaller ones and a background. Every concept of the main object and the
background is drawn uniformly and independently of all others. The rest (rotation, phase, shade, exact place and
scale, the other objects) is nuisance. The main object is painted last, so that nothing hides it. What the shapes,
colours, textures and backgrounds look like, and why their bytes are the same on every machine, is in
`patchgame_egg.data.scene_drawing`.

A flip exchanges left and right, and a crop moves and enlarges: ``position`` and ``size`` are true of the whole image.
The other concepts survive in every view that shows the main object.

Dimensions: S image size, A number of concepts.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from patchgame_egg.data.scene_drawing import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    TEXTURES,
    paint_background,
    paint_object,
    proportions,
)

# Radius, in image sides, of the disc whose area the object has. The ranges of two sizes are well apart.
_SIZES = {"small": (0.120, 0.130), "medium": (0.160, 0.175), "large": (0.200, 0.213)}
_POSITIONS = tuple(f"{row} {column}" for row in ("top", "middle", "bottom") for column in ("left", "centre", "right"))

CONCEPTS: dict[str, tuple[str, ...]] = {
    "shape": tuple(SHAPES),
    "colour": tuple(COLOURS),
    "texture": tuple(TEXTURES),
    "size": tuple(_SIZES),
    "position": _POSITIONS,
    "background": tuple(BACKGROUNDS),
}
"""The concepts in the order of `Scenes.attributes`, each with its values' names; a value is an index into them."""

# Centres are at least this share of the sum of their reaches apart: objects may overlap, none disappears.
_CROWDING = 0.75

_SPLITS = {"train": 0, "val": 1}


@dataclass(frozen=True, eq=False)
class SceneObject:
    """What one object is and where it can be seen.

    Attributes:
        shape: index into ``CONCEPTS["shape"]``; ``colour``, ``texture``, ``size`` and ``position`` index the entries of
            their own names.
        box: (x0, y0, x1, y1) in pixels, the end exclusive, tight around ``mask``.
        mask: bool ``[S, S]``, the object's visible pixels; no two objects of a scene share one.
    """

    shape: int
    colour: int
    texture: int
    size: int
    position: int
    box: tuple[int, int, int, int]
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Scene:
    """One image with everything that is known about it.

    Attributes:
        image: uint8 ``[3, S, S]``, RGB.
        objects: 1 to 3 objects, the largest visible area first: ``objects[0]`` is the main object.
        background: index into ``CONCEPTS["background"]``.
    """

    image: npt.NDArray[np.uint8]
    objects: tuple[SceneObject, ...]
    background: int


@dataclass(frozen=True)
class _Plan:
    """An object before it is drawn: its concepts and its nuisances, in units of the image's side."""

    shape: int
    colour: int
    texture: int
    size: int
    position: int
    x: float
    y: float
    radius: float
    reach: float  # from the centre to the farthest point of the outline
    nuisance: tuple[float, ...]  # rotation, wavelength, two phases, brightness; each 0 to 1


def _plan_object(rng: np.random.Generator, others: list[_Plan]) -> _Plan | None:
    """Draws an object that fits beside `others`, whose first is the main one; None where no position has room."""
    draws = rng.random(13).tolist()
    shape, colour, texture = (
        int(draw * len(CONCEPTS[name])) for draw, name in zip(draws[:3], ("shape", "colour", "texture"), strict=True)
    )
    # The main object takes any size. The others stay below it: a smaller size, or beside a small one a shrunken small.
    beside_small = bool(others) and others[0].size == 0
    size = int(draws[3] * (max(others[0].size, 1) if others else len(_SIZES)))
    low, high = list(_SIZES.values())[size]
    radius = (low + (high - low) * draws[4]) * (0.7 if beside_small else 1.0)
    reach = radius * proportions(shape)[1]
    free: list[tuple[int, float, float]] = []
    for position in range(len(_POSITIONS)):
        row, column = divmod(position, 3)
        # Moved inwards where it would leave the image; even the largest shape stays in its third.
        x = min(max((column + 0.5) / 3 + 0.1 * (draws[5] - 0.5), reach), 1 - reach)
        y = min(max((row + 0.5) / 3 + 0.1 * (draws[6] - 0.5), reach), 1 - reach)
        if all(math.sqrt((x - o.x) ** 2 + (y - o.y) ** 2) > _CROWDING * (reach + o.reach) for o in others):
            free.append((position, x, y))
    if not free:
        return None
    return _Plan(shape, colour, texture, size, *free[int(draws[7] * len(free))], radius, reach, tuple(draws[8:]))


def _plan_scene(rng: np.random.Generator) -> tuple[list[_Plan], int]:
    """Draws the objects, the main one first, and the background."""
    number, background = 1 + int(rng.random() * 3), int(rng.random() * len(BACKGROUNDS))
    plans: list[_Plan] = []
    for _ in range(number):
        plan = _plan_object(rng, plans)
        if plan is not None:
            plans.append(plan)
    return plans, background


def _see(plan: _Plan, mask: npt.NDArray[np.bool_]) -> SceneObject:
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return SceneObject(plan.shape, plan.colour, plan.texture, plan.size, plan.position, box, mask)


class Scenes(Dataset[tuple[Tensor, int]]):
    """Rendered scenes with known concepts: nothing to download, each drawn when asked for.

    A scene depends on (``seed``, ``split``, index) alone, so a longer dataset begins with the shorter one, and another
    `image_size` shows the same scenes.

    Args:
        length: number of scenes, at least 1.
        image_size: side S of the square images in pixels, at least 16.
        seed: 0 to 2**32 - 1; two seeds share no scene.
        split: "train" or "val"; the two share no scene.

    Attributes:
        classes: the names of the labels, which are the main object's shapes.
        attribute_names: the names of the columns of ``attributes``: the keys of `CONCEPTS`.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> image, label = Scenes(1000)[0]
        >>> tuple(image.shape), image.dtype
        ((3, 64, 64), torch.uint8)
    """

    def __init__(self, length: int, image_size: int = 64, seed: int = 0, split: str = "train") -> None:
        if length < 1:
            raise ValueError(f"length is {length}, but a dataset needs at least one scene: give 1 or more")
        if image_size < 16:
            raise ValueError(f"image_size is {image_size}, but textures vanish below 16 pixels: give 16 or more")
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed is {seed}: give one from 0 to 2**32 - 1")
        if split not in _SPLITS:
            raise ValueError(f"split is {split!r}: give one of {', '.join(map(repr, _SPLITS))}")
        self.length = length
        self.image_size = image_size
        self.seed = seed
        self.split = split
        self.classes = list(CONCEPTS["shape"])
        self.attribute_names = tuple(CONCEPTS)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: SupportsIndex) -> tuple[Tensor, int]:
        """Returns the image, uint8 ``[3, S, S]``, and its label, the main object's shape."""
        scene = self.scene(index)
        return torch.from_numpy(scene.image), scene.objects[0].shape

    def scene(self, index: SupportsIndex) -> Scene:
        """Draws one scene.

        Args:
            index: from -length to length - 1.

        Returns:
            The image with its objects' concepts, boxes and masks.

        Raises:
            IndexError: ``index`` is out of range.
        """
        rng = self._generator(index)
        plans, background = _plan_scene(rng)
        canvas = paint_background(background, self.image_size, rng)
        # Painted from the last to the first, so the first, the main object, ends on top.
        covers = [
            paint_object(canvas, p.shape, p.colour, p.texture, (p.x, p.y), p.radius, p.nuisance)
            for p in reversed(plans)
        ][::-1]
        objects: list[SceneObject] = []
        hidden = np.zeros_like(covers[0])
        for plan, cover in zip(plans, covers, strict=True):
            objects.append(_see(plan, cover & ~hidden))
            hidden |= cover
        # The main object is the largest as drawn in the plane; so few pixels as 16 x 16 must not change the label.
        others = sorted(objects[1:], key=lambda other: int(other.mask.sum()), reverse=True)
        image = (np.clip(canvas, 0, 255) + 0.5).astype(np.uint8)
        return Scene(image, (objects[0], *others), background)

    def attributes(self, index: SupportsIndex) -> Tensor:
        """The concepts of one scene, without drawing it.

        Args:
            index: from -length to length - 1.

        Returns:
            int64 ``[A]``, in the order of `attribute_names`: the main object's five concepts, then the background.

        Raises:
            IndexError: ``index`` is out of range.
        """
        plans, background = _plan_scene(self._generator(index))
        main = plans[0]
        return torch.tensor([main.shape, main.colour, main.texture, main.size, main.position, background])

    def _generator(self, index: SupportsIndex) -> np.random.Generator:
        number = operator.index(index)
        if not -self.length <= number < self.length:
            raise IndexError(f"index {number} is out of range for {self.length} scenes")
        return np.random.default_rng((self.seed, _SPLITS[self.split], number % self.length))
