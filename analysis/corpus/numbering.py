"""Ids of any size as numbers from 0: nothing may be as long as the largest id in somebody's file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LARGEST = 2**16
"""Ids from here on are names and no sizes: they are numbered anew before anything is as long as the largest."""


def numbered(values: NDArray[np.integer], known: NDArray[np.bool_]) -> tuple[NDArray[np.int64], list[int]]:
    """Ids of any size as numbers from 0, in the same order.

    Args:
        values: ids, integers of any type.
        known: which of them count, of the same shape.

    Returns:
        Numbers of the same shape, -1 where not known; and the ids by number.

    Example:
        >>> numbered(np.array([7, 10**18, 7, 0]), np.array([True, True, True, False]))
        (array([ 0,  1,  0, -1]), [7, 1000000000000000000])
    """
    ids, numbers = np.unique(values[known], return_inverse=True)
    found = np.full(values.shape, -1, dtype=np.int64)
    found[known] = numbers.reshape(-1)
    return found, ids.tolist()
