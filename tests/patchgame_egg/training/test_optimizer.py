"""Schedules to the last digit as they were written out before, since losses are compared to the last digit."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from games.build.optimizer import build_optimizer, schedules
from games.options.command_line import parse
from patchgame_egg.training.callback import Schedule
from patchgame_egg.training.optimizer import cosine, decay_groups, linear_warmup


def test_both_ends() -> None:
    assert [cosine(done) for done in (0, 0.5, 1, 7)] == [1, 0.5, 0, 0]
    assert [linear_warmup(step, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert linear_warmup(0, 0) == 1


@pytest.mark.parametrize("total", [1, 7, 300, 1237])
def test_a_cosine_has_the_digits_of_every_way_to_write_it(total: int) -> None:
    for step in range(total + 1):
        assert cosine(step / total) == 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / total))


@pytest.mark.parametrize("words", [[], ["--warmup", "0"], ["--preset", "paper"], ["--preset", "released"]])
def test_the_game_s_learning_rate(words: list[str]) -> None:
    config = parse([*words, "--epochs", "40"]).config
    t, steps = config.training, 13
    game = nn.Sequential(nn.Linear(3, 2))
    optimizer, schedule = build_optimizer(config, game, steps)
    warmup, total, low = round(t.warmup * steps), t.epochs * steps, t.min_lr / t.lr
    lr = t.lr * (t.batch_size if config.loss.reduction == "sum" else 1)
    for step in range(total + 2):
        done = min(1, (step - warmup) / max(1, total - warmup))
        after = low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done))
        assert schedule.get_last_lr()[0] == lr * ((step + 1) / warmup if step < warmup else after)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("batch_size", [4, 16])
def test_a_step_of_the_paper_is_a_step_on_the_summed_loss(batch_size: int) -> None:
    words = ["--preset", "paper", "--batch-size", str(batch_size), "--warmup", "0", "--weight-decay", "0.1"]
    config = parse(words).config
    t = config.training
    images = torch.randn(batch_size, 3, dtype=torch.float64)
    game = nn.Linear(3, 2, dtype=torch.float64)
    by_hand = copy.deepcopy(game)
    optimizer, _ = build_optimizer(config, game, 100)
    matrices = torch.optim.SGD([by_hand.weight], t.lr, 0.9, weight_decay=0.1)
    biases = torch.optim.SGD([by_hand.bias], t.lr, 0.9)
    for _ in range(3):
        optimizer.zero_grad()
        game(images).square().sum(1).mean().backward()
        for group in optimizer.param_groups:
            group["lr"] = t.lr * batch_size  # where the cosine starts
        optimizer.step()
        by_hand.zero_grad()
        by_hand(images).square().sum().backward()
        matrices.step()
        biases.step()
    torch.testing.assert_close(game.weight, by_hand.weight)
    torch.testing.assert_close(game.bias, by_hand.bias)


def test_adamw_does_not_step_further_on_a_sum() -> None:
    mean, total = (parse(["--reduction", reduction]).config for reduction in ("mean", "sum"))
    groups = [build_optimizer(config, nn.Linear(3, 2), 10)[0].param_groups for config in (mean, total)]
    assert [(g["lr"], g["weight_decay"]) for g in groups[0]] == [(g["lr"], g["weight_decay"]) for g in groups[1]]


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("words", [["--preset", "released"], ["--weight-decay", "0", "--weight-decay-end", "0.4"]])
def test_the_game_s_weight_decay(words: list[str], resumed: bool) -> None:
    config = parse(words).config
    start, end = config.training.weight_decay, config.training.weight_decay_end
    assert end is not None
    game = nn.Sequential(nn.Linear(3, 2))
    optimizer, _ = build_optimizer(config, game, 1)
    schedule = schedules(config, game, optimizer)[-1]
    assert isinstance(schedule, Schedule)
    if resumed:
        optimizer.load_state_dict(optimizer.state_dict())
    for done in (0.0, 0.123, 0.5, 0.987, 1.0):
        schedule.apply(schedule.value(done))
        expected = end + (start - end) * 0.5 * (1 + math.cos(math.pi * done))
        assert [(g["weight_decay"], len(g["params"])) for g in optimizer.param_groups] == [(expected, 1), (0, 1)]


def test_matrices_decay_and_what_does_not_learn_is_left_out() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    net[2].weight.requires_grad_(False)
    matrices, others = decay_groups(net.parameters(), 0.3)
    assert matrices["weight_decay"] == 0.3 and others["weight_decay"] == 0
    assert [id(p) for p in matrices["params"]] == [id(net[0].weight)]
    assert [id(p) for p in others["params"]] == [id(p) for p in (net[0].bias, *net[1].parameters(), net[2].bias)]
