"""Harris articulation: the metric sheet's values (M11), a slow loop from the paper, limits and shuffled languages."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from analysis.metrics.harris import Articulation, harris_articulation

WORDS = [(0, 1), (2, 3), (4, 5), (6, 7)]
TRIPLES = [sum(words, ()) for words in itertools.product(WORDS, repeat=3)]
Messages = list[tuple[int, ...]]


def arrays(messages: Messages, slots: int | None = None, seed: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and mask; with a seed, silent slots lie anywhere and hold anything."""
    rng = np.random.default_rng(seed)
    width = slots or max(map(len, messages), default=0)
    symbols, mask = np.zeros((len(messages), width), dtype=int), np.zeros((len(messages), width), dtype=bool)
    if seed is not None:
        symbols[:] = rng.integers(-9, 99, symbols.shape)
    for row, message in enumerate(messages):
        places = np.arange(len(message)) if seed is None else np.sort(rng.permutation(width)[: len(message)])
        symbols[row, places], mask[row, places] = message, True
    return symbols, mask


def pieces(found: Articulation) -> list[list[tuple[int, ...]]]:
    return [[found.vocabulary[w] for w in row[there]] for row, there in zip(found.words, found.mask, strict=True)]


def synthetic(attributes: int, values: int, slots: int = 36, vocabulary: int = 8) -> Messages:
    """As many words as attributes, of random symbols drawn as the paper's generator draws them with seed 0."""
    state = np.random.RandomState(0)
    size = slots // attributes
    words = [[tuple(state.choice(vocabulary, size) + 1) for _ in range(values)] for _ in range(attributes)]
    return [sum(said, ()) for said in itertools.product(*words)]


def slow(messages: Messages, threshold: float) -> tuple[float, list[list[tuple[int, ...]]], list[float]]:
    """Mean boundaries, pieces and conditional entropies in nats, from a count of every piece of every message."""
    counts = Counter(m[i:j] for m in messages for i in range(len(m)) for j in range(i + 1, len(m) + 1))
    counts[()] = sum(map(len, messages))
    alphabet = {m for message in messages for m in message}

    def branching(piece: tuple[int, ...]) -> float:
        often = [counts[(*piece, a)] for a in alphabet if counts[(*piece, a)]]
        return -sum(n / counts[piece] * math.log(n / counts[piece]) for n in often)

    found, cuts = 0, []
    for m in messages:
        ends = set()
        for i, j in itertools.combinations(range(len(m) + 1), 2):
            if (
                j - i >= 2
                and (j < len(m) or j - i == 2)
                and branching(m[i:j]) - branching(m[i : j - 1]) > threshold + 1e-12
            ):
                ends.add(j)
        found += len(ends)
        stops = sorted({0, len(m)} | ends)
        cuts.append([m[a:b] for a, b in itertools.pairwise(stops)])
    orders = []
    for order in range(max(map(len, messages)) + 1):
        weights = {p: n for p, n in counts.items() if len(p) == order}
        orders.append(sum(n * branching(p) for p, n in weights.items()) / sum(weights.values()))
    return found / len(messages), cuts, orders


def test_two_messages() -> None:
    found = harris_articulation(*arrays([(0, 1), (0, 2)]))
    assert found.conditional_entropy / math.log(2) == pytest.approx([1.5, 0.5, 0])
    assert found.boundaries.value == 0 and found.segments.value == 2


@pytest.mark.parametrize("bits", [0, 0.5, 1])
def test_words_of_two_symbols_are_found_exactly(bits: float) -> None:
    found = harris_articulation(*arrays(TRIPLES), threshold=bits * math.log(2))
    expected = [3, 0.8616541669, 1.0339850003, 0.75, 1, 0, 0]
    assert found.conditional_entropy / math.log(2) == pytest.approx(expected, abs=1e-9)
    assert sorted(found.vocabulary) == WORDS
    assert found.segments.value == 4 and found.segments.n == 192 and found.boundaries.value == 3.0
    assert pieces(found) == [[m[:2], m[2:4], m[4:]] for m in TRIPLES]
    assert found.boundaries.p == found.segments.p == pytest.approx(0.05)
    assert found.segments.null_mean > 40


@pytest.mark.parametrize(("attributes", "values", "boundaries", "count"), [(12, 2, 12.25, 33), (4, 8, 5.484375, 74)])
def test_the_papers_synthetic_languages(
    attributes: int, values: int, boundaries: float, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.metrics.harris._SHUFFLES", 1)
    found = harris_articulation(*arrays(synthetic(attributes, values)), threshold=0.5 * math.log(2))
    assert (found.boundaries.value, found.segments.value) == (boundaries, count)


@pytest.mark.parametrize("seed", range(6))
def test_equals_a_slow_loop_wherever_silence_lies(seed: int) -> None:
    rng = np.random.default_rng(seed)
    messages = [tuple(rng.integers(0, 2 + seed, rng.integers(1, 9)).tolist()) for _ in range(50)]
    threshold = 0.1 * (seed % 3)
    boundaries, cuts, orders = slow(messages, threshold)
    found = harris_articulation(*arrays(messages, slots=12, seed=seed), threshold=threshold)
    assert found.boundaries.value == pytest.approx(boundaries)
    assert found.conditional_entropy == pytest.approx(np.array(orders), abs=1e-12)
    assert pieces(found) == cuts
    assert found.segments.value == len({p for cut in cuts for p in cut})
    assert len(set(found.vocabulary)) == len(found.vocabulary) == found.segments.value


def test_counting_by_hashing_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    symbols, mask = rng.integers(0, 3, (60, 9)), rng.random((60, 9)) < 0.8
    found = harris_articulation(symbols, mask)
    monkeypatch.setattr("analysis.metrics.statistics.texts._TABLE", 0)
    other = harris_articulation(symbols, mask)
    assert (other.boundaries, other.segments, other.vocabulary) == (found.boundaries, found.segments, found.vocabulary)
    assert (other.words == found.words).all()


def test_words_of_silent_messages_and_of_short_ones() -> None:
    found = harris_articulation(*arrays([(), (1,), (1, 2), (), (3, 1)]))
    assert found.boundaries.n == 3
    assert pieces(found) == [[], [(1,)], [(1, 2)], [], [(3, 1)]]
    assert (found.words[~found.mask] == -1).all()


def test_frequent_words_come_first() -> None:
    found = harris_articulation(*arrays([(1, 2)] * 3 + [(4, 5)] * 5 + [(7, 7)]))
    assert found.vocabulary == ((4, 5), (1, 2), (7, 7))


def test_names_and_order_of_messages_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    symbols, mask = rng.integers(0, 3, (60, 8)), rng.random((60, 8)) < 0.9
    found = harris_articulation(symbols, mask)
    order = rng.permutation(60)
    other = harris_articulation(np.array([70, 2, 31])[symbols[order]], mask[order])
    assert (other.boundaries.value, other.segments.value) == (found.boundaries.value, found.segments.value)
    assert other.conditional_entropy == pytest.approx(found.conditional_entropy)


@pytest.mark.slow
def test_null_of_random_languages_is_calibrated() -> None:
    results = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        results.append(harris_articulation(rng.integers(0, 4, (40, 8)), rng.random((40, 8)) < 0.9, seed=seed))
    for p in (np.array([r.boundaries.p for r in results]), np.array([r.segments.p for r in results])):
        assert abs(p.mean() - 0.525) < 0.14 and (p <= 0.1).mean() < 0.22
    gap = np.array([r.conditional_entropy[:4] - r.shuffled_entropy[:4] for r in results])
    assert abs(gap.mean(0)).max() < 0.02


@pytest.mark.slow
def test_favorite_symbols_are_no_words() -> None:
    p = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        favorite, any_symbol = rng.integers(0, 20, (60, 1)), rng.integers(0, 20, (60, 10))
        symbols = np.where(rng.random((60, 10)) < 0.5, favorite, any_symbol)
        p.append(harris_articulation(symbols, np.ones((60, 10), dtype=bool), seed=seed).boundaries.p)
    # 0.05 is expected; with symbols shuffled across messages it was 0.27 to 0.32.
    assert np.mean(np.array(p) <= 0.05) <= 0.12


@pytest.mark.parametrize(
    ("messages", "slots", "reason"),
    [
        ([], 0, "all_silent"),
        ([], 3, "all_silent"),
        ([(), ()], 2, "all_silent"),
        ([(), ()], 0, "all_silent"),
        ([(1,), (2,), ()], 4, "single_symbols"),
        ([(1, 2, 3)], 3, "constant_messages"),
        ([(1, 2, 3)] * 5, 4, "constant_messages"),
        ([(2, 2, 2)] * 5, 3, "constant_messages"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_degenerate_languages_have_a_reason(messages: Messages, slots: int, reason: str) -> None:
    symbols = np.zeros((len(messages), slots), dtype=int)
    mask = np.zeros(symbols.shape, dtype=bool)
    for row, message in enumerate(messages):
        symbols[row, : len(message)], mask[row, : len(message)] = message, True
    found = harris_articulation(symbols, mask)
    assert found.boundaries.reason == found.segments.reason == reason
    assert [sum(words, ()) for words in pieces(found)] == messages
    assert not np.isnan(found.conditional_entropy).any() and not np.isnan(found.shuffled_entropy).any()
    assert len(found.conditional_entropy) == len(found.shuffled_entropy)


def test_a_threshold_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"-0\.1"):
        harris_articulation(*arrays(TRIPLES), threshold=-0.1)


def test_the_words_have_the_ids_that_were_given() -> None:
    small = np.array([[1, 0, 1, 0]] * 20 + [[0, 0, 1, 1]] * 20)
    said = np.ones_like(small, dtype=bool)
    large = np.array([2, 10**6])[small]
    words = tuple(
        tuple(2 if symbol == 0 else 10**6 for symbol in word) for word in harris_articulation(small, said).vocabulary
    )
    assert harris_articulation(large, said).vocabulary == words
