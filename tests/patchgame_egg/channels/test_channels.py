"""Every speaker with every channel: what a message holds, what the listener hears, gradients, randomness, resuming.

The estimators' arithmetic is in test_estimators.py, the decoders' in test_sequences.py.
"""

from __future__ import annotations

import copy
import itertools
import re
from dataclasses import dataclass, field, fields, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.agents.listener import Listener, TextEncoder
from patchgame_egg.agents.patch_speaker import PatchFeatures, PatchSpeaker, PatchSymbol
from patchgame_egg.agents.sequence_speaker import RecurrentDecoder, SequenceSpeaker, TransformerDecoder
from patchgame_egg.channels.channel import Channel
from patchgame_egg.channels.continuous import Continuous
from patchgame_egg.channels.estimator import Estimator
from patchgame_egg.channels.gumbel import Gumbel
from patchgame_egg.channels.patch import PatchChannel
from patchgame_egg.channels.quantised import Quantised
from patchgame_egg.channels.reinforce import LearntBaseline, Reinforce
from patchgame_egg.channels.sequence import SequenceChannel
from patchgame_egg.game import Game
from patchgame_egg.interaction import Message
from patchgame_egg.losses import SymmetricInfoNCE

B, V, D, CODE = 16, 5, 6, 4
SIZE, S, L, KEEP, MAX_LEN = 12, 4, 2, 4, 4
P = (SIZE // S) ** 2


@dataclass(frozen=True)
class Case:
    """A speaker and its channel, by name."""

    speaker: str
    estimator: str
    logit_scale: float = 0.0
    ends: bool = True
    options: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        length = [] if self.speaker == "patch" or self.ends else ["fixed"]
        options = [f"{k}={v}" for k, v in self.options.items()]
        return " ".join([self.speaker, self.estimator, f"scale={self.logit_scale:g}", *length, *options])

    @property
    def patches(self) -> bool:
        return self.speaker == "patch"

    @property
    def slots(self) -> int:
        return P * L if self.patches else MAX_LEN

    @property
    def exact(self) -> bool:
        """Whether symbols are sent, and not numbers."""
        return self.estimator != "continuous" and self.options.get("gate") != "released"

    @property
    def scored(self) -> bool:
        return "baseline" in self.estimator

    @property
    def fixed_length(self) -> int | None:
        if not self.exact or not (self.patches or self.ends):
            return self.slots
        return KEEP * L if "keep" in self.options else None


def _estimator(case: Case, choices: int) -> Estimator:
    return {
        "gumbel": lambda: Gumbel(0.7),
        "running baseline": lambda: Reinforce(entropy=0.1),
        "learnt baseline": lambda: Reinforce(LearntBaseline(choices, 8), entropy=0.1),
        "quantised": lambda: Quantised(CODE, V, seed=3),
        "continuous": Continuous,
    }[case.estimator]()


def build(case: Case, seed: int = 1) -> tuple[nn.Module, Channel]:
    """A small speaker, always with the same weights, and a channel whose noise has the seed."""
    torch.manual_seed(0)
    if case.patches:
        width = CODE if case.estimator == "quantised" else V
        symbol = PatchSymbol(SIZE, S, width, L, hidden=8, logit_scale=case.logit_scale)
        speaker = PatchSpeaker(symbol, nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, P)))
        return speaker, PatchChannel(_estimator(case, V), seed=seed, **case.options)
    options = {"ends": case.ends, "logit_scale": case.logit_scale, "depth": 1}
    if case.speaker == "transformer":
        decoder = TransformerDecoder(V, MAX_LEN, D, heads=2, **options)
    else:
        decoder = RecurrentDecoder(V, MAX_LEN, D, case.speaker, **options)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, 7))
    channel = SequenceChannel(_estimator(case, decoder.choices), seed=seed, **case.options)
    return SequenceSpeaker(encoder, 7, decoder), channel


def build_game(case: Case, silence: str = "gate") -> Game:
    """A whole game around it."""
    sender, channel = build(case)
    text = TextEncoder(V, case.slots, D, depth=2, heads=2, silence=silence)
    vision = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, 5))
    return Game(sender, channel, Listener(text, vision, 5, 8, 4), SymmetricInfoNCE(0.5))


def images(rows: int = B, seed: int = 0) -> Tensor:
    return torch.randn(rows, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


_GATES = [
    (0.0, {"gate": "rank"}),
    (2.0, {"gate": "free", "speak_cost": 0.1}),
    (2.0, {"gate": "rank", "keep": KEEP}),
    (0.0, {"gate": "free", "keep": KEEP}),
]
CASES = [
    *(
        Case("patch", estimator, scale, options=options)
        for estimator in ("gumbel", "running baseline", "learnt baseline", "quantised")
        for scale, options in _GATES
    ),
    Case("patch", "continuous", 0.0, options={"gate": "rank"}),
    Case("patch", "continuous", 2.0, options={"gate": "free"}),
    Case("patch", "gumbel", options={"gate": "released"}),
]
CASES += [
    Case(speaker, estimator, scale, ends, {"speak_cost": 0.1} if ends and scale and estimator != "continuous" else {})
    for speaker in ("lstm", "gru", "rnn", "transformer")
    for estimator in ("gumbel", "running baseline", "learnt baseline", "continuous")
    for ends, scale in ((True, 0.0), (False, 2.0), (True, 2.0))
    if estimator != "learnt baseline" or speaker in ("lstm", "transformer")
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def assert_same(one: Message, other: Message) -> None:
    for f in fields(Message):
        a, b = getattr(one, f.name), getattr(other, f.name)
        assert (a is None and b is None) or torch.equal(a, b), f.name


def snapshot(module: nn.Module) -> dict[str, object]:
    return copy.deepcopy(module.state_dict())


def assert_same_state(one: dict[str, object], other: dict[str, object]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        same = torch.equal(value, other[name]) if isinstance(value, Tensor) else value == other[name]
        assert same, name


@every_case
@pytest.mark.parametrize("training", [True, False])
def test_a_message_holds_what_it_says(case: Case, training: bool) -> None:
    sender, channel = build(case)
    channel(sender(images(seed=1)))
    message = channel.train(training)(sender.train(training)(images()))
    assert message.symbols.shape == message.mask.shape == (B, case.slots)
    assert message.vectors.shape == (B, case.slots, V)
    assert message.symbols.dtype == torch.int64 and message.mask.dtype == torch.bool
    assert message.symbols.min() >= 0 and message.symbols.max() < V
    assert torch.equal(message.lengths, message.mask.long().sum(1))
    if case.exact:
        assert torch.equal(message.vectors, F.one_hot(message.symbols, V) * message.mask[:, :, None].float())
        assert message.gate is None or torch.equal(message.gate, message.mask.float())
    else:
        assert message.vectors.isfinite().all() and len(message.vectors.unique()) > V
    if case.patches:  # The symbols of a patch speak or are silent together.
        assert torch.equal(message.mask[:, ::L], message.mask[:, 1::L])
        assert message.keep_prob.shape == (B, P)
    if case.fixed_length is not None:
        assert (message.lengths == case.fixed_length).all()
    else:
        assert message.lengths.any()
        # The likeliest choice of an untrained decoder may never be the end.
        assert not message.mask.all() or not (training or case.patches)
    assert (message.gate is None) == (case.scored or case.estimator == "continuous" or not (case.patches or case.ends))
    assert (message.penalty is not None) == (training and case.estimator == "quantised")
    for value in (message.log_prob, message.entropy, message.expected_loss):
        assert (value is not None) == (training and case.scored)
        assert value is None or (value.shape == (B,) and value.isfinite().all())
    if training:
        assert message.vectors.requires_grad == (not case.scored)
        assert not case.scored or (message.log_prob.max() < 0 < message.entropy.min())


@every_case
def test_the_listener_hears_what_the_mask_shows_and_nothing_else(case: Case) -> None:
    sender, channel = build(case)
    message = channel(sender(images()))
    silent = ~message.mask
    assert silent.any() == (case.fixed_length != case.slots)
    other = (message.symbols + 1) % V
    row, slot = message.mask.nonzero()[-1].tolist()
    vectors = message.vectors.detach().clone()
    vectors[row, slot] = vectors[row, slot].roll(1)
    for silence in ("skip", "gate"):
        text = TextEncoder(V, case.slots, D, depth=2, heads=2, silence=silence)
        heard = text(message)
        assert torch.equal(text(replace(message, symbols=torch.where(silent, other, message.symbols))), heard)
        changed = (text(replace(message, vectors=vectors)) != heard).any(1)
        assert changed[row] and changed.sum() == 1


# Shifts of a whole batch, which may be standardised away.
_SHIFTS = ("symbol.mlp.2.bias", "encoder.1.bias", "decoder.norm.bias", "decoder.out.bias")


@every_case
@pytest.mark.parametrize("silence", ["gate", "skip"])
def test_a_games_loss_reaches_every_parameter(case: Case, silence: str) -> None:
    game = build_game(case, silence)
    total, interaction = game(images(), None, images(seed=1))
    total.backward()
    for name, parameter in game.named_parameters():
        # DistributedDataParallel waits for all of them.
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A learnt baseline starts at the mean of the first batch: at first only its last weights have much to learn.
        if not name.endswith(_SHIFTS) and not re.search(r"baseline\.mlp\.([01]\.|3\.bias)", name):
            assert parameter.grad.abs().max() > 1e-9, name
    assert total.isfinite() and interaction.size == B


@every_case
@pytest.mark.parametrize("passes", [0, 1])
def test_evaluation_repeats_itself_and_leaves_no_trace(case: Case, passes: int) -> None:
    sender, channel = build(case)
    for _ in range(passes):
        channel(sender(images()))
    sender.eval(), channel.eval()
    torch_state, before = torch.get_rng_state(), snapshot(channel)
    messages = [channel(sender(images())) for _ in range(2)]
    channel.surrogate(messages[0], torch.ones(B))
    assert_same(*messages)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert_same_state(channel.state_dict(), before)


@every_case
def test_training_passes_differ_and_the_seed_alone_decides(case: Case) -> None:
    def listen(seed: int, passes: int = 1) -> list[Message]:
        sender, channel = build(case, seed)
        torch.rand(())  # what others draw changes nothing
        state = torch.get_rng_state()
        messages = [channel(sender(images())) for _ in range(passes)]
        assert torch.equal(torch.get_rng_state(), state)
        return messages

    first, second = listen(seed=1, passes=2)
    (again,), (changed,) = listen(seed=1), listen(seed=2)
    assert_same(first, again)
    for other in (second, changed):
        assert torch.equal(first.vectors, other.vectors) == (case.estimator == "continuous")


@every_case
def test_a_resumed_channel_goes_on_where_it_stopped(case: Case) -> None:
    cost = torch.randn(B, generator=torch.Generator().manual_seed(2))

    def go_on(sender: nn.Module, channel: Channel, passes: int) -> list[Message]:
        messages = []
        for _ in range(passes):
            message = channel(sender(images()))
            channel.surrogate(message, cost)
            messages.append(copy.copy(message))
        return messages

    sender, channel = build(case)
    go_on(sender, channel, 2)
    saved = snapshot(channel)
    whole = go_on(sender, channel, 2)
    _, resumed = build(case)
    resumed.load_state_dict(saved)
    for one, other in zip(whole, go_on(sender, resumed, 2), strict=True):
        assert_same(one, other)
    assert_same_state(channel.state_dict(), resumed.state_dict())


def features(rows: int = B, seed: int = 0) -> PatchFeatures:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, P, L, V, generator=generator).requires_grad_()
    return PatchFeatures(logits, (torch.randn(rows, P, generator=generator) * 3).requires_grad_())


@pytest.mark.parametrize("gate", ["rank", "free"])
def test_patches_speak_at_the_rate_of_their_probability(gate: str) -> None:
    one = features(1)
    many = PatchFeatures(one.logits.expand(4000, -1, -1, -1), one.scores.expand(4000, -1) / 3)
    message = PatchChannel(gate=gate, seed=5)(many)
    p = message.keep_prob[0]
    z = (message.mask[:, ::L].float().mean(0) - p) / (p * (1 - p) / 4000).sqrt().clamp(min=1e-9)
    assert z.abs().max() < 4
    if gate == "free":
        torch.testing.assert_close(p, many.scores[0].sigmoid())
    else:  # Soft ranks sum to K(K+1)/2: half of the patches speak, whatever the image.
        assert p.sum().item() == pytest.approx((P + 1) / 2, abs=1e-4)


@pytest.mark.parametrize("keep", [None, KEEP])
@pytest.mark.parametrize("gate", ["rank", "free"])
def test_the_gate_passes_its_gradient_to_the_scores(gate: str, keep: int | None) -> None:
    speaking = features()
    channel = PatchChannel(gate=gate, keep=keep)
    weight = torch.randn(B, P * L, generator=torch.Generator().manual_seed(6))
    (got,) = torch.autograd.grad((channel(speaking).gate * weight).sum(), speaking.scores)
    per_patch = weight.view(B, P, L).sum(2)
    (expected,) = torch.autograd.grad((channel.keep_probability(speaking.scores) * per_patch).sum(), speaking.scores)
    torch.testing.assert_close(got, expected)
    assert expected.abs().max() > 0


def test_symbols_of_silent_patches_get_no_gradient_through_the_vectors() -> None:
    speaking = features()
    message = PatchChannel()(speaking)
    weight = torch.randn(V, generator=torch.Generator().manual_seed(7))
    (gradient,) = torch.autograd.grad((message.vectors * weight).sum(), speaking.logits)
    assert torch.equal(gradient.flatten(1, 2).abs().sum(2) > 0, message.mask)


@pytest.mark.parametrize("name", ["gumbel", "running baseline"])
@pytest.mark.parametrize("gate", ["rank", "free"])
def test_evaluation_takes_the_best(gate: str, name: str) -> None:
    channel = PatchChannel(_estimator(Case("patch", name), V), gate).eval()
    message = channel(features())
    assert torch.equal(message.symbols, features().logits.flatten(1, 2).argmax(2))
    spoken = message.mask[:, ::L]
    if gate == "free":
        assert torch.equal(spoken, message.keep_prob >= 0.5)
    else:
        assert (message.keep_prob[spoken].view(B, -1).amin(1) >= message.keep_prob[~spoken].view(B, -1).amax(1)).all()


@pytest.mark.parametrize("spread", [0.0, 0.29])
@pytest.mark.parametrize("patches", [9, 16, 36, 49])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 100.0])
def test_as_many_speak_in_evaluation_as_in_training_whatever_the_scores(
    scale: float, patches: int, spread: float
) -> None:
    scores = torch.randn(200, patches, generator=torch.Generator().manual_seed(2)) * scale
    speaking = PatchFeatures(torch.zeros(200, patches, 1, V), scores)
    channel = PatchChannel(rank_spread=spread, seed=3)
    trained, evaluated = channel(speaking).lengths.float(), channel.eval()(speaking).lengths
    assert (evaluated == patches // 2 + 1).all()  # (K+1)/2, rounded up
    assert trained.mean().item() == pytest.approx((patches + 1) / 2, abs=4 * (patches / 4 / 200) ** 0.5)


@pytest.mark.parametrize("keep", [1, 4, P])
@pytest.mark.parametrize(("gate", "scale"), [("rank", 1.0), ("free", 1.0), ("free", 4.0)])
def test_keep_takes_the_best_in_evaluation(gate: str, scale: float, keep: int) -> None:
    # At the larger scale, probabilities lie within 1e-4 of 0 and 1.
    speaking = PatchFeatures(features().logits, torch.arange(B * P).view(B, P).fmod(7.3).sub(3.6) * scale)
    message = PatchChannel(gate=gate, keep=keep).eval()(speaking)
    best = speaking.scores.argsort(dim=1, descending=True, stable=True)[:, :keep]
    assert message.mask[:, ::L].gather(1, best).all()


@pytest.mark.parametrize("keep", [None, 18])
def test_equals_favour_no_side(keep: int | None) -> None:
    flat = PatchFeatures(torch.zeros(2, 36, 1, V), torch.zeros(2, 36))
    spoken = PatchChannel(keep=keep).eval()(flat).mask
    assert torch.equal(spoken[0], spoken[1])
    rows, columns = spoken[0].view(6, 6).sum(1), spoken[0].view(6, 6).sum(0)
    assert all(6 <= part <= 12 for side in (rows, columns) for part in (side[:3].sum(), side[3:].sum()))


@pytest.mark.parametrize("keep", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("gate", ["rank", "free"])
def test_keep_prob_is_how_likely_a_patch_is_to_be_drawn(gate: str, keep: int) -> None:
    channel = PatchChannel(gate=gate, keep=keep, rank_strength=0.1).eval()
    scores = torch.tensor([[0.2, -2.5, 1.4, 0.9, -0.3, 3.0], [0.0] * 6])
    weights = channel.keep_probability(scores).double().clamp(1e-4, 1 - 1e-4)
    expected = torch.zeros(2, 6, dtype=torch.float64)
    for row, odds in enumerate((weights / (1 - weights)).tolist()):
        for order in itertools.permutations(range(6), keep):
            chance, left = 1.0, sum(odds)
            for patch in order:
                chance, left = chance * odds[patch] / left, left - odds[patch]
            expected[row, list(order)] += chance
    found = channel(PatchFeatures(torch.zeros(2, 6, 1, V), scores)).keep_prob
    torch.testing.assert_close(found.double(), expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("gate", ["rank", "free"])
@pytest.mark.parametrize("keep", [1, 2])
def test_keep_draws_in_proportion_to_the_odds(gate: str, keep: int) -> None:
    rows = 20_000
    channel = PatchChannel(gate=gate, keep=keep, seed=4)
    scores = torch.tensor([0.2, -0.5, 0.4])
    p = channel.keep_probability(scores[None])[0].double()
    odds = p / (1 - p)
    expected = torch.zeros(3, dtype=torch.float64)
    for order in itertools.permutations(range(3), keep):
        chance, left = 1.0, odds.sum()
        for patch in order:
            chance, left = chance * odds[patch] / left, left - odds[patch]
        expected[list(order)] += chance
    message = channel(PatchFeatures(torch.zeros(rows, 3, 1, V), scores.expand(rows, 3)))
    z = (message.mask.double().mean(0) - expected) / (expected * (1 - expected) / rows).sqrt()
    assert z.abs().max() < 4


@pytest.mark.parametrize("name", ["gumbel", "running baseline", "quantised"])
@pytest.mark.parametrize("silence", ["skip", "gate", "attend"])
@pytest.mark.parametrize("training", [True, False])
def test_a_free_gate_may_say_nothing_and_everything(training: bool, silence: str, name: str) -> None:
    text = TextEncoder(V, P * L, D, depth=2, heads=2, silence=silence)
    width = CODE if name == "quantised" else V
    channel = PatchChannel(_estimator(Case("patch", name), V), "free")
    logits = torch.randn(B, P, L, width).requires_grad_()
    channel(PatchFeatures(logits, torch.zeros(B, P)))
    for score, length in ((-50.0, 0), (50.0, P * L)):
        scores = torch.full((B, P), score)
        message = channel.train(training)(PatchFeatures(logits, scores.requires_grad_()))
        assert (message.lengths == length).all()
        heard = text(message)
        # Nothing can be told from nothing.
        assert torch.allclose(heard, heard[:1].expand_as(heard), atol=1e-6) == (length == 0)
        text.zero_grad()
        (heard.square().sum() + channel.surrogate(message, torch.ones(B))).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in text.parameters())
        assert logits.grad is None or logits.grad.isfinite().all()


def test_rank_spread_fixes_how_far_apart_the_probabilities_lie() -> None:
    scores = torch.randn(64, 49, generator=torch.Generator().manual_seed(9))
    flat = PatchChannel().keep_probability(scores * 0.5)
    assert flat.min() > 0.45 and flat.max() < 0.55
    for scale in (0.01, 1.0, 100.0):
        for strength in (0.1, 1.0):
            spread = PatchChannel(rank_strength=strength, rank_spread=0.1).keep_probability(scores * scale)
            # Inside the permutahedron ranking only shifts the scores, so their spread survives.
            assert spread.std(1, correction=0).mean().item() == pytest.approx(0.1, abs=0.005)


def test_released_gate_is_soft_and_never_silent() -> None:
    # Hard ranks: the probabilities are 1/49 to 1. Released: sigmoid(2 rank/K - 1).
    scores = torch.arange(49.0)[None] * 100
    channel = PatchChannel(gate="released").eval()
    gate = channel(PatchFeatures(torch.zeros(1, 49, 1, V), scores)).gate[0]
    for rank, expected in ((1, 0.277), (12, 0.375), (25, 0.505), (49, 0.731)):
        assert gate[rank - 1].item() == pytest.approx(expected, abs=5e-4)
    rows = 4000
    message = channel.train()(PatchFeatures(torch.randn(rows, 3, L, V), torch.tensor([[0.0, 100.0, 200.0]] * rows)))
    assert message.gate.min() > 0 and message.gate.max() < 1 and message.mask.all()
    torch.testing.assert_close(message.vectors.amax(2), message.gate)
    # In training, logistic noise of standard deviation pi/sqrt(3) comes on top.
    noise = message.gate[:, ::L].logit() - torch.tensor([-1 / 3, 1 / 3, 1.0])
    assert (noise.mean(0) / (1.81 / rows**0.5)).abs().max() < 4
    assert (noise.std(0) - 1.81).abs().max() < 0.1


def test_without_a_bottleneck_a_patch_is_as_loud_as_it_is_likely() -> None:
    message = PatchChannel(Continuous(), "free")(features())
    x = features().logits.detach().flatten(1, 2)
    expected = (x - x.mean(2, keepdim=True)) / x.std(2, correction=0, keepdim=True)
    expected = expected * features().scores.sigmoid().repeat_interleave(L, 1)[:, :, None]
    torch.testing.assert_close(message.vectors, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Channel(speak_cost=-1), "cost of a symbol must be 0 or more, got -1"),
        (lambda: SequenceChannel(Continuous(), speak_cost=1), "needs a discrete channel"),
        (lambda: SequenceChannel(Quantised(CODE, V)), "a codebook takes patches alone"),
        (lambda: PatchChannel(gate="soft"), "unknown gate 'soft': rank, free or released"),
        (lambda: PatchChannel(rank_strength=0), "strength must be above 0, got 0"),
        (lambda: PatchChannel(rank_spread=-1.0), "spread must be 0 or more, got -1"),
        (lambda: PatchChannel(rank_op="sort"), "must be 'torch' or 'torchsort', got 'sort'"),
        (lambda: PatchChannel(keep=0), "at least 1 patch, got 0"),
        (lambda: PatchChannel(keep=3, gate="released"), "keep needs silent patches"),
        (lambda: PatchChannel(Continuous(), keep=3), "keep needs silent patches"),
        (lambda: PatchChannel(Reinforce(), gate="released"), "for the Gumbel estimator alone"),
        (lambda: PatchChannel(speak_cost=1), "needs the gate 'free' without keep"),
        (lambda: PatchChannel(gate="free", keep=1, speak_cost=1), "needs the gate 'free' without keep"),
        (lambda: PatchChannel(keep=P + 1)(features()), f"keep {P + 1} of {P} patches: at most {P}"),
        (lambda: Gumbel(0.0), r"temperature must be above 0, got 0\.0"),
        (lambda: Quantised(CODE, V, decay=1.0), r"decay must be in \[0, 1\) .* got 1\.0 and 0\.25"),
        (lambda: Quantised(CODE, V, commitment=-1.0), r"commitment 0 or more, got 0\.95 and -1\.0"),
        (lambda: Reinforce(entropy=-0.1), r"entropy weight must be 0 or more, got -0\.1"),
    ],
)
def test_errors_say_what_is_wrong(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
