"""The table of metrics: complete, well formed, honest about what is not known, and right where the truth is known."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq

from analysis.corpus.corpus import Corpus
from analysis.evaluation.glossary import GLOSSARY
from analysis.evaluation.rows import COLUMNS
from analysis.evaluation.table import measure
from analysis.metrics.result import wilson
from analysis.metrics.vocabulary_usage import usage
from tests.support.synthetic_corpus import degenerate_corpora, only_messages, scene_corpus, sequence_corpus

SCENES = scene_corpus(60)
assert SCENES.images is not None
CORPORA = {
    **degenerate_corpora(), "scenes": SCENES, "sequences": sequence_corpus(),
    "few images": replace(SCENES, images=SCENES.images[:20]), "no images": replace(SCENES, images=None),
}  # fmt: skip


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return {name: measure(corpus, permutations=3) for name, corpus in CORPORA.items()}


@pytest.mark.parametrize("name", CORPORA)
@pytest.mark.filterwarnings("error")
def test_rows_are_well_formed(name: str, tables: dict[str, pd.DataFrame]) -> None:
    frame = tables[name]
    assert tuple(frame.columns) == COLUMNS and not frame.duplicated(["group", "metric", "of"]).any()
    for row in frame.itertuples():
        term = GLOSSARY[str(row.metric)]
        assert math.isnan(row.value) == bool(row.reason), row
        assert row.unit == term.unit and row.n >= 0
        assert row.draws <= (19 if "harris" in str(row.metric) else 3)
        if not row.reason:
            assert term.low - 1e-9 <= row.value <= term.high + 1e-9, row
        if not math.isnan(row.p):
            assert 1 / (1 + row.draws) - 1e-9 <= row.p <= 1 and not math.isnan(row.null_mean), row
        if not math.isnan(row.low):
            assert row.low <= row.value <= row.high, row


@pytest.mark.parametrize("name", degenerate_corpora())
@pytest.mark.filterwarnings("error")
def test_nothing_raises_or_warns_on_a_degenerate_corpus(name: str) -> None:
    for permutations in (0, 2):
        measure(CORPORA[name], permutations=permutations)


def test_the_glossary_explains_every_metric_and_nothing_else(tables: dict[str, pd.DataFrame]) -> None:
    assert {metric for frame in tables.values() for metric in frame.metric} == set(GLOSSARY)
    for metric, term in GLOSSARY.items():
        assert term.low < term.high and re.search(r" to | or more$", term.range), metric
        assert term.meaning.endswith(".") and term.meaning.count(". ") == 0, f"{metric}: one sentence"
        assert 30 <= len(term.meaning) <= 210 and term.name == term.name.strip(), metric
    assert GLOSSARY["ami"].range == "-1 to 1" and GLOSSARY["tokens"].range == "0 or more"
    assert GLOSSARY["perplexity"].range == "1 to V" and GLOSSARY["zipf_slope"].range == "any to 0"


def test_what_the_corpus_lacks_is_left_out(tables: dict[str, pd.DataFrame]) -> None:
    assert set(tables["only messages"].group) == {"usage", "texts"}
    assert set(tables["sequences"].group) == {"usage", "texts", "concepts", "structure", "signals"}
    assert "harris_boundaries" in set(tables["sequences"].metric)
    assert "harris_boundaries" not in set(tables["scenes"].metric)  # patches have no order
    assert len(set(tables["scenes"].group)) == 8
    few = tables["few images"]
    assert set(few[few.of.str.contains("pixels")].n) == {20}
    assert not tables["no images"].of.str.contains("pixels|edge").any()


def value(frame: pd.DataFrame, metric: str, of: str = "", column: str = "value") -> float:
    (found,) = frame[(frame.metric == metric) & (frame.of == of)][column]
    return float(found)


def test_what_symbols_stand_for_is_found_and_nothing_else() -> None:
    frame = measure(scene_corpus(80), permutations=19)
    for told in ("background of the patch", "colour of the patch", "background"):
        assert value(frame, "ami", told, "p") == 0.05, told
        assert value(frame, "ami", told) > value(frame, "ami", told, "null_mean") + 0.3, told
    assert value(frame, "ami", "size", "p") > 0.05
    assert value(frame, "retrieval", column="chance") == 1 / 64
    assert value(frame, "roc_auc", "speaker") < 0.5 < value(frame, "roc_auc", "reversed")
    assert math.isnan(value(frame, "speaker_consistency"))  # no message is said twice


def test_numbers_of_a_perfect_language() -> None:
    corpus = sequence_corpus()
    corpus = replace(corpus, mask=np.ones_like(corpus.mask))
    frame = measure(corpus, permutations=9)
    for metric in ("positional_disentanglement", "bag_of_symbols_disentanglement", "attribute_disentanglement"):
        assert value(frame, metric) > 0.9
    assert np.isclose(value(frame, "topographic_similarity", "attributes and edit distance"), 1)
    assert np.isclose(value(frame, "tree_reconstruction_explained"), 1)
    assert np.isclose(value(frame, "concept_best_matching", "all attributes of the item"), 1)
    assert np.isclose(value(frame, "context_independence", "counted"), 0.25, atol=0.03)
    found = usage(corpus.symbols, corpus.mask, 8)
    assert value(frame, "symbol_entropy") == found.symbol_entropy and value(frame, "collisions") == 200 - 16


def test_a_random_language_seldom_beats_luck() -> None:
    rng, known = np.random.default_rng(99), sequence_corpus(60)
    below = []
    for seed in range(5):
        random = replace(known, symbols=rng.integers(0, 8, (60, 2)), mask=np.ones((60, 2), dtype=bool))
        below.append((measure(random, permutations=19, seed=seed).p.dropna() <= 0.05).mean())
    assert np.mean(below) < 0.15


def test_the_seed_decides() -> None:
    corpus = sequence_corpus(60)
    first, again, other = (measure(corpus, permutations=5, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.null_mean.equals(other.null_mean) and first.value.equals(again.value)


def test_silent_slots_may_hold_anything() -> None:
    corpus = sequence_corpus(60)
    junk = replace(corpus, symbols=np.where(corpus.mask, corpus.symbols, 7))
    pd.testing.assert_frame_equal(measure(corpus, permutations=3), measure(junk, permutations=3))


def test_wilson_is_where_the_score_test_just_does_not_reject() -> None:
    for right, n in ((8, 10), (0, 20), (20, 20), (37, 512)):
        found = wilson(np.arange(n) < right)

        def z(p: float, share: float = right / n, n: int = n) -> float:
            return (share - p) / math.sqrt(p * (1 - p) / n)

        if right:
            assert np.isclose(found.low, brentq(lambda p: z(p) - 1.959963984540054, 1e-9, right / n - 1e-12))
        if right < n:
            assert np.isclose(found.high, brentq(lambda p: z(p) + 1.959963984540054, right / n + 1e-12, 1 - 1e-9))
        assert 0 <= found.low <= found.value <= found.high <= 1 and found.n == n
    assert wilson(np.zeros(0, dtype=bool)).reason == "no_items"


def test_attributes_without_names_get_some() -> None:
    bare: Corpus = replace(sequence_corpus(40), attribute_names=(), value_names=())
    assert {"attribute 1", "attribute 2"} <= set(measure(bare, permutations=0).of)
    bare = replace(only_messages(), grid=(1, 5))
    assert measure(bare, permutations=0).null_mean.isna().all()
