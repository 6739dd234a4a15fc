"""Which groups of symbols mean something together: morphemes, by greedy choice.

In the manner of CSAR (Boldt and Mortensen 2025): of all pairs of a form and a meaning that one is taken which shares
most information; where both are, they are explained and removed; and again, until nothing is sure any more. Other than
there, each pair must be sure: together in more messages than luck explains, both in the whole language, where Fisher's
exact test holds for all pairs together, and in what is not explained yet.

One file, because the tables and lines are of the inventory, and say what its parts mean.

Letters in shapes: N messages, T slots, K places where a form may stand, F forms, A atoms of meaning, M meanings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from analysis.corpus.corpus import Corpus, Names
from analysis.words.dictionary import LEVEL, luck, pairs_together
from analysis.words.forms import spoken_ids
from analysis.words.glosses import UNKNOWN, place_names
from analysis.words.patterns import Patterns
from analysis.words.text import captions_of, count_words


@dataclass(frozen=True)
class Morpheme:
    """A form that has a meaning.

    Attributes:
        form: its symbols, in order.
        name: the same as text, as `Patterns` has it: with the places of patches to each other, and with slots.
        meaning: atoms, in alphabetical order.
        bits: mutual information between whether a message has the form and whether its meaning is meant, of what was
            not explained before, above 0 to 1.
        messages: how many it explained.
        p: how probable it is that so many messages of the whole language have both by luck, for this pair alone.
    """

    form: tuple[int, ...]
    name: str
    meaning: tuple[str, ...]
    bits: float
    messages: int
    p: float


@dataclass(frozen=True, eq=False)
class Inventory:
    """The morphemes of a language.

    Attributes:
        morphemes: in the order in which they were found.
        explained_symbols: share of the symbols said that morphemes explain, 0 to 1.
        explained_atoms: share of the atoms meant that they explain, 0 to 1.
        synonymy: forms of a meaning, on average; 1: one each. NaN without a morpheme.
        polysemy: meanings of a form, on average; NaN without a morpheme.
        explains: which morpheme explains each slot, by its number in ``morphemes``, int64 ``[N, T]``; -1 for none.
        begins: whether an occurrence of it begins there, bool ``[N, T]``.
    """

    morphemes: tuple[Morpheme, ...]
    explained_symbols: float
    explained_atoms: float
    synonymy: float
    polysemy: float
    explains: NDArray[np.int64]
    begins: NDArray[np.bool_]


def meanings_of(corpus: Corpus, least: int = 5) -> list[frozenset[str]]:
    """What each message is about: the known values of its item's attributes, ``colour=red``.

    Without any, the words of its captions; without these, its class.

    Args:
        corpus: the language.
        least: words in the captions of fewer images are left out.

    Raises:
        ValueError: the corpus knows none of them.

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
    if numbers is None and any(corpus.captions):
        words = count_words(captions_of(corpus), least)
        used = words.all.tocsr()
        return [frozenset(words.words[w] for w in used[[i]].indices) for i in range(len(corpus))]
    if numbers is None and corpus.labels is not None:
        numbers, names = corpus.labels[:, None], ("class",)
        values = (corpus.label_names,)
    if numbers is None:
        raise ValueError(
            "nothing is known about what is meant: morphemes need a corpus with attributes, captions or labels"
        )
    return [frozenset(_atom(names, values, a, v) for a, v in enumerate(row) if v >= 0) for row in numbers.tolist()]


def _atom(names: Names, values: Sequence[Names], attribute: int, value: int) -> str:
    called = values[attribute] if attribute < len(values) else ()
    name = names[attribute] if attribute < len(names) else f"attribute {attribute + 1}"
    return f"{name}={called[value] if value < len(called) else value}"


def induce_morphemes(
    corpus: Corpus,
    meanings: Sequence[frozenset[str]],
    *,
    longest: int = 2,
    largest: int = 2,
    least: int = 5,
    level: float = LEVEL,
    places: bool = False,
) -> Inventory:
    """Finds the morphemes of a language.

    A form is a run of symbols said one after the other; of a speaker of patches, a pattern: the symbols of a rectangle
    of neighboring patches, as they lie to each other. Of pairs that share the same information the one with more
    symbols, then the one with more atoms is taken.

    Limits: a language in which each atom has a form of its own yields these and nothing else. One whose messages have
    nothing to do with what is meant yields nothing in all but ``level`` of the cases.

    Args:
        corpus: the messages.
        meanings: atoms of meaning of each message, as `meanings_of` gives them.
        longest: symbols of a form at most, at least 1.
        largest: atoms of a meaning at most, at least 1.
        least: forms and meanings of fewer messages are left out.
        level: how probable it is, at most, that a language without any meaning has a morpheme.
        places: whether the same symbols at other slots are another form.

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
    forms = Patterns(corpus, longest, least, places)
    alive, sizes = forms.said.copy(), np.array([len(form) for form in forms.forms])
    atoms = sorted(frozenset().union(*meanings))
    number = {atom: i for i, atom in enumerate(atoms)}
    meant = np.zeros((len(corpus), len(atoms)), dtype=bool)
    for row, about in enumerate(meanings):
        meant[row, [number[atom] for atom in about]] = True
    kinds = _subsets(meant, largest, least)
    said_first, meant_first = int(alive.sum()), int(meant.sum())
    explains, begins = np.full(alive.shape, -1, dtype=np.int64), np.zeros(alive.shape, dtype=bool)
    found: list[Morpheme] = []
    if forms.forms and kinds:
        there, about = forms.there(alive), _there(meant, kinds)
        f, m, together = pairs_together(there, about)
        images, said, uses = len(corpus), *(np.asarray(x.sum(axis=0)) for x in (there, about))
        p, bar = luck(together, said[f], np.full(len(f), images), uses[m]), level / (len(said) * len(uses))
        # Pairs that are sure in the whole language; no other can become sure in a part of it.
        sure = p <= bar
        f, m, p = f[sure], m[sure], p[sure]
        weight = np.array([len(kind) for kind in kinds])
        while len(f):
            bits = _information(there, about, f, m)
            # Of equal ones that with the longest form, then with the largest meaning.
            equal = np.flatnonzero(bits >= bits.max() - 1e-9)
            best = equal[np.lexsort((-m[equal], -f[equal], weight[m[equal]], sizes[f[equal]]))[-1]]
            form, kind = int(f[best]), kinds[m[best]]
            one, other = (x.toarray()[:, 0] for x in (there[:, [form]], about[:, [m[best]]]))
            rows = np.flatnonzero(one * other)
            if bits[best] <= 0 or luck(*np.array([[len(rows)], [one.sum()], [images], [other.sum()]]))[0] > bar:
                break
            for row, slots in forms.occurrences(alive, form, rows):
                alive[row, slots] = False
                explains[row, forms.order[row, slots]] = len(found)
                begins[row, forms.order[row, slots[0]]] = True
            meaning = tuple(atoms[a] for a in kind)
            found.append(
                Morpheme(forms.forms[form], forms.names[form], meaning, float(bits[best]), len(rows), float(p[best]))
            )
            meant[np.ix_(rows, np.array(kind))] = False
            f, m, p = np.delete(f, best), np.delete(m, best), np.delete(p, best)
            there, about = forms.there(alive), _there(meant, kinds)
    pairs = len({(m.name, m.meaning) for m in found})
    of_forms, of_meanings = {m.name for m in found}, {m.meaning for m in found}
    return Inventory(
        tuple(found),
        1 - float(alive.sum()) / said_first if said_first else 0.0,
        1 - float(meant.sum()) / meant_first if meant_first else 0.0,
        pairs / len(of_meanings) if found else float("nan"),
        pairs / len(of_forms) if found else float("nan"),
        explains,
        begins,
    )


def inventory_table(inventory: Inventory) -> pd.DataFrame:
    """A row for each morpheme, as CSV takes it.

    Returns:
        ``form``, ``meaning``, ``bits``, ``messages``, ``p``; ``synonyms``: how many forms have this meaning, and
        ``senses``: how many meanings have this form, this one counted.
    """
    forms, meanings = (Counter(getattr(m, part) for m in inventory.morphemes) for part in ("name", "meaning"))
    return pd.DataFrame(
        [
            (m.name, " ".join(m.meaning), m.bits, m.messages, m.p, meanings[m.meaning], forms[m.name])
            for m in inventory.morphemes
        ],
        columns=["form", "meaning", "bits", "messages", "p", "synonyms", "senses"],
    )  # fmt: skip


def segment_table(corpus: Corpus, inventory: Inventory) -> pd.DataFrame:
    """Every message in its morphemes.

    Args:
        corpus: the language.
        inventory: of it.

    Returns:
        A row for each piece of each message, in the order of its first symbol: ``message`` (its number), ``file``,
        ``form``, ``places`` (slots, or ``row:column`` of patches), ``meaning``; ``?`` where no morpheme explains the
        symbols.
    """
    ids, said = spoken_ids(corpus.symbols, corpus.mask)
    places = place_names(corpus)
    rows: list[tuple[int, str, str, str, str]] = []
    for message in range(len(corpus)):
        pieces: list[tuple[int, list[int]]] = []
        open_: dict[int, int] = {}
        for slot in np.flatnonzero(said[message]).tolist():
            number = int(inventory.explains[message, slot])
            if number >= 0 and not inventory.begins[message, slot] and number in open_:
                pieces[open_[number]][1].append(slot)
            elif number < 0 and pieces and pieces[-1][0] < 0:
                pieces[-1][1].append(slot)
            else:
                open_[number] = len(pieces)
                pieces.append((number, [slot]))
        for number, slots in pieces:
            morpheme = inventory.morphemes[number] if number >= 0 else None
            rows.append(
                (
                    message, corpus.files[message] if corpus.files else "",
                    morpheme.name if morpheme else " ".join(str(ids[message, slot]) for slot in slots),
                    " ".join(places[slot] for slot in slots),
                    " ".join(morpheme.meaning) if morpheme else UNKNOWN,
                )
            )  # fmt: skip
    return pd.DataFrame(rows, columns=["message", "file", "form", "places", "meaning"])


def in_lines(inventory: Inventory, most: int = 20) -> list[str]:
    """The inventory in lines, the morphemes that explain most messages first.

    Args:
        inventory: of a language.
        most: how many morphemes are shown.
    """
    found = inventory.morphemes
    if not found:
        return ["no morpheme: no group of symbols goes with anything that is meant, beyond luck"]
    lines = [
        f"{len(found)} morphemes explain {100 * inventory.explained_symbols:.1f} % of the symbols said and "
        f"{100 * inventory.explained_atoms:.1f} % of what is meant; a meaning has {inventory.synonymy:.2f} forms, "
        f"a form {inventory.polysemy:.2f} meanings"
    ]
    shown = sorted(found, key=lambda m: -m.messages)[:most]
    lines += [f"{m.name}: {' '.join(m.meaning)} ({m.messages:,} messages, p = {m.p:.2g})" for m in shown]
    return lines + ([f"and {len(found) - most} more"] if len(found) > most else [])


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


def _information(
    there: csr_array, about: csr_array, forms: NDArray[np.int64], meanings: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mutual information of being there and being meant, in bits, of some pairs; 0 where they avoid each other."""
    n = there.shape[0]
    both = np.asarray((there.T @ about).todense(), dtype=float)[forms, meanings]
    f, m = np.asarray(there.sum(axis=0), dtype=float)[forms], np.asarray(about.sum(axis=0), dtype=float)[meanings]
    total = np.zeros(both.shape)
    for joint, left, right in (
        (both, f, m),
        (f - both, f, n - m),
        (m - both, n - f, m),
        (n - f - m + both, n - f, n - m),
    ):
        by_luck = left * right / n
        ratio = np.divide(joint, by_luck, out=np.ones_like(joint), where=(joint > 0) & (by_luck > 0))
        total += joint / n * np.log2(ratio)
    return np.where(both * n > f * m, total, 0.0)
