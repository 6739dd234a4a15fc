"""How gradients get past a choice, against enumeration, slow loops and formulas written out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.agents.patch_speaker import PatchFeatures
from patchgame_egg.agents.sequence_speaker import SequenceFeatures
from patchgame_egg.channels.channel import Channel
from patchgame_egg.channels.continuous import Continuous
from patchgame_egg.channels.estimator import straight_through
from patchgame_egg.channels.gumbel import Gumbel, gumbel_softmax
from patchgame_egg.channels.patch import PatchChannel, draw_without_replacement
from patchgame_egg.channels.quantised import Quantised
from patchgame_egg.channels.reinforce import LearntBaseline, Reinforce, RunningMean
from patchgame_egg.channels.sequence import SequenceChannel
from patchgame_egg.distributed.random_module import RandomModule
from patchgame_egg.interaction import Message

P, V, LENGTH, ROWS = 3, 2, 2, 40_000


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other() -> None:
    soft = torch.randn(1000, generator=torch.Generator().manual_seed(2)).sigmoid().requires_grad_()
    hard = (torch.arange(1000) % 2).float()
    out = straight_through(hard, soft)
    assert torch.equal(out, hard)
    (out * torch.arange(1000)).sum().backward()
    assert torch.equal(soft.grad, torch.arange(1000.0))


@pytest.mark.parametrize("estimator", [Gumbel(0.3), Gumbel(5.0), Reinforce()], ids=["cold", "hot", "reinforce"])
def test_symbols_follow_the_softmax_whatever_the_temperature(estimator: nn.Module) -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    uniform = torch.rand(ROWS, 4, generator=torch.Generator().manual_seed(3))
    expected = logits.softmax(0)
    chosen, _ = estimator.choose(logits.expand(ROWS, 4), uniform)
    assert torch.equal(chosen, F.one_hot(chosen.argmax(1), 4).float())
    assert ((chosen.mean(0) - expected) / (expected * (1 - expected) / ROWS).sqrt()).abs().max() < 4


def test_gumbel_gradient_is_that_of_the_relaxed_sample() -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(3, 5, generator=generator).requires_grad_()
    uniform = torch.rand(3, 5, generator=generator)
    weight = torch.arange(5, dtype=torch.float32)
    (gradient,) = torch.autograd.grad((gumbel_softmax(logits, uniform, 0.7) * weight).sum(), logits)
    # Equation 5, written out: y_i = exp((logit_i + g_i)/tau) / sum, g = -log(-log u).
    y = np.exp((logits.detach().double().numpy() - np.log(-np.log(uniform.double().numpy()))) / 0.7)
    y /= y.sum(1, keepdims=True)
    expected = y * (weight.numpy() - (y * weight.numpy()).sum(1, keepdims=True)) / 0.7
    np.testing.assert_allclose(gradient.numpy(), expected, atol=1e-5)


class Table:
    """A decoder whose logits are its summary: ``[B, length, C + 1, C]``, by slot and by what was said last."""

    vocab_size, max_len = V, LENGTH

    def __init__(self, ends: bool = True) -> None:
        self.ends, self.choices = ends, V + ends

    def start(self, summary: Tensor) -> Tensor:
        return summary

    def step(self, slot: int, state: Tensor, previous: Tensor | None) -> tuple[Tensor, Tensor]:
        if previous is None:
            return state[:, slot, -1], state
        return torch.einsum("bpc,bp->bc", state[:, slot, :-1], previous), state


Outcome = tuple[tuple[int, ...], Tensor]
SILENT = -1


class Toy:
    """A speaker so small that all it can say is listed: (what is heard, log-probability in float64) of each way."""

    def __init__(self, name: str) -> None:
        self.name = name
        generator = torch.Generator().manual_seed(10)
        shapes = [(LENGTH, V + 2, V + 1)] if name == "sequence" else [(P, 1, V), (P,)]
        self.numbers = [torch.randn(s, generator=generator) * 0.7 for s in shapes]
        self.keep = 2 if "keep" in name else None
        self.gate = "rank" if "rank" in name else "free"
        self.costs = torch.randn((V + 1) ** self.slots, generator=generator).exp()

    @property
    def slots(self) -> int:
        return LENGTH if self.name == "sequence" else P

    def channel(self, estimator: Reinforce | None, **options: object) -> Channel:
        if self.name == "sequence":
            return SequenceChannel(estimator, **options)
        return PatchChannel(estimator, self.gate, self.keep, **options)

    def features(self, numbers: list[Tensor]) -> PatchFeatures | SequenceFeatures:
        return SequenceFeatures(numbers[0], Table()) if self.name == "sequence" else PatchFeatures(*numbers)

    def rows(self) -> list[Tensor]:
        """Many copies, each with a gradient of its own."""
        return [x.expand(ROWS, *x.shape).clone().requires_grad_() for x in self.numbers]

    def ways(self, numbers: list[Tensor]) -> Iterator[Outcome]:
        numbers = [x.double() for x in numbers]
        if self.name == "sequence":
            yield from self._sentences(numbers[0].log_softmax(-1), (), torch.zeros(()), V + 1)
            return
        symbols, scores = numbers[0][:, 0].log_softmax(1), numbers[1]
        p = PatchChannel(gate=self.gate).keep_probability(scores[None])[0]
        for speaking, chance in self._choices(p):
            for said in itertools.product(range(V), repeat=len(speaking)):
                patches = dict(zip(speaking, said, strict=True))
                way = tuple(patches.get(patch, SILENT) for patch in range(P))
                yield way, chance + sum(symbols[patch, symbol] for patch, symbol in patches.items())

    def _choices(self, p: Tensor) -> Iterator[tuple[tuple[int, ...], Tensor]]:
        if self.keep is None:
            for bits in itertools.product((0, 1), repeat=P):
                chance = sum((p[i] if bit else 1 - p[i]).log() for i, bit in enumerate(bits))
                yield tuple(i for i, bit in enumerate(bits) if bit), chance
        else:
            odds = p / (1 - p)
            for order in itertools.permutations(range(P), self.keep):
                left, chance = odds.sum(), torch.zeros(())
                for patch in order:
                    chance, left = chance + (odds[patch] / left).log(), left - odds[patch]
                yield order, chance

    def _sentences(self, table: Tensor, said: tuple[int, ...], chance: Tensor, last: int) -> Iterator[Outcome]:
        if len(said) == LENGTH:
            yield said, chance
            return
        row = table[len(said), last]
        yield said + (SILENT,) * (LENGTH - len(said)), chance + row[V]
        for symbol in range(V):
            yield from self._sentences(table, (*said, symbol), chance + row[symbol], symbol)

    def number(self, heard: Tensor) -> Tensor:
        """One integer for each thing heard, ``[..., T] -> [...]``."""
        return ((heard + 1) * (V + 1) ** torch.arange(self.slots)).sum(-1)


def heard(message: Message) -> Tensor:
    return message.symbols.where(message.mask, SILENT)


TOYS = ["free", "rank", "free keep", "rank keep", "sequence"]


@pytest.mark.parametrize("name", TOYS)
def test_what_is_said_its_probability_and_its_entropy_agree_with_enumeration(name: str) -> None:
    toy = Toy(name)
    ways = list(toy.ways(toy.numbers))
    chances = torch.stack([chance for _, chance in ways])
    assert chances.exp().sum().item() == pytest.approx(1)
    numbers = torch.stack([toy.number(torch.tensor(way)) for way, _ in ways])
    message = toy.channel(Reinforce(), seed=1)(toy.features(toy.rows()))
    found = toy.number(heard(message))

    # Kept patches are heard alike in whatever order they were drawn: one of the orders' log-probabilities.
    differences = (message.log_prob[:, None] - chances).abs().masked_fill(found[:, None] != numbers, torch.inf)
    assert differences.amin(1).max() < 1e-5
    assert (toy.keep is not None) or len(numbers.unique()) == len(numbers)

    p = torch.zeros((V + 1) ** toy.slots, dtype=torch.float64).index_add(0, numbers, chances.exp())
    rate = found.bincount(minlength=len(p)) / ROWS
    assert (rate[p == 0] == 0).all()
    z = (rate - p) / (p * (1 - p) / ROWS).sqrt().clamp(min=1e-12)
    assert z.abs().max() < 4.5

    entropy = -(chances.exp() * chances).sum()
    z = (message.entropy.mean() - entropy) / (message.entropy.std() / ROWS**0.5 + 1e-6)
    assert z.abs() < 4


@pytest.mark.parametrize("baseline", ["running", "learnt"])
@pytest.mark.parametrize("name", TOYS)
def test_the_score_functions_gradient_is_the_exact_one(name: str, baseline: str) -> None:
    toy = Toy(name)
    leaves = [x.clone().requires_grad_() for x in toy.numbers]
    loss = sum(chance.exp() * toy.costs[toy.number(torch.tensor(way))] for way, chance in toy.ways(leaves))
    exact = torch.autograd.grad(loss, leaves)

    inputs = V + 1 if name == "sequence" else V
    estimator = Reinforce(RunningMean() if baseline == "running" else LearntBaseline(inputs, 4), entropy=0.0)
    channel, rows = toy.channel(estimator, seed=2), toy.rows()
    message = channel(toy.features(rows))
    channel.surrogate(message, toy.costs[toy.number(heard(message))]).backward()
    for row, expected in zip(rows, exact, strict=True):
        found = row.grad * ROWS  # of the mean over rows, and each row has its own
        z = (found.mean(0) - expected) / (found.std(0) / ROWS**0.5 + 1e-7)
        assert z.abs().max() < 4.5
        assert expected.abs().max() > 10 * found.std(0).max() / ROWS**0.5, "too noisy to tell"


def test_symbols_that_nobody_heard_do_not_count() -> None:
    generator = torch.Generator().manual_seed(11)
    logits, scores = torch.randn(50, P, 2, 4, generator=generator), torch.randn(50, P, generator=generator)
    for keep in (None, 2):

        def speak(x: Tensor, keep: int | None = keep) -> Message:
            return PatchChannel(Reinforce(), "free", keep, seed=3)(PatchFeatures(x, scores))

        message = speak(logits.requires_grad_())
        silent = ~message.mask.view(50, P, 2)[..., None]
        other = speak(torch.where(silent, logits.flip(3) * 3, logits))
        assert not torch.equal(message.symbols, other.symbols)
        assert torch.equal(message.log_prob, other.log_prob) and torch.equal(message.entropy, other.entropy)
        (gradient,) = torch.autograd.grad(message.log_prob.sum(), logits)
        assert torch.equal(gradient.abs().sum(3, keepdim=True) == 0, silent)


@pytest.mark.parametrize("keep", [1, 3, 6])
def test_drawing_without_replacement_equals_a_slow_loop(keep: int) -> None:
    generator = torch.Generator().manual_seed(12)
    probability = torch.rand(40, 6, generator=generator, dtype=torch.float64)
    uniform = torch.rand(40, 6, generator=generator, dtype=torch.float64)
    hard, log_prob, entropy = draw_without_replacement(probability, keep, uniform)
    for row in range(40):
        odds = (probability[row] / (1 - probability[row])).tolist()
        keys = [np.log(o) - np.log(-np.log(u)) for o, u in zip(odds, uniform[row].tolist(), strict=True)]
        left, expected, spread = set(range(6)), 0.0, 0.0
        for _ in range(keep):
            total = sum(odds[i] for i in left)
            spread -= sum(odds[i] / total * np.log(odds[i] / total) for i in left)
            best = max(left, key=lambda i: keys[i])
            expected += np.log(odds[best] / total)
            left.remove(best)
        assert set((hard[row] == 0).nonzero().flatten().tolist()) == left
        assert log_prob[row].item() == pytest.approx(expected, rel=1e-6, abs=1e-6)
        assert entropy[row].item() == pytest.approx(spread, rel=1e-6, abs=1e-6)


def test_the_running_mean_equals_a_slow_loop() -> None:
    baseline = RunningMean(decay=0.8)
    mean = None
    for step in range(6):
        cost = torch.randn(7, generator=torch.Generator().manual_seed(step)) + 3
        expected, error = baseline.fit(baseline(torch.zeros(7, V)), cost)
        now = cost.mean().item()
        before = now if mean is None else mean
        assert expected.item() == pytest.approx(before, rel=1e-6) and error == 0
        mean = 0.8 * before + 0.2 * now
        torch.testing.assert_close(baseline(torch.zeros(4, V)), torch.full((4,), mean))


@pytest.mark.slow
def test_the_learnt_baseline_learns_what_can_be_known() -> None:
    generator = torch.Generator().manual_seed(13)
    estimator = Reinforce(LearntBaseline(4, 16))
    optimizer = torch.optim.Adam(estimator.parameters(), 0.02)
    errors = []
    for _ in range(150):
        logits = torch.randn(64, 1, 1, 4, generator=generator).requires_grad_()
        channel = PatchChannel(estimator, "free")
        message = channel(PatchFeatures(logits, torch.zeros(64, 1)))
        cost = 2 + F.layer_norm(logits.detach()[:, 0, 0], (4,))[:, 0]
        optimizer.zero_grad()
        channel.surrogate(message, cost).backward()
        optimizer.step()
        errors.append((message.expected_loss - cost).square().mean().item())
    assert np.mean(errors[-20:]) < 0.05 * cost.var().item() < errors[0]
    (gradient,) = torch.autograd.grad(estimator.expect(logits.flatten(1)).sum(), logits, allow_unused=True)
    assert gradient is None, "the baseline's error must not teach the speaker"


def scored(rows: int) -> Message:
    generator = torch.Generator().manual_seed(14)
    log_prob, entropy = (torch.randn(rows, generator=generator).requires_grad_() for _ in range(2))
    mask = torch.ones(rows, 1, dtype=torch.bool)
    return Message(mask.long(), mask[..., None].float(), mask, None, None, log_prob, entropy, torch.full((rows,), 7.0))


def test_the_surrogate_is_a_gradient_without_a_value() -> None:
    message, cost = scored(5), torch.tensor([1.0, 2.0, 4.0, 8.0, 0.5]).requires_grad_()
    estimator = Reinforce(RunningMean(), entropy=0.3)
    for baseline in (cost.mean().item(), cost.mean().item()):  # the first batch's mean, then the average of one
        message.log_prob.grad = message.entropy.grad = None
        surrogate = estimator.surrogate(message, cost)
        assert surrogate.item() == 0
        surrogate.backward()
        torch.testing.assert_close(message.log_prob.grad, (cost.detach() - baseline) / 5)
        torch.testing.assert_close(message.entropy.grad, torch.full((5,), -0.3 / 5))
    assert cost.grad is None, "the loss's own gradient must not be taken twice"

    learnt = Reinforce(LearntBaseline(V), entropy=0.0)
    expected = torch.arange(5.0).requires_grad_()
    message = replace(scored(5), expected_loss=expected)
    surrogate = learnt.surrogate(message, cost)
    assert surrogate.item() == 0
    surrogate.backward()
    known = (expected + cost.mean()).detach()  # a prediction is counted from the running mean, here of the first batch
    torch.testing.assert_close(message.log_prob.grad, (cost.detach() - known) / 5)
    torch.testing.assert_close(expected.grad, 2 * (known - cost.detach()) / 5)


def test_a_learnt_baseline_starts_out_as_the_running_mean() -> None:
    learnt, mean, summary = LearntBaseline(V), RunningMean(), torch.randn(5, V)
    for cost in torch.rand(3, 5):
        torch.testing.assert_close(learnt(summary), mean(summary))
        torch.testing.assert_close(learnt.fit(learnt(summary), cost)[0], mean.fit(mean(summary), cost)[0].expand(5))


def test_what_was_not_sampled_has_no_surrogate() -> None:
    toy, estimator = Toy("free"), Reinforce()
    channel = toy.channel(estimator).eval()
    message = channel(toy.features(toy.rows()))
    assert channel.surrogate(message, torch.ones(ROWS)) == 0 and not estimator.baseline.started
    assert toy.channel(Gumbel()).surrogate(message, torch.ones(ROWS)) == 0


@pytest.mark.parametrize("name", ["free", "sequence"])
@pytest.mark.parametrize("reinforce", [False, True])
def test_a_price_is_paid_for_every_symbol(name: str, reinforce: bool) -> None:
    toy, price = Toy(name), 0.3
    estimator = Reinforce(entropy=0.0) if reinforce else Gumbel(0.8)
    channel, rows = toy.channel(estimator, speak_cost=price, seed=4), toy.rows()
    message, loss = channel(toy.features(rows)), torch.randn(ROWS)
    extra = channel.surrogate(message, loss)
    assert extra.item() == pytest.approx(price * message.lengths.float().mean().item(), rel=1e-5)
    extra.backward()

    if reinforce:
        cost = loss + price * message.lengths
        torch.testing.assert_close(estimator.baseline.mean, cost.mean())
        again = toy.rows()
        log_prob = toy.channel(Reinforce(), seed=4)(toy.features(again)).log_prob
        expected = torch.autograd.grad(((cost - cost.mean()) * log_prob).mean(), again)
    elif name == "free":
        p = rows[1].detach().sigmoid()
        expected = (torch.zeros_like(rows[0]), price / ROWS * p * (1 - p))
    else:
        # 1 - (the chance of an end), at every slot up to the one that is said, with the same noise.
        again, uniform = toy.rows(), RandomModule(4).uniform(ROWS, LENGTH, V + 1)
        previous, said, total = None, torch.ones(ROWS), 0.0
        for slot in range(LENGTH):
            logits, _ = Table().step(slot, again[0], previous)
            soft = ((logits - (-uniform[:, slot].log()).log()) / 0.8).softmax(1)
            previous = F.one_hot(soft.argmax(1), V + 1) + soft - soft.detach()
            said = said * (1 - previous[:, V])
            total = total + said.sum()
        expected = torch.autograd.grad(price / ROWS * total, again)
    for row, gradient in zip(rows, expected, strict=True):
        found = torch.zeros_like(gradient) if row.grad is None else row.grad
        torch.testing.assert_close(found, gradient, atol=1e-9, rtol=1e-4)


def test_a_price_makes_a_free_gate_quieter() -> None:
    for estimator in (Gumbel(), Reinforce()):
        scores = torch.zeros(P, requires_grad=True)
        channel = PatchChannel(estimator, "free", speak_cost=0.5)
        features = PatchFeatures(torch.zeros(500, P, 1, V), scores.expand(500, P))
        channel.surrogate(channel(features), torch.zeros(500)).backward()
        assert (scores.grad > 0).all()


def test_continuous_numbers_are_standardised() -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(15)) * 9 + 4
    vectors, penalty = Continuous().choose(logits, None)
    expected = (logits - logits.mean(1, keepdim=True)) / logits.std(1, correction=0, keepdim=True)
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=1e-5)
    assert penalty == 0


def codes(rows: int = 200, dim: int = 3, seed: int = 16) -> Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("training", [True, False])
def test_a_symbol_is_the_nearest_code(training: bool) -> None:
    estimator = Quantised(3, 8)
    estimator.choose(codes(), None)
    book = estimator.quantiser.codebook.clone()
    vectors, _ = estimator.train(training).choose(codes(seed=17).view(10, 20, 3), None)
    nearest = [min(range(8), key=lambda v, x=x: (book[v] - x).square().sum()) for x in codes(seed=17)]
    assert torch.equal(vectors, F.one_hot(torch.tensor(nearest), 8).view(10, 20, 8).float())
    assert len(set(nearest)) == 8
    # Only training moves the codes, towards what was said.
    moved = (estimator.quantiser.codebook - book).abs().amax(1)
    assert (moved > 0).all() if training else (moved == 0).all()


def test_a_codes_gradient_is_as_if_it_had_been_copied() -> None:
    estimator = Quantised(3, 8)
    estimator.choose(codes(), None)
    spoken = codes(seed=18).requires_grad_()
    generator = torch.Generator().manual_seed(19)
    listener = nn.Sequential(nn.Linear(3, 6, bias=False), nn.Tanh(), nn.Linear(6, 1))
    for p in listener.parameters():
        p.data = torch.randn(p.shape, generator=generator)
    # The codes that were looked up: the codebook moves on in the same pass.
    book = estimator.quantiser.codebook.detach().clone()
    vectors, _ = estimator.choose(spoken, None)
    embedding = book @ listener[0].weight.T  # linear in the codes
    (found,) = torch.autograd.grad(listener[1:](vectors @ embedding).square().sum(), spoken)
    copied = spoken + (book[vectors.argmax(1)] - spoken).detach()
    (expected,) = torch.autograd.grad(listener(copied).square().sum(), spoken)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert expected.abs().max() > 0.1


@pytest.mark.parametrize("same", [torch.zeros(50, 3), torch.full((50, 3), 1e20), codes(4)], ids=["0", "huge", "few"])
def test_a_degenerate_codebook_still_sends_exact_symbols(same: Tensor) -> None:
    estimator = Quantised(3, 8)
    for _ in range(3):
        vectors, _ = estimator.choose(same.clone().requires_grad_(), None)
        assert torch.equal(vectors, F.one_hot(vectors.argmax(1), 8).float())


def test_codes_out_of_use_come_back() -> None:
    estimator = Quantised(2, 6, decay=0.5)
    estimator.choose(codes(300, 2), None)
    far = codes(300, 2, seed=20) + 50
    for _ in range(12):
        vectors, _ = estimator.choose(far, None)
    assert (estimator.quantiser.codebook > 40).all()
    assert (vectors.sum(0) > 0).all()


def test_the_commitment_reaches_the_loss_through_the_surrogate_alone() -> None:
    channel = PatchChannel(Quantised(3, 8, commitment=0.4))
    channel(PatchFeatures(codes().view(20, 5, 2, 3), torch.zeros(20, 5)))
    book = channel.estimator.quantiser.codebook.clone()
    spoken = codes(seed=21).requires_grad_()
    message = channel(PatchFeatures(spoken.view(20, 5, 2, 3), torch.zeros(20, 5)))
    assert all(g is None or not g.any() for g in torch.autograd.grad((message.vectors * 0).sum(), [spoken]))
    extra = channel.surrogate(message, torch.zeros(20))
    expected = 0.4 * (spoken - book[message.symbols.flatten()]).square().mean()
    torch.testing.assert_close(extra, expected)
    found = torch.autograd.grad(extra, spoken)
    torch.testing.assert_close(found, torch.autograd.grad(expected, spoken))
    silent = channel.eval()(PatchFeatures(spoken.view(20, 5, 2, 3), torch.zeros(20, 5)))
    assert silent.penalty is None and channel.surrogate(silent, torch.zeros(20)) == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3e38])
@pytest.mark.parametrize("rows", [slice(2, 3), slice(None)], ids=["one", "all"])
def test_codes_that_are_no_numbers_end_in_a_loss_that_is_none(bad: float, rows: slice) -> None:
    channel = PatchChannel(Quantised(3, 8))
    spoken = codes(seed=21).clone()
    spoken[rows] = bad
    for _ in range(2):  # the first batch makes the codebook
        message = channel(PatchFeatures(spoken.view(20, 5, 2, 3), torch.zeros(20, 5)))
        loss = message.vectors.sum(dim=(1, 2)).mean() + channel.surrogate(message, torch.zeros(20))
        assert not loss.isfinite()
    if abs(bad) != 3e38:
        assert channel.estimator.quantiser.codebook.isfinite().all()
    channel.eval()(PatchFeatures(spoken.view(20, 5, 2, 3), torch.zeros(20, 5)))
