"""Schedules to the last digit as they were written out before, since losses are compared to the last digit."""

from __future__ import annotations

import math

import pytest
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
    for step in range(total + 2):
        done = min(1, (step - warmup) / max(1, total - warmup))
        after = low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done))
        assert schedule.get_last_lr()[0] == t.lr * ((step + 1) / warmup if step < warmup else after)
        optimizer.step()
        schedule.step()


def test_the_game_s_weight_decay() -> None:
    config = parse(["--preset", "released"]).config
    start, end = config.training.weight_decay, config.training.weight_decay_end
    assert end is not None
    game = nn.Sequential(nn.Linear(3, 2))
    optimizer, _ = build_optimizer(config, game, 1)
    schedule = schedules(config, game, optimizer)[-1]
    assert isinstance(schedule, Schedule)
    for done in (0.0, 0.123, 0.5, 0.987, 1.0):
        schedule.apply(schedule.value(done))
        expected = end + (start - end) * 0.5 * (1 + math.cos(math.pi * done))
        assert sorted({g["weight_decay"] for g in optimizer.param_groups}) == [0, expected]


def test_matrices_decay_and_what_does_not_learn_is_left_out() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    net[2].weight.requires_grad_(False)
    matrices, others = decay_groups(net.parameters(), 0.3)
    assert matrices["weight_decay"] == 0.3 and others["weight_decay"] == 0
    assert [id(p) for p in matrices["params"]] == [id(net[0].weight)]
    assert [id(p) for p in others["params"]] == [id(p) for p in (net[0].bias, *net[1].parameters(), net[2].bias)]
