"""Parts that do not fit each other are named at the first step, with what they gave and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchgame_egg.agents.listener import Listener, TextEncoder
from patchgame_egg.agents.patch_speaker import PatchFeatures, PatchRank
from patchgame_egg.agents.trunks import vision_trunk
from patchgame_egg.channels.channel import Channel
from patchgame_egg.channels.patch import PatchChannel
from patchgame_egg.channels.sequence import SequenceChannel
from patchgame_egg.data.loader import ImageLoader
from patchgame_egg.data.scenes import Scenes
from patchgame_egg.game import Game
from patchgame_egg.interaction import Message
from patchgame_egg.losses import SymmetricInfoNCE
from patchgame_egg.training.trainer import NonFiniteLoss, Trainer
from patchgame_egg.views.loader import ViewLoader
from patchgame_egg.views.transforms import RandomViews


class Colors(nn.Module):
    """README's speaker."""

    def __init__(self, vocab_size: int = 20) -> None:
        super().__init__()
        self.name = nn.Linear(3, vocab_size)
        self.rank = PatchRank(image_size=32, patch_size=8, width=4)

    def forward(self, images: Tensor, aux_input: Any = None) -> PatchFeatures:
        colors = nn.functional.avg_pool2d(images, 8).flatten(2).mT
        return PatchFeatures(logits=self.name(colors)[:, :, None], scores=self.rank(images))


class Changed(nn.Module):
    """A part whose answer is changed on its way."""

    def __init__(self, part: nn.Module, change: Callable[[Any], Any]) -> None:
        super().__init__()
        self.part, self.change = part, change

    def forward(self, *args: Any) -> Any:
        return self.change(self.part(*args))


def make_listener(vocab_size: int = 20, slots: int = 16, more: int = 0) -> Listener:
    vision, width = vision_trunk("resnet9", image_size=32, width=4)
    return Listener(TextEncoder(vocab_size, slots, dim=12, depth=1), vision, width + more, 16, 8)


def play(
    sender: nn.Module | None = None, channel: Any = None, listener: nn.Module | None = None,
    loss: nn.Module | None = None, size: int = 32, micro_batch: int = 0, loader: Any = None,
) -> None:  # fmt: skip
    torch.manual_seed(0)
    game = Game(
        sender or Colors(), channel or PatchChannel(), listener or make_listener(), loss or SymmetricInfoNCE(),
        micro_batch,
    )  # fmt: skip
    images = loader or ViewLoader(ImageLoader(Scenes(8, 36), batch_size=4), RandomViews(size), "cpu")
    Trainer(game, torch.optim.SGD(game.parameters(), 1e-3), images, validation_data=images, device="cpu").train(1)


def test_parts_that_fit_play() -> None:
    play()
    play(listener=make_listener(slots=20))
    play(micro_batch=2)


@pytest.mark.parametrize("size", [24, 48])
@pytest.mark.parametrize("micro_batch", [0, 2])
def test_views_of_another_size(size: int, micro_batch: int) -> None:
    rows = micro_batch or 4
    said = rf"logits \[{rows}, {(size // 8) ** 2}, 1, 20\] and scores \[{rows}, 16\].*size of the views"
    with pytest.raises(ValueError, match=said):
        play(size=size, micro_batch=micro_batch)


@pytest.mark.parametrize("slots", [1, 8, 15])
def test_a_text_encoder_with_too_few_slots(slots: int) -> None:
    with pytest.raises(ValueError, match=f"16 slots of 20 symbols, this TextEncoder is for {slots} slots.*slots=16"):
        play(listener=make_listener(slots=slots))


@pytest.mark.parametrize("vocab", [19, 21])
def test_a_text_encoder_of_another_vocabulary(vocab: int) -> None:
    with pytest.raises(ValueError, match=f"for 16 slots of {vocab}.*vocab_size=20"):
        play(listener=make_listener(vocab_size=vocab))


def test_a_vision_network_of_another_width() -> None:
    with pytest.raises(ValueError, match=r"vision gives \[4, 32\], the head behind it takes \[B, 33\].*vision_dim"):
        play(listener=make_listener(more=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pair: pair[0], r"gave one tensor \[4, 8\]|gave \[4, 8\]: .*a pair"),
        (lambda pair: (*pair, pair[0]), r"\[4, 8\] and \[4, 8\] and \[4, 8\]"),
        (lambda pair: torch.stack(list(pair), 1), r"\[4, 2, 8\]"),
        (lambda pair: (pair[0][:2], pair[1]), r"\[2, 8\] and \[4, 8\]"),
        (lambda pair: (pair[0], pair[1][:, 1:]), r"\[4, 8\] and \[4, 7\]"),
        (lambda pair: None, "gave nothing"),
        # Two rows must not be taken for a pair.
        (lambda pair: pair[0][:2], r"\[2, 8\]: .*a pair"),
    ],
)
def test_a_listener_that_gives_no_pair(change: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"the receiver.*(?:{message})"):
        play(listener=Changed(make_listener(), change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: (s[0].mean(), s[1]), r"the loss came of shape \[\].*each of the 4 samples.*reduction='none'"),
        (lambda s: (s[0].mean().item(), s[1]), "the loss came as float"),
        (lambda s: (s[0][:, None], s[1]), r"the loss came of shape \[4, 1\]"),
        (lambda s: (s[0][:3], s[1]), r"the loss came of shape \[3\]"),
        (lambda s: s[0], r"the loss gave one tensor \[4\]: give a pair"),
        (lambda s: (s[0], None), "the loss recorded nothing"),
        (lambda s: (s[0], {**s[1], "mine": s[0].mean()}), r"recorded 'mine' of shape \[\].*torch.full\(\(4,\)"),
        (lambda s: (s[0], {**s[1], "mine": 1.5}), "recorded 'mine' as float"),
        (lambda s: (s[0], {**s[1], "mine": s[0][:3]}), r"recorded 'mine' of shape \[3\]"),
    ],
)
def test_a_loss_that_gives_something_else(change: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        play(loss=Changed(SymmetricInfoNCE(), change))


class Bare(Channel):
    def forward(self, features: Any) -> Any:
        return self.change(PatchChannel()(features))

    def __init__(self, change: Callable[[Message], Any]) -> None:
        super().__init__()
        self.change = change


@pytest.mark.parametrize(
    ("sender", "channel", "message"),
    [
        (Changed(Colors(), lambda f: f.logits), None, r"the sender gave one tensor \[4, 16, 1, 20\]: .*PatchFeatures"),
        (Changed(Colors(), lambda f: PatchFeatures(f.logits[:, :, 0], f.scores)), None, r"logits \[4, 16, 20\]"),
        (Changed(Colors(), lambda f: PatchFeatures(f.logits, f.scores[:, 1:])), None, r"scores \[4, 15\]"),
        (None, SequenceChannel(), "gave PatchFeatures: a SequenceChannel takes SequenceFeatures"),
        (None, Bare(lambda m: m.symbols), r"the channel gave one tensor \[4, 16\]: give a Message"),
        (None, Bare(lambda m: Message(m.symbols, m.vectors, m.mask[:, 1:])), r"a mask \[4, 15\] for 4 inputs"),
        (None, Bare(lambda m: Message(m.symbols[:2], m.vectors[:2], m.mask[:2])), r"symbols \[2, 16\]"),
    ],
)
def test_a_speaker_and_a_channel_of_different_kinds(sender: Any, channel: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        play(sender, channel)


def test_images_that_are_no_views_keep_the_cause() -> None:
    with pytest.raises(ValueError, match=r"the sender cannot take sender_input uint8 \[4, 3, .*ViewLoader") as e:
        play(loader=ImageLoader(Scenes(8, 32), batch_size=4))
    assert isinstance(e.value.__cause__, NotImplementedError)


def test_a_layer_of_the_users_own_that_does_not_fit_is_named_and_keeps_the_cause() -> None:
    odd = Changed(make_listener(), lambda pair: (nn.Linear(5, 8)(pair[0]), pair[1]))
    with pytest.raises(ValueError, match=r"the receiver cannot take message with vectors \[4, 16, 20\]") as found:
        play(listener=odd)
    assert isinstance(found.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    "own",
    [KeyError("mine"), RuntimeError("mine"), ValueError("mine"), NonFiniteLoss("size"), torch.OutOfMemoryError("size")],
)
def test_an_error_of_the_users_own_passes_as_it_is(own: Exception) -> None:
    def fails(pair: Any) -> Any:
        raise own

    with pytest.raises(type(own)) as found:
        play(listener=Changed(make_listener(), fails))
    assert found.value is own


@pytest.mark.parametrize("op", [torch.nan, torch.inf])
def test_scores_that_are_no_numbers_stop_the_run(op: float) -> None:
    broken = Changed(Colors(), lambda f: PatchFeatures(f.logits, f.scores * op))
    for spread in (0.0, 0.3) if op != torch.inf else (0.3,):
        with pytest.raises(NonFiniteLoss):
            play(broken, PatchChannel(rank_spread=spread))
