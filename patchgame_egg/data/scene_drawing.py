"""What the built-in scenes look like: shapes, colours, textures and backgrounds, and how they become pixels.

All geometry lives in the unit square, x to the right and y down; the image size only says how finely it is sampled.
Pixels come from correctly rounded operations alone (+ - * / sqrt floor; no sine, no matrix product), so that the
bytes depend neither on the machine's vector maths nor on its number of threads.

What a scene holds, and where, is decided in `patchgame_egg.data.scenes`; kinds are given as indices into the tables
here.

Dimensions: S image size, h and w the sides of the window that an object is painted in.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

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
SHAPES: dict[str, Callable[[Array, Array], Array]] = {
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
COLOURS: dict[str, tuple[RGB, RGB]] = {
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
TEXTURES: dict[str, Callable[[Array, Array], Array]] = {
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
BACKGROUNDS: dict[str, tuple[RGB, RGB, Callable[[Array, Array, Noise], Array]]] = {
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


@functools.cache
def proportions(shape: int) -> tuple[float, float]:
    """Measures a shape: how much it must grow to have a unit disc's area, and how far it then reaches.

    Args:
        shape: index into `SHAPES`.

    Returns:
        The factor, and the distance from the centre to the farthest point of the outline, in radii of that disc.
    """
    axis = np.linspace(-1.5, 1.5, 601, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    inside = list(SHAPES.values())[shape](x + 0 * y, y + 0 * x) < 0
    growth = math.sqrt(math.pi / (int(inside.sum()) * 0.005**2))
    return growth, growth * float(_norm(x, y)[inside].max())


@functools.lru_cache(maxsize=256)
def _interpolation(size: int, cells: int) -> tuple[npt.NDArray[np.intp], Array]:
    """For each of ``size`` pixels the lattice point before it among ``cells``, and the weight of the next one."""
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
    """``[h, w]`` shares of the second tone to RGB ``[3, h, w]``."""
    first, second = (np.array(tone, dtype=np.float32)[:, None, None] * brightness for tone in tones)
    return first + (second - first) * share


def paint_background(kind: int, size: int, rng: np.random.Generator) -> Array:
    """Paints a background with a random shift, zoom, brightness and slope of the light.

    Args:
        kind: index into `BACKGROUNDS`.
        size: side S of the image in pixels.
        rng: of all that is random; the draws do not depend on ``size``.

    Returns:
        float32 RGB ``[3, S, S]``, about 0 to 255.
    """
    dark, light, pattern = list(BACKGROUNDS.values())[kind]
    dx, dy, zoom, brightness, slope_x, slope_y = rng.random(6).tolist()
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = axis[None, :], axis[:, None]
    zoom = 0.85 + 0.3 * zoom
    share = pattern(zoom * x + dx, zoom * y + dy, functools.partial(_noise, rng, size))
    canvas = _mix((dark, light), share, 0.92 + 0.16 * brightness)
    canvas *= 1 + 0.3 * (slope_x - 0.5) * (x - 0.5) + 0.3 * (slope_y - 0.5) * (y - 0.5)
    return canvas


def paint_object(
    canvas: Array,
    shape: int,
    colour: int,
    texture: int,
    centre: tuple[float, float],
    radius: float,
    nuisance: Sequence[float],
) -> npt.NDArray[np.bool_]:
    """Paints an object with a dark rim and a soft shadow, in place.

    Args:
        canvas: float32 RGB ``[3, S, S]``, about 0 to 255.
        shape: index into `SHAPES`.
        colour: index into `COLOURS`.
        texture: index into `TEXTURES`.
        centre: its x and y, in image sides.
        radius: of the disc whose area it has, in image sides.
        nuisance: rotation, wavelength, two phases, brightness; each 0 to 1.

    Returns:
        The covered pixels, bool ``[S, S]``.
    """
    size = canvas.shape[-1]
    turn, wavelength, phase_u, phase_v, brightness = nuisance
    growth, reach = proportions(shape)
    margin = radius * reach + 0.03
    x0, y0 = (max(0, int((middle - margin) * size)) for middle in centre)
    x1, y1 = (min(size, int((middle + margin) * size) + 1) for middle in centre)
    x = (np.arange(x0, x1, dtype=np.float32)[None, :] + 0.5) / size - centre[0]  # [1, w]
    y = (np.arange(y0, y1, dtype=np.float32)[:, None] + 0.5) / size - centre[1]  # [h, 1]

    half = 0.4 * (turn - 0.5)  # the tangent of half the angle, up to 23 degrees either way
    cosine, sine = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    u, v = cosine * x + sine * y, cosine * y - sine * x  # [h, w]

    unit = radius * growth
    outside = list(SHAPES.values())[shape](u / unit, v / unit) * unit  # distance in image sides
    per_wave = 1 / (0.075 + 0.02 * wavelength)
    share = list(TEXTURES.values())[texture](u * per_wave + phase_u - 0.5, v * per_wave + phase_v - 0.5)
    light = (0.93 + 0.1 * brightness) - (0.09 / radius) * (x + y)
    light = light * np.clip(0.55 - 22 * outside, 0.55, 1)  # a dark rim

    window = canvas[:, y0:y1, x0:x1]
    window *= np.clip(0.6 + 14 * outside, 0.6, 1)  # a soft shadow round the object
    paint = _mix(list(COLOURS.values())[colour], share, 1.0) * light
    window += np.clip(0.5 - outside * size, 0, 1) * (paint - window)
    covered = np.zeros((size, size), dtype=np.bool_)
    covered[y0:y1, x0:x1] = outside < 0
    return covered
