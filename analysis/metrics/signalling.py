"""Does the speaker say something, and does the listener listen? Metric sheet, M7.

Lowe, Foerster, Boureau, Pineau, Dauphin: On the Pitfalls of Measuring Emergent Communication (AAMAS 2019,
1903.05168). All in nats. Positive signalling is a speaker consistency above its null; positive listening a causal
influence above 0.

Deviation: the code published with that paper takes a mean where the causal influence has a sum, so that its numbers
are ln(number of messages) too high. Here a listener that ignores the message scores 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.metrics.checks import check_messages
from analysis.metrics.result import Result, against_null, undefined
from analysis.metrics.statistics.entropy import entropy_of_counts, entropy_of_shares

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Signalling:
    """What messages tell about something else.

    Attributes:
        information: mutual information in nats, from 0 to the smaller of the two entropies. Small samples inflate it
            (as many messages as items give the whole entropy), its null just as much: compare the two.
        share: ``information`` / entropy of the messages, 0 to 1; undefined where all messages are the same.
    """

    information: Result
    share: Result


def message_numbers(symbols: ArrayLike, mask: ArrayLike) -> NDArray[np.int64]:
    """Numbers whole messages: two items have one number if the same was said of them, slot by slot.

    Args:
        symbols: ids from 0, ``[N, T]``.
        mask: true where a symbol was said, ``[N, T]``; the ids elsewhere do not matter.

    Returns:
        From 0, int64 ``[N]``. Silence is a message, too.

    Example:
        >>> message_numbers([[3, 1], [3, 7], [3, 9]], [[1, 1], [1, 0], [1, 0]]).tolist()
        [1, 0, 0]
    """
    ids, _ = check_messages(symbols, mask)
    if not ids.size:
        return np.zeros(len(ids), dtype=np.int64)
    numbers = np.unique(ids, axis=0, return_inverse=True)[1]
    # NumPy 2.0 alone returns a column.
    return numbers.reshape(-1).astype(np.int64)


def speaker_consistency(
    messages: ArrayLike, states: ArrayLike, *, permutations: int = 100, seed: int = 0
) -> Signalling:
    """Mutual information of messages and what their speaker saw (or did), from counts.

    One message for each of K equally frequent states gives ln K; messages that all are the same, or drawn at random
    from few, about 0. Whole messages that never repeat give the entropy of the states whatever they mean; then p is 1.

    Args:
        messages: which message was said, from 0, ``[N]`` (`message_numbers`); -1 is not known and left out.
        states: class or attribute of the item, or the speaker's own action, from 0, ``[N]``; -1 is not known and left
            out.
        permutations: shuffles of the messages over the items for the null.
        seed: seed of the shuffling.

    Returns:
        Both numbers with their nulls, whose p is the same; n counts items.

    Raises:
        ValueError: shapes or types are wrong, or an id is below -1.

    Example:
        >>> found = speaker_consistency([0, 1, 2, 3] * 4, [7, 5, 6, 4] * 4)
        >>> round(found.information.value, 3), round(found.share.value, 3), round(found.share.p, 3)
        (1.386, 1.0, 0.01)
        >>> round(speaker_consistency([0, 0, 1, 1] * 4, [0, 1, 0, 1] * 4).information.value, 3)
        0.0
    """
    first, second = _numbers("messages", messages), _numbers("states", states)
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} messages and {len(second)} states: give one of each per item")
    known = (first >= 0) & (second >= 0)
    first, second = (np.unique(ids[known], return_inverse=True)[1] for ids in (first, second))
    n = len(first)
    if not n:
        return Signalling(undefined("nothing_known"), undefined("nothing_known"))
    entropy = _entropy_of_ids(first)
    apart = entropy + _entropy_of_ids(second)
    kinds = int(second.max()) + 1
    rng = np.random.default_rng(seed)

    def information(order: NDArray[np.int64]) -> float:
        return max(0.0, apart - _entropy_of_ids(first[order] * kinds + second))

    null = [information(rng.permutation(n)) for _ in range(permutations)]
    total = against_null(Result(information(np.arange(n)), n), null)
    if entropy == 0:
        return Signalling(total, undefined("constant_messages", n))
    share = Result(min(1.0, total.value / entropy), n, total.null_mean / entropy, total.null_std / entropy)
    return Signalling(total, replace(share, p=total.p, draws=total.draws))


def instantaneous_coordination(
    messages: ArrayLike, actions: ArrayLike, *, permutations: int = 100, seed: int = 0
) -> Signalling:
    """Mutual information of messages and what the other agent does next, from counts.

    It is 0 where they are independent, ln K where each of K equally frequent messages has an action of its own. Both
    may follow from what both agents see: only an intervention (`causal_influence`) shows that the listener listens.

    Args:
        messages: which message was said, from 0, ``[N]`` (`message_numbers`); -1 is not known and left out.
        actions: what the listener did, from 0, ``[N]``; -1 is not known and left out.
        permutations: shuffles of the messages over the items for the null.
        seed: seed of the shuffling.

    Returns:
        Both numbers with their nulls, whose p is the same; n counts items.

    Raises:
        ValueError: shapes or types are wrong, or an id is below -1.

    Example:
        >>> round(instantaneous_coordination([0, 1, 2, 3] * 4, [3, 2, 1, 0] * 4).information.value, 3)
        1.386
        >>> round(instantaneous_coordination([0, 0, 1, 1] * 4, [0, 1, 0, 1] * 4).information.value, 3)
        0.0
    """
    return speaker_consistency(messages, actions, permutations=permutations, seed=seed)


def causal_influence(action_given_message: ArrayLike, message_prob: ArrayLike) -> Result:
    """Causal influence of communication: how much messages, chosen freely, change what the listener does.

    Mean over contexts x of I(m; a) under p(m | x) p(a | do(m), x): the message is set from outside, all else that the
    listener sees stays. From 0 (the listener ignores it) to ln min(M, A) (each of equally probable messages has an
    action of its own). Divide by that, or by the entropy of the messages, for a share. It has no null: which message
    belongs to what is not asked, so a shuffled language scores the same.

    Args:
        action_given_message: p(a | do(m), x), ``[X, M, A]``, or ``[M, A]`` for a single context; sums to 1 over A.
        message_prob: p(m | x), ``[X, M]``, or ``[M]`` if it is the same in all contexts; sums to 1 over M.

    Returns:
        In nats; n counts contexts.

    Raises:
        ValueError: shapes do not fit, or something is no probability.

    Example:
        >>> uniform = np.full(4, 1 / 4)
        >>> round(causal_influence(np.eye(4), uniform).value, 3)
        1.386
        >>> causal_influence(np.full((4, 4), 1 / 4), uniform).value
        0.0
    """
    actions, prob = np.asarray(action_given_message, dtype=float), np.asarray(message_prob, dtype=float)
    actions = actions[None] if actions.ndim == 2 else actions
    if actions.ndim != 3 or prob.shape not in (actions.shape[1:2], actions.shape[:2]):
        raise ValueError(
            f"action_given_message has shape {actions.shape} and message_prob {prob.shape}: expected [X, M, A] with "
            "[X, M] or [M]"
        )
    _check_distribution("action_given_message", actions)
    _check_distribution("message_prob", prob)
    if not actions.size:
        return undefined("no_contexts")
    return Result(float(_influence(actions, prob).mean()), len(actions))


def listening_influence(
    text: ArrayLike,
    image: ArrayLike,
    temperature: float,
    candidates: int,
    *,
    messages: int = 64,
    permutations: int = 100,
    seed: int = 0,
) -> Result:
    """Causal influence of communication in an image game, from what the listener makes of messages and images.

    A context is a group of candidate images. Messages drawn from the whole corpus, the same equally probable ones for
    all groups, are put in the place of its own; the listener's action is its softmax over the group. From 0 (it ignores
    the message) to ln min(messages, candidates), by which one may divide; more messages let it rise. It does not ask
    whether the choice is right, and most messages are about no image of a small group: read it beside its null and
    the retrieval accuracy.

    The null turns all messages by one random rotation. They differ among each other as before, but point nowhere in
    particular among the images: what embeddings that know nothing of each other score at this temperature.

    Args:
        text: what the listener makes of each message, ``[N, D]``, of length 1.
        image: what it makes of each image, ``[N, D]``, of length 1.
        temperature: similarities are divided by it before the softmax, above 0.
        candidates: group size; items are grouped in order, an incomplete last group is left out.
        messages: how many to draw, at least 2; all of them if N is less.
        permutations: rotations for the null.
        seed: seed of the draw and the rotations.

    Returns:
        In nats; n counts groups.

    Raises:
        ValueError: shapes do not fit, or an option is out of range.

    Example:
        >>> matching, deaf = np.eye(8), np.eye(8)[[0] * 8]
        >>> found = listening_influence(matching, matching, temperature=0.07, candidates=8)
        >>> round(found.value, 3)  # ln 8
        2.079
        >>> listening_influence(deaf, matching, temperature=0.07, candidates=8).value
        0.0
    """
    said, seen = np.asarray(text, dtype=float), np.asarray(image, dtype=float)
    if said.shape != seen.shape or said.ndim != 2:
        raise ValueError(f"expected text and image of one shape [N, D], got {said.shape} and {seen.shape}")
    if not temperature > 0 or candidates < 1 or messages < 2:
        raise ValueError(
            f"temperature is {temperature}, candidates {candidates}, messages {messages}: give a temperature above 0, "
            "at least 1 candidate and at least 2 messages"
        )
    groups = len(seen) // candidates
    if candidates == 1:
        return undefined("one_candidate", groups)
    if not groups:
        return undefined("fewer_items_than_candidates")
    if not (np.isfinite(said).all() and np.isfinite(seen).all()):
        return undefined("embeddings_not_finite", groups)
    rng = np.random.default_rng(seed)
    drawn = said[rng.permutation(len(said))[:messages]]  # [M, D]
    shown = seen[: groups * candidates]  # [G * K, D]

    def influence(bank: Floats) -> float:
        scores = (bank @ shown.T / temperature).reshape(len(bank), groups, candidates).swapaxes(0, 1)  # [G, M, K]
        likely = np.exp(scores - scores.max(axis=-1, keepdims=True))
        likely /= likely.sum(axis=-1, keepdims=True)
        return float(_influence(likely, np.full(len(bank), 1 / len(bank))).mean())

    null = [influence(_turned(drawn, rng)) for _ in range(permutations)]
    return against_null(Result(influence(drawn), groups), null)


def _influence(actions: Floats, prob: Floats) -> Floats:
    """I(m; a) = H(a) - H(a | m) of p(a | m) ``[..., M, A]`` and p(m) ``[..., M]``, a number per context."""
    marginal = (prob[..., None, :] @ actions)[..., 0, :]  # [..., A]
    information: Floats = entropy_of_shares(marginal) - (prob * entropy_of_shares(actions)).sum(axis=-1)
    return np.maximum(information, 0.0)


def _turned(vectors: Floats, rng: np.random.Generator) -> Floats:
    """Vectors ``[M, D]`` after a random rotation or reflection, all of which are equally probable."""
    inside = np.linalg.qr(vectors.T)[1]  # [R, M], what they are within the R <= M dimensions that they span
    frame, upper = np.linalg.qr(rng.normal(size=(vectors.shape[1], len(inside))))  # [D, R]
    # Without the signs, QR prefers some directions.
    turned: Floats = (frame * np.sign(np.diag(upper)) @ inside).T
    return turned


def _entropy_of_ids(ids: NDArray[np.int64]) -> float:
    return entropy_of_counts(np.unique(ids, return_counts=True)[1])


def _numbers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    ids = np.asarray(values)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise ValueError(f"{name} has shape {ids.shape} and type {ids.dtype}: expected integers [N]")
    if ids.size and ids.min() < -1:
        raise ValueError(f"{name} holds {ids.min()}: ids count from 0, -1 is not known")
    return ids.astype(np.int64)


def _check_distribution(name: str, prob: Floats) -> None:
    if not (prob >= 0).all() or not np.allclose(prob.sum(axis=-1), 1, atol=1e-4):
        raise ValueError(f"{name} is negative or does not sum to 1 over its last axis: give probabilities")
