"""Which groups of symbols mean something together: morphemes, by greedy choice.

In the manner of CSAR (Boldt and Mortensen 2025): of all pairs of a form and a meaning that one is taken which shares
most information; where both are, they are explained and removed; and again, until nothing is sure any more. Other than
there, each pair must be sure: together in more messages than luck explains, both in the whole language, where Fisher's
exact test holds for all pairs together, and in what is not explained yet.

Letters in shapes: N messages, T slots, K places where a form may stand, F forms, A atoms of meaning, M meanings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from analysis.corpus.corpus import Corpus
from analysis.words.dictionary import LEVEL, luck
from analysis.words.forms import neighboring_slots, spoken_ids


@dataclass(frozen=True)
class Morpheme:
    """A form that has a meaning.

    Attributes:
        form: its symbols, in order.
        meaning: atoms, in alphabetical order.
        bits: mutual information between whether a message has the form and whether its meaning is meant, of what was
            not explained before, above 0 to 1.
        messages: how many it explained.
        p: how probable it is that so many messages of the whole language have both by luck, for this pair alone.
    """

    form: tuple[int, ...]
    meaning: tuple[str, ...]
    bits: float
    messages: int
    p: float


@dataclass(frozen=True)
class Inventory:
    """The morphemes of a language.

    Attributes:
        morphemes: in the order in which they were found.
        explained_symbols: share of the symbols said that morphemes explain, 0 to 1.
        explained_atoms: share of the atoms meant that they explain, 0 to 1.
        synonymy: forms of a meaning, on average; 1: one each. NaN without a morpheme.
        polysemy: meanings of a form, on average; NaN without a morpheme.
    """

    morphemes: tuple[Morpheme, ...]
    explained_symbols: float
    explained_atoms: float
    synonymy: float
    polysemy: float


def meanings_of(corpus: Corpus) -> list[frozenset[str]]:
    """What each message is about: the known values of its item's attributes, ``colour=red``; without any, its class.

    Raises:
        ValueError: the corpus knows neither.

    Example:
        >>> said = np.zeros((2, 1), dtype=np.int64)
        >>> about = np.array([[1, 0], [-1, 1]])
        >>> names, values = ("colour", "size"), (("red", "blue"), ("small", "large"))
        >>> corpus = Corpus(said, said == 0, 1, attributes=about, attribute_names=names, value_names=values)
        >>> [sorted(meant) for meant in meanings_of(corpus)]
        [['colour=blue', 'size=small'], ['size=large']]
    """
    names, values = corpus.attribute_names, corpus.value_names
    numbers = corpus.attributes
    if numbers is None and corpus.labels is not None:
        numbers, names = corpus.labels[:, None], ("class",)
        values = (corpus.label_names or tuple(map(str, range(int(corpus.labels.max(initial=0)) + 1))),)
    if numbers is None:
        raise ValueError("nothing is known about what is meant: morphemes need a corpus with attributes or labels")
    return [frozenset(f"{names[a]}={values[a][v]}" for a, v in enumerate(row) if v >= 0) for row in numbers.tolist()]


def induce_morphemes(
    corpus: Corpus,
    meanings: Sequence[frozenset[str]],
    *,
    longest: int = 2,
    largest: int = 2,
    least: int = 5,
    level: float = LEVEL,
) -> Inventory:
    """Finds the morphemes of a language.

    A form is a run of symbols said one after the other; of a speaker of patches, a symbol, or two of neighboring
    patches, the second one on the right or below. Of pairs that share the same information the one with more symbols,
    then the one with more atoms is taken.

    Limits: a language in which each atom has a form of its own yields these and nothing else. One whose messages have
    nothing to do with what is meant yields nothing in all but ``level`` of the cases.

    Args:
        corpus: the messages.
        meanings: atoms of meaning of each message, as `meanings_of` gives them.
        longest: symbols of a form at most, at least 1; of patches, no more than 2.
        largest: atoms of a meaning at most, at least 1.
        least: forms and meanings of fewer messages are left out.
        level: how probable it is, at most, that a language without any meaning has a morpheme.

    Raises:
        ValueError: there is not one meaning for each message, or a size is below 1.

    Example:
        >>> colours, shapes = np.arange(60) % 3, np.arange(60) // 3 % 2
        >>> meant = [frozenset({f"colour {c}", f"shape {s}"}) for c, s in zip(colours, shapes)]
        >>> said = np.column_stack([colours, 10 + shapes])
        >>> found = induce_morphemes(Corpus(said, said >= 0, 12), meant)
        >>> sorted((m.form, m.meaning) for m in found.morphemes)[:2]
        [((0,), ('colour 0',)), ((1,), ('colour 1',))]
        >>> len(found.morphemes), found.explained_symbols, found.synonymy
        (5, 1.0, 1.0)
    """
    if len(meanings) != len(corpus):
        raise ValueError(f"{len(meanings)} meanings for {len(corpus)} messages: give one for each")
    if longest < 1 or largest < 1:
        raise ValueError(f"longest={longest}, largest={largest}: give at least 1")
    ids, alive = spoken_ids(corpus.symbols, corpus.mask)
    if corpus.grid is None:
        order = np.argsort(~alive, axis=1, kind="stable")
        ids, alive = np.take_along_axis(ids, order, axis=1), np.take_along_axis(alive, order, axis=1)
    forms = _Forms(corpus, ids, alive, longest, least)
    atoms = sorted(frozenset().union(*meanings))
    number = {atom: i for i, atom in enumerate(atoms)}
    meant = np.zeros((len(corpus), len(atoms)), dtype=bool)
    for row, about in enumerate(meanings):
        meant[row, [number[atom] for atom in about]] = True
    kinds = _subsets(meant, largest, least)
    said_first, meant_first = int(alive.sum()), int(meant.sum())
    found: list[Morpheme] = []
    if forms.names and kinds:
        there, about_ = forms.there(alive), _there(meant, kinds)
        p = luck(there, about_)
        bar = level / p.size
        allowed = p <= bar
        while True:
            bits = np.where(allowed, _information(there, about_), 0.0)
            f, m = _best(bits, forms.sizes, [len(kind) for kind in kinds])
            rows = np.flatnonzero(np.asarray((there[:, [f]].toarray() * about_[:, [m]].toarray())[:, 0]))
            if bits[f, m] <= 0 or luck(there[:, [f]], about_[:, [m]])[0, 0] > bar:
                break
            meaning = tuple(atoms[a] for a in kinds[m])
            found.append(Morpheme(forms.names[f], meaning, float(bits[f, m]), len(rows), float(p[f, m])))
            alive = forms.without(alive, f, rows)
            meant[np.ix_(rows, np.array(kinds[m]))] = False
            allowed[f, m] = False
            there, about_ = forms.there(alive), _there(meant, kinds)
    of_forms, of_meanings = {m.form for m in found}, {m.meaning for m in found}
    return Inventory(
        tuple(found),
        1 - float(alive.sum()) / said_first if said_first else 0.0,
        1 - float(meant.sum()) / meant_first if meant_first else 0.0,
        len({(m.form, m.meaning) for m in found}) / len(of_meanings) if found else float("nan"),
        len({(m.form, m.meaning) for m in found}) / len(of_forms) if found else float("nan"),
    )


def inventory_table(inventory: Inventory) -> pd.DataFrame:
    """A row for each morpheme, as CSV takes it: ``form``, ``meaning``, ``bits``, ``messages``, ``p``."""
    return pd.DataFrame(
        [
            (" ".join(map(str, m.form)), " ".join(m.meaning), m.bits, m.messages, m.p)
            for m in inventory.morphemes
        ],
        columns=["form", "meaning", "bits", "messages", "p"],
    )  # fmt: skip


class _Forms:
    """All forms of a language and where they stand; and which of them are left in what is not explained yet."""

    def __init__(
        self, corpus: Corpus, ids: NDArray[np.int64], said: NDArray[np.bool_], longest: int, least: int
    ) -> None:
        slots = np.arange(ids.shape[1])
        self.runs: list[NDArray[np.int64]] = []  # [K, size], the slots of each place
        if corpus.grid is None:
            self.runs = [
                np.stack([slots[i : len(slots) - size + 1 + i] for i in range(size)], axis=1)
                for size in range(1, min(longest, len(slots)) + 1)
            ]
        else:
            first, second, _ = neighboring_slots(corpus.boxes, corpus.symbols_per_patch)
            self.runs = [slots[:, None], np.stack([first, second], axis=1)][:longest]
        self.names: list[tuple[int, ...]] = []
        self.at: list[NDArray[np.int64]] = []  # [N, K], the form at each place
        for run in self.runs:
            there = said[:, run].all(axis=2)
            kinds, which = np.unique(ids[:, run][there], axis=0, return_inverse=True)
            at = np.full(there.shape, -1, dtype=np.int64)
            at[there] = which.reshape(-1)
            counts = np.asarray((_presence(at, len(kinds)) > 0).sum(axis=0))
            kept = counts >= least
            renamed = np.append(np.where(kept, kept.cumsum() - 1 + len(self.names), -1), -1)
            self.names += [tuple(kind) for kind in kinds[kept].tolist()]
            self.at.append(renamed[at])
        self.sizes = [len(name) for name in self.names]

    def there(self, alive: NDArray[np.bool_]) -> csr_array:
        """Whether each form is in what is left of each message, 0 or 1, ``[N, F]``."""
        left = [np.where(alive[:, run].all(axis=2), at, -1) for run, at in zip(self.runs, self.at, strict=True)]
        return _presence(np.concatenate(left, axis=1), len(self.names))

    def without(self, alive: NDArray[np.bool_], form: int, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """What is left of the messages when a form is taken out of some, wherever it is whole."""
        left = alive.copy()
        for run, at in zip(self.runs, self.at, strict=True):
            for row, place in zip(*np.nonzero(at[rows] == form), strict=True):
                if alive[rows[row], run[place]].all():
                    left[rows[row], run[place]] = False
        return left


def _presence(at: NDArray[np.int64], forms: int) -> csr_array:
    rows, places = np.nonzero(at >= 0)
    cells = np.unique(rows * max(forms, 1) + at[rows, places])
    entries = (np.ones(len(cells), dtype=np.int64), (cells // max(forms, 1), cells % max(forms, 1)))
    return csr_array(entries, shape=(len(at), forms))


def _subsets(meant: NDArray[np.bool_], largest: int, least: int) -> list[tuple[int, ...]]:
    """The sets of atoms that enough messages mean."""
    counts: dict[tuple[int, ...], int] = {}
    for row in meant:
        about = np.flatnonzero(row).tolist()
        for size in range(1, largest + 1):
            for kind in combinations(about, size):
                counts[kind] = counts.get(kind, 0) + 1
    return sorted(kind for kind, count in counts.items() if count >= least)


def _there(meant: NDArray[np.bool_], kinds: Sequence[tuple[int, ...]]) -> csr_array:
    return csr_array(np.stack([meant[:, kind].all(axis=1) for kind in kinds], axis=1), dtype=np.int64)


def _information(there: csr_array, about: csr_array) -> NDArray[np.float64]:
    """Mutual information of being there and being meant, in bits, ``[F, M]``; 0 where they avoid each other."""
    n = there.shape[0]
    both = np.asarray((there.T @ about).todense(), dtype=float)
    f, m = (np.asarray(x.sum(axis=0), dtype=float) for x in (there, about))
    total = np.zeros(both.shape)
    for joint, left, right in (
        (both, f, m), (f[:, None] - both, f, n - m), (m - both, n - f, m), (n - f[:, None] - m + both, n - f, n - m),
    ):  # fmt: skip
        by_luck = left[:, None] * right / n
        ratio = np.divide(joint, by_luck, out=np.ones_like(joint), where=(joint > 0) & (by_luck > 0))
        total += joint / n * np.log2(ratio)
    return np.where(both * n > f[:, None] * m, total, 0.0)


def _best(bits: NDArray[np.float64], form_sizes: Sequence[int], meaning_sizes: Sequence[int]) -> tuple[int, int]:
    """The pair with the most information; of equal ones that with the longest form, then with the largest meaning."""
    equal = np.argwhere(bits >= bits.max() - 1e-9).tolist()
    f, m = max(equal, key=lambda pair: (form_sizes[pair[0]], meaning_sizes[pair[1]], -pair[0], -pair[1]))
    return f, m
