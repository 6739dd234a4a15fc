"""Plug-in entropies, in nats: of distributions, and of counts, as if these were the distribution."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def entropy_of_shares(prob: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy of distributions over the last axis, in nats; what is impossible adds nothing.

    Args:
        prob: ``[..., K]``, each row sums to 1.

    Returns:
        ``[...]``, 0 to ln K.

    Example:
        >>> entropy_of_shares(np.array([[0.5, 0.5], [1.0, 0.0]])).round(3).tolist()
        [0.693, 0.0]
    """
    logs = np.log(prob, out=np.zeros_like(prob), where=prob > 0)
    # Not -0.0, which would be printed as such.
    return -(prob * logs).sum(axis=-1) + 0.0


def entropy_of_counts(counts: ArrayLike) -> float:
    """Entropy of the shares of counts, in nats.

    Args:
        counts: of each kind, from 0, any shape.

    Returns:
        0 to ln of the number of kinds; NaN where nothing was counted.

    Example:
        >>> round(entropy_of_counts([2, 1, 1, 0]), 3)
        1.04
    """
    found = np.asarray(counts).ravel()
    total = found.sum()
    return float(entropy_of_shares(found[found > 0] / total)) if total else float("nan")
