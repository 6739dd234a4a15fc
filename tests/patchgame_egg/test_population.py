"""Populations: who plays, who learns, who is left alone; cross-play; a speaker that no longer learns."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from patchgame_egg.agents.patch_speaker import PatchFeatures
from patchgame_egg.channels.continuous import Continuous
from patchgame_egg.channels.estimator import Estimator
from patchgame_egg.channels.patch import PatchChannel
from patchgame_egg.channels.quantised import Quantised
from patchgame_egg.channels.reinforce import LearntBaseline, Reinforce
from patchgame_egg.distributed.batch_norm import sync_batch_norm
from patchgame_egg.distributed.gather import own_rows
from patchgame_egg.game import Game
from patchgame_egg.interaction import Batch, Interaction, Message
from patchgame_egg.losses import SymmetricInfoNCE
from patchgame_egg.population import FrozenSpeakerGame, Population
from patchgame_egg.training.callback import Callback
from patchgame_egg.training.evaluation import cross_play
from patchgame_egg.training.trainer import Trainer
from tests.support.processes import end_rank, free_port

B, P, V, D = 8, 4, 6, 5
AGENTS = ("senders", "channels", "receivers")


class Speaker(nn.Module):
    """Vectors to features of patches, with statistics that a forward pass in training mode would change."""

    def __init__(self, outputs: int = V) -> None:
        super().__init__()
        self.norm, self.symbol, self.rank = nn.BatchNorm1d(D), nn.Linear(D, P * outputs), nn.Linear(D, P)
        self.outputs = outputs

    def forward(self, x: Tensor, aux_input: dict[str, Tensor] | None = None) -> PatchFeatures:
        x = self.norm(x)
        return PatchFeatures(3 * self.symbol(x).unflatten(1, (P, 1, self.outputs)), 3 * self.rank(x))


class Hearer(nn.Module):
    """A message and vectors to two embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.text, self.image = nn.BatchNorm1d(D), nn.Linear(P * V, D), nn.Linear(D, D)

    def forward(self, message: Message, seen: Tensor, aux_input: dict[str, Tensor] | None = None) -> list[Tensor]:
        return [self.text(message.vectors.flatten(1)), self.image(self.norm(seen))]


class Vectors:
    """Batches of random vectors, each rank its own rows; what the listener sees is a little off."""

    def __init__(self, batches: int, seed: int = 0, rows: int = B) -> None:
        self.batches, self.seed, self.rows = batches, seed, rows

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Any:
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.batches):
            x, off = torch.randn(2, self.rows, D, generator=generator)
            yield Batch(own_rows(x), receiver_input=own_rows(x + 0.1 * off))


def channel(seed: int = 0, estimator: Estimator | None = None) -> PatchChannel:
    return PatchChannel(estimator, rank_spread=0.29, seed=seed)


def make_population(n: int, m: int, seed: int = 0) -> Population:
    torch.manual_seed(1)
    senders, receivers = [Speaker() for _ in range(n)], [Hearer() for _ in range(m)]
    return Population(senders, [channel(10 + i) for i in range(n)], receivers, SymmetricInfoNCE(0.1), seed)


def make_trainer(
    game: nn.Module, sgd: bool = False, batches: int = 8, callbacks: list[Callback] | None = None, accumulate: int = 1
) -> Trainer:
    learning = [p for p in game.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learning, 0.05) if sgd else torch.optim.AdamW(learning, 0.01, weight_decay=0.3)
    return Trainer(game, optimizer, Vectors(batches), None, Vectors(3, seed=9), "cpu", callbacks, accumulate=accumulate)


def copy(module: nn.Module) -> dict[str, Any]:
    """Everything in a module's state, extra state included, as it is now."""
    return {k: v.clone() if isinstance(v, Tensor) else dict(v) for k, v in module.state_dict().items()}


def same(a: dict[str, Any], b: dict[str, Any]) -> dict[str, bool]:
    assert a.keys() == b.keys()
    return {k: torch.equal(v, b[k]) if isinstance(v, Tensor) else v == b[k] for k, v in a.items()}


class Watch(Callback):
    """Who played each batch, and the whole game's state after it."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []
        self.losses: list[float] = []
        self.states: list[dict[str, Any]] = []

    def on_train_begin(self, trainer: Trainer) -> None:
        super().on_train_begin(trainer)
        self.states.append(copy(trainer.game))

    def on_batch_end(self, logs: Interaction, loss: Tensor, batch_id: int, is_training: bool = True) -> None:
        (speaker,), (listener,) = logs.aux["speaker"].unique(), logs.aux["listener"].unique()
        self.pairs.append((int(speaker), int(listener)))
        self.losses.append(loss.item())
        self.states.append(copy(self.trainer.game))


def check_that_only_the_pair_moved(watch: Watch) -> None:
    assert len(set(watch.pairs)) > 2
    for (speaker, listener), before, after in zip(watch.pairs, watch.states[:-1], watch.states[1:], strict=True):
        played = (f"senders.{speaker}.", f"channels.{speaker}.", f"receivers.{listener}.")
        for name, unchanged in same(before, after).items():
            if name.startswith(AGENTS):
                assert unchanged != name.startswith(played), f"{name} when {speaker} spoke to {listener}"


# ------------------------------------------------------------------------------------------------------------- one pair


class Pairs(Population):
    """Who would play, at no cost."""

    def game(self, speaker: int, listener: int) -> Any:
        return lambda x, *_: (x.sum(), Interaction(message_length=torch.zeros(len(x))))


def pairs(population: Population, count: int) -> list[tuple[int, int]]:
    records = [population(torch.zeros(2, D))[1].aux for _ in range(count)]
    assert all(r["speaker"].shape == r["listener"].shape == (2,) for r in records)
    return [(int(r["speaker"][0]), int(r["listener"][0])) for r in records]


def quick(seed: int) -> Pairs:
    return Pairs([nn.Identity()] * 2, [channel()] * 2, [nn.Identity()] * 3, nn.Identity(), seed)


@pytest.mark.slow
def test_every_pair_is_drawn_as_often_as_any_other_and_after_any_other() -> None:
    # The two processes below import this file too, and need no SciPy.
    from scipy.stats import chisquare

    drawn = np.array([3 * s + m for s, m in pairs(quick(0), 7200)])
    assert chisquare(np.bincount(drawn, minlength=6)).pvalue > 0.001
    assert chisquare(np.bincount(6 * drawn[:-1] + drawn[1:], minlength=36)).pvalue > 0.001
    first = np.array([3 * s + m for seed in range(1200) for s, m in pairs(quick(seed), 1)])
    assert chisquare(np.bincount(first, minlength=6)).pvalue > 0.001


def test_pairs_follow_the_seed_and_resume() -> None:
    population = quick(3)
    before, state = pairs(population, 20), population.state_dict()
    after = pairs(population, 20)
    assert pairs(quick(3), 40) == before + after and pairs(quick(4), 20) != before
    torch.manual_seed(99)
    resumed = quick(3)
    resumed.load_state_dict(state)
    assert pairs(resumed, 20) == after


def test_the_pair_alone_gets_a_gradient() -> None:
    population = make_population(2, 3).train()
    batch = next(iter(Vectors(1)))
    seen = set()
    for _ in range(12):
        population.zero_grad()
        loss, record = population(*batch)
        loss.backward()
        speaker, listener = int(record.aux["speaker"][0]), int(record.aux["listener"][0])
        seen.add((speaker, listener))
        for name, parameter in population.named_parameters():
            if name.startswith((f"senders.{speaker}.", f"receivers.{listener}.")):
                assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
            else:
                assert parameter.grad is None, name
    assert len(seen) > 3


def test_the_pair_alone_moves_under_adamw() -> None:
    watch = Watch()
    make_trainer(make_population(2, 3), batches=16, callbacks=[watch]).train(1)
    check_that_only_the_pair_moved(watch)
    others = [sum(pair[0] == s for pair in watch.pairs) for s in (0, 1)]
    assert min(others) > 1  # agents that AdamW has a momentum for sat out, and came back


def test_evaluation_plays_the_pair_that_is_asked_for_and_draws_nothing() -> None:
    population = make_population(2, 3).eval()
    population.pair = (1, 2)
    before, batch = copy(population), next(iter(Vectors(1)))
    loss, record = population(*batch)
    again = population(*batch)[0]
    alone = Game(population.senders[1], population.channels[1], population.receivers[2], population.loss)
    expected, expected_record = alone.eval()(*batch)
    assert torch.equal(loss, again) and torch.equal(loss, expected)
    assert torch.equal(record.message, expected_record.message)
    assert record.aux["speaker"].tolist() == [1] * B and record.aux["listener"].tolist() == [2] * B
    assert record.aux.keys() - expected_record.aux.keys() == {"speaker", "listener"}
    assert all(same(before, copy(population)).values())


def test_a_resumed_run_goes_on_with_the_same_pairs_and_losses() -> None:
    whole, second = Watch(), Watch()
    straight = make_trainer(make_population(2, 2), batches=6, callbacks=[whole])
    straight.train(1)
    state = deepcopy(straight.state_dict())
    straight.train(2)
    resumed = make_trainer(make_population(2, 2), batches=6, callbacks=[second])
    resumed.load_state_dict(state)
    assert all(same(resumed.game.state_dict(), state["game"]).values())
    resumed.train(2)
    assert second.pairs == whole.pairs[6:] and second.losses == whole.losses[6:]
    assert all(same(second.states[-1], whole.states[-1]).values())
    assert whole.states[-1]["_extra_state"] == {"draws": 12}


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((0, 0, 1), "got 0 senders and 1 receivers"),
        ((2, 2, 0), "got 2 senders and 0 receivers"),
        ((2, 1, 1), "its own channel, got 1 for 2 senders"),
    ],
)
def test_populations_need_agents(counts: tuple[int, int, int], message: str) -> None:
    senders, channels, receivers = counts
    with pytest.raises(ValueError, match=message):
        Population(
            [Speaker() for _ in range(senders)],
            [channel() for _ in range(channels)],
            [Hearer() for _ in range(receivers)],
            nn.Identity(),
        )


# ----------------------------------------------------------------------------------------------------------- cross-play


def test_cross_play_is_a_slow_loop_over_games() -> None:
    trainer = make_trainer(make_population(2, 3), batches=40)
    trainer.train(1)
    population = trainer.game
    population.pair = (1, 1)
    found = cross_play(trainer)
    expected = torch.zeros(2, 3)
    for s in range(2):
        for m in range(3):
            game = Game(population.senders[s], population.channels[s], population.receivers[m], population.loss).eval()
            hits = torch.cat([game(*batch)[1].aux["acc"] for batch in trainer.validation_data])
            expected[s, m] = hits.float().sum() / len(hits)
    torch.testing.assert_close(found, expected)
    assert len(found.unique()) > 3, "all pairs alike: the test is empty"
    assert population.pair == (1, 1)
    assert torch.equal(cross_play(trainer), found)


def test_cross_play_says_what_it_needs() -> None:
    population = make_population(1, 2)
    with pytest.raises(ValueError, match="needs a Population, the trainer has a Game"):
        cross_play(make_trainer(population.game(0, 0)))
    trainer = make_trainer(population)
    trainer.validation_data, population.pair = None, (0, 1)
    with pytest.raises(ValueError, match="no validation_data"):
        cross_play(trainer)
    assert population.pair == (0, 1)


# ------------------------------------------------------------------------------------------------------- frozen speaker

ESTIMATORS: dict[str, Callable[[], Estimator | None]] = {
    "gumbel": lambda: None,
    "mean baseline": Reinforce,
    "learnt baseline": lambda: Reinforce(LearntBaseline(V)),
    "quantised": lambda: Quantised(3, V, seed=5),
    "continuous": Continuous,
}


def taught(name: str) -> Game:
    """A game that was played for a while, so that no buffer is as it was made."""
    torch.manual_seed(2)
    estimator = ESTIMATORS[name]()
    speaker = Speaker(3 if isinstance(estimator, Quantised) else V)
    game = Game(speaker, channel(5, estimator), Hearer(), SymmetricInfoNCE(0.1))
    make_trainer(sync_batch_norm(game, torch.device("cpu"))).train(1)
    return game


def modes(module: nn.Module) -> set[bool]:
    return {m.training for m in module.modules()}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_frozen_speaker_stays_as_it_is_and_speaks_as_in_evaluation(name: str) -> None:
    game = taught(name)
    assert game.channel.draws == 16 if name != "continuous" else game.channel.draws == 8
    torch.manual_seed(3)
    frozen = FrozenSpeakerGame(game.sender, game.channel, Hearer(), SymmetricInfoNCE(0.1))
    batch = next(iter(Vectors(1, seed=4)))
    before = copy(frozen)
    said = frozen(*batch)[1]  # before anybody called train or eval
    for mode in (True, False):
        assert frozen.train(mode) is frozen
        assert modes(frozen.receiver) == {mode} == {frozen.training}
        assert modes(frozen.sender) == modes(frozen.channel) == {False}
        record = frozen(*batch)[1]
        assert torch.equal(record.message, said.message)
        assert torch.equal(record.aux["message_mask"], said.aux["message_mask"])
    assert frozen.eval() is frozen and modes(frozen) == {False}

    # Also where the optimizer was given every parameter.
    optimizer = torch.optim.AdamW(frozen.parameters(), 0.01, weight_decay=0.3)
    Trainer(frozen, optimizer, Vectors(10), device="cpu").train(1)
    for key, unchanged in same(before, copy(frozen)).items():
        if key.startswith(("sender.", "channel.")):
            assert unchanged, key
        elif key.startswith("receiver."):
            assert not unchanged, key


@pytest.mark.slow
def test_a_listener_learns_the_language_of_a_frozen_speaker() -> None:
    # The frozen speaker's words are good: a listener grew up with them.
    torch.manual_seed(4)
    game = Game(Speaker(), channel(), Hearer(), SymmetricInfoNCE(0.1))
    make_trainer(game, batches=150).train(1)
    late = make_trainer(FrozenSpeakerGame(game.sender, game.channel, Hearer(), SymmetricInfoNCE(0.1)), batches=150)
    before, _ = late.eval()
    late.train(1)
    after, logs = late.eval()
    assert after < 0.7 * before
    assert logs.aux["acc"].mean() > 3 / B


# ------------------------------------------------------------------------------------------------------- two processes


def play_everything(path: Path | None) -> dict[str, Any]:
    """What is compared between one process and two."""
    out: dict[str, Any] = {"pairs": pairs(quick(7), 30)}
    for accumulate in (1, 2):
        watch = Watch()
        population = sync_batch_norm(make_population(2, 2), torch.device("cpu"))
        trainer = make_trainer(population, sgd=True, callbacks=[watch], accumulate=accumulate)
        trainer.train(1)
        out[f"sgd {accumulate}"] = {"state": copy(population), "pairs": watch.pairs}
    out["cross play"] = cross_play(trainer)
    if path is not None:
        watch = Watch()
        make_trainer(sync_batch_norm(make_population(2, 2), torch.device("cpu")), callbacks=[watch]).train(1)
        check_that_only_the_pair_moved(watch)
    game = taught("gumbel")
    torch.manual_seed(3)
    frozen = FrozenSpeakerGame(game.sender, game.channel, Hearer(), SymmetricInfoNCE(0.1))
    sync_batch_norm(frozen, torch.device("cpu"))
    before = copy(frozen)
    make_trainer(frozen, sgd=True).train(1)
    out["frozen"] = {"before": before, "after": copy(frozen)}
    return out


def worker(rank: int, port: int, path: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.set_num_threads(1)
    torch.save(play_everything(Path(path)), f"{path}/{rank}.pt")
    end_rank()


def close(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(b[name], value, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
        else:
            assert value == b[name], name


@pytest.mark.slow
@pytest.mark.process
def test_two_processes_play_the_game_of_one(tmp_path: Path) -> None:
    mp.spawn(worker, (free_port(), str(tmp_path)), nprocs=2)
    alone = play_everything(None)
    assert len(set(alone["sgd 1"]["pairs"])) > 2
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt")
        assert together["pairs"] == alone["pairs"]
        for name in ("sgd 1", "sgd 2"):
            assert together[name]["pairs"] == alone[name]["pairs"]
            close(alone[name]["state"], together[name]["state"])
        torch.testing.assert_close(together["cross play"], alone["cross play"])
        frozen = together["frozen"]
        for key, unchanged in same(frozen["before"], frozen["after"]).items():
            assert unchanged == key.startswith(("sender.", "channel.", "loss.")), key
