"""How much of the language fits a dictionary of one symbol per concept and one concept per symbol? (metric sheet, M14).

Carmeli, Belinkov and Meir 2024, "Concept-best-matching: evaluating compositionality in emergent communication"
(arXiv:2403.14705). Unlike their code, it matches no symbol to a concept with which it never occurs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from analysis.metrics.checks import check_attributes, check_concepts, check_messages
from analysis.metrics.result import Result, against_null, undefined
from analysis.metrics.statistics.joint_counts import Joint, count_pairs


@dataclass(frozen=True)
class Match:
    """An entry of the dictionary: this symbol means that value of that attribute, and was said of it so often."""

    symbol: int
    attribute: int
    value: int
    count: int


@dataclass(frozen=True)
class BestMatching:
    """How well the best dictionary fits.

    The dictionary makes the number of good tokens as large as it can be: those that are said of the concept that they
    mean. Edges are as many as there are symbols or concepts, whichever are more, summed over messages.

    Attributes:
        score: good tokens over edges, 0 to 1; ``n`` counts messages, or slots. The null gets the best dictionary for
            each shuffled language.
        ambiguous: tokens said of other concepts than they mean, over edges, 0 to 1.
        paraphrase: tokens that are not in the dictionary, over edges, 0 to 1: synonyms, and whatever means nothing.
        unmatched: share of the concepts to be told that no symbol means, 0 to 1.
        precision: different good symbols over the length of the message, the mean of messages, 0 to 1.
        recall: share of its concepts for which a message has the symbol, the mean of messages, 0 to 1.
        dictionary: by count, most frequent first.
    """

    score: Result
    ambiguous: float = math.nan
    paraphrase: float = math.nan
    unmatched: float = math.nan
    precision: float = math.nan
    recall: float = math.nan
    dictionary: tuple[Match, ...] = ()


@dataclass(frozen=True, eq=False)
class _Language:
    """Tokens, and what they are judged against: units, which are messages or slots.

    Attributes:
        words: number of each token's symbol, ``[K]``.
        units: which unit each token is in, ``[K]``.
        symbols: ids by number.
        codes: number of each concept, ``[N, 1 or T, A]``; -1 where not known.
        concepts: attribute and value by number, ``[C, 2]``.
        joint: what items say against what is known of them; None where concepts are those of slots.
    """

    words: NDArray[np.int64]
    units: NDArray[np.int64]
    symbols: NDArray[np.int64]
    codes: NDArray[np.int64]
    concepts: NDArray[np.int64]
    joint: Joint | None


class _Fit(NamedTuple):
    """What the best dictionary does; units that are silent or unknown do not count."""

    codes: NDArray[np.int64]  # of each unit, [units, A]
    spoken: NDArray[np.int64]  # tokens of each unit
    known: NDArray[np.int64]  # concepts of each unit
    together: NDArray[np.int64]  # [V, C]
    partner: NDArray[np.int64]  # concept of each symbol, -1 without one
    score: float


def concept_best_matching(
    symbols: ArrayLike, mask: ArrayLike, concepts: ArrayLike, *, permutations: int = 100, seed: int = 0
) -> BestMatching:
    """Finds the one-to-one dictionary that fits best, and says how well it does.

    Limits: 1 if every symbol means one concept and each concept has one symbol. Chance is the share that the best
    dictionary of a meaningless language gets, which is high for few or uneven concepts; the null says. The null gives
    whole messages to other items. Linear in the number of tokens, but cubic in the size of the dictionary.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``.
        concepts: numbers from 0, -1 where not known: of the items ``[N]``, of what each slot shows ``[N, T]``, or with
            an axis of attributes, ``[N, 1, A]`` (``attributes[:, None]``) or ``[N, T, A]``; each value of each
            attribute is a concept. Concepts of slots are judged slot by slot, those of items message by message.
            What says nothing, or of which nothing is known, is not judged.
        permutations: shuffled languages.
        seed: seed of the shuffling.

    Returns:
        Undefined: ``nothing_said``, ``no_concepts`` (none is known of what was said), ``constant_concepts``.

    Raises:
        ValueError: messages or concepts are malformed.

    Example:
        >>> said = np.ones((6, 1), dtype=bool)
        >>> concepts = [0, 0, 1, 1, 2, 2]
        >>> found = concept_best_matching([[5], [5], [3], [3], [4], [4]], said, concepts)
        >>> found.score.value, [(match.symbol, match.value) for match in found.dictionary]
        (1.0, [(3, 1), (4, 2), (5, 0)])
        >>> found = concept_best_matching([[5], [3], [5], [3], [5], [3]], said, concepts)
        >>> round(found.score.value, 3), round(found.score.null_mean, 3)
        (0.333, 0.513)
    """
    ids, said = check_messages(symbols, mask)
    held = _check(concepts, ids.shape)
    language = _language(ids, said, held)
    fit = _fit(language, np.arange(len(ids)))
    n = int((fit.spoken > 0).sum())
    attributes_met = language.concepts[fit.together.any(axis=0), 0]
    if np.bincount(attributes_met, minlength=1).max() < 2:
        reason = "constant_concepts" if n else "no_concepts" if said.any() else "nothing_said"
        return BestMatching(undefined(reason, n))
    rng = np.random.default_rng(seed)
    null = [_fit(language, rng.permutation(len(ids))).score for _ in range(permutations)]
    found = _describe(language, fit, against_null(Result(fit.score, n), null))
    # By the ids that were given, also where they are numbered anew.
    given = np.asarray(concepts).reshape(held.shape)
    symbol = _ids(ids[said], np.asarray(symbols)[said])
    value = [_ids(held[:, :, a], given[:, :, a]) for a in range(held.shape[2])]
    entries = (replace(e, symbol=symbol[e.symbol], value=value[e.attribute][e.value]) for e in found.dictionary)
    return replace(found, dictionary=tuple(entries))


def _ids(numbers: NDArray[np.int64], given: NDArray[np.integer]) -> dict[int, int]:
    return dict(zip(np.unique(numbers).tolist(), np.unique(given).tolist(), strict=True))


def _describe(language: _Language, fit: _Fit, score: Result) -> BestMatching:
    matched = np.flatnonzero(fit.partner >= 0)
    counts = fit.together[matched, fit.partner[matched]]
    kept = (fit.spoken > 0)[language.units]
    words, units = language.words[kept], language.units[kept]
    said, edges = np.bincount(words, minlength=len(fit.partner)), np.maximum(fit.spoken, fit.known).sum()
    held = np.bincount(fit.codes[fit.spoken > 0].reshape(-1) + 1, minlength=fit.together.shape[1] + 1)[1:]
    good = (fit.codes[units] == np.where(fit.partner < 0, -2, fit.partner)[words, None]).any(axis=1)
    different = np.unique(units[good] * len(said) + words[good]) // len(said)
    named = np.bincount(different, minlength=len(fit.spoken))[fit.spoken > 0]
    entries = []
    for symbol, concept, count in zip(language.symbols[matched], fit.partner[matched], counts, strict=True):
        attribute, value = language.concepts[concept]
        entries.append(Match(int(symbol), int(attribute), int(value), int(count)))
    return BestMatching(
        score=score,
        ambiguous=float((said[matched].sum() - counts.sum()) / edges),
        paraphrase=float((said.sum() - said[matched].sum()) / edges),
        unmatched=float(1 - held[fit.partner[matched]].sum() / held.sum()),
        precision=float((named / fit.spoken[fit.spoken > 0]).mean()),
        recall=float((named / fit.known[fit.spoken > 0]).mean()),
        dictionary=tuple(sorted(entries, key=lambda entry: -entry.count)),
    )


def _fit(language: _Language, order: NDArray[np.int64]) -> _Fit:
    items, places, attributes = language.codes.shape
    codes = language.codes[order].reshape(items * places, attributes)
    spoken = np.bincount(language.units, minlength=len(codes))
    known = (codes >= 0).sum(axis=1)
    spoken, known = spoken * (known > 0), known * (spoken > 0)
    tables = [np.zeros((len(language.symbols), 0), dtype=np.int64)]
    if language.joint is not None:
        tables += language.joint.tables(order)
    else:
        for column, size in _columns(codes, language.concepts):
            pairs = count_pairs(language.words, column[language.units], size)
            tables.append(pairs.dense((len(language.symbols), size)))
    together = np.concatenate(tables, axis=1)
    rows, columns = linear_sum_assignment(together, maximize=True)
    good = together[rows, columns]
    partner = np.full(len(together), -1)
    partner[rows[good > 0]] = columns[good > 0]
    edges = np.maximum(spoken, known).sum()
    return _Fit(codes, spoken, known, together, partner, float(good.sum() / edges) if edges else math.nan)


def _language(ids: NDArray[np.int64], said: NDArray[np.bool_], held: NDArray[np.int64]) -> _Language:
    items, slots = np.nonzero(said)
    symbols, words = np.unique(ids[said], return_inverse=True)
    codes = np.full(held.shape, -1)
    concepts: list[tuple[int, int]] = []
    for attribute in range(held.shape[2]):
        column = held[:, :, attribute]
        values, numbers = np.unique(column[column >= 0], return_inverse=True)
        codes[column >= 0, attribute] = numbers.reshape(-1) + len(concepts)
        concepts += [(attribute, value) for value in values]
    units = items if held.shape[1] == 1 else items * held.shape[1] + slots
    words, numbered = words.reshape(-1), np.array(concepts, dtype=np.int64).reshape(-1, 2)
    joint = None
    if held.shape[1] == 1 and len(numbered):
        columns, sizes = zip(*_columns(codes[:, 0], numbered), strict=True)
        joint = Joint(items, words, len(symbols), columns, sizes)
    return _Language(words, units, symbols, codes, numbered, joint)


def _columns(codes: NDArray[np.int64], concepts: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], int]]:
    """Of each attribute of which something is known the numbers ``[units]``, from 0 or -1, and how many they are."""
    # The concepts of an attribute have numbers without gaps, so that each attribute is counted in its own columns.
    sizes = np.bincount(concepts[:, 0], minlength=codes.shape[1])
    starts = np.cumsum(sizes) - sizes
    columns = (np.where(column < 0, -1, column - start) for column, start in zip(codes.T, starts, strict=True))
    return [(column, int(size)) for column, size in zip(columns, sizes, strict=True) if size]


def _check(concepts: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Concepts as ``[N, 1 or T, A]``."""
    held = np.asarray(concepts)
    if held.ndim != 3:
        return check_concepts(held, shape)[:, :, None]
    if held.shape[:2] not in ((shape[0], 1), shape):
        raise ValueError(f"expected concepts of items {(shape[0], 1)} or of slots {shape}, got shape {held.shape}")
    # An attribute's values have the same numbers at all slots.
    table = held.reshape(held.shape[0] * held.shape[1], held.shape[2])
    return check_attributes(table, table).reshape(held.shape)
