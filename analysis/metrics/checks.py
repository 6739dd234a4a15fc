"""What messages, attributes and concepts must be like: one check for all metrics. N items, T slots, A attributes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.corpus.numbering import LARGEST, numbered


def check_attributes(attributes: ArrayLike, items: ArrayLike) -> NDArray[np.int64]:
    """Attributes as every metric of this kind takes them.

    Args:
        attributes: of the items, int ``[N, A]``, -1 where not known. A column with a value from `LARGEST` on is
            numbered anew, in the same order.
        items: anything of length N.

    Raises:
        ValueError: they are not integers of that shape, or below -1.
    """
    values = np.asarray(attributes)
    if values.ndim != 2 or len(values) != len(np.asarray(items)):
        raise ValueError(f"expected attributes [N, A] with N = {len(np.asarray(items))}, got shape {values.shape}")
    if values.dtype.kind not in "iub" and values.size:
        raise ValueError(f"attributes are of type {values.dtype}: give each value a number, -1 where it is not known")
    if (values < -1).any():
        raise ValueError(f"an attribute is {values.min()}: values count from 0, and -1 means not known")
    if values.size and values.max() >= LARGEST:
        columns = [c if c.max() < LARGEST else numbered(c, c >= 0)[0] for c in values.T]
        return np.stack(columns, axis=1).astype(np.int64)
    return values.astype(np.int64)


def check_concepts(concepts: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Concepts as ``[N, 1]``, of the images, or ``[N, T]``, of the slots; all slots number them alike.

    Args:
        concepts: as `association` takes them.
        shape: of the messages.

    Raises:
        ValueError: they have neither shape, are no integers, or below -1.
    """
    held = np.asarray(concepts)
    if held.shape not in (shape[:1], shape):
        raise ValueError(f"expected concepts of images {shape[:1]} or of slots {shape}, got shape {held.shape}")
    table = held if held.ndim == 2 else held[:, None]
    return check_attributes(table.reshape(-1, 1), table.reshape(-1)).reshape(table.shape)


def check_mask(mask: ArrayLike) -> NDArray[np.bool_]:
    """Which slots spoke.

    Args:
        mask: bool, or all 0 and 1, any shape.

    Raises:
        ValueError: it holds anything else, such as the symbols.
    """
    given = np.asarray(mask)
    if given.dtype != bool and not np.isin(given, (0, 1)).all():
        raise ValueError(
            f"the mask is of type {given.dtype} and holds values other than 0 and 1: "
            "it says which slots spoke, and comes right after the symbols"
        )
    return given.astype(bool)


def check_messages(symbols: ArrayLike, mask: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Arrays of messages as every metric takes them, silent slots blanked to -1: what they held cannot matter.

    No metric asks which number a symbol has: if one is `LARGEST` or more, all are numbered anew, in the same order.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``; of type bool, or all 0 and 1.

    Raises:
        ValueError: the shapes differ, a spoken id is negative, or the mask is none.

    Example:
        >>> symbols, said = check_messages([[3, 9], [1, 2]], [[1, 0], [1, 1]])
        >>> symbols.tolist(), said.tolist()
        ([[3, -1], [1, 2]], [[True, False], [True, True]])
    """
    ids, said = np.asarray(symbols), check_mask(mask)
    if ids.shape != said.shape or ids.ndim != 2:
        raise ValueError(f"expected symbols and mask of one shape [N, T], got {ids.shape} and {said.shape}")
    if ids.dtype.kind not in "iu":
        raise ValueError(f"symbols are of type {ids.dtype}: metrics take hard messages, integer ids")
    if (ids[said] < 0).any():
        raise ValueError(f"a spoken symbol is {ids[said].min()}: ids count from 0, silence belongs in the mask")
    if said.any() and ids[said].max() >= LARGEST:
        return numbered(ids, said)[0], said
    return np.where(said, ids, -1).astype(np.int64), said
