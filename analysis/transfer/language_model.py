"""What a language is worth to a reader of human text: a small transfer score in the manner of XferBench.

Boldt and Mortensen 2024, "XferBench: a data-driven benchmark for emergent language" (NAACL): a language model learns
the language first, human text after that; what it then saves is the score. Theirs is a transformer that learns 15
million tokens for hours, and human text of many languages. This is a network of 64 units that learns some thousand for
seconds, and one text: a number here tells whether a language's order is of any use at all, and is not XferBench's.

What was learnt from the language stays as it is while the text is learnt, after Papadimitriou and Jurafsky 2020,
"Learning music helps you read" (EMNLP). With so little text a memory that learns on forgets all, and even human
sentences, learnt before, are worth no more than the same words shuffled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import stdtrit
from torch import Tensor, nn

from analysis.corpus.corpus import Corpus

_WIDTH, _BATCH, _LENGTH, _RATE = 64, 16, 24, 3e-3


@dataclass(frozen=True, eq=False)
class Transfer:
    """What `transfer_score` measures, of each seed, in bits a word of human text that nothing was learnt from.

    Attributes:
        without: what a word costs where the memory is random, and only words and guesses are learnt, ``[seeds]``.
        gain: how much less after the language, ``[seeds]``; 0: of no use, below 0: it is in the way.
        control: how much less after its shuffled messages, ``[seeds]``: what having learnt anything is worth.
    """

    without: np.ndarray
    gain: np.ndarray
    control: np.ndarray

    @property
    def beyond(self) -> tuple[float, float, float]:
        """What the order of symbols is worth: mean of gain less control, and a 95 % interval over the seeds (t)."""
        return mean_interval(self.gain - self.control)


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """A mean with a 95 % interval by Student's t; NaN ends of one value.

    Example:
        >>> [round(x, 2) for x in mean_interval(np.array([1.0, 2.0, 3.0]))]
        [2.0, -0.48, 4.48]
    """
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return mean, math.nan, math.nan
    half = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n))
    return mean, mean - half, mean + half


class _Reader(nn.Module):
    """Guesses the next token."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.words, self.memory = nn.Embedding(vocab, _WIDTH), nn.GRU(_WIDTH, _WIDTH, batch_first=True)
        self.next = nn.Linear(_WIDTH, vocab)

    def forward(self, tokens: Tensor) -> Tensor:
        """Cross-entropy of all but the first token of each row, in nats."""
        guessed = self.next(self.memory(self.words(tokens[:, :-1]))[0])
        return F.cross_entropy(guessed.flatten(0, 1), tokens[:, 1:].flatten())


def transfer_score(
    corpus: Corpus, sentences: Sequence[Sequence[str]], *, seeds: int = 3, steps: int = 300, tuning: int = 150
) -> Transfer:
    """Pretrains a tiny language model on messages and tunes it on human text.

    The memory, the network in between, stays as the messages left it; words and guesses are learnt anew. The control
    learns the same messages with all their symbols shuffled over all messages: as many, as frequent, of messages as
    long, in no order.

    Args:
        corpus: the language; silent slots are skipped.
        sentences: words of human sentences; a fifth is held out. Words that are used once are one unknown word.
        seeds: of weights, batches, and the split, from 0 on.
        steps: of 16 pieces of 24 symbols, on messages.
        tuning: of as many words, on human text.

    Raises:
        ValueError: nothing is said, or the text is shorter than 500 words.
    """
    if sum(map(len, sentences)) < 500:
        raise ValueError(f"{sum(map(len, sentences))} words of human text: give 500 or more to learn from")
    messages = [row[said].tolist() for row, said in zip(corpus.symbols, corpus.mask, strict=True) if said.any()]
    if not messages:
        raise ValueError("nothing is said in these messages: there is nothing to learn from")
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(sentences))
        asked = len(sentences) // 5
        held_out, taught = ([list(sentences[i]) for i in part] for part in (order[:asked], order[asked:]))
        pool = rng.permutation(np.concatenate(messages))
        ends = np.cumsum([len(message) for message in messages])
        shuffled = [part.tolist() for part in np.split(pool, ends[:-1])]
        with torch.random.fork_rng(devices=[]):
            text = [_stream(part, _numbers(taught)) for part in (taught, held_out)]
            scores = [_tuned(before, text, seed, steps, tuning) for before in (None, messages, shuffled)]
        found.append(scores)
    without, after, control = np.array(found).T / math.log(2)
    return Transfer(without, without - after, without - control)


def _tuned(before: list[list[int]] | None, text: list[Tensor], seed: int, steps: int, tuning: int) -> float:
    torch.manual_seed(seed)
    reader = _Reader(int(text[0].max()) + 1)
    if before is not None:
        number = {symbol: i for i, symbol in enumerate(sorted({s for message in before for s in message}), start=2)}
        first = _Reader(len(number) + 2)
        _learn(first, _stream(before, number), steps, seed)
        reader.memory.load_state_dict(first.memory.state_dict())
    reader.memory.requires_grad_(False)
    _learn(reader, text[0], tuning, seed)
    with torch.no_grad():
        pieces = text[1][: (len(text[1]) - 1) // _LENGTH * _LENGTH + 1].unfold(0, _LENGTH + 1, _LENGTH)
        return float(reader(pieces))


def _learn(reader: _Reader, stream: Tensor, steps: int, seed: int) -> None:
    optimizer, generator = torch.optim.Adam(reader.parameters(), _RATE), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        starts = torch.randint(max(len(stream) - _LENGTH, 1), (_BATCH, 1), generator=generator)
        loss = reader(stream[(starts + torch.arange(_LENGTH + 1)) % len(stream)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _numbers(sentences: Sequence[Sequence[str]]) -> dict[str, int]:
    """Words that are used twice or more, from 2 on; 0 ends a sentence, 1 is any other word."""
    words, counts = np.unique([word for words in sentences for word in words], return_counts=True)
    return {str(word): i for i, word in enumerate(words[counts > 1], start=2)}


def _stream(sentences: Sequence[Sequence[int]] | Sequence[Sequence[str]], number: dict) -> Tensor:
    return torch.tensor([token for words in sentences for token in (*(number.get(w, 1) for w in words), 0)])
