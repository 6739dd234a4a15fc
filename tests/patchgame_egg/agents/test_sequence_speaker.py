"""Sequence speakers: where messages end, and decoders against torch's own networks and a slow recomputation."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.agents.listener import Listener, TextEncoder
from patchgame_egg.agents.sequence_speaker import (
    Decoder,
    RecurrentDecoder,
    SequenceFeatures,
    SequenceSpeaker,
    TransformerDecoder,
)
from patchgame_egg.channels.continuous import Continuous
from patchgame_egg.channels.estimator import Estimator
from patchgame_egg.channels.gumbel import Gumbel
from patchgame_egg.channels.reinforce import Reinforce
from patchgame_egg.channels.sequence import SequenceChannel
from patchgame_egg.game import Game
from patchgame_egg.losses import SymmetricInfoNCE

B, V, LENGTH, D = 8, 3, 5, 6
END = V
CELLS = ("lstm", "gru", "rnn")
SPEAKERS = (*CELLS, "transformer")


def make(speaker: str, max_len: int = LENGTH, **options: object) -> Decoder:
    torch.manual_seed(1)
    if speaker == "transformer":
        decoder: Decoder = TransformerDecoder(V, max_len, D, heads=2, **options)
    else:
        decoder = RecurrentDecoder(V, max_len, D, speaker, **options)
    decoder.out.weight.data *= 4  # as if trained: what was said matters for what comes next
    return decoder


def summaries(rows: int = B, seed: int = 2) -> Tensor:
    return torch.randn(rows, D, generator=torch.Generator().manual_seed(seed)) * 2


class Spoken(Decoder):
    """Says what is written, whatever it hears, and keeps what it was told that it had said."""

    def __init__(self, choices: Tensor, ends: bool = True) -> None:
        super().__init__(V, choices.shape[1], D, ends)
        self.written, self.told = choices, []

    def start(self, summary: Tensor) -> list[tuple[Tensor, ...]]:
        return []

    def step(self, slot: int, state: list[tuple[Tensor, ...]], previous: Tensor | None) -> tuple[Tensor, object]:
        self.told.append(previous)
        return F.one_hot(self.written[:, slot], self.choices) * 1000.0, state


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("estimator", [Gumbel(), Reinforce()], ids=["gumbel", "reinforce"])
def test_a_message_lasts_until_its_first_end(estimator: Estimator, training: bool) -> None:
    # Everything that can be chosen in three slots.
    choices = torch.tensor(list(itertools.product(range(V + 1), repeat=3)))
    decoder = Spoken(choices)
    message = SequenceChannel(estimator).train(training)(SequenceFeatures(torch.zeros(len(choices), D), decoder))
    for row, said in enumerate(choices.tolist()):
        length = said.index(END) if END in said else 3
        assert message.lengths[row] == length
        assert message.mask[row].tolist() == [slot < length for slot in range(3)]
        assert message.symbols[row, :length].tolist() == said[:length]
        assert torch.equal(message.vectors[row].argmax(1)[:length], choices[row, :length])
        assert not message.vectors[row, length:].any()
    assert message.symbols.max() < V
    assert set(message.lengths.tolist()) == {0, 1, 2, 3}
    # A decoder hears its own choices, the end among them.
    assert decoder.told[0] is None
    for slot in (1, 2):
        assert torch.equal(decoder.told[slot].argmax(1), choices[:, slot - 1])


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_ends_are_chosen_at_the_rate_of_the_decoders_softmax(speaker: str) -> None:
    rows, decoder = 20_000, make(speaker)
    summary = summaries(1)
    message = SequenceChannel(Gumbel(), seed=3)(SequenceFeatures(summary.expand(rows, D), decoder))
    expected = decoder.step(0, decoder.start(summary), None)[0].softmax(1)[0]
    counts = message.symbols[message.mask[:, 0], 0].bincount(minlength=V)
    rate = torch.cat([counts, (message.lengths == 0).sum()[None]]) / rows
    assert ((rate - expected) / (expected * (1 - expected) / rows).sqrt()).abs().max() < 4


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("speaker", SPEAKERS)
def test_without_an_end_all_messages_are_equally_long(speaker: str, training: bool) -> None:
    decoder = make(speaker, ends=False)
    assert decoder.step(0, decoder.start(summaries()), None)[0].shape == (B, V)
    for estimator in (Gumbel(), Reinforce(), Continuous()):
        message = SequenceChannel(estimator).train(training)(SequenceFeatures(summaries(), decoder))
        assert message.mask.all() and message.gate is None
        assert message.vectors.shape == (B, LENGTH, V)
    # Without a bottleneck they never end either.
    message = SequenceChannel(Continuous()).train(training)(SequenceFeatures(summaries(), make(speaker)))
    assert message.mask.all() and message.vectors.shape == (B, LENGTH, V)


def unroll(decoder: Decoder, said: Tensor, summary: Tensor | None = None) -> Tensor:
    """Logits of every slot, ``[B, T, C]``, where the choices ``[B, T]`` were made."""
    previous, logits, state = None, [], decoder.start(summaries() if summary is None else summary)
    for slot in range(said.shape[1]):
        step, state = decoder.step(slot, state, previous)
        logits.append(step)
        previous = F.one_hot(said[:, slot], decoder.choices).float()
    return torch.stack(logits, dim=1)


def assert_same_steps(decoder: Decoder, said: Tensor, summary: Tensor, expected: Tensor) -> None:
    """Values, and gradients through all that is remembered."""
    found = unroll(decoder, said, summary)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    leaves = [summary, decoder.said]
    gradients = (torch.autograd.grad(x.square().sum(), leaves, retain_graph=True) for x in (found, expected))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def random_choices() -> Tensor:
    return torch.randint(V + 1, (B, LENGTH), generator=torch.Generator().manual_seed(4))


def inputs(decoder: Decoder, said: Tensor) -> Tensor:
    """What the decoder reads in every slot, ``[B, T, D]``."""
    return torch.cat([decoder.begin.expand(B, 1, D), decoder.said[said[:, :-1]]], dim=1)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_steps_equal_torchs_network(cell: str, depth: int) -> None:
    decoder = make(cell, depth=depth)
    kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell]
    network = kind(D, D, depth, batch_first=True)
    for layer, own in enumerate(decoder.cells):
        for name, parameter in own.named_parameters():
            getattr(network, f"{name}_l{layer}").data = parameter.data
    summary, said = summaries().requires_grad_(), random_choices()
    start = summary.expand(depth, B, D).contiguous()
    states, _ = network(inputs(decoder, said), (start.tanh(), start) if cell == "lstm" else start.tanh())
    assert_same_steps(decoder, said, summary, decoder.out(decoder.norm(states)))


def test_remembered_keys_equal_a_full_recomputation() -> None:
    decoder, said = make("transformer", depth=2), random_choices()
    summary = summaries().requires_grad_()
    x = torch.cat([summary[:, None], inputs(decoder, said) + decoder.positions], dim=1)  # [B, 1 + T, D]
    future = torch.ones(1 + LENGTH, 1 + LENGTH, dtype=torch.bool).triu(1)
    for block in decoder.blocks:
        layer = nn.TransformerEncoderLayer(D, 2, 4 * D, 0.0, activation="gelu", batch_first=True, norm_first=True)
        layer.self_attn.in_proj_weight.data, layer.self_attn.in_proj_bias.data = block.qkv.weight, block.qkv.bias
        layer.self_attn.out_proj, layer.norm1, layer.norm2 = block.out, block.norm1, block.norm2
        layer.linear1, layer.linear2 = block.mlp[0], block.mlp[2]
        x = layer(x, src_mask=future)
    assert_same_steps(decoder, said, summary, decoder.out(decoder.norm(x[:, 1:])))


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_what_comes_next_depends_on_all_that_was_said_and_on_nothing_later(speaker: str) -> None:
    decoder, said = make(speaker), random_choices()
    before = unroll(decoder, said)
    for slot in range(LENGTH):
        other = said.clone()
        other[:, slot] = (other[:, slot] + 1) % (V + 1)
        changed = (unroll(decoder, other) - before).abs().amax((0, 2)) > 1e-4
        assert changed.tolist() == [later > slot for later in range(LENGTH)]


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_standardised_logits_have_a_scale_and_a_free_end(speaker: str) -> None:
    decoder, said = make(speaker, logit_scale=2.5), random_choices()
    decoder.end_bias.data.fill_(-1.5)
    logits = unroll(decoder, said)
    plain = make(speaker)
    plain.load_state_dict(decoder.state_dict(), strict=False)
    expected = unroll(plain, said)  # [B, T, C]
    expected = (expected - expected.mean(0)) / (expected.var(0, correction=0) + 1e-5).sqrt() * 2.5
    expected[:, :, END] -= 1.5
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert make(speaker, logit_scale=2.5, ends=False).end_bias is None and plain.end_bias is None


def test_the_decoder_starts_from_what_was_encoded() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    speaker = SequenceSpeaker(encoder, 4, make("gru"))
    images = torch.randn(B, 3, 2, 2, generator=torch.Generator().manual_seed(5))
    found = speaker(images)
    x = encoder(images)
    x = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(found.summary, speaker.summary(x), atol=1e-4, rtol=1e-4)
    assert found.decoder is speaker.decoder


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("speaker", SPEAKERS)
def test_messages_of_one_symbol_leave_no_parameter_behind(speaker: str, ends: bool) -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    listener = Listener(TextEncoder(V, 1, D, 1, 2), nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), 4, 8, 4)
    sender = SequenceSpeaker(encoder, 4, make(speaker, max_len=1, ends=ends))
    game, images = Game(sender, SequenceChannel(), listener, SymmetricInfoNCE(0.5)), torch.randn(B, 3, 2, 2)
    game(images, None, images)[0].backward()
    # DistributedDataParallel waits for all that ask for a gradient.
    assert [name for name, p in game.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize(
    ("make_decoder", "message"),
    [
        (lambda: RecurrentDecoder(1, 4), "a vocabulary needs at least 2 symbols, got 1"),
        (lambda: RecurrentDecoder(4, 0), "max_len must be at least 1 symbol, got 0"),
        (lambda: TransformerDecoder(4, 4, logit_scale=-1.0), r"scale of the logits must be 0 or more, got -1\.0"),
        (lambda: RecurrentDecoder(4, 4, cell="elman"), "unknown cell 'elman': lstm, gru, rnn"),
        (lambda: RecurrentDecoder(4, 4, depth=0), "at least 1 layer, got depth 0"),
        (lambda: TransformerDecoder(4, 4, depth=0), "at least 1 block, got depth 0"),
        (lambda: TransformerDecoder(4, 4, 10, heads=3), "3 attention heads do not divide a width of 10"),
    ],
)
def test_errors_say_what_is_wrong(make_decoder: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_decoder()
