"""What messages tell of captions that nothing was learnt from: in bits, word by word, and caption by caption.

The null gives the messages of the asked images to other ones of them, at random: the reader has learnt, and what it
learnt is of no use. Everything that depends on messages or captions alone stays as it is, so that p is exact.

Letters in shapes: n images that are asked about, W words, K candidates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from analysis.metrics.result import Result, against_null, undefined, wilson
from analysis.words.reading import Reader
from analysis.words.text import Words

_Z = 1.959963984540054
# A word must be in so many captions, and be missing in as many, to be asked about.
_LEAST = 5


@dataclass(frozen=True, eq=False)
class Told:
    """What messages tell.

    Attributes:
        bits: of a caption, its length given: how many fewer it takes to write it down for someone who has read its
            message. 0: nothing; below 0: misleading. At most ``bits_of_caption``, of a message that is the caption.
        bits_of_caption: how many it takes without the message, by how often words are used.
        word_auc: mean over words of how often the message of a caption with the word makes it more probable than that
            of a caption without; 0.5 is chance, 1 never wrong.
        caption_found: how often the message's own caption is the most probable one among ``candidates``; the chance is
            1 / candidates. Of captions that are equally probable each is found as often.
        message_found: how often the caption's own message is, among as many.
        candidates: how many were to be told apart: 100, or as many as there are.
        words: a row for each word that is told better than luck tells any word in 95 % of the shuffles: ``word``,
            ``images`` (that are asked about and have it), ``auc``, ``low``, ``high`` (95 %), ``p`` (of all words
            together).
        asked_words: how many words were asked about.
    """

    bits: Result
    bits_of_caption: float
    word_auc: Result
    caption_found: Result
    message_found: Result
    candidates: int
    words: pd.DataFrame
    asked_words: int


def measure_told(
    reader: Reader,
    words: Words,
    images: NDArray[np.bool_],
    *,
    candidates: int = 100,
    permutations: int = 100,
    max_items: int = 2000,
    seed: int = 0,
) -> Told:
    """Asks a reader about images that it did not learn from.

    Args:
        reader: who has learnt from other images.
        words: of the captions; the first one of each image is asked about.
        images: bool ``[N]``, which to ask about; those whose caption has no known word are left out.
        candidates: among how many captions, or messages, the right one is to be found.
        permutations: shuffles behind every p.
        max_items: how many images are asked about at most, drawn without replacement.
        seed: of the draw, the candidates and the shuffles.

    Returns:
        ``n`` counts captions; of ``word_auc``, words. Undefined: ``no_captions`` (none is left to ask about),
        ``too_few_items`` (fewer than 2, or no word in 5 captions and missing in 5).
    """
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(images & (np.asarray(words.first.sum(axis=1)) > 0))
    if len(rows) > max_items:
        rows = np.sort(rng.choice(rows, max_items, replace=False))
    n = len(rows)
    if n < 2:
        nothing = undefined("too_few_items" if n else "no_captions", n)
        return Told(nothing, math.nan, nothing, nothing, nothing, n, _word_rows([], []), 0)
    used, p = words.first[rows], reader.probabilities(rows)
    gained = np.asarray((used @ np.log2(p / reader.usual).T).T)  # of message i, for caption j
    orders = [rng.permutation(n) for _ in range(permutations)]
    own = np.arange(n)
    mine = gained[own, own]
    half = _Z * float(mine.std(ddof=1)) / math.sqrt(n)
    bits = Result(float(mine.mean()), n, low=float(mine.mean()) - half, high=float(mine.mean()) + half)
    among = _candidates(n, min(candidates, n), rng)
    word_auc, table, asked = _word_auc(p, csr_array(used > 0), words.words, orders)
    return Told(
        against_null(bits, [gained[order, own].mean() for order in orders]),
        float(-(used @ np.log2(reader.usual)).mean()),
        word_auc,
        against_null(
            wilson(_found(gained[own[:, None], among])), [_found(gained[o[:, None], among]).mean() for o in orders]
        ),
        against_null(
            wilson(_found(gained[among, own[:, None]])), [_found(gained[o[among], own[:, None]]).mean() for o in orders]
        ),
        among.shape[1],
        table,
        asked,
    )  # fmt: skip


def areas(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas under the ROC curve, and what each item contributes to their errors.

    The variance is DeLong, DeLong and Clarke-Pearson's (1988, Biometrics 44): the sum of squared contributions.

    Args:
        scores: ``[n, W]``.
        positive: ``[n, W]``, at least one true and one false in each column.

    Returns:
        ``[W]``, 0 to 1 with ties as a half; and ``[n, W]``.

    Example:
        >>> area, parts = areas(np.array([[1.0], [2.0], [2.0], [3.0]]), np.array([[0], [0], [1], [1]]) > 0)
        >>> area.tolist(), parts[:, 0].tolist()
        ([0.875], [0.0625, -0.0625, -0.0625, 0.0625])
    """
    from scipy.stats import rankdata

    area, parts = np.zeros(scores.shape[1]), np.zeros(scores.shape)
    for w, yes in enumerate(positive.T):
        high, low = int(yes.sum()), int((~yes).sum())
        ranks = rankdata(scores[:, w])
        # How many of the other side each one beats, as a share.
        beats = np.empty(len(yes))
        beats[yes] = (ranks[yes] - rankdata(scores[yes, w])) / low
        beats[~yes] = 1 - (ranks[~yes] - rankdata(scores[~yes, w])) / high
        area[w] = beats[yes].mean()
        parts[:, w] = (beats - area[w]) / np.where(yes, high, low)
    return area, parts


def _word_auc(
    p: NDArray[np.float64], there: csr_array, names: tuple[str, ...], orders: list[NDArray[np.int64]]
) -> tuple[Result, pd.DataFrame, int]:
    from scipy.stats import rankdata

    n, counts = len(p), np.asarray(there.sum(axis=0)).astype(float)
    asked = np.flatnonzero((counts >= _LEAST) & (n - counts >= _LEAST))
    if not len(asked):
        return undefined("too_few_items", 0), _word_rows([], []), 0
    present, high = np.asarray(there[:, asked].todense()) > 0, counts[asked]
    area, parts = areas(p[:, asked], present)
    ranks = rankdata(p[:, asked], axis=0)

    def of(order: NDArray[np.int64]) -> NDArray[np.float64]:
        sums = (ranks[order] * present).sum(axis=0)
        return np.asarray((sums - high * (high + 1) / 2) / (high * (n - high)))

    null = np.array([of(order) for order in orders]).reshape(-1, len(asked))
    error = np.sqrt((parts**2).sum(axis=0))
    mean_half = _Z * float(np.sqrt((parts.mean(axis=1) ** 2).sum()))
    mean = Result(float(area.mean()), len(asked))
    mean = replace(mean, low=max(0.0, mean.value - mean_half), high=min(1.0, mean.value + mean_half))
    # Rare words vary more by luck: all are measured in standard deviations of their own luck.
    spread = np.sqrt((n + 1) / (12 * high * (n - high)))
    luckiest = ((null - 0.5) / spread).max(axis=1, initial=-np.inf)
    z = (area - 0.5) / spread
    told = (1 + (luckiest[:, None] >= z - 1e-12).sum(axis=0)) / (1 + len(orders))
    best = [w for w in np.argsort(-area, kind="stable") if told[w] <= 0.05]
    rows = [
        (names[asked[w]], int(high[w]), area[w], max(0.0, area[w] - _Z * error[w]), min(1.0, area[w] + _Z * error[w]))
        for w in best
    ]
    return against_null(mean, null.mean(axis=1)), _word_rows(rows, [told[w] for w in best]), len(asked)


def _word_rows(rows: list[tuple[str, int, float, float, float]], p: list[float]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["word", "images", "auc", "low", "high"])
    frame["p"] = p
    return frame


def _candidates(n: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """For each of n items itself and ``count - 1`` others, ``[n, count]``: those that follow it on a random ring."""
    ring = rng.permutation(n)
    places = np.empty(n, dtype=np.int64)
    places[ring] = np.arange(n)
    return ring[(places[:, None] + np.arange(count)) % n]


def _found(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """How often the first of each row of ``[n, K]`` is the best, 1 / k of the times where k are equally good."""
    own = scores[:, :1]
    better, equal = (scores > own + 1e-9).any(axis=1), (np.abs(scores - own) <= 1e-9).sum(axis=1)
    return np.where(better, 0.0, 1 / equal)
