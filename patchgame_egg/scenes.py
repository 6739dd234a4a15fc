"""The built-in images: rendered scenes of textured shapes with known concepts, to hold a language against.

A scene is one main object, up to two smaller ones and a background. Every concept of the main object and the
background is drawn uniformly and independently of all others. The rest (rotation, phase, shade, exact place and
scale, the other objects) is nuisance. The main object is painted last, so that nothing hides it.

All geometry lives in the unit square, x to the right and y down; `image_size` only says how finely it is sampled.
Pixels come from correctly rounded operations alone (+ - * / sqrt floor; no sine, no matrix product), so that the
bytes depend neither on the machine's vector maths nor on its number of threads.

A flip exchanges left and right, and a crop moves and enlarges: `position` and `size` are true of the whole image.
The other concepts survive in every view that shows the main object.

Dimensions: S image size, A number of concepts, h and w the sides of the window that an object is painted in.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

Array = npt.NDArray[np.floating]
RGB = tuple[int, int, int]


def _wave(t: Array) -> Array:
    """A smooth wave of period 1: 1 at the integers, 0 halfway between them."""
    f: Array = np.abs(2 * (t - np.floor(t)) - 1)
    return f * f * (3 - 2 * f)


def _edge(t: Array, steepness: float = 3.0) -> Array:
    """0 below zero, 1 above, with a ramp in between that keeps patterns from aliasing."""
    ramp: Array = np.clip(0.5 + steepness * t, 0, 1)
    return ramp


def _norm(x: Array, y: Array) -> Array:
    return np.sqrt(x * x + y * y)


def _fold(x: Array, y: Array) -> tuple[Array, Array]:
    """Mirrors the plane into one half of the upward wedge of a five-fold figure."""
    x, y = np.abs(x), -y
    for kx, ky in ((0.809017, -0.587785), (-0.809017, -0.587785)):
        over = 2 * np.maximum(kx * x + ky * y, 0)
        x, y = x - over * kx, y - over * ky
    return np.abs(x), y


def _star(x: Array, y: Array) -> Array:
    x, y = _fold(x, y)
    return 0.8966 * x + 0.4428 * (y - 1)  # the edge from the upper tip down to the notch beside it


def _flower(x: Array, y: Array) -> Array:
    u, v = _fold(x, y)
    distance: Array = np.minimum(_norm(u, v - 0.66) - 0.36, _norm(x, y) - 0.55)  # petals, middle
    return distance


def _heart(x: Array, y: Array) -> Array:
    x, y = np.abs(x), y - 0.1
    distance: Array = np.minimum(0.7071 * (x + np.abs(y) - 1), _norm(x - 0.5, y + 0.5) - 0.7071)  # diamond, lobes
    return distance


def _cross(x: Array, y: Array) -> Array:
    x, y = np.abs(x), np.abs(y)
    distance: Array = np.maximum(np.minimum(x, y) - 0.34, np.maximum(x, y) - 1)
    return distance


# Signed distance to the outline, negative inside. Only the sign and the slope near the outline need to be right.
_SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": lambda x, y: _norm(x, y) - 1,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) - 1,
    "triangle": lambda x, y: np.maximum(y, 0.8660 * np.abs(x) - 0.5 * y) - 0.5,
    "star": _star,
    "cross": _cross,
    "heart": _heart,
    "ring": lambda x, y: np.abs(_norm(x, y) - 0.74) - 0.26,
    "crescent": lambda x, y: np.maximum(_norm(x - 0.15, y) - 1, 0.75 - _norm(x - 0.75, y)),
    "pill": lambda x, y: _norm(np.maximum(np.abs(x) - 0.6, 0), y) - 0.4,
    "flower": _flower,
}

# Paint and the second tone that textures mix in: darker for light paints, lighter for dark ones, of the same hue.
_COLOURS: dict[str, tuple[RGB, RGB]] = {
    "red": ((222, 32, 38), (255, 166, 160)),
    "yellow": ((250, 214, 30), (190, 136, 6)),
    "green": ((28, 158, 56), (164, 232, 158)),
    "cyan": ((40, 208, 216), (8, 104, 116)),
    "blue": ((30, 74, 226), (150, 184, 255)),
    "purple": ((128, 42, 190), (212, 164, 250)),
    "pink": ((255, 122, 190), (164, 24, 96)),
    "white": ((246, 246, 246), (142, 142, 146)),
    "black": ((26, 26, 30), (132, 132, 138)),
}

# Share of the second tone, 0 to 1; u and v count wavelengths from about the object's centre.
_TEXTURES: dict[str, Callable[[Array, Array], Array]] = {
    "plain": lambda u, v: np.zeros_like(u),
    "stripes": lambda u, v: _edge(_wave(v) - 0.5),
    "checks": lambda u, v: _edge((_wave(0.7 * u) - 0.5) * (_wave(0.7 * v) - 0.5), 12),
    "dots": lambda u, v: _edge(_wave(0.8 * u) * _wave(0.8 * v) - 0.4),
    "rings": lambda u, v: _wave(1.25 * _norm(u, v)),
    "marble": lambda u, v: _edge(_wave(0.4 * (u + v) + _wave(0.45 * u - 0.4 * v + _wave(0.3 * v))) - 0.4, 1),
    "zigzag": lambda u, v: _edge(_wave(v + np.abs(u - 2 * np.floor(0.5 * u) - 1)) - 0.5),
}

# noise(rows, columns) is smooth random relief in 0 to 1 with that many cells down and across.
Noise = Callable[[int, int], Array]


def _grout(x: Array, y: Array, columns: float, rows: float) -> Array:
    """1 on the joints of a wall of that many stones across and down, 0 on the stones."""
    across, down = np.abs(x - np.floor(x + 0.5)) / columns, np.abs(y - np.floor(y + 0.5)) / rows
    return _edge(0.009 - np.minimum(across, down), 90)


def _brick(x: Array, y: Array, noise: Noise) -> Array:
    x, y = 4 * x, 9 * y
    return np.maximum(_grout(x + 0.5 * (np.floor(y) % 2), y, 4, 9), 0.75 * noise(9, 8) * noise(30, 30))


def _tiles(x: Array, y: Array, noise: Noise) -> Array:
    x, y = 5 * x, 5 * y
    checks = (np.floor(x) + np.floor(y)) % 2
    return (1 - _grout(x, y, 5, 5)) * (0.35 + 0.4 * checks + 0.25 * noise(14, 14))


def _sand(x: Array, y: Array, noise: Noise) -> Array:
    return 0.4 * _wave(5 * y + x + noise(4, 3)) + 0.6 * noise(44, 44)


def _waves(x: Array, y: Array, noise: Noise) -> Array:
    return _wave(8 * y + 0.7 * _wave(3 * x) + noise(4, 4)) * (0.5 + 0.5 * noise(10, 6))


def _sky(x: Array, y: Array, noise: Noise) -> Array:
    return _edge(0.5 * noise(4, 3) + 0.3 * noise(8, 6) + 0.2 * noise(18, 14) - 0.5, 1.6)


def _wood(x: Array, y: Array, noise: Noise) -> Array:
    return 0.6 * _wave(5 * y + 2.5 * noise(4, 2)) + 0.4 * noise(50, 5)


def _cloth(x: Array, y: Array, noise: Noise) -> Array:
    across, down = _edge(_wave(4 * x) - 0.5), _edge(_wave(4 * y) - 0.5)
    return 0.4 * (across + down) + 0.2 * _wave(20 * (x + y))


def _night(x: Array, y: Array, noise: Noise) -> Array:
    # A grid of dots, bent until it looks scattered; bent more, it would fold and smear them.
    stars = _wave(7 * x + noise(3, 3)) * _wave(7 * y + noise(3, 3)) + 0.25 * noise(9, 9)
    return 0.2 * noise(5, 3) + 0.8 * _edge(stars - 1.06, 6)


# Dark tone, light tone and the share of the light one; muted, so that the saturated objects stand out.
_BACKGROUNDS: dict[str, tuple[RGB, RGB, Callable[[Array, Array, Noise], Array]]] = {
    "grass": ((62, 92, 52), (146, 170, 104), lambda x, y, noise: 0.6 * noise(9, 44) + 0.4 * noise(24, 32)),
    "sand": ((176, 152, 112), (226, 208, 168), _sand),
    "brick": ((126, 74, 62), (198, 182, 170), _brick),
    "waves": ((64, 104, 128), (168, 198, 206), _waves),
    "sky": ((118, 158, 204), (232, 236, 240), _sky),
    "wood": ((120, 86, 56), (184, 146, 104), _wood),
    "stone": ((86, 88, 92), (178, 178, 176), lambda x, y, n: 0.3 * n(4, 4) + 0.4 * n(11, 11) + 0.3 * n(30, 30)),
    "tiles": ((104, 128, 124), (206, 216, 208), _tiles),
    "cloth": ((112, 88, 116), (196, 176, 192), _cloth),
    "night": ((50, 60, 108), (226, 224, 206), _night),
}

# Radius, in image sides, of the disc whose area the object has. The ranges of two sizes are well apart.
_SIZES = {"small": (0.120, 0.130), "medium": (0.160, 0.175), "large": (0.200, 0.213)}
_POSITIONS = tuple(f"{row} {column}" for row in ("top", "middle", "bottom") for column in ("left", "centre", "right"))

CONCEPTS: dict[str, tuple[str, ...]] = {
    "shape": tuple(_SHAPES),
    "colour": tuple(_COLOURS),
    "texture": tuple(_TEXTURES),
    "size": tuple(_SIZES),
    "position": _POSITIONS,
    "background": tuple(_BACKGROUNDS),
}
"""The concepts in the order of `Scenes.attributes`, each with its values' names; a value is an index into them."""

# Centres are at least this share of the sum of their reaches apart: objects may overlap, none disappears.
_CROWDING = 0.75

_SPLITS = {"train": 0, "val": 1}


@dataclass(frozen=True, eq=False)
class SceneObject:
    """What one object is and where it can be seen.

    Attributes:
        shape: index into `CONCEPTS["shape"]`, and likewise for `colour`, `texture`, `size` and `position`.
        box: (x0, y0, x1, y1) in pixels, the end exclusive, tight around `mask`.
        mask: bool `[S, S]`, the object's visible pixels; no two objects of a scene share one.
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
        image: uint8 `[3, S, S]`, RGB.
        objects: 1 to 3 objects, the largest visible area first: `objects[0]` is the main object.
        background: index into `CONCEPTS["background"]`.
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


@functools.cache
def _proportions(shape: int) -> tuple[float, float]:
    """How much a shape must grow to have a unit disc's area, and how far it then reaches from its centre."""
    axis = np.linspace(-1.5, 1.5, 601, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    inside = list(_SHAPES.values())[shape](x + 0 * y, y + 0 * x) < 0
    growth = math.sqrt(math.pi / (int(inside.sum()) * 0.005**2))
    return growth, growth * float(_norm(x, y)[inside].max())


@functools.lru_cache(maxsize=256)
def _interpolation(size: int, cells: int) -> tuple[npt.NDArray[np.intp], Array]:
    """For each of `size` pixels the lattice point before it among `cells`, and the weight of the next one."""
    t = (np.arange(size, dtype=np.float32) + 0.5) * (cells / size)
    before = np.floor(t).astype(np.intp)
    rest = t - np.floor(t)
    return before, rest * rest * (3 - 2 * rest)


def _noise(rng: np.random.Generator, size: int, rows: int, columns: int) -> Array:
    lattice: Array = rng.random((rows + 1, columns + 1), dtype=np.float32)
    i, down = _interpolation(size, rows)
    j, across = _interpolation(size, columns)
    lattice = lattice[i] + (lattice[i + 1] - lattice[i]) * down[:, None]  # [S, columns + 1]
    return lattice[:, j] + (lattice[:, j + 1] - lattice[:, j]) * across  # [S, S]


def _mix(tones: tuple[RGB, RGB], share: Array, brightness: float) -> Array:
    """`[h, w]` shares of the second tone to RGB `[3, h, w]`."""
    first, second = (np.array(tone, dtype=np.float32)[:, None, None] * brightness for tone in tones)
    return first + (second - first) * share


def _paint_background(kind: int, size: int, rng: np.random.Generator) -> Array:
    """Returns float `[3, S, S]`."""
    dark, light, pattern = list(_BACKGROUNDS.values())[kind]
    dx, dy, zoom, brightness, slope_x, slope_y = rng.random(6).tolist()
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = axis[None, :], axis[:, None]
    zoom = 0.85 + 0.3 * zoom
    share = pattern(zoom * x + dx, zoom * y + dy, functools.partial(_noise, rng, size))
    canvas = _mix((dark, light), share, 0.92 + 0.16 * brightness)
    canvas *= 1 + 0.3 * (slope_x - 0.5) * (x - 0.5) + 0.3 * (slope_y - 0.5) * (y - 0.5)
    return canvas


def _paint_object(canvas: Array, plan: _Plan) -> npt.NDArray[np.bool_]:
    """Paints onto `canvas` `[3, S, S]` in place; returns the covered pixels, bool `[S, S]`."""
    size = canvas.shape[-1]
    turn, wavelength, phase_u, phase_v, brightness = plan.nuisance
    margin = plan.reach + 0.03
    x0, y0 = (max(0, int((centre - margin) * size)) for centre in (plan.x, plan.y))
    x1, y1 = (min(size, int((centre + margin) * size) + 1) for centre in (plan.x, plan.y))
    x = (np.arange(x0, x1, dtype=np.float32)[None, :] + 0.5) / size - plan.x  # [1, w]
    y = (np.arange(y0, y1, dtype=np.float32)[:, None] + 0.5) / size - plan.y  # [h, 1]

    half = 0.4 * (turn - 0.5)  # the tangent of half the angle, up to 23 degrees either way
    cosine, sine = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    u, v = cosine * x + sine * y, cosine * y - sine * x  # [h, w]

    unit = plan.radius * _proportions(plan.shape)[0]
    outside = list(_SHAPES.values())[plan.shape](u / unit, v / unit) * unit  # distance in image sides
    per_wave = 1 / (0.075 + 0.02 * wavelength)
    share = list(_TEXTURES.values())[plan.texture](u * per_wave + phase_u - 0.5, v * per_wave + phase_v - 0.5)
    light = (0.93 + 0.1 * brightness) - (0.09 / plan.radius) * (x + y)
    light = light * np.clip(0.55 - 22 * outside, 0.55, 1)  # a dark rim

    window = canvas[:, y0:y1, x0:x1]
    window *= np.clip(0.6 + 14 * outside, 0.6, 1)  # a soft shadow round the object
    paint = _mix(list(_COLOURS.values())[plan.colour], share, 1.0) * light
    window += np.clip(0.5 - outside * size, 0, 1) * (paint - window)
    covered = np.zeros((size, size), dtype=np.bool_)
    covered[y0:y1, x0:x1] = outside < 0
    return covered


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
    reach = radius * _proportions(shape)[1]
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
    number, background = 1 + int(rng.random() * 3), int(rng.random() * len(_BACKGROUNDS))
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

    A scene depends on (`seed`, `split`, index) alone, so a longer dataset begins with the shorter one, and another
    `image_size` shows the same scenes.

    Args:
        length: number of scenes, at least 1.
        image_size: side S of the square images in pixels, at least 16.
        seed: 0 to 2**32 - 1; two seeds share no scene.
        split: "train" or "val"; the two share no scene.

    Attributes:
        classes: the names of the labels, which are the main object's shapes.
        attribute_names: the names of the columns of `attributes`: the keys of `CONCEPTS`.

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
        """Returns the image, uint8 `[3, S, S]`, and its label, the main object's shape."""
        scene = self.scene(index)
        return torch.from_numpy(scene.image), scene.objects[0].shape

    def scene(self, index: SupportsIndex) -> Scene:
        """Draws one scene.

        Args:
            index: from -length to length - 1.

        Returns:
            The image with its objects' concepts, boxes and masks.

        Raises:
            IndexError: `index` is out of range.
        """
        rng = self._generator(index)
        plans, background = _plan_scene(rng)
        canvas = _paint_background(background, self.image_size, rng)
        # Painted from the last to the first, so the first, the main object, ends on top.
        covers = [_paint_object(canvas, plan) for plan in reversed(plans)][::-1]
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
            int64 `[A]`, in the order of `attribute_names`: the main object's five concepts, then the background.

        Raises:
            IndexError: `index` is out of range.
        """
        plans, background = _plan_scene(self._generator(index))
        main = plans[0]
        return torch.tensor([main.shape, main.colour, main.texture, main.size, main.position, background])

    def _generator(self, index: SupportsIndex) -> np.random.Generator:
        number = operator.index(index)
        if not -self.length <= number < self.length:
            raise IndexError(f"index {number} is out of range for {self.length} scenes")
        return np.random.default_rng((self.seed, _SPLITS[self.split], number % self.length))
