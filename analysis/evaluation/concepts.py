"""What is known of the items and their patches, as a list of concepts to hold symbols against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.corpus.corpus import Corpus
from analysis.metrics.concept_association import lift
from analysis.metrics.statistics.concept_counts import counted_at_once, counter
from analysis.metrics.statistics.joint_counts import Counted

# A symbol and a value are shown as belonging together only from here on, in standard deviations of shuffled languages.
SURE = 4.0
# And only where they stand out more than the most outstanding pair in this share of shuffled languages: of symbols that
# few images have, some pair always looks sure.
_SHARE = 0.95
# Cells of shuffled languages, of 24 bytes each.
_REMEMBERED = 1 << 22


@dataclass(frozen=True, eq=False)
class Concept:
    """One thing that items or patches differ in.

    Attributes:
        name: of it (``"colour"``).
        values: int64 ``[N]`` of items or ``[N, T]`` of slots; -1 where it is not known.
        value_names: by number, at least as many as there are values.
    """

    name: str
    values: NDArray[np.int64]
    value_names: tuple[str, ...]


def concepts_of(corpus: Corpus) -> list[Concept]:
    """Concepts of patches, of items, and the label unless it is one of them.

    Those of which nothing is known are left out.

    Args:
        corpus: the record of a language.
    """
    found = []
    if corpus.patch_attributes is not None and corpus.symbols_per_patch:
        for i in range(corpus.patch_attributes.shape[2]):
            slots = np.repeat(corpus.patch_attributes[:, :, i], corpus.symbols_per_patch, axis=1)  # [N, T]
            name = f"{_name(corpus.patch_attribute_names, i)} of the patch"
            found.append(_concept(name, slots, corpus.patch_value_names[i : i + 1]))
    columns = [] if corpus.attributes is None else list(corpus.attributes.T)
    for i, column in enumerate(columns):
        found.append(_concept(_name(corpus.attribute_names, i), column, corpus.value_names[i : i + 1]))
    if corpus.labels is not None and not any(np.array_equal(corpus.labels, column) for column in columns):
        found.append(_concept("class", corpus.labels, (corpus.label_names,)))
    return [concept for concept in found if (concept.values >= 0).any()]


def _name(names: tuple[str, ...], index: int) -> str:
    return names[index] if index < len(names) else f"attribute {index + 1}"


def _concept(name: str, values: NDArray[np.int64], names: tuple[tuple[str, ...], ...]) -> Concept:
    given = names[0] if names else ()
    most = int(values.max(initial=-1)) + 1
    return Concept(name, values, tuple(given) + tuple(str(v) for v in range(len(given), most)))


@dataclass(frozen=True, eq=False)
class Cells:
    """Each symbol against each value of a concept.

    Attributes:
        counts: how often they meet, int64 ``[V, C]``.
        lift: how many times more often than if they had nothing to do with each other, float ``[V, C]``; 1 is chance,
            NaN where a symbol or a value does not occur.
        z: how many standard deviations above shuffled languages, float ``[V, C]``; 0 where they do not differ at all.
        sure: which symbols and values meet far more often than in shuffled languages, bool ``[V, C]``. In 95 % of
            languages without meaning there is none.
    """

    counts: NDArray[np.int64]
    lift: NDArray[np.float64]
    z: NDArray[np.float64]
    sure: NDArray[np.bool_]


def cells(corpus: Corpus, concept: Concept, *, draws: int = 100, seed: int = 0) -> Cells:
    """Counts how often each symbol meets each value, in the language and in shuffled ones.

    A shuffled language gives whole messages to other items, so that the patches of an image stay together.

    Args:
        corpus: the record of a language.
        concept: of `concepts_of`.
        draws: shuffled languages, at least 2.
        seed: seed of the shuffling.
    """
    return cells_of(corpus, [concept], draws=draws, seed=seed)[0]


def cells_of(corpus: Corpus, concepts: Sequence[Concept], *, draws: int = 100, seed: int = 0) -> list[Cells]:
    """`cells` of several concepts: the same numbers as one by one, in less time.

    Args:
        corpus: the record of a language.
        concepts: of `concepts_of`.
        draws: shuffled languages, at least 2, the same for all concepts.
        seed: seed of the shuffling.
    """
    held = [values if (values := concept.values).ndim == 2 else values[:, None] for concept in concepts]
    found: dict[int, Cells] = {}
    for part in counted_at_once(held):
        widths = [len(concepts[at].value_names) for at in part]
        found |= zip(part, _cells_of(corpus, [held[at] for at in part], widths, draws, seed), strict=True)
    return [found[at] for at in range(len(concepts))]


def _cells_of(
    corpus: Corpus, held: Sequence[NDArray[np.int64]], widths: Sequence[int], draws: int, seed: int
) -> Iterator[Cells]:
    shapes = [(corpus.vocab_size, width) for width in widths]
    count = counter(corpus.mask, corpus.symbols[corpus.mask], corpus.vocab_size, held, widths)

    def shuffled() -> Iterator[Sequence[Counted]]:
        """The cells met in each shuffled language, and how often."""
        rng = np.random.default_rng(seed)
        for _ in range(draws):
            yield count(rng.permutation(len(corpus)))

    # They are remembered where that takes little, and made again else.
    largest = sum(min(v * c, int(corpus.mask.sum())) for v, c in shapes)
    tables = list(shuffled()) if draws * largest <= _REMEMBERED else None
    totals, squares = ([np.zeros(shape) for shape in shapes] for _ in range(2))
    for drawn in tables or shuffled():
        for total, square, met in zip(totals, squares, drawn, strict=True):
            total[met.rows, met.columns] += met.counts
            square[met.rows, met.columns] += np.square(met.counts, dtype=float)
    means = [total / draws for total in totals]
    # A pair too rare to vary among the draws must not look infinitely sure.
    deviations = [
        np.sqrt(np.maximum(np.maximum(square - draws * mean**2, 0) / (draws - 1), 1 / draws))
        for square, mean in zip(squares, means, strict=True)
    ]
    # Cells that are not met lie below their mean.
    highest = [
        [
            float(((m.counts - mean[m.rows, m.columns]) / deviation[m.rows, m.columns]).max(initial=0))
            for m, mean, deviation in zip(drawn, means, deviations, strict=True)
        ]
        for drawn in tables or shuffled()
    ]
    for at, (met, mean, deviation) in enumerate(zip(count(slice(None)), means, deviations, strict=True)):
        counts = met.dense(shapes[at])
        z = (counts - mean) / deviation
        surer = max(SURE, float(np.quantile([drawn[at] for drawn in highest], _SHARE)))
        yield Cells(counts, lift(counts), z, sure=(z > surer) & (counts >= 5))
