"""Interventions on messages, each by itself and in games whose agents listen, or do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis.corpus.interventions import (
    CHOICES,
    DROPPED,
    drop,
    permute_positions,
    permute_symbols,
    play_probes,
    shuffle_messages,
)
from analysis.corpus.recording import record
from patchgame_egg.egg.records import EggMessage
from patchgame_egg.game import Game
from patchgame_egg.interaction import Batch, Message
from tests.analysis.corpus.test_recording import GROUP, batches, built

PATCHES, PER_PATCH, VOCAB = 6, 2, 9


def said(rows: int = 40, sequence: bool = False, gate: bool = True) -> Message:
    """Random messages: of patches with holes, or of sequences that end."""
    rng = np.random.default_rng(0)
    slots = PATCHES * PER_PATCH
    symbols = torch.tensor(rng.integers(0, VOCAB, (rows, slots)))
    if sequence:
        mask = torch.arange(slots) < torch.tensor(rng.integers(0, slots + 1, (rows, 1)))
    else:
        mask = torch.tensor(rng.random((rows, PATCHES)) < 0.6).repeat_interleave(PER_PATCH, dim=1)
    keep = None if sequence else torch.tensor(rng.random((rows, PATCHES)))
    loud = torch.tensor(rng.random((rows, slots))).float() * mask if gate else mask.float()
    vectors = nn.functional.one_hot(symbols, VOCAB) * loud[:, :, None]
    return Message(symbols, vectors, mask, loud if gate else None, keep)


def as_rows(message: Message) -> list[list[tuple[int, bool, float, float]]]:
    """Each message as its slots: symbol, whether it is said, the gate, how loud the vector is there."""
    loud = message.vectors.gather(2, message.symbols[:, :, None]).squeeze(2)
    assert torch.equal(loud, message.vectors.sum(2))  # nothing else is in the vectors
    gate = loud if message.gate is None else message.gate
    columns = (message.symbols.tolist(), message.mask.tolist(), gate.tolist(), loud.tolist())
    return [list(zip(*slots, strict=True)) for slots in zip(*columns, strict=True)]


@pytest.mark.parametrize("sequence", [False, True])
@pytest.mark.parametrize("gate", [False, True])
def test_shuffled_messages_stay_whole(sequence: bool, gate: bool) -> None:
    before, after = (as_rows(m) for m in (said(40, sequence, gate), shuffle_messages(said(40, sequence, gate), RNG())))
    assert sorted(before) == sorted(after) and before != after


def RNG() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.mark.parametrize("sequence", [False, True])
def test_permuted_symbols_keep_their_places(sequence: bool) -> None:
    table = np.random.default_rng(2).permutation(VOCAB)
    before, after = (as_rows(m) for m in (said(40, sequence), permute_symbols(said(40, sequence), table)))
    assert after == [[(table[s], *rest) for s, *rest in row] for row in before]


def test_patches_change_places_with_all_that_they_say() -> None:
    before, message = as_rows(said()), permute_positions(said(), RNG())
    for old, new in zip(before, as_rows(message), strict=True):
        pairs = [[tuple(row[i : i + PER_PATCH]) for i in range(0, len(row), PER_PATCH)] for row in (old, new)]
        assert sorted(pairs[0]) == sorted(pairs[1])
    places = np.array([[m for _, m, *_ in row] for row in as_rows(message)]).mean(axis=0)
    assert (places > 0.3).all() and (message.mask != said().mask).any()


def test_sequences_keep_their_length_and_change_their_order() -> None:
    message, old = permute_positions(said(40, sequence=True), RNG()), said(40, sequence=True)
    assert torch.equal(message.mask, old.mask)
    for a, b in zip(as_rows(old), as_rows(message), strict=True):
        assert sorted(x for x in a if x[1]) == sorted(x for x in b if x[1])
    assert not torch.equal(message.symbols, old.symbols)


@pytest.mark.parametrize("share", [0.0, *DROPPED.values(), 1.0])
def test_so_many_patches_fall_silent(share: float) -> None:
    old, new = said(), drop(share, said(), RNG())
    for a, b in zip(as_rows(old), as_rows(new), strict=True):
        kept = [x == y for x, y in zip(a, b, strict=True) if x[1]]
        gone = [y for x, y in zip(a, b, strict=True) if x != y]
        spoken = len(kept) // PER_PATCH
        assert len(gone) == PER_PATCH * int(share * spoken + 0.5)
        assert all(y[1:] == (False, 0.0, 0.0) for y in gone)
    assert (new.mask <= old.mask).all()
    assert all(len(set(row)) == 1 for row in new.mask.view(-1, PER_PATCH).tolist())


@pytest.mark.parametrize("name", CHOICES)
def test_as_many_other_patches_speak(name: str) -> None:
    old = said(4000)
    new = CHOICES[name](old, RNG())
    assert torch.equal(new.mask.sum(1), old.mask.sum(1)) and torch.equal(new.symbols, old.symbols)
    assert all(len(set(row)) == 1 for row in new.mask.view(-1, PER_PATCH).tolist())
    # What speaks says its own symbol in full, whoever was silent before.
    assert all(loud == gate == float(heard) for row in as_rows(new) for _, heard, gate, loud in row)
    patches = new.mask[:, ::PER_PATCH]
    assert old.keep_prob is not None
    if name == "silent patches speak":
        highest = old.keep_prob.where(patches, torch.tensor(-1.0)).max(1).values
        assert (highest < old.keep_prob.where(~patches, torch.tensor(2.0)).min(1).values).all()
    else:
        rate = patches.double().mean(0)
        assert (rate - old.mask.double().mean()).abs().max() < 0.03


@pytest.mark.parametrize("name", CHOICES)
def test_where_no_patch_is_silent_there_is_none_to_choose(name: str) -> None:
    old = said(3)
    everything = Message(old.symbols, old.vectors + 0.5, torch.ones_like(old.mask), old.gate, old.keep_prob)
    assert CHOICES[name](everything, RNG()) is everything


@pytest.mark.parametrize("share", DROPPED.values())
def test_what_is_left_of_a_sequence_closes_up(share: float) -> None:
    old, new = said(40, sequence=True), drop(share, said(40, sequence=True), RNG())
    for a, b in zip(as_rows(old), as_rows(new), strict=True):
        before, after = [x for x in a if x[1]], [x for x in b if x[1]]
        assert len(after) == len(before) - int(share * len(before) + 0.5) and b[: len(after)] == after
        remaining = iter(before)
        assert all(x in remaining for x in after)  # in the same order


def test_a_message_from_egg_is_made_anew() -> None:
    egg = EggMessage(**vars(said(4)), tensor=torch.zeros(4, 2))
    for changed in (shuffle_messages(egg, RNG()), permute_positions(egg, RNG()), drop(0.5, egg, RNG())):
        assert type(changed) is Message


# Games


class Colours(nn.Module):
    """Says of every patch of 8 x 8 pixels how bright it is, in steps; every second patch speaks."""

    def forward(self, seen: Tensor, aux: dict[str, Tensor] | None = None) -> Tensor:
        return nn.functional.avg_pool2d(seen.mean(dim=1, keepdim=True), 8).flatten(1)  # [B, P]


class Bright(nn.Module):
    def forward(self, level: Tensor) -> Message:
        symbols = ((level + 2) * 8).long().clamp(0, 31)
        mask = torch.ones_like(symbols, dtype=torch.bool)
        return Message(symbols, nn.functional.one_hot(symbols, 32).float(), mask, keep_prob=torch.ones_like(level))


class Hears(nn.Module):
    """Compares what is said with what it would say; a deaf one compares images with images."""

    def __init__(self, deaf: bool = False) -> None:
        super().__init__()
        self.deaf = deaf

    def forward(self, message: Message, seen: Tensor, aux: dict[str, Tensor] | None) -> tuple[Tensor, Tensor]:
        image = Bright()(Colours()(seen)).vectors.flatten(1)
        return (image if self.deaf else message.vectors.flatten(1)), image


class NoLoss(nn.Module):
    def forward(self, *exchange: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return exchange[1].vectors.sum(dim=(1, 2)), {}


def test_those_who_listen_are_lost_where_what_carries_meaning_is_changed() -> None:
    game = Game(Colours(), Bright(), Hears(), NoLoss())  # type: ignore[arg-type]
    found = play_probes(game, batches(12), vocab_size=32)
    share = {name: right.mean() for name, right in found.items()}
    assert all(right.shape == (12 * GROUP,) and right.dtype == bool for right in found.values())
    assert share["as played"] == 1
    assert share["random patches speak"] == share["silent patches speak"] == 1  # none is silent
    assert share["messages shuffled"] < 0.25 and share["symbols permuted"] < 0.35  # chance is 1/8
    assert share["positions permuted"] < 0.6  # a plain background looks the same in every place
    assert share["as played"] >= share["1/4 dropped"] >= share["1/2 dropped"] >= share["3/4 dropped"] > 0.2
    # Nothing was learnt: the code is of pixels, and as good for noise as for scenes.
    assert share["noise images"] > 0.9
    assert list(found)[:4] == ["as played", "messages shuffled", "symbols permuted", "positions permuted"]


def test_those_who_do_not_listen_are_never_lost() -> None:
    deaf = Game(Colours(), Bright(), Hears(deaf=True), NoLoss())  # type: ignore[arg-type]
    found = play_probes(deaf, batches(2), vocab_size=32)
    for name in found.keys() - {"noise images", "pixels shuffled"}:
        assert found[name].tolist() == found["as played"].tolist()


def test_noise_and_shuffled_pixels_are_seen_by_both() -> None:
    views: list[tuple[Tensor, Tensor | None]] = []

    class Watching(Colours):
        def forward(self, seen: Tensor, aux: dict[str, Tensor] | None = None) -> Tensor:
            views.append((seen, None))
            return super().forward(seen)

    class Looking(Hears):
        def forward(self, message: Message, seen: Tensor, aux: dict[str, Tensor] | None) -> tuple[Tensor, Tensor]:
            views[-1] = (views[-1][0], seen)
            return super().forward(message, seen, aux)

    (batch,) = batches(1)
    play_probes(Game(Watching(), Bright(), Looking(), NoLoss()), [batch], vocab_size=32)  # type: ignore[arg-type]
    (_, played), (noise, heard_noise), (mixed, heard_mixed) = views
    assert torch.equal(batch.sender_input, played) and torch.equal(noise, heard_noise)  # type: ignore[arg-type]
    assert torch.equal(mixed, heard_mixed)  # type: ignore[arg-type]
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    pixels = [sorted(map(tuple, x.flatten(2)[3].T.tolist())) for x in (mixed, batch.sender_input)]
    assert pixels[0] == pixels[1] and not torch.equal(mixed, batch.sender_input)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [[], ["--symbols-per-patch", "2", "--silence", "skip"], ["--gate", "released", "--silence", "attend"],
     ["--speaker", "lstm"], ["--speakers", "2"]],
    ids=" ".join,
)  # fmt: skip
def test_every_kind_of_game_is_probed_and_the_same_again(options: list[str], tiny: list[str]) -> None:
    game, vocab = built(tiny, *options)
    first, again, other = (play_probes(game, batches(), vocab_size=vocab, seed=seed) for seed in (3, 3, 4))
    patches = "lstm" not in options
    assert first.keys() == again.keys() and len(first) == (11 if patches else 9)
    assert (CHOICES.keys() <= first.keys()) == patches
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)
    played = record(game, batches(), vocab_size=vocab).probes["as played"]
    assert (first["as played"] == played).all() and (other["as played"] == played).all()


def test_silence_that_is_skipped_or_gated_is_probed_alike(tiny: list[str]) -> None:
    game, vocab = built(tiny, "--silence", "gate")
    gated = play_probes(game, batches(), vocab_size=vocab)
    game.receiver.text.silence = "skip"
    skipped = play_probes(game, batches(), vocab_size=vocab)
    assert all((gated[name] == skipped[name]).all() for name in gated)


def test_a_game_that_does_not_say_who_understood_is_refused() -> None:
    class Deaf(Hears):
        def forward(self, message: Message, seen: Tensor, aux: Any) -> Tensor:  # type: ignore[override]
            return message.vectors.flatten(1)

    game = Game(Colours(), Bright(), Deaf(), NoLoss())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="does not say who was understood"):
        play_probes(game, batches(1), vocab_size=32)


def test_a_game_without_images_has_no_other_images() -> None:
    from tests.analysis.corpus.test_recording import FirstAttribute, Guess, Named, Spoken

    objects = torch.cartesian_prod(torch.arange(5), torch.arange(3))
    game = Game(Named(), Spoken(), Guess(), FirstAttribute())  # type: ignore[arg-type]
    found = play_probes(game, [Batch(objects.float(), objects)], vocab_size=5)
    assert found["as played"].all() and not {"noise images", "pixels shuffled"} & found.keys()
    assert found["positions permuted"].all() and not found["1/2 dropped"][3:].any()
