"""How well a language is understood once something is done to it: retrieval under interventions (M7, M18).

A listener who listens fails when messages are shuffled; symbols, places or patches that carry meaning are missed when
they are changed or dropped (Lowe et al., 2019). Agents who understand each other over images of noise share a code for
pixels, not words for what is seen (Bouchacourt and Baroni, 2018). Every number is to be held against chance, 1 / B.

Letters in shapes: B images of a group, N of all groups, T message slots, P patches, L symbols per patch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from analysis.corpus.recording import evaluating, listen, one_pair, speak
from patchgame_egg.game import Game
from patchgame_egg.interaction import Batch, Message
from patchgame_egg.population import Population

DROPPED = {"1/4 dropped": 0.25, "1/2 dropped": 0.5, "3/4 dropped": 0.75}
"""Probes that drop a share of what is said, at random."""

Change = Callable[[Message, np.random.Generator], Message]


def play_probes(
    game: Game | Population, batches: Iterable[Batch], *, vocab_size: int, seed: int = 0
) -> dict[str, NDArray[np.bool_]]:
    """Plays a game in evaluation, once as it is and once for every intervention.

    - ``as played``.
    - ``messages shuffled``: within the group; a message comes back to its own image in 1 / B of the cases.
    - ``symbols permuted``: every symbol is exchanged for another, by one fixed permutation of all V.
    - ``positions permuted``: patches change places with what they say, silent ones too; the symbols of a sequence come
      in another order.
    - ``1/4 dropped``, ``1/2 dropped``, ``3/4 dropped``: so many of the patches that speak fall silent. Of a sequence,
      so many symbols go, and the rest closes up.
    - ``random patches speak``: as many as did, drawn at random, say their symbols in the place of those that did.
    - ``silent patches speak``: as many of the patches that were least likely to speak say their symbols instead. What
      is understood by the chosen patches and not by these is what the choice is worth to this listener.
    - ``noise images``: both agents see the same Gaussian noise, of mean 0 and standard deviation 1 after
      normalisation. Far above chance, the messages are hashes of pixels.
    - ``pixels shuffled``: both see the image with its pixels in a random order. What is understood then is its colours.

    Args:
        game: any game whose channel says symbols; of a population, the first speaker and the first listener play.
        batches: the groups, in order. Images are normalised views, the same ones for both agents (`EvaluationView`).
        vocab_size: V.
        seed: seed of all that is random here.

    Returns:
        Name to bool ``[N]``: whether the right image came first in its group, see
        `analysis.corpus.recording.listen`. Other patches speak in games of patches alone, and other images are shown in
        games about images alone.

    Raises:
        ValueError: the channel passes numbers and not symbols, or the game does not say who was understood.
    """
    game = one_pair(game)
    found: dict[str, list[NDArray[np.bool_]]] = {}
    changes = _changes(np.random.default_rng((seed, 0)).permutation(vocab_size))
    with evaluating(game) as device:
        for number, group in enumerate(batches):
            batch = group.to(device)
            _, message = speak(game, batch)
            heard = {"as played": _understood(game, message, batch)}
            choices = {} if message.keep_prob is None else CHOICES
            for i, (name, change) in enumerate((changes | choices).items()):
                changed = change(message, np.random.default_rng((seed, 1, number, i)))
                heard[name] = _understood(game, changed, batch)
            for name, view in _other_images(batch, np.random.default_rng((seed, 2, number))).items():
                heard[name] = _understood(game, speak(game, view)[1], view)
            for name, right in heard.items():
                found.setdefault(name, []).append(right)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _understood(game: Game, message: Message, batch: Batch) -> NDArray[np.bool_]:
    right = listen(game, message, batch)[1]
    if right is None:
        raise ValueError("the game does not say who was understood: its loss should record acc, [B]")
    understood: NDArray[np.bool_] = right.cpu().numpy()
    return understood


def _changes(table: NDArray[np.int64]) -> dict[str, Change]:
    """The interventions on messages, by name; ``table`` is the permutation of symbols."""
    dropped: dict[str, Change] = {name: partial(drop, share) for name, share in DROPPED.items()}
    return {
        "messages shuffled": shuffle_messages,
        "symbols permuted": lambda message, _: permute_symbols(message, table),
        "positions permuted": permute_positions,
        **dropped,
    }


def shuffle_messages(message: Message, rng: np.random.Generator) -> Message:
    """Hands every message to a random image of its group, some to their own."""
    rows = torch.as_tensor(rng.permutation(len(message.symbols)), device=message.symbols.device)
    gate = None if message.gate is None else message.gate[rows]
    return Message(message.symbols[rows], message.vectors[rows], message.mask[rows], gate)


def permute_symbols(message: Message, table: NDArray[np.int64]) -> Message:
    """Says ``table[v]`` in the place of every symbol v; ``table`` is a permutation, ``[V]``."""
    new = torch.as_tensor(table, device=message.symbols.device)
    return Message(new[message.symbols], message.vectors[:, :, new.argsort()], message.mask, message.gate)


def permute_positions(message: Message, rng: np.random.Generator) -> Message:
    """Puts what is said in other places, drawn for each message.

    Whole patches move, silent ones too; of a sequence only what is said, so that silence stays at its end.
    """
    said = _said(message)
    keys = rng.random(said.shape)
    return _in_order(message, keys if message.keep_prob is not None else np.where(said, keys, 2.0))


def drop(share: float, message: Message, rng: np.random.Generator) -> Message:
    """Silences a share of what is said, drawn for each message; half a patch counts as a whole one.

    Args:
        share: of the patches that speak, or of the symbols of a sequence, whose rest closes up; 0 to 1.
        message: what was said.
        rng: draws them.
    """
    said = _said(message)
    keys = np.where(said, rng.random(said.shape), 2.0)
    lost = np.floor(share * said.sum(axis=1) + 0.5)
    kept = said & (keys.argsort(axis=1).argsort(axis=1) >= lost[:, None])
    per_unit = message.symbols.shape[1] // said.shape[1]
    keep = torch.as_tensor(kept, device=message.mask.device).repeat_interleave(per_unit, dim=1)
    gate = None if message.gate is None else message.gate * keep
    fewer = Message(message.symbols, message.vectors * keep[:, :, None], message.mask & keep, gate)
    return fewer if message.keep_prob is not None else _in_order(fewer, (~kept).astype(float))


def let_speak(message: Message, keys: NDArray[np.float64]) -> Message:
    """Lets as many patches speak as did, those with the smallest keys ``[B, P]``; as it was where none is silent."""
    if message.mask.all():
        return message
    said = _said(message)
    chosen = keys.argsort(axis=1, kind="stable").argsort(axis=1) < said.sum(axis=1, keepdims=True)
    per_unit = message.symbols.shape[1] // said.shape[1]
    mask = torch.as_tensor(chosen, device=message.mask.device).repeat_interleave(per_unit, dim=1)
    spoken = F.one_hot(message.symbols, message.vectors.shape[2]).to(message.vectors) * mask[:, :, None]
    gate = None if message.gate is None else mask.to(message.gate)
    return Message(message.symbols, spoken, mask, gate, message.keep_prob)


def _random_patches(message: Message, rng: np.random.Generator) -> Message:
    return let_speak(message, rng.random(_said(message).shape))


def _silent_patches(message: Message, _: np.random.Generator) -> Message:
    assert message.keep_prob is not None
    return let_speak(message, message.keep_prob.double().cpu().numpy())


CHOICES: dict[str, Change] = {"random patches speak": _random_patches, "silent patches speak": _silent_patches}
"""Probes that have other patches speak."""


def _said(message: Message) -> NDArray[np.bool_]:
    """Which patches speak, ``[B, P]``; of a sequence, which slots, ``[B, T]``."""
    units = message.mask.shape[1] if message.keep_prob is None else message.keep_prob.shape[1]
    said: NDArray[np.bool_] = message.mask.unflatten(1, (units, -1)).any(dim=2).cpu().numpy()
    return said


def _in_order(message: Message, keys: NDArray[np.float64]) -> Message:
    """Patches or slots in the order of their keys, smallest first: ``[B, P]`` or ``[B, T]``."""
    per_unit = message.symbols.shape[1] // keys.shape[1]
    units = keys.argsort(axis=1, kind="stable")
    slots = (units[:, :, None] * per_unit + np.arange(per_unit)).reshape(len(units), -1)
    order = torch.as_tensor(slots, device=message.symbols.device)
    vectors = message.vectors.gather(1, order[:, :, None].expand_as(message.vectors))
    gate = None if message.gate is None else message.gate.gather(1, order)
    return Message(message.symbols.gather(1, order), vectors, message.mask.gather(1, order), gate)


def _other_images(batch: Batch, rng: np.random.Generator) -> dict[str, Batch]:
    """The same group with other images, which both agents see; empty where they do not see one image."""
    seen, shown = batch.sender_input, batch.receiver_input
    if seen.dim() != 4 or shown is None or shown.shape[:1] + shown.shape[-3:] != seen.shape:
        return {}
    found = {}
    for name, change in (("noise images", _noise), ("pixels shuffled", _shuffled)):
        view = change(seen, rng)
        both = view
        if shown.dim() == 5:
            others = change(shown[:, 1:].flatten(0, 1), rng).unflatten(0, (len(seen), -1))
            both = torch.cat([view[:, None], others], dim=1)
        found[name] = Batch(view, batch.labels, both, batch.aux_input)
    return found


def _noise(images: Tensor, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.standard_normal(images.shape, dtype=np.float32)).to(images)


def _shuffled(images: Tensor, rng: np.random.Generator) -> Tensor:
    order = torch.from_numpy(rng.random((len(images), images[0, 0].numel()), dtype=np.float32)).argsort(dim=1)
    order = order.to(images.device)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, order).view_as(images)
