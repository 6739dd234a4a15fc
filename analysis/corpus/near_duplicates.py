"""Which images are nearly the same, so that a gallery shows each once. Apart from the drawing: reports need it too.

Two images are near-duplicates if their 8 x 8 thumbnails differ, in the mean over cells and colours, by at most
`THRESHOLD` of the contrast of the flatter one: its mean absolute difference from its own mean colour. Measured against
contrast, a moved dot on an empty background is a large difference and the copy of a busy photo saved twice a small
one; an absolute limit that finds the copies joins different pictures of one dot.

`THRESHOLD` was measured: it joins 14 pairs among 4959 photos of Caltech-101 (train), all of them the same photo, none
among 8 million pairs of the built-in scenes (the closest are 0.4 apart) and none among 4 million pairs of NLVR boxes,
small shapes on empty grey (different ones from 0.031 on). Photos cropped differently mostly lie between 0.06 and 0.15.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.03
_SIDE, _BLOCK = 8, 256


def thumbnails(images: NDArray[np.generic]) -> NDArray[np.float64]:
    """Shrinks images to 8 x 8 cells, each the mean over its area.

    Args:
        images: bytes or floats ``[N, 3, H, W]``, of any scale.

    Returns:
        ``[N, 3, 8, 8]`` in the same scale.
    """
    rows, columns = _shares(images.shape[2]), _shares(images.shape[3])
    parts = [rows @ images[i : i + _BLOCK].astype(float) @ columns.T for i in range(0, len(images), _BLOCK)]
    return np.concatenate([*parts, np.empty((0, images.shape[1], _SIDE, _SIDE))])


def distinct(small: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Goes down a list of images and takes those that are no near-duplicate of one taken before.

    Args:
        small: their thumbnails, ``[N, 3, 8, 8]``, the most wanted first.
        most: how many to take.

    Returns:
        Which ones, ascending, ``[E]`` with E at most ``most``. Two images of one flat colour count as one, of two flat
        colours, however close, as two.
    """
    contrast = np.abs(small - small.mean((2, 3), keepdims=True)).mean((1, 2, 3))  # [N]
    taken: list[int] = []
    left = np.arange(len(small))
    while len(left) and len(taken) < most:
        first, left = left[0], left[1:]
        taken.append(int(first))
        difference = np.abs(small[left] - small[first]).mean((1, 2, 3))
        left = left[difference > THRESHOLD * np.minimum(contrast[left], contrast[first])]
    return np.array(taken, dtype=np.int64)


def _shares(size: int) -> NDArray[np.float64]:
    """What share of each cell each pixel along one side covers, ``[8, size]``; rows sum to 1."""
    edges, pixels = np.arange(_SIDE + 1) * size / _SIDE, np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares: NDArray[np.float64] = np.clip(overlap, 0, None) * _SIDE / size
    return shares
