"""How a language uses its vocabulary: active symbols, entropy, perplexity, message length (metric sheet, M8)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.corpus.numbering import LARGEST
from analysis.metrics.checks import check_messages
from analysis.metrics.statistics.entropy import entropy_of_counts


@dataclass(frozen=True)
class Usage:
    """What `usage` measures.

    Attributes:
        counts: how often each symbol was said, int64 ``[V]``; of more than 65,536 symbols, up to the last one said.
        active_symbols: how many symbols were said at all, 0 to V.
        symbol_entropy: of the symbol distribution, in bits, 0 to log2 V; NaN if nothing was said.
        perplexity: 2 ** symbol_entropy, the number of equally frequent symbols that would be as varied, 1 to V.
        mean_length: symbols per message, 0 to T.
        distinct_messages: how many different messages there were, 1 to N.
        message_entropy: of the distribution over whole messages, in bits, 0 to log2 N; log2 N if no two are alike.
    """

    counts: NDArray[np.int64]
    active_symbols: int
    symbol_entropy: float
    perplexity: float
    mean_length: float
    distinct_messages: int
    message_entropy: float


def usage(symbols: ArrayLike, mask: ArrayLike, vocab_size: int) -> Usage:
    """Counts what was said.

    Args:
        symbols: ids in [0, V), ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``; the ids elsewhere do not matter.
        vocab_size: V.

    Raises:
        ValueError: shapes differ, or a spoken id is outside [0, V).

    Example:
        >>> found = usage([[0, 1], [2, 3], [0, 1]], [[1, 1], [1, 0], [1, 1]], vocab_size=4)
        >>> found.counts.tolist(), found.active_symbols, round(found.symbol_entropy, 3)
        ([2, 2, 1, 0], 3, 1.522)
        >>> round(found.mean_length, 3), found.distinct_messages
        (1.667, 2)
    """
    ids, spoken = check_messages(symbols, mask)
    said, as_given = ids[spoken], np.asarray(symbols)[spoken]
    if said.size and as_given.max() >= vocab_size:
        raise ValueError(f"symbols lie in [{as_given.min()}, {as_given.max()}], the vocabulary has {vocab_size}")
    counts = np.bincount(said, minlength=vocab_size if vocab_size <= LARGEST else 0)
    entropy = entropy_of_counts(counts)
    _, repeats = np.unique(ids, axis=0, return_counts=True)
    return Usage(
        counts=counts,
        active_symbols=int((counts > 0).sum()),
        symbol_entropy=entropy / math.log(2),
        perplexity=float(np.exp(entropy)),
        mean_length=float(spoken.sum(axis=1).mean()) if len(spoken) else float("nan"),
        distinct_messages=len(repeats),
        message_entropy=entropy_of_counts(repeats) / math.log(2),
    )
