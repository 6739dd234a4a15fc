"""Similarities that are worked out together: the same numbers as one by one, also where items lack something."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.corpus.corpus import Corpus
from analysis.evaluation.likenesses import likenesses, points_of
from analysis.metrics.rsa import representational_similarity
from analysis.metrics.statistics import rank_correlation
from analysis.metrics.topsim import topographic_similarity


def language() -> tuple[Corpus, NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """A language, and the attributes of its items, their images as seen and its messages as heard."""
    rng = np.random.default_rng(0)
    attributes = rng.integers(0, 3, (60, 3))
    symbols = np.repeat(attributes, 2, axis=1)[:, :4] + rng.integers(0, 2, (60, 4))
    image, text = rng.normal(size=(2, 60, 5))
    attributes[4], image[9], text[2] = -1, 0, np.nan
    corpus = Corpus(
        symbols, rng.random((60, 4)) < 0.8, vocab_size=9, attributes=attributes, grid=(2, 2), image=image, text=text,
        images=rng.integers(0, 255, (50, 3, 8, 8), dtype=np.uint8),
    )  # fmt: skip
    return corpus, attributes, image, text


@pytest.mark.parametrize("kept", [2048, 20], ids=["kept", "again"])
def test_together_is_one_by_one(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_correlation, "_HELD", kept)
    corpus, attributes, image, text = language()
    found = likenesses(corpus, 9, 3)
    pixels = points_of(corpus)["pixels"]
    symbols, mask, drawn = corpus.symbols, corpus.mask, {"permutations": 9, "seed": 3}
    alone = {
        "attributes and which symbols": topographic_similarity(
            symbols, mask, meanings=attributes, message_distance="bag", **drawn
        ),
        "images as seen and edit distance": topographic_similarity(
            symbols, mask, meanings=image, meaning_distance="cosine", **drawn
        ),
        "pixels and who speaks": topographic_similarity(
            mask[:50].astype(int), np.ones_like(mask[:50]), meanings=pixels, meaning_distance="cosine",
            message_distance="hamming", **drawn,
        ),
        "messages as heard and images as seen": representational_similarity(text, image, **drawn),
        "messages as heard and pixels": representational_similarity(text[:50], pixels, **drawn),
        "images as seen and pixels": representational_similarity(image[:50], pixels, **drawn),
    }  # fmt: skip
    by_name = {of: result for (_, of), result in found.items()}
    assert {name: by_name[name] for name in alone} == alone
    assert [result.n for result in alone.values()] == [59, 59, 50, 58, 49, 49]
    assert len(found) == 3 * 6 + 3 and next(iter(found)) == ("topographic_similarity", "attributes and which symbols")


def test_a_sample_of_pairs_that_are_kept_is_the_sample_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, _, image, _ = language()
    asked = {"meanings": image, "meaning_distance": "cosine", "permutations": 19, "max_items": 30}
    kept = topographic_similarity(corpus.symbols, corpus.mask, **asked)  # type: ignore[arg-type]
    monkeypatch.setattr(rank_correlation, "_HELD", 20)
    again = topographic_similarity(corpus.symbols, corpus.mask, **asked)  # type: ignore[arg-type]
    assert (again.value, again.p, again.n, again.draws) == (pytest.approx(kept.value), kept.p, 59, 19)
    assert (again.null_mean, again.low, again.high) == pytest.approx((kept.null_mean, kept.low, kept.high))
