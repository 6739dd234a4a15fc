"""One symbol per concept: the metric sheet's values (M14), a slow count of tokens, limits and shuffled languages."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from analysis.metrics.concept_matching import BestMatching, Match, concept_best_matching

# Two attributes of three values, a word for each value.
GRID = np.array(list(itertools.product(range(3), repeat=2)))
WORDS = GRID + np.array([0, 3])


def everything(symbols: np.ndarray) -> np.ndarray:
    return np.ones(np.shape(symbols), dtype=bool)


def match(words: list[list[int]], concepts: object) -> BestMatching:
    symbols = np.array(words)
    return concept_best_matching(symbols, everything(symbols), np.array(concepts), permutations=0)


def shares(found: BestMatching) -> list[float]:
    return [found.score.value, found.ambiguous, found.paraphrase, found.unmatched, found.precision, found.recall]


def slow_match(units: list[tuple[list[int], list[tuple[int, int]]]], dictionary: tuple[Match, ...]) -> list[float]:
    """What Carmeli et al. count, token by token, on words and concepts of each unit; dictionaries may tie."""
    units = [(words, concepts) for words, concepts in units if words and concepts]
    words = sorted({w for unit in units for w in unit[0]})
    concepts = sorted({c for unit in units for c in unit[1]})
    together = Counter((w, c) for unit in units for w, c in itertools.product(*unit))
    weights = np.array([[together[w, c] for c in concepts] for w in words])
    meaning = {entry.symbol: (entry.attribute, entry.value) for entry in dictionary}
    assert len(set(meaning.values())) == len(meaning) == len(dictionary)
    assert [together[pair] for pair in meaning.items()] == [entry.count for entry in dictionary]
    best = weights[linear_sum_assignment(-weights)].sum()
    edges = sum(max(map(len, unit)) for unit in units)
    kinds, precision, recall = Counter(), [], []
    for said, held in units:
        kinds.update("paraphrase" if w not in meaning else "good" if meaning[w] in held else "ambiguous" for w in said)
        good = {w for w in said if meaning.get(w) in held}
        precision.append(len(good) / len(said))
        recall.append(len(good) / len(held))
    assert kinds["good"] == best
    told = [c in meaning.values() for _, held in units for c in held]
    return [
        *(kinds[kind] / edges for kind in ("good", "ambiguous", "paraphrase")),
        1 - np.mean(told), np.mean(precision), np.mean(recall),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "concepts", "expected"),
    [
        # Score, ambiguous, paraphrase, unmatched.
        ([[0], [0], [1], [2]], [0, 0, 0, 1], [0.75, 0, 0.25, 0]),
        ([[0], [0], [0], [2]], [0, 0, 1, 2], [0.75, 0.25, 0, 0.25]),
        (WORDS, GRID[:, None], [1, 0, 0, 0]),
        (WORDS, GRID[:, :, None] + [[0], [3]], [1, 0, 0, 0]),
    ],
)
def test_matching_of_the_sheet(words: list[list[int]], concepts: object, expected: list[float]) -> None:
    assert shares(match(words, concepts))[:4] == pytest.approx(expected)


def test_a_dictionary_comes_with_attributes_and_counts() -> None:
    found = match(WORDS[1:], GRID[1:, None])
    assert shares(found) == [1, 0, 0, 0, 1, 1]
    assert set(found.dictionary) == {Match(v + 3 * a, a, v, 2 if v == 0 else 3) for a in (0, 1) for v in range(3)}
    assert [entry.count for entry in found.dictionary] == [3, 3, 3, 3, 2, 2]
    # A word for three attributes leaves two of them unsaid; a word said twice counts once towards precision.
    assert match([[0, 0], [1, 1]], [0, 1]).precision == 0.5
    three = match([[0], [1]], [[[0, 0, 0]], [[1, 1, 1]]])
    assert (three.score.value, three.recall, three.unmatched) == pytest.approx((1 / 3, 1 / 3, 2 / 3))


@pytest.mark.parametrize("seed", range(6))
def test_matching_equals_a_slow_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask, concepts = rng.random((25, 4)) < 0.7, rng.integers(-1, 5, (25, 4, 2))
    symbols = np.where(rng.random((25, 4)) < 0.6, concepts[:, :, 0] + 1, rng.integers(0, 9, (25, 4)))
    of_items = [
        (row[said].tolist(), [(a, int(v)) for a, v in enumerate(held) if v >= 0])
        for row, said, held in zip(symbols, mask, concepts[:, 0], strict=True)
    ]
    of_slots = [
        ([int(symbols[i, t])], [(a, int(v)) for a, v in enumerate(concepts[i, t]) if v >= 0])
        for i, t in np.argwhere(mask)
    ]
    for units, held in ((of_items, concepts[:, :1]), (of_slots, concepts)):
        found = concept_best_matching(symbols, mask, held, permutations=0)
        assert shares(found) == pytest.approx(slow_match(units, found.dictionary))
        assert found.score.n == sum(bool(words and known) for words, known in units)
    flat = concept_best_matching(symbols, mask, concepts[:, :, 0], permutations=0)
    assert flat == concept_best_matching(symbols, mask, concepts[:, :, :1], permutations=0)


def test_symbols_and_concepts_that_never_meet_are_not_matched() -> None:
    found = match([[0], [1], [1]], [0, 0, 1])
    assert {(entry.symbol, entry.value) for entry in found.dictionary} == {(0, 0), (1, 1)}
    # Symbol 1 and concept 1 are both left over, and have nothing to do with each other.
    left = match([[0], [0], [0], [1], [0]], [0, 0, 0, 0, 1])
    assert shares(left)[:4] == pytest.approx([0.6, 0.2, 0.2, 0.2]) and left.dictionary == (Match(0, 0, 0, 3),)
    apart = match([[0], [1], [2]], [0, 0, 1])
    assert len(apart.dictionary) == 2 and apart.paraphrase == pytest.approx(1 / 3)


def test_the_null_finds_a_dictionary_in_each_shuffled_language() -> None:
    gaps, ps = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed + 1000)
        symbols, concepts = rng.integers(0, 6, (30, 4)), rng.integers(0, 3, 30)
        found = concept_best_matching(symbols, everything(symbols), concepts, permutations=19, seed=seed).score
        gaps.append((found.value - found.null_mean) / found.null_std)
        ps.append(found.p)
    # Scores are few and often tie, which makes p larger, never smaller.
    assert abs(np.mean(gaps)) < 0.5 and 0.4 < np.mean(ps) < 0.75 and np.mean(np.array(ps) <= 0.1) < 0.25
    order = np.random.default_rng(2).permutation(30)
    shuffled = concept_best_matching(symbols, everything(symbols), concepts[order], permutations=0).score.value
    found = concept_best_matching(symbols, everything(symbols), concepts, permutations=1, seed=2).score
    assert found.null_mean == pytest.approx(shuffled)
    perfect = concept_best_matching(concepts[:, None], np.ones((30, 1), bool), concepts, permutations=99).score
    assert (perfect.value, perfect.p) == (1, 0.01)


def test_matching_ignores_names_order_and_padding() -> None:
    rng = np.random.default_rng(3)
    symbols, mask = rng.integers(0, 3, (40, 3)), rng.random((40, 3)) < 0.6
    concepts = (symbols.sum(axis=1) + np.arange(40) % 2) % 4
    found = concept_best_matching(symbols, mask, concepts, permutations=0).score
    order = np.random.default_rng(0).permutation(40)
    for other in (
        (symbols[order], mask[order], concepts[order]),
        (np.array([70, 5, 11])[symbols], mask, concepts * 9),
        (np.where(mask, symbols, -9), mask, concepts),
    ):
        assert concept_best_matching(*other, permutations=0).score == found


@pytest.mark.parametrize(
    ("shape", "said", "concepts", "reason"),
    [
        ((0, 4), True, np.zeros(0, dtype=int), "nothing_said"),
        ((0, 4), True, np.zeros((0, 1, 2), dtype=int), "nothing_said"),
        ((3, 2), False, [0, 1, 2], "nothing_said"),
        ((3, 0), True, np.zeros((3, 0, 2), dtype=int), "nothing_said"),
        ((3, 2), True, [-1, -1, -1], "no_concepts"),
        ((3, 2), True, np.zeros((3, 1, 0), dtype=int), "no_concepts"),
        ((3, 2), True, [[[0, 5]], [[0, 5]], [[-1, 5]]], "constant_concepts"),
        ((1, 2), True, [2], "constant_concepts"),
    ],
)
def test_without_concepts_there_is_a_reason(shape: tuple[int, int], said: bool, concepts: object, reason: str) -> None:
    found = concept_best_matching(np.zeros(shape, int), np.full(shape, said), np.asarray(concepts), permutations=3)
    assert found.score.reason == reason and math.isnan(found.unmatched) and found.dictionary == ()


def test_errors_say_what_is_wrong() -> None:
    symbols = np.zeros((4, 1), dtype=int)
    with pytest.raises(ValueError, match=r"items \(4, 1\) or of slots \(4, 1\), got shape \(4, 2, 1\)"):
        concept_best_matching(symbols, everything(symbols), np.zeros((4, 2, 1), dtype=int))
    with pytest.raises(ValueError, match="-1 means not known"):
        concept_best_matching(symbols, everything(symbols), np.full((4, 1, 2), -3))


def test_the_dictionary_has_the_ids_that_were_given() -> None:
    symbols, concepts = np.array([[10**6], [2], [2**62]] * 4), np.array([7, 10**12, 70_000] * 4)
    found = concept_best_matching(symbols, np.ones_like(symbols), concepts, permutations=1)
    assert {(match.symbol, match.value) for match in found.dictionary} == {(10**6, 7), (2, 10**12), (2**62, 70_000)}
