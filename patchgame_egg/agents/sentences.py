"""Human sentences about images, as the listener's text side reads them.

Letters in shapes: B batch, N images, C sentences, L words of the longest sentence, D width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from patchgame_egg.distributed.random_module import RandomModule

_LONGEST = 32


class SentenceReader(RandomModule):
    """Words as vectors, with a table of their own beside that of the symbols, for the blocks of a `TextEncoder`.

    Args:
        captions: sentences about each of the N images of a source, by number; none where nothing is said of it.
        dim: D.
        seed: of which sentence of an image is read, each time anew.

    Raises:
        ValueError: no caption holds a word.

    Example:
        >>> reader = SentenceReader([["A red cat."], [], ["no cat", "a dog"]], dim=4, seed=0)
        >>> vectors, mask, there = reader(torch.tensor([0, 1]))
        >>> vectors.shape, mask.sum(dim=1).tolist(), there.tolist(), sorted(reader.vocabulary)
        (torch.Size([2, 3, 4]), [3, 0], [True, False], ['a', 'cat', 'dog', 'no', 'red'])
    """

    tokens: Tensor
    first: Tensor
    count: Tensor

    def __init__(self, captions: Sequence[Sequence[str]], dim: int, seed: int) -> None:
        super().__init__(seed)
        texts = [[words for s in said if (words := re.findall(r"\w+", s.lower())[:_LONGEST])] for said in captions]
        self.vocabulary = {w: i for i, w in enumerate(sorted({w for said in texts for words in said for w in words}))}
        if not self.vocabulary:
            raise ValueError("no caption holds a word: there is nothing to read")
        counts = torch.tensor([len(said) for said in texts])
        rows = [[self.vocabulary[w] for w in words] for said in texts for words in said]
        longest = max(map(len, rows))
        # They are given again whenever the game is built.
        for name, value in (
            ("tokens", torch.tensor([row + [-1] * (longest - len(row)) for row in rows])),
            ("first", counts.cumsum(0) - counts),
            ("count", counts),
        ):
            self.register_buffer(name, value, persistent=False)
        self.words = nn.Parameter(torch.randn(len(self.vocabulary), dim) * 0.02)
        self.positions = nn.Parameter(torch.randn(longest, dim) * 0.02)

    def forward(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One sentence about each image, drawn from those that there are.

        Args:
            index: the images' numbers in their source, ``[B]``.

        Returns:
            Vectors ``[B, L, D]``; which of them are words, ``[B, L]``; of which images there is a sentence, ``[B]``.
        """
        count = self.count[index]
        drawn = (self.uniform(len(index), device=index.device) * count).long()
        tokens = self.tokens[(self.first[index] + drawn).clamp(max=len(self.tokens) - 1)]
        there = count > 0
        mask = (tokens >= 0) & there[:, None]
        return self.words[tokens.clamp(min=0)] + self.positions, mask, there
