"""What of a message may have a meaning: its symbols, its symbols at their places, and symbols side by side.

Letters in shapes: N messages, T slots, K places where a form may stand, F forms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from analysis.corpus.corpus import Corpus, Names
from analysis.metrics.checks import check_messages


@dataclass(frozen=True, eq=False)
class Forms:
    """Forms and where they were said.

    Attributes:
        kind: ``symbol``, ``place`` or ``pair``.
        names: ``"12"``; at a slot ``"12@7"``; side by side or one after the other ``"12 5"``, one above the other
            ``"12/5"``.
        said: the form at each place of each message, int64 ``[N, K]``; -1 for none.
        counts_of_symbols: how often each symbol was said in each message, ``[N, symbols in use]``.
        parts: which of these symbols each form is made of, ``[F, 1]`` or ``[F, 2]``.
    """

    kind: str
    names: Names
    said: NDArray[np.int64]
    counts_of_symbols: csr_array
    parts: NDArray[np.int64]

    @cached_property
    def counts(self) -> csr_array:
        """How often each form was said in each message, ``[N, F]``."""
        return _tally(self.said, len(self.names))

    def again(self, symbols: ArrayLike, mask: ArrayLike) -> Forms:
        """The same forms in other messages; what is not among them is -1.

        Args:
            symbols: ids from 0, ``[N, T]``.
            mask: true where a symbol was said, ``[N, T]``.

        Raises:
            ValueError: these are pairs, which depend on more than symbols and places.

        Example:
            >>> symbol_forms([[7, 2]], [[1, 1]]).again([[2, 5]], [[1, 1]]).said.tolist()
            [[0, -1]]
        """
        if self.kind not in ("symbol", "place"):
            raise ValueError(f"forms of kind {self.kind} cannot be looked for in other messages")
        new = (symbol_forms if self.kind == "symbol" else place_forms)(symbols, mask)
        number = {name: i for i, name in enumerate(self.names)}
        said = np.array([*(number.get(name, -1) for name in new.names), -1])[new.said]
        of_symbols = np.where(said >= 0, np.append(self.parts[:, 0], -1)[said], -1)
        return replace(self, said=said, counts_of_symbols=_tally(of_symbols, self.counts_of_symbols.shape[1]))


def symbol_forms(symbols: ArrayLike, mask: ArrayLike) -> Forms:
    """Every symbol that was said, wherever it was.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.

    Example:
        >>> found = symbol_forms([[7, 2], [7, 7]], [[1, 1], [1, 0]])
        >>> found.names, found.said.tolist(), found.counts.toarray().tolist()
        (('2', '7'), [[1, 0], [1, -1]], [[1, 1], [0, 1]])
    """
    ids, said = spoken_ids(symbols, mask)
    kinds, number = _number(ids[:, :, None], said)
    names = tuple(map(str, kinds[:, 0].tolist()))
    return Forms("symbol", names, number, _tally(number, len(kinds)), np.arange(len(kinds))[:, None])


def place_forms(symbols: ArrayLike, mask: ArrayLike) -> Forms:
    """Every symbol at every slot where it was said.

    Example:
        >>> place_forms([[7, 2], [7, 7]], [[1, 1], [1, 1]]).names
        ('2@1', '7@0', '7@1')
    """
    ids, said = spoken_ids(symbols, mask)
    slots = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    symbols, of_symbols = _number(ids[:, :, None], said)
    kinds, number = _number(np.stack([ids, slots], axis=2), said)
    names = tuple(f"{symbol}@{slot}" for symbol, slot in kinds.tolist())
    parts = np.searchsorted(symbols[:, 0], kinds[:, :1])
    return Forms("place", names, number, _tally(of_symbols, len(symbols)), parts)


def pair_forms(corpus: Corpus, least: int = 10) -> Forms:
    """Every two symbols that recur as neighbors.

    Neighbors are patches of one size side by side or one above the other, both of which speak, and the symbols of one
    patch; without patches, symbols that were said one after the other.

    Args:
        corpus: the language.
        least: pairs in fewer messages are left out.

    Example:
        >>> pair_forms(Corpus(np.array([[3, 9, 1], [3, 1, 0]]), np.array([[1, 0, 1], [1, 1, 0]]) > 0, 10), 2).names
        ('3 1',)
    """
    ids, said = spoken_ids(corpus.symbols, corpus.mask)
    symbols, of_symbols = _number(ids[:, :, None], said)
    if corpus.grid is None:
        # What was said moves to the front, in its order.
        order = np.argsort(~said, axis=1, kind="stable")
        ids, said = np.take_along_axis(ids, order, axis=1), np.take_along_axis(said, order, axis=1)
        slots = np.arange(ids.shape[1])
        first, second, below = slots[:-1], slots[1:], np.zeros(max(len(slots) - 1, 0), dtype=np.int64)
    else:
        first, second, below = neighboring_slots(corpus.boxes, corpus.symbols_per_patch)
    both = said[:, first] & said[:, second]
    stands = np.broadcast_to(below, both.shape)
    kinds, number = _number(np.stack([ids[:, first], ids[:, second], stands], axis=2), both)
    rows, places = np.nonzero(number >= 0)
    images = np.unique(np.stack([number[rows, places], rows]), axis=1)[0]
    recurring = np.bincount(images, minlength=len(kinds)) >= least
    renamed = np.append(np.where(recurring, recurring.cumsum() - 1, -1), -1)
    kinds = kinds[recurring]
    names = tuple(f"{a}{'/' if below else ' '}{b}" for a, b, below in kinds.tolist())
    parts = np.searchsorted(symbols[:, 0], kinds[:, :2])
    return Forms("pair", names, renamed[number], _tally(of_symbols, len(symbols)), parts)


def spoken_ids(symbols: ArrayLike, mask: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Messages as `check_messages` takes them, with the ids that they came with; silent slots hold -1.

    Example:
        >>> spoken_ids([[3000000, 9]], [[1, 0]])[0].tolist()
        [[3000000, -1]]
    """
    _, said = check_messages(symbols, mask)
    return np.where(said, np.asarray(symbols), -1).astype(np.int64), said


def distinct_parts(parts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different rows of ``[n, parts]``, sorted, ``[F, parts]``; and which of them each row is, ``[n]``.

    Example:
        >>> [found.tolist() for found in distinct_parts(np.array([[7, 2], [3, 9], [7, 2]]))]
        [[[3, 9], [7, 2]], [1, 0, 1]]
    """
    # One number for all parts sorts many times as fast as rows do; ids may be large, so that they are counted first.
    codes, many = np.zeros(len(parts), dtype=np.int64), 1
    for part in parts.T:
        values, place = np.unique(part, return_inverse=True)
        if many * len(values) >= 2**63:
            # No number holds so many parts: those so far are counted anew.
            used, codes = np.unique(codes, return_inverse=True)
            many = len(used)
        codes = codes * len(values) + place.reshape(-1)
        many *= len(values)
    _, first, which = np.unique(codes, return_index=True, return_inverse=True)
    return parts[first], which.reshape(-1)


def _number(parts: NDArray[np.int64], there: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers the different parts ``[N, K, parts]`` that are there: sorted, ``[F, parts]``, and which ``[N, K]``."""
    kinds, which = distinct_parts(parts[there])
    number = np.full(there.shape, -1, dtype=np.int64)
    number[there] = which
    return kinds, number


def _tally(said: NDArray[np.int64], forms: int) -> csr_array:
    rows, places = np.nonzero(said >= 0)
    entries = (np.ones(len(rows), dtype=np.int64), (rows, said[rows, places]))
    return csr_array(entries, shape=(len(said), forms))


def neighboring_slots(
    boxes: NDArray[np.int64], per_patch: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The slots of neighbors: patches of one size side by side or one above the other, and the symbols of one patch.

    Args:
        boxes: row, column and side of each patch, ``[P, 3]``, as `Corpus.boxes`.
        per_patch: symbols of a patch.

    Returns:
        The first slot of each pair, the second one, and 1 where it is below, else 0.

    Example:
        >>> [x.tolist() for x in neighboring_slots(np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]]), 1)]
        [[0, 0, 1, 2], [1, 2, 3, 3], [0, 1, 1, 0]]
    """
    at = {tuple(box): patch for patch, box in enumerate(boxes.tolist())}
    found: list[tuple[int, int, int]] = []
    for (row, column, side), patch in at.items():
        for below, place in ((0, (row, column + side, side)), (1, (row + side, column, side))):
            if place in at:
                found += [(patch * per_patch + j, at[place] * per_patch + j, below) for j in range(per_patch)]
        found += [(patch * per_patch + j, patch * per_patch + j + 1, 0) for j in range(per_patch - 1)]
    columns = np.array(found, dtype=np.int64).reshape(-1, 3)
    return columns[:, 0], columns[:, 1], columns[:, 2]
