"""Do messages refer back? Messages that are said when the same thing comes again (mpn).

Lipinski, Sobey, Cerutti and Norman 2023, "On temporal references in emergent communication" (arXiv:2310.06555),
``M_previous^n``. Only of items that follow each other in time: it is a function, and no row of the table, which knows
nothing of time. Other than in emlangkit 0.3.0, all horizons have a value, up to the last one, and messages that are
said a few times only do not count, of which some are always said at a repetition by luck.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.metrics.checks import check_attributes
from analysis.metrics.result import Result, against_null, undefined
from analysis.metrics.signalling import message_numbers


def earlier_references(
    symbols: ArrayLike,
    mask: ArrayLike,
    *,
    meanings: ArrayLike,
    horizon: int = 8,
    least: int = 5,
    permutations: int = 100,
    seed: int = 0,
) -> list[Result]:
    """For each n, how often a message is said of what was last seen n items before: the highest share of any message.

    Range 0 to 1. 1: there is a message that is said of nothing but repetitions at this distance, "as n before".
    Chance level: how often things repeat at this distance, and more, as it is the highest of many messages; the null,
    in which items swap their messages, has both.

    Args:
        symbols: ids from 0, ``[N, T]``, in the order in which they were said.
        mask: true where a symbol was said, ``[N, T]``.
        meanings: what was seen: attributes ``[N, A]``, all of which must agree, or a concept ``[N]``; -1 is a value
            like any other.
        horizon: the largest n, at least 1.
        least: messages that were said less often do not count.
        permutations: shuffled languages.
        seed: seed of the shuffling.

    Returns:
        One result for each n from 1 to ``horizon``; their ``n`` counts the items that were last seen n before.
        Undefined: ``too_few_items`` (below 2), ``no_repetition`` (at this distance), ``rare_messages`` (none was said
        ``least`` times).

    Raises:
        ValueError: messages or meanings are malformed, or the horizon or ``least`` is below 1.

    Example:
        >>> seen = np.random.default_rng(0).integers(0, 4, 400)
        >>> again = np.append(False, seen[1:] == seen[:-1])
        >>> found = earlier_references(np.where(again, 9, seen)[:, None], np.ones((400, 1)), meanings=seen, horizon=2)
        >>> [round(result.value, 2) for result in found], [round(result.p, 2) for result in found]
        ([1.0, 0.31], [0.01, 0.02])
    """
    if horizon < 1 or least < 1:
        raise ValueError(f"horizon={horizon}, least={least}: give at least 1")
    held = np.asarray(meanings)
    numbers = message_numbers(symbols, mask)
    values = check_attributes(held[:, None] if held.ndim == 1 else held, numbers)
    n = len(numbers)
    if n < 2:
        return [undefined("too_few_items", n)] * horizon
    ago = _last_seen(values)
    ago = np.where(ago <= horizon, ago, 0)
    uses = np.bincount(numbers)
    counted = uses >= least

    def highest(said: NDArray[np.int64]) -> NDArray[np.float64]:
        table = np.bincount(said * (horizon + 1) + ago, minlength=len(uses) * (horizon + 1))
        shares = table.reshape(len(uses), -1)[counted] / uses[counted, None]
        return np.asarray(shares.max(axis=0, initial=0.0)[1:])

    rng = np.random.default_rng(seed)
    found, repeated = highest(numbers), np.bincount(ago, minlength=horizon + 1)[1:]
    null = np.array([highest(rng.permutation(numbers)) for _ in range(permutations)]).reshape(-1, horizon)
    results = []
    for distance in range(horizon):
        reason = "" if repeated[distance] else "no_repetition"
        reason = reason if counted.any() else "rare_messages"
        if reason:
            results.append(undefined(reason, int(repeated[distance])))
        else:
            result = Result(float(found[distance]), int(repeated[distance]))
            results.append(against_null(result, null[:, distance]))
    return results


def _last_seen(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many items before each one the same was seen for the last time, ``[N]``; 0: never."""
    if not values.shape[1]:
        return np.ones(len(values), dtype=np.int64)
    kinds = np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)
    order = np.argsort(kinds, kind="stable")
    ago = np.zeros(len(values), dtype=np.int64)
    same = kinds[order[1:]] == kinds[order[:-1]]
    ago[order[1:][same]] = np.diff(order)[same]
    return ago
