"""Where emlangkit 0.3.0 is right, it and we say the same: messages of one length, no padding, pairs that meet.

Skipped, and said to be, where emlangkit is not installed: ``pip install emlangkit==0.3.0``.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import analysis

metrics = pytest.importorskip("emlangkit.metrics", reason="the comparison needs emlangkit (pip install emlangkit)")

RNG = np.random.default_rng(0)
MEANINGS = RNG.integers(0, 3, (60, 2))
NOISY = np.where(
    RNG.random((60, 3)) < 0.7, np.column_stack([MEANINGS, MEANINGS.sum(axis=1)]), RNG.integers(0, 5, (60, 3))
)
LANGUAGES = {"perfect": MEANINGS + np.array([1, 5]), "noisy": NOISY + 1, "random": RNG.integers(1, 5, (60, 4))}


@pytest.mark.parametrize("name", LANGUAGES)
def test_numbers_agree(name: str) -> None:
    symbols = LANGUAGES[name]
    said = np.ones_like(symbols, dtype=bool)
    topsim, _ = metrics.compute_topographic_similarity(symbols, MEANINGS)
    ours = analysis.topographic_similarity(
        symbols, said, meanings=MEANINGS, message_distance="edit_mean", permutations=0
    )
    assert ours.value == pytest.approx(topsim, abs=1e-9)
    for theirs, own in (
        (metrics.compute_posdis, analysis.positional_disentanglement),
        (metrics.compute_bosdis, analysis.bag_of_symbols_disentanglement),
    ):
        assert own(symbols, said, attributes=MEANINGS, permutations=0).value == pytest.approx(
            theirs(symbols, MEANINGS), abs=1e-9
        )
    entropy = analysis.usage(symbols, said, 20).message_entropy
    assert entropy == pytest.approx(metrics.compute_entropy(symbols), abs=1e-9)
    numbers, kinds = (analysis.message_numbers(x, np.ones_like(x)) for x in (symbols, MEANINGS))
    shared = analysis.speaker_consistency(numbers, kinds, permutations=0).information.value / math.log(2)
    assert shared == pytest.approx(metrics.compute_mutual_information(symbols, MEANINGS), abs=1e-9)


@pytest.mark.parametrize("name", LANGUAGES)
@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.filterwarnings("ignore:invalid value")
def test_npmi_of_pairs_that_meet(name: str) -> None:
    symbols = LANGUAGES[name]
    found = analysis.message_npmi(symbols, np.ones_like(symbols), meanings=MEANINGS, permutations=0)
    theirs = metrics.compute_nc_npmi(symbols, MEANINGS)
    for example, value in zip(found.examples, found.npmi, strict=True):
        assert value == pytest.approx(theirs[f"{symbols[example]}"][f"{MEANINGS[example]}"], abs=1e-9)


def test_earlier_references_below_the_last_horizon() -> None:
    """Theirs are percents rounded to a tenth; nothing recurs at their last horizon, which they have no room for."""
    seen = np.tile([0, 0, 1, 2, 1, 3, 3, 4, 5, 4, 0], 12)
    messages = np.random.default_rng(0).integers(0, 6, (len(seen), 1))
    horizon = 1 + max(np.diff(np.flatnonzero(seen == kind)).max() for kind in range(6))
    theirs = metrics.compute_mpn(messages, seen[:, None], int(horizon))
    ours = analysis.earlier_references(
        messages, np.ones_like(messages), meanings=seen, horizon=int(horizon), least=1, permutations=0
    )
    for distance in range(1, int(horizon)):
        value = ours[distance - 1].value
        assert (0.0 if math.isnan(value) else 100 * value) == pytest.approx(theirs[distance], abs=0.051)
