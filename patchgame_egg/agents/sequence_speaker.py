"""Speakers that say one symbol after another: a summary of the input, a decoder, and the channel that unrolls it.

They are the baselines that the paper compares itself with (Lazaridou et al., 2017; Havrylov and Titov, 2017; Mihai and
Hare, 2021): a network sums the image up in one vector, and a recurrent network or a transformer speaks from that.
``vocab_size`` counts the symbols that carry meaning; the end of a message is one more choice, the last, and is not one
of them. Letters in shapes: B batch, V vocabulary, C = V + 1 choices (V where messages never end), T slots, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.agents.full_precision import in_full
from patchgame_egg.agents.transformer import Block

State = list[tuple[Tensor, ...]]


Cell = Literal["lstm", "gru", "rnn"]


CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}


class Decoder(nn.Module):
    """What every decoder has: an embedding of what was just said, and logits of what to say next.

    Args:
        vocab_size: V, at least 2.
        max_len: the most symbols that a message has, the end not counted.
        dim: D.
        ends: messages may end before ``max_len``; otherwise all are equally long.
        logit_scale: 0 leaves the logits as they are. Above 0, each choice's logit is standardised over the batch, slot
            by slot, and multiplied by it, so that a few symbols cannot take over every message; how likely the end is
            stays free, by a bias.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self, vocab_size: int, max_len: int, dim: int = 192, ends: bool = True, logit_scale: float = 0.0
    ) -> None:
        super().__init__()
        if vocab_size < 2:
            raise ValueError(f"a vocabulary needs at least 2 symbols, got {vocab_size}")
        if max_len < 1:
            raise ValueError(f"max_len must be at least 1 symbol, got {max_len}")
        if logit_scale < 0:
            raise ValueError(f"the scale of the logits must be 0 or more, got {logit_scale}")
        self.vocab_size, self.max_len, self.choices = vocab_size, max_len, vocab_size + ends
        # After one symbol at most, nothing is said that depends on it, and ranks would wait for its gradient.
        self.said = nn.Parameter(torch.randn(self.choices, dim) * dim**-0.5, requires_grad=max_len > 1)
        self.begin = nn.Parameter(torch.randn(1, dim) * dim**-0.5)
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, self.choices)
        self.logit_scale, self.ends = logit_scale, ends
        self.standardise = nn.ModuleList(
            nn.BatchNorm1d(self.choices, affine=False) for _ in range(max_len if logit_scale else 0)
        )
        self.end_bias = nn.Parameter(torch.zeros(1)) if ends and logit_scale else None

    def embed(self, previous: Tensor | None, rows: int) -> Tensor:
        """What was said last, ``[B, C]``, or None at the beginning, to ``[B, D]``."""
        if previous is None:
            return self.begin.expand(rows, -1)
        return previous.to(self.said.dtype) @ self.said

    def logits(self, slot: int, x: Tensor) -> Tensor:
        """What could be said in this slot, ``[B, D] -> [B, C]``."""
        logits = in_full(self.out, self.norm(x)).float()
        if self.logit_scale:
            logits = self.standardise[slot](logits) * self.logit_scale
        if self.end_bias is not None:
            logits = logits + F.pad(self.end_bias, (self.vocab_size, 0))
        return logits

    def start(self, summary: Tensor) -> State:
        """The state before the first symbol, from a summary ``[B, D]``."""
        raise NotImplementedError

    def step(self, slot: int, state: State, previous: Tensor | None) -> tuple[Tensor, State]:
        """Logits ``[B, C]`` of the next choice, and the new state.

        Args:
            slot: number of the step, from 0.
            state: of the step before.
            previous: the choice of the step before, ``[B, C]``; None at the first.
        """
        raise NotImplementedError


class RecurrentDecoder(Decoder):
    """An LSTM, a GRU or a plain recurrent network that starts from the summary.

    Args:
        vocab_size: V, at least 2.
        max_len: the most symbols that a message has, the end not counted.
        dim: D, of the symbols and of the state.
        cell: ``lstm``, ``gru`` or ``rnn``.
        depth: layers.
        ends: messages may end before ``max_len``; otherwise all are equally long.
        logit_scale: 0 leaves the logits as they are; above 0, they are standardised over the batch and multiplied by
            it.
    """

    def __init__(
        self,
        vocab_size: int,
        max_len: int,
        dim: int = 192,
        cell: Cell = "lstm",
        depth: int = 1,
        ends: bool = True,
        logit_scale: float = 0.0,
    ) -> None:
        super().__init__(vocab_size, max_len, dim, ends, logit_scale)
        if cell not in CELLS:
            raise ValueError(f"unknown cell {cell!r}: {', '.join(CELLS)}")
        if depth < 1:
            raise ValueError(f"a decoder needs at least 1 layer, got depth {depth}")
        self.cells = nn.ModuleList(CELLS[cell](dim, dim) for _ in range(depth))
        self.two = cell == "lstm"

    def start(self, summary: Tensor) -> State:
        h = summary.tanh()
        return [(h, summary) if self.two else (h,)] * len(self.cells)

    def step(self, slot: int, state: State, previous: Tensor | None) -> tuple[Tensor, State]:
        x = self.embed(previous, len(state[0][0]))
        after: State = []
        for cell, before in zip(self.cells, state, strict=True):
            after.append(cell(x, before) if self.two else (cell(x, before[0]),))
            x = after[-1][0]
        return self.logits(slot, x), after


class TransformerDecoder(Decoder):
    """A causal transformer whose first token is the summary; keys and values of what was said are remembered.

    Args:
        vocab_size: V, at least 2.
        max_len: the most symbols that a message has, the end not counted.
        dim: D.
        depth: blocks.
        heads: attention heads; must divide D.
        ends: messages may end before ``max_len``; otherwise all are equally long.
        logit_scale: 0 leaves the logits as they are; above 0, they are standardised over the batch and multiplied by
            it.
    """

    def __init__(
        self,
        vocab_size: int,
        max_len: int,
        dim: int = 192,
        depth: int = 2,
        heads: int = 3,
        ends: bool = True,
        logit_scale: float = 0.0,
    ) -> None:
        super().__init__(vocab_size, max_len, dim, ends, logit_scale)
        if depth < 1:
            raise ValueError(f"a decoder needs at least 1 block, got depth {depth}")
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.positions = nn.Parameter(torch.randn(max_len, dim) * 0.02)

    def start(self, summary: Tensor) -> State:
        state: State = []
        x = summary
        for block in self.blocks:
            x, past = self._append(block, x, None)
            state.append(past)
        return state

    def step(self, slot: int, state: State, previous: Tensor | None) -> tuple[Tensor, State]:
        x = self.embed(previous, len(state[0][0])) + self.positions[slot]
        after: State = []
        for block, past in zip(self.blocks, state, strict=True):
            x, past = self._append(block, x, past)
            after.append(past)
        return self.logits(slot, x), after

    @staticmethod
    def _append(block: nn.Module, x: Tensor, past: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        assert isinstance(block, Block)
        q, k, v = block.qkv(block.norm1(x)).unflatten(1, (3, block.heads, 1, -1)).unbind(1)  # each [B, H, 1, D/H]
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        x = x + block.out(F.scaled_dot_product_attention(q, k, v).flatten(1))
        return x + block.mlp(block.norm2(x)), (k, v)


@dataclass(frozen=True)
class SequenceFeatures:
    """What a sequence speaker knows before anything is said.

    Attributes:
        summary: of the input, ``[B, D]``.
        decoder: to unroll from it.
    """

    summary: Tensor
    decoder: Decoder


class SequenceSpeaker(nn.Module):
    """An encoder of the input and a decoder of the message.

    Args:
        encoder: any module from the sender's input to ``[B, encoder_dim]``.
        encoder_dim: its width.
        decoder: what unrolls the message.
    """

    def __init__(self, encoder: nn.Module, encoder_dim: int, decoder: Decoder) -> None:
        super().__init__()
        # Without this, features of different images start out nearly parallel, and so do their messages.
        self.encoder, self.standardise = encoder, nn.BatchNorm1d(encoder_dim, affine=False)
        self.summary = nn.Linear(encoder_dim, decoder.begin.shape[1])
        self.decoder = decoder

    def forward(self, sender_input: Tensor, aux_input: dict[str, Tensor] | None = None) -> SequenceFeatures:
        """Inputs ``[B, ...]`` to what the channel unrolls."""
        return SequenceFeatures(self.summary(self.standardise(self.encoder(sender_input))), self.decoder)
