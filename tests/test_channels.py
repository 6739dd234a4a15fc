"""The patch channel: what it samples, how often, what gradient it passes on, and what evaluation does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from patchgame_egg.agents import PatchFeatures
from patchgame_egg.channels import PatchGumbelChannel, gumbel_softmax, straight_through

B, P, L, V = 6, 9, 2, 5


def features(rows: int = B, seed: int = 0) -> PatchFeatures:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, P, L, V, generator=generator).requires_grad_()
    scores = (torch.randn(rows, P, generator=generator) * 3).requires_grad_()
    return PatchFeatures(logits, scores)


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other() -> None:
    soft = torch.randn(1000, generator=torch.Generator().manual_seed(2)).sigmoid().requires_grad_()
    hard = (torch.arange(1000) % 2).float()
    out = straight_through(hard, soft)
    assert torch.equal(out, hard)
    (out * torch.arange(1000)).sum().backward()
    assert torch.equal(soft.grad, torch.arange(1000.0))


def test_gumbel_symbols_follow_the_softmax_whatever_the_temperature() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    uniform = torch.rand(20_000, 4, generator=torch.Generator().manual_seed(3))
    expected = logits.softmax(0)
    for temperature in (0.3, 5.0):
        rate = gumbel_softmax(logits.expand(20_000, 4), uniform, temperature).mean(0)
        assert (rate - expected).abs().max() < 4 * 0.5 / 20_000**0.5


def test_gumbel_gradient_is_that_of_the_relaxed_sample() -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(3, V, generator=generator, dtype=torch.float64).float().requires_grad_()
    uniform = torch.rand(3, V, generator=generator)
    weight = torch.arange(V, dtype=torch.float32)
    (gradient,) = torch.autograd.grad((gumbel_softmax(logits, uniform, 0.7) * weight).sum(), logits)
    # Equation 5, written out: y_i = exp((logit_i + g_i)/tau) / sum, g = -log(-log u).
    y = np.exp((logits.detach().double().numpy() - np.log(-np.log(uniform.double().numpy()))) / 0.7)
    y /= y.sum(1, keepdims=True)
    expected = y * (weight.numpy() - (y * weight.numpy()).sum(1, keepdims=True)) / 0.7
    np.testing.assert_allclose(gradient.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_messages_are_one_hot_where_a_patch_speaks_and_zero_where_none_does(training: bool) -> None:
    message = PatchGumbelChannel().train(training)(features())
    assert message.symbols.shape == message.mask.shape == (B, P * L)
    assert message.vectors.shape == (B, P * L, V)
    assert set(message.vectors.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(message.vectors.sum(2) == 1, message.mask)
    assert torch.equal(message.vectors.argmax(2)[message.mask], message.symbols[message.mask])
    assert torch.equal(message.gate.detach(), message.mask.float())
    assert torch.equal(message.lengths, message.vectors.sum((1, 2)).long())
    # The symbols of a patch speak or are silent together.
    assert torch.equal(message.mask[:, ::L], message.mask[:, 1::L])
    assert 0 < message.mask.float().mean() < 1


def test_patches_speak_at_the_rate_of_their_rank() -> None:
    one = features(1)
    many = PatchFeatures(one.logits.expand(4000, -1, -1, -1), one.scores.expand(4000, -1))
    message = PatchGumbelChannel(seed=5)(many)
    rate = message.mask[:, ::L].float().mean(0)
    deviation = (rate - message.keep_prob[0]).abs()
    assert deviation.max() < 4 * 0.5 / 4000**0.5
    # Soft ranks sum to K(K+1)/2: half of the patches speak, whatever the image.
    assert message.keep_prob.sum(1).mean().item() == pytest.approx((P + 1) / 2, abs=1e-4)


def test_the_gate_passes_its_gradient_to_the_scores() -> None:
    speaking = features()
    message = PatchGumbelChannel()(speaking)
    weight = torch.randn(B, P * L, generator=torch.Generator().manual_seed(6))
    (got,) = torch.autograd.grad((message.gate * weight).sum(), speaking.scores)
    probability = PatchGumbelChannel().keep_probability(speaking.scores)
    per_patch = weight.view(B, P, L).sum(2)
    (expected,) = torch.autograd.grad((probability * per_patch).sum(), speaking.scores)
    torch.testing.assert_close(got, expected)
    assert expected.abs().max() > 0


def test_symbols_of_silent_patches_get_no_gradient_through_the_vectors() -> None:
    speaking = features()
    message = PatchGumbelChannel()(speaking)
    weight = torch.randn(V, generator=torch.Generator().manual_seed(7))
    (gradient,) = torch.autograd.grad((message.vectors * weight).sum(), speaking.logits)
    touched = gradient.flatten(1, 2).abs().sum(2) > 0
    assert torch.equal(touched, message.mask)


def test_evaluation_is_deterministic_and_takes_the_best() -> None:
    channel = PatchGumbelChannel().eval()
    first, second = channel(features()), channel(features())
    assert torch.equal(first.vectors, second.vectors)
    assert torch.equal(first.symbols, features().logits.flatten(1, 2).argmax(2))
    assert torch.equal(first.mask[:, ::L], first.keep_prob >= 0.5)


def test_training_passes_differ_and_the_stream_resumes() -> None:
    channel = PatchGumbelChannel(seed=8)
    first = channel(features())
    saved = channel.state_dict()
    second = channel(features())
    assert not torch.equal(first.mask, second.mask)
    assert not torch.equal(first.symbols, second.symbols)
    resumed = PatchGumbelChannel(seed=8)
    resumed.load_state_dict(saved)
    again = resumed(features())
    assert torch.equal(second.vectors, again.vectors)
    assert torch.equal(PatchGumbelChannel(seed=8)(features()).vectors, first.vectors)
    assert not torch.equal(PatchGumbelChannel(seed=9)(features()).vectors, first.vectors)


@pytest.mark.parametrize("keep", [1, 4, P])
def test_keep_takes_exactly_the_k_best_in_evaluation(keep: int) -> None:
    message = PatchGumbelChannel(keep=keep).eval()(features())
    best = features().scores.argsort(1, descending=True)[:, :keep]
    assert (message.lengths == keep * L).all()
    assert message.mask[:, ::L].gather(1, best).all()


def test_keep_breaks_ties_by_position() -> None:
    flat = PatchFeatures(features().logits, torch.zeros(B, P))
    spoken = PatchGumbelChannel(keep=2).eval()(flat).mask[:, ::L]
    assert spoken[:, :2].all()
    assert not spoken[:, 2:].any()


def test_rank_spread_fixes_how_far_apart_the_probabilities_lie() -> None:
    scores = torch.randn(64, 49, generator=torch.Generator().manual_seed(9))
    flat = PatchGumbelChannel().keep_probability(scores * 0.5)
    assert flat.min() > 0.45 and flat.max() < 0.55
    for scale in (0.01, 1.0, 100.0):
        for strength in (0.1, 1.0):
            spread = PatchGumbelChannel(strength, rank_spread=0.1).keep_probability(scores * scale)
            # Inside the permutahedron ranking only shifts the scores, so their spread survives.
            assert spread.std(1, correction=0).mean().item() == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize(("rank", "expected"), [(1 / 49, 0.277), (0.25, 0.378), (0.5, 0.5), (0.75, 0.622), (1, 0.731)])
def test_released_gate_is_soft_and_never_silent(rank: float, expected: float) -> None:
    channel = PatchGumbelChannel(gate="released").eval()
    assert channel.choose(torch.tensor([[rank]])).item() == pytest.approx(expected, abs=5e-4)
    message = channel.train()(features())
    assert message.mask.all()
    assert message.gate.min() > 0 and message.gate.max() < 1
    assert len(message.gate.unique()) > P


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank_strength": 0}, "strength must be above 0, got 0"),
        ({"rank_spread": -1.0}, "spread must be 0 or more, got -1"),
        ({"keep": 0}, "at least 1 patch, got 0"),
        ({"keep": 3, "gate": "released"}, "every patch speaks"),
    ],
)
def test_errors_say_what_is_wrong(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PatchGumbelChannel(**options)
    with pytest.raises(ValueError, match=f"at most {P}"):
        PatchGumbelChannel(keep=P + 1).eval()(features())
