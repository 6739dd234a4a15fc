"""Wide projections that are never made: the same losses and gradients as those that are."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from patchgame_egg.agents import heads, listener as agents
from patchgame_egg.agents.heads import Head, compare_narrow, narrow_is_cheaper
from patchgame_egg.losses import symmetric_info_nce


def pair(dtype: torch.dtype, rows: int = 12, bottleneck: int = 8, wide: int = 300) -> tuple[list[Head], list[Tensor]]:
    torch.manual_seed(0)
    made = [Head(16, 20, bottleneck, wide).to(dtype) for _ in range(2)]
    for head in made:
        assert head.wide is not None
        # Weight norm starts with rows of length 1 times their own; trained rows have any length.
        head.wide.parametrizations.weight.original0.data.uniform_(0.2, 2.0)
    return made, [torch.randn(rows, 16, dtype=dtype) for _ in range(2)]


def losses(heads: list[Head], inputs: list[Tensor], narrow: bool) -> tuple[Tensor, list[Tensor]]:
    text, image = heads
    if narrow:
        assert text.wide is not None and image.wide is not None
        output = compare_narrow(text.narrow(inputs[0]), image.narrow(inputs[1]), text.wide.weight, image.wide.weight)
    else:
        output = text(inputs[0]), image(inputs[1])
    loss, _ = symmetric_info_nce(*output, temperature=0.07)
    weights = [p for head in heads for p in head.parameters()]
    return loss, list(torch.autograd.grad(loss.square().sum(), weights))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-4)])
def test_losses_and_gradients_are_those_of_the_wide_vectors(dtype: torch.dtype, tolerance: float) -> None:
    made, inputs = pair(dtype)
    wide, wide_gradients = losses(made, inputs, narrow=False)
    short, short_gradients = losses(made, inputs, narrow=True)
    assert torch.allclose(wide, short, rtol=tolerance, atol=tolerance)
    for expected, found in zip(wide_gradients, short_gradients, strict=True):
        assert (expected - found).norm() <= tolerance * expected.norm()


def test_the_short_vectors_keep_lengths_and_inner_products() -> None:
    (text, image), (said, seen) = pair(torch.float64)
    assert text.wide is not None and image.wide is not None
    a, b = compare_narrow(text.narrow(said), image.narrow(seen), text.wide.weight, image.wide.weight)
    wide_a, wide_b = text(said), image(seen)
    assert a.shape == b.shape == (12, 9)
    assert torch.allclose(a @ b.T, wide_a @ wide_b.T)
    assert torch.allclose(a @ a.T, wide_a @ wide_a.T)
    assert torch.allclose(b.norm(dim=1), wide_b.norm(dim=1))


def test_an_image_inside_the_texts_space_has_a_finite_gradient() -> None:
    (text, _), (said, seen) = pair(torch.float32)
    assert text.wide is not None
    t, v = text.narrow(said).detach(), text.narrow(seen).detach().requires_grad_()
    a, b = compare_narrow(t, v, text.wide.weight, text.wide.weight)
    loss, _ = symmetric_info_nce(a, b)
    (gradient,) = torch.autograd.grad(loss.sum(), v)
    wide, _ = symmetric_info_nce(t @ text.wide.weight.T, v @ text.wide.weight.T)
    (expected,) = torch.autograd.grad(wide.sum(), v)
    assert torch.allclose(loss, wide, atol=1e-4)
    assert (gradient - expected).norm() < 5e-3 * expected.norm()


def test_half_precision_outside_does_not_reach_the_comparison() -> None:
    (text, image), (said, seen) = pair(torch.float32)
    assert text.wide is not None and image.wide is not None
    t, v = text.narrow(said), image.narrow(seen)
    plain = compare_narrow(t, v, text.wide.weight, image.wide.weight)
    with torch.autocast("cpu", torch.bfloat16):
        under = compare_narrow(t, v, text.wide.weight, image.wide.weight)
    assert all(torch.equal(x, y) and x.dtype == torch.float32 for x, y in zip(plain, under, strict=True))


@pytest.mark.parametrize(("rows", "expected"), [(16, False), (128, False), (256, True), (512, True)])
def test_what_is_cheaper_at_the_papers_width(rows: int, expected: bool) -> None:
    assert narrow_is_cheaper(rows, 256) is expected


def test_with_more_ranks_short_vectors_win_earlier() -> None:
    with patch.object(heads, "world_size", lambda: 8):
        assert narrow_is_cheaper(128, 256)


def listener(**options: bool) -> agents.Listener:
    torch.manual_seed(0)
    text = torch.nn.Linear(6, 10)
    text.out_dim = 10  # type: ignore[assignment]
    return agents.Listener(text, torch.nn.Flatten(), 12, 16, 4, 40, **options)  # type: ignore[arg-type]


def test_a_listener_makes_short_vectors_in_training_alone_and_only_if_asked() -> None:
    message, images = torch.randn(32, 6), torch.randn(32, 3, 2, 2)
    for options, training, width in (({}, True, 40), ({"narrow": True}, True, 5), ({"narrow": True}, False, 40)):
        output = listener(**options).train(training)(message, images)
        assert [x.shape for x in output] == [(32, width)] * 2
    assert listener(narrow=True)(message[:1], images[:1])[0].shape == (1, 40)  # of one pair, wide ones are cheaper
