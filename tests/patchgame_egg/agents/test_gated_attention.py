"""Gated attention against the same thing written out, queries times keys, with autograd's own gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from patchgame_egg.agents import gated_attention as module
from patchgame_egg.agents.gated_attention import gated_attention
from patchgame_egg.agents.listener import TextEncoder
from patchgame_egg.interaction import Message

B, H, HEARD, SILENT, D = 4, 3, 7, 5, 8
N = HEARD + SILENT


def written_out(q: Tensor, k: Tensor, v: Tensor, present: Tensor, gate: Tensor) -> Tensor:
    """Numerators times gates over their sum; an absent key's numerator is at most that of the best present key."""
    scores = q @ k.mT * q.shape[-1] ** -0.5
    absent = ~present[:, None, None]
    scores = scores - scores.masked_fill(absent, -torch.inf).amax(-1, keepdim=True).detach()
    numerators = torch.where(absent, scores.clamp(max=0), scores).exp() * gate[:, None, None]
    return (numerators / numerators.sum(-1, keepdim=True)) @ v


def masks() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ragged = torch.rand(B, N, generator=generator) < 0.5
    ragged[:, HEARD:] = False
    return {
        "all present": (torch.arange(N) < HEARD).expand(B, N),
        "ragged": ragged,
        "none but the first": torch.zeros(B, N, dtype=torch.bool),
    }


@pytest.mark.parametrize("mask", masks())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spread", [1.0, 8.0])
@pytest.mark.parametrize("elements", [2 * H * HEARD * N, 2**30])
def test_values_and_gradients_are_those_of_the_form_written_out(
    mask: str, dtype: torch.dtype, spread: float, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CPU_ELEMENTS", elements)
    present = masks()[mask].clone()
    present[:, 0] = True
    generator = torch.Generator().manual_seed(2)
    q, k, v = (torch.randn(B, H, n, D, generator=generator, dtype=dtype) for n in (HEARD, N, N))
    weight = torch.randn(B, H, HEARD, D, generator=generator, dtype=dtype)
    leaves = [x.requires_grad_() for x in (q * spread, k, v, present.to(dtype))]
    q, k, v, gate = leaves
    expected = written_out(q, k, v, present, gate)
    got = gated_attention(q, k[:, :, :HEARD], v[:, :, :HEARD], gate, k[:, :, HEARD:], v[:, :, HEARD:])
    close = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 1e-12, "rtol": 1e-12}
    torch.testing.assert_close(got, expected, **close)
    slopes = torch.autograd.grad((expected * weight).sum(), leaves)
    assert (slopes[3][~present] != 0).any(), "no absent key has a gradient: the test is empty"
    for ours, theirs in zip(torch.autograd.grad((got * weight).sum(), leaves), slopes, strict=True):
        size = theirs.abs().max().clamp(min=1)
        torch.testing.assert_close(ours / size, theirs / size, **close)


def test_relaxed_gates_are_weights() -> None:
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(B, H, N, D, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(3))
    gate = torch.rand(B, N, generator=generator, dtype=torch.float64).add_(0.01).requires_grad_()
    present = torch.ones(B, N, dtype=torch.bool)
    torch.testing.assert_close(gated_attention(q, k, v, gate), written_out(q, k, v, present, gate))
    assert torch.autograd.gradcheck(gated_attention, (q, k, v, gate))


def test_an_absent_key_far_above_all_others_has_a_finite_gradient() -> None:
    q, k, v = torch.ones(1, 1, 1, 4), torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4)
    k[:, :, 1] = 1e4
    gate = torch.tensor([[1.0, 0.0]], requires_grad=True)
    v[:, :, 1] = 3
    gated_attention(q, k, v, gate).sum().backward()
    assert gate.grad.tolist() == [[0.0, 8.0]]


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_text_encoder_has_the_gradients_of_all_slots_encoded(norm: str) -> None:
    """Slots sorted and cut apart, against every slot in its place; a message of silence and one of all slots too."""
    vocab, slots, rows = 7, 11, 6
    torch.manual_seed(0)
    text = TextEncoder(vocab, slots, dim=12, depth=3, heads=3, norm=norm, silence="gate").double()  # type: ignore[arg-type]
    mask = torch.rand(rows, slots) < 0.4
    mask[0], mask[1] = False, mask[1] | (torch.arange(slots) < 8)
    symbols = torch.randint(vocab, (rows, slots))
    gate = mask.double().requires_grad_()
    vectors = (F.one_hot(symbols, vocab) * mask[:, :, None]).double().requires_grad_()
    weight = torch.randn(rows, 12, dtype=torch.float64)

    x = torch.where(mask[:, :, None], vectors @ text.symbols, text.symbols[symbols]) + text.positions
    x = torch.cat([text.cls.expand(rows, -1, -1), x], dim=1)
    present, gates = F.pad(mask, (1, 0), value=True), F.pad(gate, (1, 0), value=1.0)
    for block in text.blocks:
        seen = block.norm1(x) if block.pre else x
        q, k, v = block.qkv(seen).unflatten(2, (3, 3, 4)).permute(2, 0, 3, 1, 4)
        x = x + block.out(written_out(q, k, v, present, gates).transpose(1, 2).flatten(2))
        x = x + block.mlp(block.norm2(x)) if block.pre else block.norm2(block.norm1(x) + block.mlp(block.norm1(x)))
    expected = text.norm(x[:, 0])

    got = text(Message(symbols, vectors, mask, gate))
    torch.testing.assert_close(got, expected)
    leaves = [gate, vectors, *text.parameters()]
    ours, theirs = (torch.autograd.grad((y * weight).sum(), leaves) for y in (got, expected))
    assert (ours[0][~mask] != 0).all()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
    # Where nobody asks for gradients, no silent slot is encoded, to the same values.
    with torch.no_grad():
        torch.testing.assert_close(text(Message(symbols, vectors, mask, gate)), expected)
