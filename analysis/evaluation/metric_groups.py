"""Which metrics a corpus is measured by, and on what: one function per group of the table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from analysis.corpus.corpus import Corpus
from analysis.evaluation.concepts import concepts_of
from analysis.evaluation.families import families
from analysis.evaluation.likenesses import Likenesses, points_of
from analysis.evaluation.rows import Row, row
from analysis.metrics.bag_of_symbols import bag_of_symbols_classification
from analysis.metrics.concept_association import associations
from analysis.metrics.concept_matching import concept_best_matching
from analysis.metrics.meaning import close_messages, message_variance
from analysis.metrics.patch_importance import importance_scores, map_agreement, place_share
from analysis.metrics.result import Result, undefined, wilson
from analysis.metrics.signalling import listening_influence, message_numbers, speaker_consistency
from analysis.metrics.vocabulary_usage import usage

PLAYED = "as played"
# Chosen before anything is measured: of many numbers the largest is large by luck.
HEADLINE_DISTANCES = {
    "edit distance": "the speaker chose the order of the symbols, and most papers compare it",
    "which symbols": "of patches nobody chose the order, which edit distances compare",
}
"""The distances of messages that stand for topographic similarity where only one can, and why."""
# Classifiers are trained anew for every shuffled language.
_CLASSIFIERS_SHUFFLED = 20
# A message that is never said again tells everything about its item, whatever it means.
_REPEAT = 0.9


class Shuffling(TypedDict):
    """What every metric with a null takes."""

    permutations: int
    seed: int


def of_their_own(group: str, corpus: Corpus, permutations: int, seed: int) -> Iterator[Row]:
    """The families of a group that say for themselves how a corpus is measured."""
    for family in families():
        if family.group == group:
            for metric, of, result in family.rows(corpus, permutations, seed):
                yield row(group, metric, of, result)


def success(corpus: Corpus) -> Iterator[Row]:
    """How often the listener was right, as played and after each intervention."""
    chance = 1 / corpus.choices if corpus.choices else math.nan
    for name, correct in corpus.probes.items():
        metric = "retrieval" if name == PLAYED else "retrieval_under_intervention"
        yield row("success", metric, "" if name == PLAYED else name, wilson(correct), chance)


def vocabulary(corpus: Corpus) -> Iterator[Row]:
    """What is said, whatever it means."""
    n, tokens = len(corpus), int(corpus.mask.sum())
    found = usage(corpus.symbols, corpus.mask, corpus.vocab_size)
    for metric, value, of in (
        ("tokens", tokens, n),
        ("active_symbols", found.active_symbols, tokens),
        ("dead_symbols", corpus.vocab_size - found.active_symbols, tokens),
        ("symbol_entropy", found.symbol_entropy, tokens),
        ("perplexity", found.perplexity, tokens),
        ("mean_length", found.mean_length, n),
        ("distinct_messages", found.distinct_messages, n),
        ("collisions", n - found.distinct_messages, n),
        ("message_entropy", found.message_entropy, n),
    ):
        reason = "nothing_said" if n else "no_items"
        yield row("usage", metric, "", undefined(reason, of) if math.isnan(value) else Result(float(value), of))


def concepts(corpus: Corpus, control: Corpus | None, permutations: int, seed: int) -> Iterator[Row]:
    """What symbols stand for, beside the codes of `analysis.corpus.color_codes.color_codes`."""
    ids, said = corpus.symbols, corpus.mask
    known = concepts_of(corpus)
    told = associations(ids, said, [concept.values for concept in known], permutations=permutations, seed=seed)
    for concept, found in zip(known, told, strict=True):
        for metric in (field.name for field in fields(found) if field.name != "counts"):
            yield row("concepts", metric, concept.name, getattr(found, metric))
    if control is not None:
        known = concepts_of(control)
        shown = [concept.values for concept in known]
        told = associations(control.symbols, control.mask, shown, permutations=permutations, seed=seed)
        for concept, found in zip(known, told, strict=True):
            yield row("concepts", "ami_of_color_codes", concept.name, found.ami)
    together: dict[str, NDArray[np.int64] | None] = {"all attributes of the item": None, "all that patches show": None}
    if corpus.attributes is not None:
        together["all attributes of the item"] = corpus.attributes[:, None]  # [N, 1, A]
    if corpus.patch_attributes is not None and corpus.symbols_per_patch:
        together["all that patches show"] = np.repeat(corpus.patch_attributes, corpus.symbols_per_patch, axis=1)
    for name, values in together.items():
        if values is not None and values.shape[2]:
            match = concept_best_matching(ids, said, values, permutations=permutations, seed=seed)
            yield row("concepts", "concept_best_matching", name, match.score)


def classes(corpus: Corpus, control: Corpus | None, permutations: int, seed: int) -> Iterator[Row]:
    """Whether a classifier that sees only the symbols knows the class, or only colors."""
    if corpus.labels is None:
        return
    draws = min(permutations, _CLASSIFIERS_SHUFFLED)
    found = bag_of_symbols_classification(corpus.symbols, corpus.mask, corpus.labels, permutations=draws, seed=seed)
    for name, result in (
        ("naive Bayes", found.naive_bayes),
        ("nearest neighbours", found.nearest_neighbours),
        ("logistic regression", found.logistic_regression),
    ):
        yield row("concepts", "bag_of_symbols", name, result, found.chance)
    if control is not None and control.labels is not None:
        told = bag_of_symbols_classification(control.symbols, control.mask, control.labels, permutations=0, seed=seed)
        for name, result in (
            ("naive Bayes", told.naive_bayes),
            ("nearest neighbours", told.nearest_neighbours),
            ("logistic regression", told.logistic_regression),
        ):
            yield row("concepts", "bag_of_color_codes", name, result, told.chance)


def structure(alike: Likenesses) -> Iterator[Row]:
    """Whether like items have like messages, by several distances; the first row is the headline."""
    return _of_metric("structure", "topographic_similarity", alike)


def meaning(corpus: Corpus, alike: Likenesses, permutations: int, seed: int) -> Iterator[Row]:
    """What messages mean to the listener and in pixels, without any concept."""
    shuffled: Shuffling = {"permutations": permutations, "seed": seed}
    for name, values in points_of(corpus).items():
        ids, said = corpus.symbols[: len(values)], corpus.mask[: len(values)]
        yield row(
            "meaning", "message_variance_explained", name, message_variance(ids, said, values, **shuffled).explained
        )
        close = close_messages(ids, said, values, message_distance="bag", **shuffled)
        yield row("meaning", "spatial_meaningfulness", name, close)
    yield from _of_metric("meaning", "representational_similarity", alike)


def _of_metric(group: str, metric: str, alike: Likenesses) -> Iterator[Row]:
    return (row(group, metric, of, result) for (name, of), result in alike.items() if name == metric)


def signals(corpus: Corpus, permutations: int, seed: int) -> Iterator[Row]:
    """Whether the speaker tells something, and whether the listener listens."""
    messages = message_numbers(corpus.symbols, corpus.mask)
    of_items = [concept for concept in concepts_of(corpus) if concept.values.ndim == 1]
    if of_items and len(np.unique(messages)) > _REPEAT * len(corpus):
        yield row("signals", "speaker_consistency", "", undefined("messages_hardly_repeat", len(corpus)))
    else:
        for concept in of_items:
            told = speaker_consistency(messages, concept.values, permutations=permutations, seed=seed)
            yield row("signals", "speaker_consistency", concept.name, told.information)
    if corpus.text is not None and corpus.image is not None and corpus.temperature and corpus.candidates:
        heard = listening_influence(
            corpus.text, corpus.image, corpus.temperature, corpus.candidates, permutations=permutations, seed=seed
        )
        yield row("signals", "listening_influence", "", heard)


def patches(corpus: Corpus, seed: int) -> Iterator[Row]:
    """Whether who speaks is a matter of place, or lies on objects, beside rankings that know no language."""
    if corpus.keep_prob is None or corpus.grid is None:
        return
    yield row("patches", "place_share", "speaker", place_share(corpus.keep_prob))
    for name, maps in corpus.changed_maps.items():
        if len(maps) == len(corpus.keep_prob) > 1:
            yield row("patches", "map_agreement", name, map_agreement(corpus.keep_prob, maps))
        else:
            yield row("patches", "map_spread", name, Result(float(maps.std()), len(maps)))
    if corpus.object_area is None:
        return
    images = corpus.images if corpus.images is not None and len(corpus.images) else None
    scores = importance_scores(
        corpus.keep_prob, corpus.object_area, corpus.grid, scales=corpus.scales, images=images, seed=seed
    )
    for method, found in scores.iterrows():
        for metric in ("pointing_game", "energy_in_box", "roc_auc", "average_precision", "top_k_iou"):
            if found.reason:
                result = undefined(found.reason)
            else:
                half = 1.96 * found[f"{metric}_se"]
                result = Result(float(found[metric]), int(found.n), low=found[metric] - half, high=found[metric] + half)
            chance = math.nan if method == "random" else scores[metric].get("random", math.nan)
            yield row("patches", metric, str(method), result, chance)
