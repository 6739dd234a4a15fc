"""Classes from bags of symbols: the metric sheet's values (P4), scikit-learn fold by fold, silence, luck."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import ComplementNB
from sklearn.neighbors import KNeighborsClassifier

from analysis.metrics import bag_of_symbols
from analysis.metrics.bag_of_symbols import (
    _GRADIENT,
    Classification,
    _bags,
    _folds,
    _Logistic,
    _naive_bayes,
    _train,
    bag_of_symbols_classification,
    held_out_classification,
)
from analysis.metrics.result import Result

COUNTS = np.array([[2, 1, 0, 0], [3, 0, 1, 0], [0, 0, 2, 2], [0, 1, 1, 3]])


def results(found: Classification) -> list[Result]:
    return [found.naive_bayes, found.nearest_neighbours, found.logistic_regression]


def messages(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One message for each row, padded with a symbol that is never said."""
    rows = [np.repeat(np.arange(len(row)), row) for row in counts]
    slots = max(map(len, rows))
    symbols = np.stack([np.pad(row, (0, slots - len(row)), constant_values=77) for row in rows])
    return symbols, symbols != 77


def language(seed: int, items: int = 60, about: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A share of the symbols is the class; other classes than 0 are half as frequent."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, items, p=(0.5, 0.25, 0.25))
    symbols = rng.integers(0, 8, (items, 6))
    symbols = np.where(rng.random(symbols.shape) < about, labels[:, None] + 8, symbols)
    return symbols, rng.random(symbols.shape) < 0.8, labels


def test_values_of_the_sheet() -> None:
    symbols, mask = messages(np.concatenate([COUNTS, [[1, 1, 0, 0], [0, 1, 0, 1]]]))
    bags = _bags(symbols, mask)
    train, test = np.arange(4), np.arange(4, 6)
    weighting = TfidfTransformer().fit(bags[train])
    assert weighting.idf_ == pytest.approx([1.5108256, 1.5108256, 1.2231436, 1.5108256])
    assert weighting.transform(bags[train]).toarray()[0] == pytest.approx([0.8944, 0.4472, 0, 0], abs=1e-4)
    classes = np.array([0, 0, 1, 1, -1, -1])
    assert _train(bags, train, test)(classes, False).tolist() == [[0, 1]] * 3
    assert _train(bags, train, train)(classes, False)[0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("seed", range(3))
def test_equals_scikit_learn_fold_by_fold(seed: int) -> None:
    symbols, mask, labels = language(seed, items=80, about=0.15)
    # Silent messages get the largest class, which is not the first one here.
    mask[:10], labels = False, 2 - labels
    bags = _bags(symbols, mask)
    fold = np.random.default_rng(seed).integers(0, 3, 80)
    for i in range(3):
        train, test = np.flatnonzero(fold != i), np.flatnonzero(fold == i)
        found = _train(bags, train, test)(labels, False)
        spoken = mask[test].any(axis=1)
        assert (found[:, ~spoken] == np.bincount(labels[train]).argmax()).all()
        weighting = TfidfTransformer().fit(bags[train])
        seen, unseen = weighting.transform(bags[train]), weighting.transform(bags[test][spoken])
        heard = mask[train].any(axis=1)
        neighbours = KNeighborsClassifier(20, metric="cosine", algorithm="brute", weights=lambda far: 1 - far)
        for said, model in zip(found, (ComplementNB(), None, LogisticRegression()), strict=True):
            model = model.fit(seen, labels[train]) if model else neighbours.fit(seen[heard], labels[train][heard])
            assert said[spoken].tolist() == model.predict(unseen).tolist()


@pytest.mark.slow
def test_a_symbol_for_each_class_is_enough() -> None:
    symbols, mask, labels = language(0, about=0.5)
    symbols[:, 0], mask[:, 0] = labels + 8, True
    found = bag_of_symbols_classification(symbols, mask, labels, permutations=19)
    assert found.naive_bayes.value == found.logistic_regression.value == 1
    assert [result.p for result in results(found)] == [0.05] * 3
    assert all(result.null_mean < 0.6 and result.n == 60 for result in results(found))
    assert found.chance == np.bincount(labels).max() / 60 and found.silent == 0


def test_silence_is_the_largest_class() -> None:
    labels = np.array([4] * 8 + [9] * 12)
    symbols = np.zeros((20, 1), dtype=int)
    mask = np.zeros((20, 1), dtype=bool)
    mask[0] = True
    found = bag_of_symbols_classification(symbols, mask, labels, permutations=3)
    assert found.silent == 19 and found.chance == 0.6
    assert [result.value for result in results(found)] == pytest.approx([0.6] * 3)


@pytest.mark.slow
def test_shuffled_labels_stay_in_their_fold_and_luck_is_told_from_meaning() -> None:
    ps = []
    for seed in range(12):
        found = bag_of_symbols_classification(*language(seed, items=40), folds=3, permutations=9, seed=seed)
        ps.append([result.p for result in results(found)])
        assert all(0.2 < result.null_mean < found.chance + 0.05 for result in results(found))
    assert 0.3 < np.mean(ps) < 0.75 and np.mean(np.array(ps) <= 0.1) < 0.35
    # The largest class is always named here, so that accuracy moves only with what a fold holds: not at all.
    _, mask, labels = language(0)
    constant = bag_of_symbols_classification(np.zeros_like(mask, dtype=int), mask, labels, permutations=5)
    assert constant.logistic_regression.null_std == 0 and constant.logistic_regression.p == 1


def test_folds_share_every_class_and_allow_rare_ones() -> None:
    classes = np.array([0] * 11 + [1] * 7 + [2])
    fold = _folds(classes, 5, np.random.default_rng(0))
    assert np.bincount(fold).tolist() in [[4, 4, 4, 4, 3]]
    assert all(np.ptp(np.bincount(fold[classes == c], minlength=5)) <= 1 for c in range(3))
    assert fold.tolist() != _folds(classes, 5, np.random.default_rng(1)).tolist()
    rare = bag_of_symbols_classification(np.arange(19)[:, None] % 3, np.ones((19, 1), bool), classes, permutations=1)
    assert all(result.value < 1 for result in results(rare))


@pytest.mark.slow
def test_names_and_padding_do_not_matter_and_unknown_labels_are_left_out() -> None:
    symbols, mask, labels = language(1, about=0.2)
    found = bag_of_symbols_classification(symbols, mask, labels, permutations=2)
    for other in (
        (symbols * 30 + 2, mask, labels * 5 + 1),
        (np.where(mask, symbols, -7), mask, labels),
        (symbols[:, ::-1], mask[:, ::-1], labels),
        (np.insert(symbols, 9, 3, axis=0), np.insert(mask, 9, True, axis=0), np.insert(labels, 9, -1)),
    ):
        assert bag_of_symbols_classification(*other, permutations=2) == found
    assert bag_of_symbols_classification(symbols, mask, labels, permutations=2, seed=1) != found
    sample = bag_of_symbols_classification(symbols, mask, labels, max_items=30, permutations=0)
    assert sample.naive_bayes.n == 30 and math.isnan(sample.naive_bayes.p)


@pytest.mark.parametrize(
    ("said", "labels", "reason"),
    [
        (True, [], "too_few_items"),
        (True, [3], "too_few_items"),
        (True, [-1, -1, -1], "no_labels"),
        (True, [-1, 5, -1], "too_few_items"),
        (True, [2, 2, -1, 2], "constant_labels"),
        (False, [0, 1, 2], "nothing_said"),
        (True, [0, 1], ""),
        (True, [0, 0, 1, 2], ""),
    ],
)
def test_without_data_there_is_a_reason(said: bool, labels: list[int], reason: str) -> None:
    shape = (len(labels), 2)
    found = bag_of_symbols_classification(
        np.ones(shape, int), np.full(shape, said), np.array(labels, dtype=int), permutations=2
    )
    assert [result.reason for result in results(found)] == [reason] * 3
    assert math.isnan(found.chance) == bool(reason)


def test_errors_say_what_is_wrong() -> None:
    symbols, mask = np.zeros((3, 2), dtype=int), np.ones((3, 2), dtype=bool)
    with pytest.raises(ValueError, match=r"labels of shape \(3,\), got \(2,\)"):
        bag_of_symbols_classification(symbols, mask, [0, 1])
    with pytest.raises(ValueError, match="folds is 1"):
        bag_of_symbols_classification(symbols, mask, [0, 1, 1], folds=1)
    with pytest.raises(ValueError, match="-1 means not known"):
        bag_of_symbols_classification(symbols, mask, [0, 1, -4])


@pytest.mark.parametrize("seed", range(3))
def test_held_out_images_are_classified_by_the_others_alone(seed: int) -> None:
    symbols, mask, labels = language(seed, items=80, about=0.15)
    mask[:4] = False
    held_out = np.random.default_rng(seed).random(80) < 0.3
    held_out[:2] = True
    found = held_out_classification(symbols, mask, labels, held_out)
    bags = _bags(symbols, mask).toarray()
    weighting = TfidfTransformer().fit(bags[~held_out])
    seen, unseen = weighting.transform(bags[~held_out]), weighting.transform(bags[held_out])
    largest = np.bincount(labels[~held_out]).argmax()
    spoken = mask[held_out].any(axis=1)
    for model, result in (
        (ComplementNB(), found.naive_bayes),
        (LogisticRegression(max_iter=1000), found.logistic_regression),
    ):
        said = np.where(spoken, model.fit(seen, labels[~held_out]).predict(unseen), largest)
        assert result.value == pytest.approx((said == labels[held_out]).mean())
        assert result.n == held_out.sum()
    assert found.chance == pytest.approx((labels[held_out] == largest).mean())
    assert found.silent == (~spoken).sum()
    swapped = held_out_classification(symbols, mask, np.where(held_out, labels, 2 - labels), held_out)
    assert swapped.naive_bayes.value != found.naive_bayes.value


def test_held_out_classification_says_what_is_wrong() -> None:
    symbols, mask, labels = language(0)
    with pytest.raises(ValueError, match="60 images with a label to train on and 0 to ask about"):
        held_out_classification(symbols, mask, labels, np.zeros(60, dtype=bool))
    with pytest.raises(ValueError, match="boolean held_out"):
        held_out_classification(symbols, mask, labels, np.arange(60))
    assert (
        held_out_classification(symbols, mask, labels * 0, np.arange(60) > 30).naive_bayes.reason == "constant_labels"
    )


def test_symbols_that_training_never_saw_say_nothing() -> None:
    # One class is rare and has a symbol of its own; the messages held out are full of symbols never said before.
    symbols = np.array([[0, 1]] * 90 + [[0, 2]] * 10 + [[0, 5 + n] for n in range(45)])
    labels = np.array([0] * 90 + [1] * 10 + [0] * 41 + [1] * 4)
    held_out = np.arange(145) >= 100
    found = held_out_classification(symbols, np.ones((145, 2), dtype=bool), labels, held_out)
    without = held_out_classification(np.where(symbols < 5, symbols, 0), symbols < 5, labels, held_out)
    for result, other in zip(results(found), results(without), strict=True):
        assert result.value == other.value
    nothing = held_out_classification(np.maximum(symbols, 0), (symbols < 5) & (symbols > 0), labels, held_out)
    assert {result.value for result in results(nothing)} == {found.chance}


def large_language(seed: int, classes: int = 12, symbols: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """TF-IDF of 700 messages, and shuffled labels of uneven classes."""
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.full(classes, 3.0))
    bags = _bags(rng.integers(0, symbols, (700, 12)), rng.random((700, 12)) < 0.8)
    return TfidfTransformer().fit_transform(bags), rng.choice(classes, 700, p=share)


@pytest.mark.parametrize("turned", [bag_of_symbols._TURNED, 0])
@pytest.mark.parametrize("seed", range(3))
def test_shuffled_labels_are_learnt_as_scikit_learn_learns_them(
    seed: int, turned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bag_of_symbols, "_TURNED", turned)
    items, labels = large_language(seed)
    seen, unseen = items[:500], items[500:]
    strict = LogisticRegression(max_iter=5000, tol=1e-9).fit(seen, labels[:500]).predict(unseen)
    steps = _Logistic(seen, unseen)
    assert (steps.predict(labels[:500], 1e-6) == strict).mean() > 0.99
    quick = steps.predict(labels[:500], _GRADIENT)
    assert (quick == strict).mean() > 0.97 and len(np.unique(quick)) > 2
    assert (
        _naive_bayes(seen, labels[:500], unseen).tolist()
        == ComplementNB().fit(seen, labels[:500]).predict(unseen).tolist()
    )


def test_steps_that_do_not_converge_are_left_to_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    found = bag_of_symbols_classification(*language(2), permutations=2)
    monkeypatch.setattr(bag_of_symbols, "_STEPS", 0)
    other = bag_of_symbols_classification(*language(2), permutations=2)
    assert other.logistic_regression.value == found.logistic_regression.value
    assert other.logistic_regression.null_mean == pytest.approx(found.logistic_regression.null_mean, abs=0.02)


def test_more_weights_than_scikit_learn_can_take_are_learnt_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    found = bag_of_symbols_classification(*language(3, about=0.1), permutations=0)
    monkeypatch.setattr(bag_of_symbols, "_WEIGHTS", 0)
    other = bag_of_symbols_classification(*language(3, about=0.1), permutations=0)
    for one, two in zip(results(found), results(other), strict=True):
        assert two.value == pytest.approx(one.value, abs=0.02)


@pytest.mark.slow
def test_languages_without_structure_are_called_structured_in_one_of_twenty() -> None:
    ps = [
        [r.p for r in results(bag_of_symbols_classification(*language(seed), folds=3, permutations=19, seed=seed))]
        for seed in range(200)
    ]
    share = (np.array(ps) <= 0.05).mean(axis=0)
    # 5 % of 200 are 10; three standard deviations are 9. Ties make it less.
    assert (share <= 0.095).all() and (share > 0.005).all()
