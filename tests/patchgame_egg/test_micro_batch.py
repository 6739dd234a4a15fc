"""Batches in parts: the loss, the draws and the gradients of the whole, with less memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from games.build.agents import build_game
from games.options.command_line import parse
from patchgame_egg.distributed.random_module import RandomModule
from patchgame_egg.game import Game
from patchgame_egg.interaction import Message
from patchgame_egg.population import Population
from tests.support.tiny import TINY

B, SIDE = 6, 32


def game(*options: str) -> Game:
    config = parse([*TINY, "--image-size", str(SIDE), "--patch-size", "8", *options]).config
    built = build_game(config)
    assert isinstance(built, Game)
    return built.train()


def images(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, B, 3, SIDE, SIDE, generator=generator)
    return first, second


def freeze_norms(module: nn.Module) -> None:
    """Batch statistics depend on the parts; running ones do not."""
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.eval()


def step(played: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    first, second = images()
    loss, _ = played(first, None, second, None)
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in played.named_parameters() if p.grad is not None}


def by_hand(played: Game, size: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The same parts with everything kept in memory."""
    first, second = images()
    parts = [played.exchange(a, b, None) for a, b in zip(first.split(size), second.split(size), strict=True)]
    message = Message.join([m for m, _ in parts])
    output = [torch.cat(column) for column in zip(*[o for _, o in parts], strict=True)]
    per_sample, _ = played.loss(first, message, second, output, None, None)
    loss = per_sample.mean() + played.channel.surrogate(message, per_sample)
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in played.named_parameters() if p.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 4, 6])
@pytest.mark.parametrize(
    "options",
    [[], ["--silence", "skip"], ["--channel", "reinforce"], ["--speaker", "lstm", "--max-len", "3"]],
    ids=["patch", "skip", "reinforce", "lstm"],
)
def test_parts_give_the_loss_and_gradient_of_the_same_parts_kept_in_memory(options: list[str], size: int) -> None:
    whole, parts = game(*options), game(*options, "--micro-batch", str(size))
    for built in (whole, parts):
        freeze_norms(built)
    expected_loss, expected = by_hand(whole, size)
    loss, found = step(parts)
    assert torch.equal(loss, expected_loss)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-7), name


def test_without_noise_parts_give_the_gradient_of_the_whole_batch() -> None:
    whole, parts = game("--keep-fraction", "1"), game("--keep-fraction", "1", "--micro-batch", "2")
    for built in (whole, parts):
        freeze_norms(built)
        built.channel.eval()
    (expected_loss, expected), (loss, found) = step(whole), step(parts)
    assert torch.allclose(loss, expected_loss)
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-6), name


def test_recomputing_neither_draws_again_nor_counts_statistics_twice() -> None:
    parts, once = game("--micro-batch", "2"), game("--micro-batch", "2")
    step(parts)
    first, second = images()
    once(first, None, second, None)  # forward alone
    draws = [[m.draws for m in g.modules() if isinstance(m, RandomModule)] for g in (parts, once)]
    assert draws[0] == draws[1] and max(draws[0]) > 0
    for (name, after), (_, before) in zip(parts.named_buffers(), once.named_buffers(), strict=True):
        assert torch.equal(after, before), name


def test_at_most_a_part_is_computed_at_a_time() -> None:
    parts, seen = game("--micro-batch", "2"), []
    parts.receiver.vision.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    step(parts)
    assert seen == [2] * 6  # three parts, forward and again


def test_evaluation_is_not_cut() -> None:
    parts, seen = game("--micro-batch", "2").eval(), []
    parts.receiver.vision.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    with torch.no_grad():
        first, second = images()
        parts(first, None, second, None)
    assert seen == [B]


def test_populations_play_in_parts_too() -> None:
    config = parse([*TINY, "--speakers", "2", "--micro-batch", "2"]).config
    population = build_game(config)
    assert isinstance(population, Population)
    assert population.game(1, 0).micro_batch == 2


def test_penalties_are_averaged_over_images() -> None:
    def message(rows: int, penalty: float) -> Message:
        return Message(
            torch.zeros(rows, 1, dtype=torch.int64), torch.zeros(rows, 1, 2), torch.ones(rows, 1, dtype=torch.bool),
            penalty=torch.tensor(penalty),
        )  # fmt: skip

    joined = Message.join([message(3, 1.0), message(1, 5.0)])
    assert joined.penalty is not None and joined.penalty.item() == 2.0
    assert len(joined.symbols) == 4 and joined.log_prob is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: game("--micro-batch", "-1"), "--micro-batch -1: must be at least 0"),
        (lambda: game("--micro-batch", "2", "--channel", "quantised"), "leave out --micro-batch"),
        (lambda: Game(nn.Identity(), None, nn.Identity(), nn.Identity(), -2), "micro-batch of -2"),  # type: ignore[arg-type]
    ],
)
def test_errors(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
