"""Symbols and concepts: the metric sheet's values (M6, M9), scikit-learn, luck, and images kept in one piece."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import hypergeom
from sklearn.metrics import (
    adjusted_mutual_info_score,
    homogeneity_completeness_v_measure,
    mutual_info_score,
    normalized_mutual_info_score,
)
from sklearn.metrics.cluster import contingency_matrix

from analysis.metrics.concept_association import (
    Association,
    Name,
    association,
    associations,
    lift,
    name_symbols,
    npmi,
    pmi,
    shrunk_pmi,
)
from analysis.metrics.statistics.joint_counts import expected_mutual_information

FIELDS = (
    "ami", "v_measure", "homogeneity", "completeness", "purity", "inverse_purity", "mutual_information", "synonymy",
    "polysemy",
)  # fmt: skip
TABLE = np.array([[8, 2], [1, 9]])


def of_tokens(symbols: list[int], concepts: list[int]) -> Association:
    """Each token is an image of its own."""
    column = np.array(symbols)[:, None]
    return association(column, np.ones_like(column, dtype=bool), np.array(concepts), permutations=0)


def values(found: Association) -> list[float]:
    return [getattr(found, name).value for name in FIELDS]


def random_language(seed: int, images: int = 40, slots: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Messages that repeat the image's own symbols, and have nothing to do with what its patches show."""
    rng = np.random.default_rng(seed)
    own = rng.integers(0, 12, (images, 2))
    symbols = np.take_along_axis(own, rng.integers(0, 2, (images, slots)), axis=1)
    return symbols, rng.random((images, slots)) < 0.8, rng.integers(0, 4, images)


@pytest.mark.parametrize(
    ("symbols", "concepts", "expected"),
    [
        (
            [0, 0, 1, 2], [0, 0, 1, 1],
            {"homogeneity": 1, "completeness": 2 / 3, "v_measure": 0.8, "ami": 0.5714285714,
             "mutual_information": math.log(2)},
        ),
        (
            [0] * 5 + [1] + [0] * 2 + [1] * 4, [0] * 6 + [1] * 6,
            {"purity": 0.75, "mutual_information": 0.1356555774, "v_measure": 0.1976995982, "ami": 0.1365575862},
        ),
        ([3, 3, 3, 3], [0, 0, 1, 1], {"homogeneity": 0, "completeness": 1, "v_measure": 0, "ami": 0, "purity": 0.5}),
        ([0, 1, 2, 3], [0, 0, 1, 1], {"homogeneity": 1, "completeness": 0.5, "v_measure": 2 / 3, "ami": 0}),
        ([5, 5, 2, 2], [0, 0, 1, 1], dict.fromkeys(FIELDS[:6], 1.0) | {"synonymy": 0, "polysemy": 0}),
        (
            np.repeat([0, 0, 1, 1], [8, 2, 1, 9]).tolist(), np.repeat([0, 1, 0, 1], [8, 2, 1, 9]).tolist(),
            {"mutual_information": 0.3973126097 * math.log(2)},
        ),
    ],
)  # fmt: skip
def test_the_sheets_values(symbols: list[int], concepts: list[int], expected: dict[str, float]) -> None:
    found = of_tokens(symbols, concepts)
    assert {name: getattr(found, name).value for name in expected} == pytest.approx(expected, abs=1e-9)


def test_synonyms_and_ambiguous_symbols_in_nats() -> None:
    found = of_tokens([0, 1, 2, 2], [0, 0, 1, 2])
    assert found.synonymy.value == pytest.approx(math.log(2) / 2)
    assert found.polysemy.value == pytest.approx(math.log(2) / 2)
    assert found.inverse_purity.value == pytest.approx(0.75)


@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn_on_what_is_said_and_known(seed: int) -> None:
    rng = np.random.default_rng(seed)
    symbols, mask = rng.zipf(1.5, (30, 8)) % 20, rng.random((30, 8)) < 0.7
    concepts = (symbols + rng.integers(-1, 4, symbols.shape)) % 7 - 1
    found = association(symbols, mask, concepts, permutations=0)
    said = mask & (concepts >= 0)
    true, told = concepts[said], symbols[said]
    table = contingency_matrix(true, told)
    assert found.ami.n == said.sum() and found.counts.sum() == said.sum()
    assert values(found) == pytest.approx(
        [
            adjusted_mutual_info_score(true, told),
            *(homogeneity_completeness_v_measure(true, told)[i] for i in (2, 0, 1)),
            table.max(axis=0).sum() / said.sum(),
            table.max(axis=1).sum() / said.sum(),
            mutual_info_score(true, told),
            mutual_info_score(told, told) - mutual_info_score(true, told),
            mutual_info_score(true, true) - mutual_info_score(true, told),
        ],
        abs=1e-10,
    )
    assert found.v_measure.value == pytest.approx(normalized_mutual_info_score(true, told), abs=1e-10)
    for v, c in ((2, 1), (0, 0), (19, 3)):
        expected = int(((told == v) & (true == c)).sum())
        assert (found.counts[v, c] if v < len(found.counts) else 0) == expected


@pytest.mark.parametrize(
    "table", [[[1]], [[3, 0]], [[1, 0], [0, 1]], TABLE, [[40, 1, 0], [1, 2, 900]], [[7, 0, 0], [5, 30, 30]]]
)
def test_expected_information_equals_a_sum_over_the_hypergeometric_distribution(table: list[list[int]]) -> None:
    counts = np.array(table)
    n, total = counts.sum(), 0.0
    for a in counts.sum(axis=1):
        for b in counts.sum(axis=0):
            x = np.arange(1, min(a, b) + 1)
            total += (x / n * np.log(x * n / (a * b)) * hypergeom(n, a, b).pmf(x)).sum() if len(x) else 0
    assert expected_mutual_information(counts) == pytest.approx(total, abs=1e-13)


def test_expected_information_of_large_tables() -> None:
    assert expected_mutual_information(np.zeros((3, 2), dtype=int)) == 0
    # Twelve million tokens, of which ever more concern fewer cells: the classical approximation holds.
    counts = np.full((4, 3), 10**6)
    assert expected_mutual_information(counts) == pytest.approx(3 * 2 / 2 / counts.sum(), rel=1e-3)
    # As many cells as a vocabulary and a thousand classes have, at 0.065 nats on the sheet.
    counts = np.random.default_rng(0).multinomial(10**6, np.full(128_000, 1 / 128_000)).reshape(128, 1000)
    assert expected_mutual_information(counts) == pytest.approx(0.065, abs=5e-4)


def test_luck_inflates_all_but_ami() -> None:
    rng = np.random.default_rng(0)
    symbols, concepts = rng.integers(0, 128, (10_000, 1)), rng.integers(0, 1000, 10_000)
    found = association(symbols, np.ones_like(symbols, dtype=bool), concepts, permutations=2)
    assert found.mutual_information.value == pytest.approx(2.55, abs=0.02)
    assert found.v_measure.value == pytest.approx(0.44, abs=0.01)
    assert abs(found.ami.value) < 0.005 and abs(found.ami.null_mean) < 0.005
    assert found.mutual_information.null_mean == pytest.approx(2.55, abs=0.02)
    # 500 random clusters on 1,000 items of 10 classes.
    found = association(
        rng.integers(0, 500, (1000, 1)), np.ones((1000, 1), dtype=bool), rng.integers(0, 10, 1000), permutations=0
    )
    assert found.purity.value == pytest.approx(0.528, abs=0.02)


def test_a_perfect_language_beats_every_shuffled_one() -> None:
    concepts = np.random.default_rng(0).integers(0, 5, (60, 6))
    found = association(concepts + 7, np.ones_like(concepts, dtype=bool), concepts, permutations=99)
    assert values(found)[:6] == pytest.approx([1] * 6) and values(found)[7:] == pytest.approx([0, 0], abs=1e-12)
    assert [getattr(found, name).p for name in FIELDS] == [0.01] * 9
    assert abs(found.ami.null_mean) < 0.02


@pytest.mark.slow
def test_patches_of_one_image_are_not_independent() -> None:
    ps, scores = [], []
    for seed in range(40):
        found = association(*random_language(seed), permutations=19, seed=seed)
        ps.append(found.ami.p)
        scores.append(found.ami.value - found.ami.null_mean)
        # As tokens go, this language would mean a lot.
        assert found.ami.value > 0.05
    assert 0.35 < np.mean(ps) < 0.65 and np.mean(np.array(ps) <= 0.1) < 0.3
    assert abs(np.mean(scores)) < 0.02


def test_concepts_of_slots_stay_in_their_slots() -> None:
    places = np.tile(np.arange(5), (30, 1))
    found = association(places, np.ones_like(places, dtype=bool), places, permutations=20)
    assert (found.ami.value, found.ami.null_mean, found.ami.p) == pytest.approx((1, 1, 1))


def test_null_equals_counting_again_after_a_shuffle() -> None:
    symbols, mask, labels = random_language(3)
    slots = np.random.default_rng(0).integers(-1, 5, symbols.shape)
    for concepts in (labels, slots):
        found = association(symbols, mask, concepts, permutations=4, seed=8)
        rng = np.random.default_rng(8)
        again = [association(symbols, mask, concepts[rng.permutation(40)], permutations=0) for _ in range(4)]
        for name in FIELDS:
            draws = [getattr(other, name).value for other in again]
            result = getattr(found, name)
            assert (result.null_mean, result.null_std) == pytest.approx((np.mean(draws), np.std(draws, ddof=1)))


def test_names_order_and_padding_do_not_matter() -> None:
    symbols, mask, concepts = random_language(1)
    found = values(association(symbols, mask, concepts, permutations=0))
    rng = np.random.default_rng(0)
    order = rng.permutation(len(symbols))
    for other in (
        (symbols[order], mask[order], concepts[order]),
        (rng.permutation(12)[symbols] * 900, mask, concepts * 50 + 3),
        (np.where(mask, symbols, -99), mask, concepts),
        (symbols, mask, np.where(mask, concepts[:, None], 77)),
    ):
        assert values(association(*other, permutations=0)) == pytest.approx(found, abs=1e-12)


def test_what_is_not_known_is_left_out() -> None:
    symbols, mask, concepts = random_language(2)
    concepts[::3] = -1
    kept = concepts >= 0
    some = association(symbols, mask, concepts, permutations=0)
    assert values(some) == values(association(symbols[kept], mask[kept], concepts[kept], permutations=0))


@pytest.mark.parametrize(
    ("shape", "said", "concepts", "reason"),
    [
        ((0, 4), True, np.zeros(0, dtype=int), "nothing_said"),
        ((0, 0), True, np.zeros((0, 0)), "nothing_said"),
        ((3, 0), True, [0, 1, 2], "nothing_said"),
        ((3, 2), False, [0, 1, 2], "nothing_said"),
        ((3, 2), True, [-1, -1, -1], "no_concepts"),
        ((3, 2), True, [2, -1, 2], "constant_concepts"),
        ((1, 2), True, [2], "constant_concepts"),
    ],
)
def test_without_data_there_is_a_reason(shape: tuple[int, int], said: bool, concepts: object, reason: str) -> None:
    found = association(np.zeros(shape, dtype=int), np.full(shape, said), np.asarray(concepts), permutations=3)
    assert {getattr(found, name).reason for name in FIELDS} == {reason}
    assert found.counts.ndim == 2


def test_one_image_cannot_be_shuffled_and_one_symbol_says_nothing() -> None:
    concepts = np.array([[0, 1, 1, 2]])
    found = association(concepts, np.ones_like(concepts, dtype=bool), concepts, permutations=9)
    assert found.ami.value == pytest.approx(1) and found.ami.p == 1
    constant = association(np.zeros((6, 2), int), np.ones((6, 2), bool), np.arange(6) % 3, permutations=9)
    assert constant.ami.value == pytest.approx(0, abs=1e-12) and constant.ami.p == 1


def test_without_repetition_luck_is_as_good_as_meaning() -> None:
    found = of_tokens([0, 1, 2], [2, 1, 0])
    assert found.ami.reason == "no_repetition" and found.v_measure.value == pytest.approx(1)


def test_pairs_of_symbol_and_concept() -> None:
    bits = math.log(2)
    assert pmi(TABLE) / bits == pytest.approx(np.array([[0.830075, -1.459432], [-2.169925, 0.710493]]), abs=1e-6)
    assert lift(TABLE)[0, 0] == pytest.approx(16 / 9)
    assert npmi(TABLE)[0, 0] == pytest.approx(0.6279275, abs=1e-7)
    assert shrunk_pmi(TABLE)[0, 0] / bits == pytest.approx(0.66406, abs=1e-6)


def test_limits_of_pairs() -> None:
    never = [[3, 0, 0], [0, 5, 0]]
    absent = [[False, False, True]] * 2
    for measure, together in ((lift, 8 / 3), (pmi, math.log(8 / 3)), (npmi, 1.0)):
        found = measure(never)
        assert np.isnan(found).tolist() == absent and found[0, 0] == pytest.approx(together)
    assert lift(never)[0, 1] == 0 and pmi(never)[0, 1] == -math.inf and npmi(never)[0, 1] == -1
    assert shrunk_pmi(never)[0, 1] == 0
    for measure, alone in ((lift, 1), (pmi, 0), (npmi, 0), (shrunk_pmi, 0)):
        assert measure([[4]])[0, 0] == alone
        assert np.isnan(measure(np.zeros((2, 3), dtype=int))).all() and measure(np.zeros((0, 0))).shape == (0, 0)


def test_symbols_are_named_by_what_they_go_with_beyond_luck() -> None:
    counts = np.array([[30, 30, 1], [0, 0, 0], [1, 40, 0], [0, 0, 1]])
    names = name_symbols(counts, ["eye", "wing", "leaf"])
    assert [[name.concept for name in of] for of in names] == [["eye"], [], ["wing"], ["leaf"]]
    assert names[0][0] == Name("eye", 30, pytest.approx(30 * 103 / 61 / 31), pytest.approx(shrunk_pmi(counts)[0, 0]))
    # A pair seen once has the largest lift of all, and less credit than one seen forty times.
    assert lift(counts)[3, 2] > lift(counts)[2, 1] * 10
    assert [len(of) for of in name_symbols(np.eye(2, dtype=int) + 1, ["a", "b"], top=1)] == [1, 1]
    assert name_symbols(np.zeros((2, 0), dtype=int), []) == [(), ()]


def test_errors_say_what_is_wrong() -> None:
    symbols, mask = np.zeros((2, 3), dtype=int), np.ones((2, 3), dtype=bool)
    with pytest.raises(ValueError, match=r"images \(2,\) or of slots \(2, 3\), got shape \(3,\)"):
        association(symbols, mask, [0, 1, 2])
    with pytest.raises(ValueError, match="-1 means not known"):
        association(symbols, mask, [0, -2])
    with pytest.raises(ValueError, match="of type float64"):
        association(symbols, mask, [0.5, 1])
    with pytest.raises(ValueError, match="3 concepts have 1 names"):
        name_symbols(np.ones((2, 3)), ["a"])


def test_several_concepts_at_once_have_the_numbers_of_each() -> None:
    symbols, mask, concepts = random_language(0)
    rng = np.random.default_rng(0)
    several = [concepts, rng.integers(-1, 3, len(symbols)), np.zeros(len(symbols), int), rng.integers(0, 4, mask.shape)]
    found = associations(symbols, mask, several, permutations=5, seed=3)
    for one, values in zip(found, several, strict=True):
        alone = association(symbols, mask, values, permutations=5, seed=3)
        assert (one.counts == alone.counts).all()
        assert repr([getattr(one, name) for name in FIELDS]) == repr([getattr(alone, name) for name in FIELDS])
    assert associations(symbols, mask, []) == []
