"""The agents against slow forms of the paper's equations, and the proof that silence says nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.agents.heads import Head
from patchgame_egg.agents.listener import Listener, TextEncoder
from patchgame_egg.agents.patch_speaker import PatchRank, PatchSpeaker, PatchSymbol
from patchgame_egg.agents.trunks import ResNet9, vision_trunk
from patchgame_egg.channels.patch import PatchChannel
from patchgame_egg.interaction import Message
from patchgame_egg.patches import patch_grid

SIZE, S, V = 24, 8, 7
P = (SIZE // S) ** 2


def images(rows: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(rows, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def random_message(rows: int = 4, slots: int = P, seed: int = 0, gate: bool = False) -> Message:
    generator = torch.Generator().manual_seed(seed)
    symbols = torch.randint(V, (rows, slots), generator=generator)
    mask = torch.rand(rows, slots, generator=generator) < 0.5
    mask[0] = False  # one silent message among them
    vectors = F.one_hot(symbols, V) * mask[:, :, None].float()
    return Message(symbols, vectors, mask, gate=mask.float().requires_grad_() if gate else None)


def encoder(**options: object) -> TextEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        text = TextEncoder(V, P, dim=12, depth=2, heads=3, **options)
        # Larger than at the start, so that positions and symbols matter.
        nn.init.normal_(text.positions)
        nn.init.normal_(text.symbols)
    return text


@pytest.mark.parametrize("symbols_per_patch", [1, 3])
def test_patch_symbol_is_equation_4_on_each_patch_alone(symbols_per_patch: int) -> None:
    module = PatchSymbol(SIZE, S, V, symbols_per_patch, hidden=11)
    x = images()
    logits = module(x)
    assert logits.shape == (3, P, symbols_per_patch, V)
    first, second = module.mlp[0], module.mlp[2]
    w1, b1, w2, b2 = (t.detach().double().numpy() for t in (first.weight, first.bias, second.weight, second.bias))
    for patch in range(P):
        row, column = divmod(patch, SIZE // S)
        pixels = x[1, :, row * S : (row + 1) * S, column * S : (column + 1) * S].double().numpy().reshape(-1)
        expected = w2 @ np.maximum(w1 @ pixels + b1, 0) + b2
        np.testing.assert_allclose(logits[1, patch].detach().numpy().reshape(-1), expected, atol=1e-5)


def test_patch_symbol_ignores_context_and_patch_rank_does_not() -> None:
    symbol, rank = PatchSymbol(SIZE, S, V, hidden=8), PatchRank(SIZE, S, width=4).eval()
    x = images()
    changed = x.clone()
    changed[:, :, S:] = 0
    top = SIZE // S
    assert torch.equal(symbol(x)[:, :top], symbol(changed)[:, :top])
    assert not torch.allclose(rank(x)[:, :top], rank(changed)[:, :top])


def test_logit_scale_standardises_each_symbol_over_the_batch() -> None:
    module = PatchSymbol(SIZE, S, V, 2, hidden=8, logit_scale=3.0)
    logits = module(images(16)).flatten(0, 1)
    torch.testing.assert_close(logits.mean(0), torch.zeros(2, V), atol=1e-5, rtol=0)
    torch.testing.assert_close(logits.std(0, correction=0), torch.full((2, V), 3.0), atol=0.01, rtol=0)
    module.eval()
    assert torch.equal(module(images(2))[:1], module(images(2)[:1]))


def test_context_symbols_see_the_whole_image() -> None:
    module = PatchSymbol(SIZE, S, V, hidden=8, context=True).eval()
    x = images(1)
    changed = x.clone()
    changed[:, :, S:] = 0
    assert module(x).shape == (1, P, 1, V)
    assert not torch.allclose(module(x)[:, 0], module(changed)[:, 0])


@pytest.mark.parametrize(
    ("size", "patch"), [(224, 32), (224, 16), (64, 8), (32, 4), (28, 14), (24, 6), (30, 2), (9, 1)]
)
def test_patch_rank_scores_every_patch_at_any_patch_size(size: int, patch: int) -> None:
    rank = PatchRank(size, patch, width=2)
    assert rank(torch.zeros(2, 3, size, size)).shape == (2, patch_grid(size, patch) ** 2)


def test_patch_rank_at_the_papers_sizes_is_a_resnet_of_nine_layers() -> None:
    trunk = ResNet9(64, 32)
    convolutions = [m for m in trunk.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    assert len(convolutions) + 1 == 10 - 0  # 9 convolutions and the scoring layer; shortcuts are not counted
    # The release's rank CNN has 4.906 M parameters, its 513 of the scoring layer included.
    assert sum(p.numel() for p in PatchRank(224, 32, 64).parameters()) == pytest.approx(4.906e6, abs=600)


@pytest.mark.parametrize(("size", "patch"), [(48, 8), (64, 8), (96, 32)])
def test_patch_rank_looks_at_what_is_there_and_not_where_the_border_is(size: int, patch: int) -> None:
    torch.manual_seed(0)
    rank, zeros = (
        PatchRank(size, patch, 8, padding=padding, mirrored=True).eval() for padding in ("replicate", "zeros")
    )
    zeros.load_state_dict(rank.state_dict())
    grey = torch.full((1, 3, size, size), 0.3)
    assert rank(grey).std() < 1e-5 < zeros(grey).std()
    # Images that go on beyond their border: what is left is the network's own sense of place.
    x = F.interpolate(F.pad(torch.randn(32, 3, 8, 8), (2, 2, 2, 2), mode="circular"), size * 12 // 8, mode="bicubic")
    x = x[..., size // 4 : size // 4 + size, size // 4 : size // 4 + size]
    half, grid = size // patch // 2, size // patch

    def same(network: PatchRank, changed: Tensor, back: Callable[[Tensor], Tensor]) -> float:
        with torch.no_grad():
            maps = [network(x).view(-1, grid, grid), back(network(changed).view(-1, grid, grid))]
        first, second = ((m - m.mean(dim=(1, 2), keepdim=True)).flatten() for m in maps)
        return float(F.cosine_similarity(first, second, dim=0))

    def mirrored(network: PatchRank) -> float:
        return same(network, x.flip(3), lambda m: m.flip(2))

    assert mirrored(rank) > max(0.7, mirrored(zeros) + 0.1)
    rolled = x.roll((half * patch, half * patch), (2, 3))
    assert same(rank, rolled, lambda m: m.roll((-half, -half), (1, 2))) > 0.6


@pytest.mark.parametrize("mirrored", [True, False])
def test_a_mirrored_patch_rank_cannot_tell_left_from_right_and_cannot_learn_to(mirrored: bool) -> None:
    torch.manual_seed(0)
    rank = PatchRank(8, 1, width=4, mirrored=mirrored).double()  # at one pixel per patch nothing is sampled
    optimizer = torch.optim.AdamW(rank.parameters(), 1e-2)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    left = torch.linspace(-1, 1, 8, dtype=torch.float64).repeat(8)
    for _ in range(5):
        optimizer.zero_grad()
        (rank(x) * left).mean().backward()
        optimizer.step()
    rank.eval()
    gap = (rank(x).view(4, 8, 8) - rank(x.flip(3)).view(4, 8, 8).flip(2)).abs().max()
    assert (gap < 1e-9) == mirrored
    # Up and down are another matter: there the sky is above.
    assert (rank(x).view(4, 8, 8) - rank(x.flip(2)).view(4, 8, 8).flip(1)).abs().max() > 1e-3


def test_scores_look_out_from_the_middle_of_their_patches() -> None:
    rank = PatchRank(64, 8, width=4).eval()
    x = torch.zeros(1, 3, 64, 64, requires_grad=True)
    rank(x + 0.1 * torch.randn(1, 3, 64, 64)).view(8, 8)[3, 4].backward()
    weight = x.grad.abs().sum((0, 1))
    place = torch.arange(64.0) + 0.5
    assert abs((weight.sum(1) * place).sum() / weight.sum() - 28) < 3
    assert abs((weight.sum(0) * place).sum() / weight.sum() - 36) < 3


class FixedScores(nn.Module):
    """Stands in for PatchRank where its choice must stay the same."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, images: Tensor) -> Tensor:
        return self.scores[: len(images)]


@pytest.mark.parametrize("silence", ["skip", "gate"])
@pytest.mark.parametrize("training", [True, False])
def test_a_silent_patch_cannot_influence_the_listener(silence: str, training: bool) -> None:
    rows = 4
    scores = torch.randn(rows, P, generator=torch.Generator().manual_seed(2)) * 5
    speaker = PatchSpeaker(PatchSymbol(SIZE, S, V, hidden=16), FixedScores(scores)).train(training)
    text = encoder(silence=silence)
    vision, width = vision_trunk("resnet9", SIZE, width=2)
    listener = Listener(text, vision, width, 8, 8).eval()
    x, other = images(rows), images(rows, seed=3)

    def play(pixels: Tensor, swap: bool = False) -> tuple[Message, Tensor]:
        message = PatchChannel(seed=4).train(training)(speaker(pixels))
        if swap:
            symbols = torch.where(message.mask, message.symbols, (message.symbols + 1) % V)
            message = replace(message, symbols=symbols)
        return message, listener(message, other)[0]

    message, said = play(x)
    silent = ~message.mask
    assert silent.any() and message.mask.any()

    # Its pixels.
    area = silent.float().view(rows, 1, SIZE // S, SIZE // S)
    area = area.repeat_interleave(S, 2).repeat_interleave(S, 3)
    noisy = x + area * torch.randn(x.shape, generator=torch.Generator().manual_seed(5)) * 10
    changed, after = play(noisy)
    assert not torch.equal(changed.symbols, message.symbols), "the pixels changed nothing: the test is empty"
    assert torch.equal(after, said)

    # Its symbol.
    assert torch.equal(play(x, swap=True)[1], said)

    # Its position: only where no message of the batch speaks can a position be changed for all of them.
    for row in range(rows):
        one = Message(*(t[row : row + 1] for t in (message.symbols, message.vectors, message.mask, message.gate)))
        before = text(one)
        kept = text.positions.detach().clone()
        with torch.no_grad():
            text.positions[silent[row]] += 100.0
        assert torch.equal(text(one), before)
        with torch.no_grad():
            text.positions.copy_(kept)

    # A spoken patch does influence it: the comparisons above can fail.
    loud = x + (1 - area) * torch.randn(x.shape, generator=torch.Generator().manual_seed(6)) * 10
    assert not torch.equal(play(loud)[1], said)


def test_released_silence_leaks_positions_of_silent_slots() -> None:
    text, message = encoder(silence="attend", norm="post"), random_message()
    before = text(message)
    with torch.no_grad():
        text.positions += (~message.mask).float().sum(0)[:, None].sign() * torch.randn(1, 12)
    assert not torch.allclose(text(message), before)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_skipping_equals_masking_and_gating(norm: str) -> None:
    skip, gate = encoder(silence="skip", norm=norm), encoder(silence="gate", norm=norm)
    message = random_message(gate=True)
    # Dense with a key mask, written out with torch's own attention.
    x = message.vectors @ skip.symbols + skip.positions
    x = torch.cat([skip.cls.expand(len(x), -1, -1), x], 1)
    present = F.pad(message.mask, (1, 0), value=True)
    for block in skip.blocks:
        x = block(x, present)
    dense = skip.norm(x[:, 0])
    torch.testing.assert_close(skip(message), dense, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gate(message), dense, atol=1e-5, rtol=1e-5)


def test_a_block_equals_torchs_encoder_layer() -> None:
    for norm, activation in (("pre", "gelu"), ("post", "relu")):
        block = encoder(norm=norm).blocks[0]
        layer = nn.TransformerEncoderLayer(
            12, 3, 48, 0.0, activation=activation, batch_first=True, norm_first=norm == "pre"
        )
        layer.self_attn.in_proj_weight.data, layer.self_attn.in_proj_bias.data = block.qkv.weight, block.qkv.bias
        layer.self_attn.out_proj, layer.norm1, layer.norm2 = block.out, block.norm1, block.norm2
        layer.linear1, layer.linear2 = block.mlp[0], block.mlp[2]
        x = torch.randn(2, 6, 12, generator=torch.Generator().manual_seed(6))
        present = torch.tensor([[True] * 6, [True, True, False, True, False, False]])
        expected = layer(x, src_key_padding_mask=~present)
        torch.testing.assert_close(block(x, present)[present], expected[present], atol=1e-5, rtol=1e-5)


def test_a_silent_gate_learns_what_speaking_would_have_changed() -> None:
    text = encoder(silence="gate").double()
    with torch.no_grad():
        for block in text.blocks:
            # All scores are equal: none is above those of the present keys, where the slope would be bounded.
            block.qkv.weight[:12], block.qkv.bias[:12] = 0, 0
    message = random_message(gate=True)
    gate = message.gate.detach().double().requires_grad_()
    weight = torch.randn(12, generator=torch.Generator().manual_seed(7), dtype=torch.float64)

    def loss(values: Tensor) -> Tensor:
        return (text(replace(message, vectors=message.vectors.double(), gate=values)) * weight).sum()

    (gradient,) = torch.autograd.grad(loss(gate), gate)
    silent = ~message.mask
    assert (gradient[silent] != 0).all()
    row, slot = silent.nonzero()[-1].tolist()
    step = torch.zeros_like(gate)
    step[row, slot] = 1e-6
    rise = (loss(gate.detach() + step) - loss(gate.detach())) / 1e-6
    assert gradient[row, slot].item() == pytest.approx(rise.item(), rel=1e-3)

    plain = encoder(silence="skip")
    (message.vectors * message.gate[:, :, None]).requires_grad_()
    speaking = replace(message, vectors=message.vectors * message.gate[:, :, None])
    (ungated,) = torch.autograd.grad(plain(speaking).sum(), message.gate)
    assert (ungated[silent] == 0).all()


def test_wide_head_is_a_direction_in_the_bottleneck() -> None:
    head = Head(5, 16, 8, 40)
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(8))
    unit = F.normalize(head.mlp(x), dim=1)
    weight = head.wide.weight
    torch.testing.assert_close(head(x), unit @ weight.T)
    assert head(x).shape == (3, 40)
    assert Head(5, 16, 8)(x).shape == (3, 8)


@pytest.mark.parametrize(
    ("name", "size"), [("resnet9", 32), ("resnet18", 64), ("vit_tiny_patch16_224", 64), ("mobilenet_v3_small", 64)]
)
def test_vision_trunks_come_without_classifier(name: str, size: int) -> None:
    trunk, width = vision_trunk(name, size, width=8)
    assert trunk(torch.zeros(2, 3, size, size)).shape == (2, width)
    assert trunk.training


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: patch_grid(64, 12), "12 does not divide image size 64; sizes that do: 4, 8, 16, 32, 64"),
        (lambda: patch_grid(16, 32), "32 does not divide"),
        (lambda: PatchSymbol(32, 8, 1), "at least 2 symbols"),
        (lambda: PatchSymbol(32, 8, 4, 0), "at least 1 is needed"),
        (lambda: TextEncoder(4, 4, dim=10, heads=3), "3 attention heads do not divide a width of 10"),
        (lambda: vision_trunk("resnet19", 64), "unknown vision trunk 'resnet19'"),
        (lambda: vision_trunk("vit_tiny_patch16_224", 56), "patches of 16 px, which do not divide 56 px: use 48 px"),
        (lambda: vision_trunk("alexnet", 16), "does not take images of 16 px"),
    ],
)
def test_errors_say_what_is_wrong(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
