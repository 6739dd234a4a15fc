"""Properties that every metric of a language has, in one table that none escapes."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass

import numpy as np
import pytest

import analysis
from analysis import Result

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]  # symbols [N, T], mask [N, T], attributes [N, A]

METRICS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], object]] = {
    "association": lambda s, m, a: analysis.association(s, m, a[:, 0], permutations=9),
    "attribute_disentanglement": lambda s, m, a: analysis.attribute_disentanglement(s, m, attributes=a, permutations=9),
    "bag_of_symbols_classification": lambda s, m, a: analysis.bag_of_symbols_classification(
        s, m, a[:, 0], permutations=2
    ),
    "bag_of_symbols_disentanglement": lambda s, m, a: analysis.bag_of_symbols_disentanglement(
        s, m, attributes=a, permutations=9
    ),
    "concept_best_matching": lambda s, m, a: analysis.concept_best_matching(s, m, a[:, None], permutations=9),
    "context_independence": lambda s, m, a: analysis.context_independence(s, m, attributes=a, permutations=9),
    "earlier_references": lambda s, m, a: analysis.earlier_references(s, m, meanings=a, permutations=9)[0],
    "harris_articulation": lambda s, m, a: analysis.harris_articulation(s, m),
    "harris_words": lambda s, m, a: analysis.harris_words(s, m, meanings=a, permutations=9),
    "heaps": lambda s, m, a: analysis.heaps(s, m),
    "instantaneous_coordination": lambda s, m, a: analysis.instantaneous_coordination(
        analysis.message_numbers(s, m), a[:, 0], permutations=9
    ),
    "law_of_abbreviation": lambda s, m, a: analysis.law_of_abbreviation(s, m, permutations=9),
    "message_npmi": lambda s, m, a: analysis.message_npmi(s, m, meanings=a, permutations=9),
    "message_variance": lambda s, m, a: analysis.message_variance(s, m, a.astype(float), permutations=9),
    "positional_disentanglement": lambda s, m, a: analysis.positional_disentanglement(
        s, m, attributes=a, permutations=9
    ),
    "spatial_meaningfulness": lambda s, m, a: analysis.spatial_meaningfulness(s, m, a.astype(float), permutations=9),
    "speaker_consistency": lambda s, m, a: analysis.speaker_consistency(
        analysis.message_numbers(s, m), a[:, 0], permutations=9
    ),
    "topographic_similarity": lambda s, m, a: analysis.topographic_similarity(s, m, meanings=a, permutations=9),
    "tree_reconstruction_error": lambda s, m, a: analysis.tree_reconstruction_error(
        a, analysis.one_hot_messages(s, m), permutations=9
    ),
    "usage": lambda s, m, a: analysis.usage(s, m, 64),
    "zipf": lambda s, m, a: analysis.zipf(s, m),
}
# Of embeddings, tables and images, which have no symbols; and what is no metric.
OTHERS = {
    "Corpus", "GLOSSARY", "Result", "Usage", "against_null", "associations", "causal_influence", "check_messages",
    "hashing_check", "importance_scores", "lift", "listening_influence", "load", "meaning_distances", "measure",
    "message_distances", "message_numbers", "name_symbols", "npmi", "one_hot_messages", "place_share", "pmi", "record",
    "representational_similarity", "shrunk_pmi", "topographic_similarities", "undefined",
}  # fmt: skip


def meanings(copies: int = 6) -> np.ndarray:
    grid = np.stack(np.meshgrid(range(4), range(4)), axis=-1).reshape(-1, 2)
    return np.repeat(grid, copies, axis=0)


def perfect() -> Arrays:
    attributes = meanings()
    return attributes + np.array([0, 4]), np.ones_like(attributes, dtype=bool), attributes


def noise(seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    attributes = meanings()
    return rng.integers(0, 8, (len(attributes), 4)), rng.random((len(attributes), 4)) < 0.8, attributes


def constant() -> Arrays:
    attributes = meanings()
    return np.full((len(attributes), 3), 5), np.ones((len(attributes), 3), dtype=bool), attributes


LANGUAGES = {
    "perfect": perfect(),
    "random": noise(),
    "constant": constant(),
    "silent": (noise()[0], np.zeros_like(noise()[1]), noise()[2]),
    "one item": tuple(x[:1] for x in noise()),
    "no item": tuple(x[:0] for x in noise()),
}


def results(found: object) -> Iterator[tuple[str, Result]]:
    if isinstance(found, Result):
        yield "value", found
    elif is_dataclass(found):
        yield from ((f.name, v) for f in fields(found) if isinstance(v := getattr(found, f.name), Result))


def values(found: object) -> dict[str, float]:
    if isinstance(found, analysis.Usage):
        return {
            name: getattr(found, name) for name in ("symbol_entropy", "perplexity", "mean_length", "message_entropy")
        }
    return {name: result.value for name, result in results(found)}


def test_no_metric_escapes() -> None:
    assert set(METRICS) | OTHERS == set(analysis.__all__) and not set(METRICS) & OTHERS


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", METRICS)
def test_a_number_or_a_reason_for_any_language(name: str, language: str) -> None:
    found = METRICS[name](*LANGUAGES[language])
    for part, result in results(found):
        assert math.isfinite(result.value) or result.reason, part
        assert result.draws == 0 or 0 < result.p <= 1


@pytest.mark.parametrize("name", METRICS)
def test_what_silent_slots_held_does_not_matter(name: str) -> None:
    symbols, mask, attributes = noise()
    other = np.where(mask, symbols, 7 - symbols)
    assert not np.array_equal(other, symbols)
    expected, found = (values(METRICS[name](s, mask, attributes)) for s in (symbols, other))
    assert found == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("name", METRICS)
def test_what_is_no_mask_is_refused(name: str) -> None:
    symbols, mask, attributes = noise()
    same = METRICS[name](symbols, mask.astype(int), attributes)
    assert values(same) == pytest.approx(values(METRICS[name](symbols, mask, attributes)), nan_ok=True)
    for wrong in (symbols, symbols.astype(float), np.where(mask, 0.5, 0.0), np.where(mask, np.nan, 0.0)):
        with pytest.raises(ValueError, match="the mask is of type"):
            METRICS[name](symbols, wrong, attributes)


# Heaps' curve and the folds of a classifier follow a seeded order of the items; references need the order.
@pytest.mark.parametrize(
    "name", sorted(set(METRICS) - {"heaps", "bag_of_symbols_classification", "earlier_references"})
)
def test_the_order_of_items_does_not_matter(name: str) -> None:
    language = noise()
    order = np.random.default_rng(1).permutation(len(language[0]))
    expected, found = (values(METRICS[name](*x)) for x in (language, tuple(part[order] for part in language)))
    assert found == pytest.approx(expected, nan_ok=True, abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_the_numbers_of_symbols_mean_nothing(name: str) -> None:
    symbols, mask, attributes = noise()
    renamed = np.random.default_rng(2).permutation(8)[symbols]
    expected, found = (values(METRICS[name](s, mask, attributes)) for s in (symbols, renamed))
    assert found == pytest.approx(expected, nan_ok=True, abs=1e-9)


HUGE = {"10^9": 10**9, "2^62": 2**62, "all of uint64": 2**64 - 1}


@pytest.mark.parametrize("name", ["association", "concept_best_matching"])
def test_a_concept_is_the_same_at_all_slots(name: str) -> None:
    symbols, mask, _ = noise()
    shown = np.random.default_rng(3).integers(-1, 6, symbols.shape)
    # Small ids stand at the first slot alone, and none of them at the last.
    shown[:, 0], shown[:, -1] = shown[:, 0].clip(max=1), shown[:, -1].clip(min=3)
    far = np.array([0, 1, 2**17, 2**18, 2**40, 2**62, -1])[shown]
    metric = getattr(analysis, name)
    for concepts in (shown, far), (shown[..., None], far[..., None]):
        if name == "concept_best_matching" or concepts[0].ndim == 2:
            expected, found = (values(metric(symbols, mask, held, permutations=2)) for held in concepts)
            assert found == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("largest", HUGE)
@pytest.mark.parametrize("name", METRICS)
def test_ids_are_names_and_no_sizes(name: str, largest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Symbols and values that are renamed in the same order measure the same, in no more memory."""
    symbols, mask, attributes = noise()
    monkeypatch.setitem(METRICS, "usage", lambda s, m, a: analysis.usage(s, m, 2**64))
    far = np.where(symbols == 7, HUGE[largest], symbols * (HUGE[largest] // 9)).astype(np.uint64)
    values_far = np.where(attributes == 3, min(HUGE[largest], 2**62), attributes)
    # Of vectors, the numbers are no names.
    expected = METRICS[name](symbols, mask, attributes)
    if name in ("message_variance", "spatial_meaningfulness"):
        values_far = attributes
    tracemalloc.start()
    found = METRICS[name](far, mask, values_far)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()
    assert values(found) == pytest.approx(values(expected), nan_ok=True)
