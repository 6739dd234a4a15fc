"""Every distance against a loop written from its definition, SciPy and EGG's formula; blocks against the whole."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein
from scipy.spatial.distance import pdist

from analysis.metrics.statistics import pairwise as pairs
from analysis.metrics.statistics.distances import (
    known_items,
    meaning_distances,
    meaning_pairs,
    message_distances,
    message_pairs,
)

MESSAGE_KINDS = ["edit", "edit_mean", "edit_max", "hamming", "bag", "jaccard"]
MEANING_KINDS = ["hamming", "jaccard", "cosine", "euclidean"]


def language(n: int = 40, slots: int = 7, vocab: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = rng.random((n, slots)) < rng.random((n, 1))
    mask[:2] = False
    return rng.integers(0, vocab, (n, slots)), mask


def attributes(n: int = 40, unknown: float = 0.3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random((n, 5)) < unknown, -1, rng.integers(0, 3, (n, 5)))


def vectors(n: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 6))


def edits(one: list[int], other: list[int]) -> int:
    """Wagner and Fischer's table."""
    table = np.zeros((len(one) + 1, len(other) + 1), dtype=int)
    table[:, 0], table[0] = np.arange(len(one) + 1), np.arange(len(other) + 1)
    for i, a in enumerate(one, 1):
        for j, b in enumerate(other, 1):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a != b))
    return int(table[-1, -1])


def by_hand(symbols: np.ndarray, mask: np.ndarray, kind: str) -> list[float]:
    found = []
    for i, j in combinations(range(len(symbols)), 2):
        one, other = symbols[i][mask[i]].tolist(), symbols[j][mask[j]].tolist()
        if kind == "hamming":
            slots = zip(np.where(mask, symbols, -1)[i], np.where(mask, symbols, -1)[j], strict=True)
            found.append(np.mean([a != b for a, b in slots]))
        elif not one and not other:
            found.append(0.0)
        elif kind == "bag":
            found.append(1 - 2 * (Counter(one) & Counter(other)).total() / (len(one) + len(other)))
        elif kind == "jaccard":
            found.append(1 - len(set(one) & set(other)) / len(set(one) | set(other)))
        else:
            by = {"edit": 1, "edit_mean": (len(one) + len(other)) / 2, "edit_max": max(len(one), len(other))}[kind]
            found.append(edits(one, other) / by)
    return found


@pytest.mark.parametrize("kind", MESSAGE_KINDS)
def test_messages_against_a_loop(kind: str) -> None:
    symbols, mask = language()
    np.testing.assert_allclose(message_distances(symbols, mask, kind), by_hand(symbols, mask, kind), atol=1e-15)


def test_full_messages_against_scipy() -> None:
    symbols, _ = language()
    said = np.ones_like(symbols, dtype=bool)
    counts = (symbols[..., None] == np.arange(4)).sum(axis=1)
    np.testing.assert_allclose(message_distances(symbols, said, "hamming"), pdist(symbols, "hamming"))
    np.testing.assert_allclose(message_distances(symbols, said, "bag"), pdist(counts, "braycurtis"), atol=1e-15)


@pytest.mark.parametrize("vocab", [200, 257, 70_000, 10**12])
def test_edits_between_strings_are_those_between_integers(vocab: int) -> None:
    rng = np.random.default_rng(0)
    # Few of many symbols, so that messages have some in common.
    symbols = rng.choice(rng.integers(0, vocab, 400), (60, 12))
    mask = rng.random(symbols.shape) < 0.7
    rows = [tuple(row[kept].tolist()) for row, kept in zip(symbols, mask, strict=True)]
    expected = [Levenshtein.distance(a, b) for a, b in combinations(rows, 2)]
    assert message_distances(symbols, mask).tolist() == expected


def test_known_meanings_against_scipy() -> None:
    known, points = attributes(unknown=0), vectors()
    one_hot = (known[..., None] == np.arange(3)).reshape(len(known), -1)
    np.testing.assert_allclose(meaning_distances(known), pdist(known, "hamming"))
    np.testing.assert_allclose(meaning_distances(known, "jaccard"), pdist(one_hot, "jaccard"))
    np.testing.assert_allclose(meaning_distances(one_hot, "jaccard"), pdist(one_hot, "jaccard"))
    for kind in ("cosine", "euclidean"):
        np.testing.assert_allclose(meaning_distances(points, kind), pdist(points, kind), atol=1e-14)


@pytest.mark.parametrize("kind", ["hamming", "jaccard"])
def test_unknown_attributes_are_left_out(kind: str) -> None:
    table, expected = attributes(unknown=0.6), []
    for one, other in combinations(table, 2):
        both, same = (one >= 0) & (other >= 0), ((one == other) & (one >= 0)).sum()
        union = (one >= 0).sum() + (other >= 0).sum() - same
        hamming = 1 - same / both.sum() if both.any() else 1.0
        expected.append(hamming if kind == "hamming" else 1 - same / union if union else 0.0)
    np.testing.assert_allclose(meaning_distances(table, kind), expected)


def test_which_items_have_a_meaning() -> None:
    assert known_items(np.array([[-1, -1], [-1, 0]]), "hamming").tolist() == [False, True]
    assert known_items(np.array([[-1, -1], [-1, 0]]), "jaccard").tolist() == [True, True]
    points = np.array([[0, 0], [np.nan, 1], [np.inf, 1], [0, 1e-300]])
    assert known_items(points, "cosine").tolist() == [False, False, False, True]
    assert known_items(points, "euclidean").tolist() == [True, False, False, True]


def test_directions_of_any_length_and_of_none() -> None:
    points = np.array([[1e-300, 0], [1e300, 1e300], [0, 3], [0, 0]])
    half = 1 - np.sqrt(0.5)
    np.testing.assert_allclose(meaning_distances(points, "cosine"), [half, 1, 1, half, 1, 1])


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_blocks_are_the_whole(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    symbols, mask = language()
    whole = {kind: message_distances(symbols, mask, kind) for kind in MESSAGE_KINDS}
    meanings = {kind: attributes() if kind in ("hamming", "jaccard") else vectors() for kind in MEANING_KINDS}
    whole_meanings = {kind: meaning_distances(table, kind) for kind, table in meanings.items()}
    monkeypatch.setattr(pairs, "_PAIRS_PER_BLOCK", 40 * rows)
    for kind, expected in whole.items():
        blocks = list((found := message_pairs(symbols, mask, kind)).blocks())
        assert len(blocks) == -(-40 // rows)
        np.testing.assert_array_equal(found.levels[np.concatenate(blocks)], expected)
    for kind, expected in whole_meanings.items():
        found = meaning_pairs(meanings[kind], kind)
        np.testing.assert_allclose(found.levels[found.indices()], expected, atol=1e-11)
        assert [len(block) for block in found.blocks()] == [len(block) for block in blocks]


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_floats_of_many_items_are_told_apart_to_a_millionth(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    points = vectors()
    monkeypatch.setattr(pairs, "_EXACT_ITEMS", 10)
    found = meaning_pairs(points, kind)
    reach = found.levels[-1]
    np.testing.assert_allclose(found.levels[found.indices()], pdist(points, kind), rtol=0, atol=reach * 2.0**-21)


def test_rounding_breaks_no_ties() -> None:
    one_hot = np.eye(3)[attributes(unknown=0)].reshape(40, -1)
    # In floats, cosines of one share of equal attributes come out as several numbers.
    assert len(np.unique(meaning_pairs(one_hot / 3, "cosine").indices())) <= 6
    assert (np.diff(message_pairs(*language(), "edit_mean").levels) > 1e-9).all()


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (0, 0), (3, 0), (3, 4)])
def test_nothing_to_compare_is_no_error(shape: tuple[int, int]) -> None:
    expected = np.zeros(shape[0] * (shape[0] - 1) // 2)
    for kind in MESSAGE_KINDS:
        found = message_distances(np.zeros(shape, dtype=int), np.zeros(shape, dtype=bool), kind)
        np.testing.assert_array_equal(found, expected)
    for kind in MEANING_KINDS:
        found = meaning_distances(np.zeros(shape, dtype=int), kind)
        # Without a direction, or without an attribute, nothing is alike.
        far = kind == "cosine" or (kind == "hamming" and not shape[1])
        np.testing.assert_array_equal(found, expected + far)


@pytest.mark.parametrize("kind", MESSAGE_KINDS)
def test_names_and_padding_do_not_matter(kind: str) -> None:
    symbols, mask = language()
    other = np.where(mask, np.array([900, 3, 70_000, 0])[symbols], -77)
    np.testing.assert_array_equal(message_distances(other, mask, kind), message_distances(symbols, mask, kind))


def test_errors_say_what_is_wrong() -> None:
    symbols, mask = language()
    with pytest.raises(ValueError, match="'words': choose from"):
        message_distances(symbols, mask, "words")
    with pytest.raises(ValueError, match="'words': choose from"):
        meaning_distances(symbols, "words")
    with pytest.raises(ValueError, match="float64: 'hamming' takes integers"):
        meaning_distances(vectors())
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        meaning_distances(np.zeros(3), "cosine")
    with pytest.raises(ValueError, match="1 meanings are not finite"):
        meaning_distances(np.array([[0, np.nan], [1, 1]]), "cosine")
