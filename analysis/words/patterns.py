"""Groups of symbols that recur in messages: runs of sequences, patterns of patches, and either at its place.

Letters in shapes: N messages, T slots, K places where a form may stand, F forms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from analysis.corpus.corpus import Corpus
from analysis.words.forms import distinct_parts, spoken_ids


class Patterns:
    """All forms of a language, where they stand, and which of them are left when others are taken out.

    Attributes:
        said: true where a symbol was said, ``[N, T]``; of sequences, what was said stands first, in its order.
        forms: the symbols of each form, in order, ``[F]``.
        names: the same as text. Of sequences ``"12 5"``; of patches with a stroke between rows: ``"12 5"`` side by
            side, ``"12/5"`` one above the other; at a slot ``"12@7"``.
        order: which slot of the message each slot of ``said`` is, ``[N, T]``.
    """

    def __init__(self, corpus: Corpus, longest: int, least: int, places: bool) -> None:
        """Finds them.

        Args:
            corpus: the messages.
            longest: symbols of a form at most. Of patches, forms are rectangles of patches of one size, and the symbols
                of one patch.
            least: forms in fewer messages are left out.
            places: whether the same symbols elsewhere are another form.
        """
        ids, said = spoken_ids(corpus.symbols, corpus.mask)
        slots = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        self.order = np.argsort(~said, axis=1, kind="stable") if corpus.grid is None else slots
        ids, self.said = np.take_along_axis(ids, self.order, axis=1), np.take_along_axis(said, self.order, axis=1)
        self.forms: list[tuple[int, ...]] = []
        self.names: list[str] = []
        self._runs: list[NDArray[np.int64]] = []  # [K, size], the slots of each place
        self._at: list[NDArray[np.int64]] = []  # [N, K], the form at each place
        for run, columns in _shapes(corpus, longest):
            there = self.said[:, run].all(axis=2)
            parts = ids[:, run][there]
            if places:
                parts = np.concatenate([parts, self.order[:, run][there]], axis=1)
            kinds, which = distinct_parts(parts)
            at = np.full(there.shape, -1, dtype=np.int64)
            at[there] = which
            counts = np.asarray((_presence(at, len(kinds)) > 0).sum(axis=0))
            kept = counts >= least
            renamed = np.append(np.where(kept, kept.cumsum() - 1 + len(self.forms), -1), -1)
            size = run.shape[1]
            self.forms += [tuple(kind[:size]) for kind in kinds[kept].tolist()]
            self.names += [_name(kind[:size], kind[size:], columns) for kind in kinds[kept].tolist()]
            self._runs.append(run)
            self._at.append(renamed[at])

    def there(self, alive: NDArray[np.bool_]) -> csr_array:
        """Whether each form is in what is left of each message, 0 or 1, ``[N, F]``.

        Args:
            alive: which slots are left, ``[N, T]``.
        """
        left = [np.where(alive[:, run].all(axis=2), at, -1) for run, at in zip(self._runs, self._at, strict=True)]
        nothing = np.zeros((len(alive), 0), dtype=np.int64)
        return _presence(np.concatenate([nothing, *left], axis=1), len(self.forms))

    def occurrences(
        self, alive: NDArray[np.bool_], form: int, rows: NDArray[np.int64]
    ) -> list[tuple[int, NDArray[np.int64]]]:
        """Where a form stands whole in what is left of some messages: the message and the slots; none overlap.

        Args:
            alive: which slots are left, ``[N, T]``.
            form: its number.
            rows: the messages.
        """
        left, found = alive.copy(), []
        for run, at in zip(self._runs, self._at, strict=True):
            for row, place in zip(*np.nonzero(at[rows] == form), strict=True):
                slots = run[place]
                if left[rows[row], slots].all():
                    left[rows[row], slots] = False
                    found.append((int(rows[row]), slots))
        return found


def _shapes(corpus: Corpus, longest: int) -> list[tuple[NDArray[np.int64], int]]:
    """The slots of every place of every shape ``[K, size]``, and how many columns the shape has."""
    slots = corpus.symbols.shape[1]
    if corpus.grid is None:
        steps = range(1, min(longest, slots) + 1)
        return [(np.arange(slots - size + 1)[:, None] + np.arange(size), size) for size in steps]
    each, found = corpus.symbols_per_patch, []
    patch = {tuple(box): number for number, box in enumerate(corpus.boxes.tolist())}
    for size in range(1, longest + 1):
        for rows in (rows for rows in range(1, size + 1) if size % rows == 0):
            columns = size // rows
            places = []
            for row, column, side in patch:
                cells = [(row + i * side, column + j * side, side) for i in range(rows) for j in range(columns)]
                if all(cell in patch for cell in cells):
                    places += [[patch[cell] * each + symbol for cell in cells] for symbol in range(each)]
            if rows == 1 and 1 < size <= each:
                # Symbols of one patch, one after the other.
                places += [
                    [p * each + first + i for i in range(size)]
                    for p in range(len(patch))
                    for first in range(each - size + 1)
                ]
            if places:
                found.append((np.array(places, dtype=np.int64), columns))
    return found


def _name(symbols: list[int], slots: list[int], columns: int) -> str:
    parts = [str(s) if not slots else f"{s}@{slots[i]}" for i, s in enumerate(symbols)]
    return "/".join(" ".join(parts[i : i + columns]) for i in range(0, len(parts), columns))


def _presence(at: NDArray[np.int64], forms: int) -> csr_array:
    rows, places = np.nonzero(at >= 0)
    cells = np.unique(rows * max(forms, 1) + at[rows, places])
    entries = (np.ones(len(cells), dtype=np.int64), (cells // max(forms, 1), cells % max(forms, 1)))
    return csr_array(entries, shape=(len(at), forms))
