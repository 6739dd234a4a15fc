"""Does a whole message stand for a whole meaning? Normalized pointwise mutual information of messages (M6).

Lipinski, Sobey, Cerutti and Norman 2023, "On temporal references in emergent communication" (arXiv:2310.06555), call it
non-compositional NPMI. Other than in emlangkit 0.3.0, a message and a meaning that never meet have -1, the limit, and
no NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.corpus.corpus import Corpus
from analysis.metrics.checks import check_attributes
from analysis.metrics.family import Family, Term
from analysis.metrics.result import Result, against_null, undefined
from analysis.metrics.signalling import message_numbers
from analysis.metrics.statistics.joint_counts import Counted, count_pairs


@dataclass(frozen=True, eq=False)
class MessageNpmi:
    """What `message_npmi` measures.

    Attributes:
        mean: over the items, of the NPMI of an item's message and its meaning; the headline.
        examples: of every message and meaning that meet, the first item that has both, int64 ``[pairs]``.
        counts: how many items have both, ``[pairs]``.
        npmi: of each such pair, -1 (never together, in the limit) over 0 (as often as by luck) to 1 (always together),
            ``[pairs]``.
    """

    mean: Result
    examples: NDArray[np.int64]
    counts: NDArray[np.int64]
    npmi: NDArray[np.float64]


def message_npmi(
    symbols: ArrayLike, mask: ArrayLike, *, meanings: ArrayLike, permutations: int = 100, seed: int = 0
) -> MessageNpmi:
    """NPMI of whole messages and whole meanings: log(p(m, o) / (p(m) p(o))) / -log p(m, o), and its mean over items.

    Range -1 to 1. Limits: the mean is 1 if each message has one meaning and each meaning one message. Chance level:
    near 0 where messages and meanings repeat often, and near 1 where they hardly do, since whatever occurs once is
    always together with what it occurs with: read it beside ``null_mean``.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``; silence is a message, too.
        meanings: attributes ``[N, A]``, of which all together are the meaning, or a concept ``[N]``; -1 where not
            known. Items of which nothing is known are left out.
        permutations: shuffled languages, in which items swap their messages.
        seed: seed of the shuffling.

    Returns:
        ``n`` counts items. Undefined: ``too_few_items`` (below 2), ``constant_messages``, ``constant_meanings``,
        ``no_repetition`` (neither a message nor a meaning occurs twice: by luck, too, all would be 1).

    Raises:
        ValueError: messages or meanings are malformed.

    Example:
        >>> grid = np.array([[a, b] for a in range(4) for b in range(4)] * 2)
        >>> found = message_npmi(grid + [0, 4], np.ones((32, 2)), meanings=grid)
        >>> round(found.mean.value, 3), found.counts.tolist() == [2] * 16, found.npmi.round(3).tolist() == [1] * 16
        (1.0, True, True)
        >>> round(message_npmi(grid[:, :1], np.ones((32, 1)), meanings=grid[:, 1]).mean.value, 3)
        0.0
    """
    held = np.asarray(meanings)
    numbers = message_numbers(symbols, mask)
    values = check_attributes(held[:, None] if held.ndim == 1 else held, numbers)
    items = np.flatnonzero((values >= 0).any(axis=1))
    said = np.unique(numbers[items], return_inverse=True)[1].reshape(-1)
    meant = np.unique(values[items], axis=0, return_inverse=True)[1].reshape(-1)
    n, kinds = len(items), int(meant.max(initial=-1)) + 1
    table = count_pairs(said, meant, max(kinds, 1))
    npmi = _npmi(table, said, meant)
    first = np.unique(said * max(kinds, 1) + meant, return_index=True)[1]
    reason = _why_not(said, meant)
    if reason:
        return MessageNpmi(undefined(reason, n), items[first], table.counts, npmi)
    rng = np.random.default_rng(seed)

    def mean(found: Counted) -> float:
        return float(found.counts @ _npmi(found, said, meant) / n)

    null = [mean(count_pairs(said, meant[rng.permutation(n)], kinds)) for _ in range(permutations)]
    return MessageNpmi(against_null(Result(mean(table), n), null), items[first], table.counts, npmi)


def _npmi(met: Counted, said: NDArray[np.int64], meant: NDArray[np.int64]) -> NDArray[np.float64]:
    n = max(len(said), 1)
    both, message, meaning = met.counts / n, np.bincount(said)[met.rows] / n, np.bincount(meant)[met.columns] / n
    # What is always there tells nothing, and its own surprise is 0.
    surprise = np.where(both < 1, -np.log(both), 1.0)
    return np.asarray(np.log(both / (message * meaning)) / surprise)


def _why_not(said: NDArray[np.int64], meant: NDArray[np.int64]) -> str:
    if len(said) < 2:
        return "too_few_items"
    messages, kinds = int(said.max()) + 1, int(meant.max()) + 1
    if messages < 2 or kinds < 2:
        return "constant_messages" if messages < 2 else "constant_meanings"
    return "no_repetition" if messages == kinds == len(said) else ""


def _rows(corpus: Corpus, permutations: int, seed: int) -> Iterator[tuple[str, str, Result]]:
    for name, values in (("all attributes of the item", corpus.attributes), ("class", corpus.labels)):
        if values is not None and (values.ndim == 1 or values.shape[1]):
            found = message_npmi(corpus.symbols, corpus.mask, meanings=values, permutations=permutations, seed=seed)
            yield "message_npmi", name, found.mean


FAMILY = Family(
    "signals",
    {
        "message_npmi": Term(
            "NPMI of messages",
            "How far whole messages and what they are said of go together, on average over the items: 1 if each has "
            "only the other, 0 if they meet as often as by luck.",
            -1,
            1,
        )
    },
    _rows,
)
