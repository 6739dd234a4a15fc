"""The listener of PatchGame (section 3.3 of the paper): a message and an image become vectors that are compared.

Letters in shapes: B batch, T message slots, V vocabulary, D width. The paper does not say what the text encoder does
with a slot in which nothing was said. `TextEncoder`'s ``silence`` offers three answers: the default skips such slots,
and the small preset of ``games.patchgame`` takes the one that was measured to learn faster. The text encoder's blocks
are pre-norm with GELU, as in the ViT that the paper likens them to (``norm="post"``: Vaswani's, with ReLU).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.agents.heads import Head, compare_narrow, narrow_is_cheaper
from patchgame_egg.agents.sentences import SentenceReader
from patchgame_egg.agents.transformer import Block
from patchgame_egg.choices import Silence
from patchgame_egg.interaction import Message


class TextEncoder(nn.Module):
    """A transformer encoder over the symbols of a message; the CLS token's last state is its embedding (section 3.3).

    Args:
        vocab_size: V.
        slots: T, the largest possible message.
        dim: D. The paper: 192.
        depth: number of blocks. The paper: 12.
        heads: attention heads. The paper: 3.
        norm: where the blocks normalise: ``pre``, before attention and MLP (ViT), or ``post``, after them (Vaswani).
        silence: what the encoder does with a silent slot. ``skip``: leaves it out, only spoken symbols are encoded.
            ``gate``: gives the same embeddings, and a gradient that tells a silent slot whether it should have spoken;
            all slots are encoded, which costs more. ``attend``: encodes it as a zero vector with a position, as the
            authors' release does.
    """

    def __init__(
        self,
        vocab_size: int,
        slots: int,
        dim: int = 192,
        depth: int = 12,
        heads: int = 3,
        norm: Literal["pre", "post"] = "pre",
        silence: Silence = "skip",
    ) -> None:
        super().__init__()
        self.silence, self.out_dim = silence, dim
        self.symbols = nn.Parameter(torch.randn(vocab_size, dim) * 0.02)
        self.positions = nn.Parameter(torch.randn(slots, dim) * 0.02)
        self.cls = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, heads, norm) for _ in range(depth))
        self.norm = nn.LayerNorm(dim) if norm == "pre" else nn.Identity()

    def forward(self, message: Message) -> Tensor:
        """A message to embeddings ``[B, D]``.

        Raises:
            ValueError: the message has more slots than this has positions, or symbols of another vocabulary.
        """
        (slots, vocab), (_, said, choices) = (len(self.positions), len(self.symbols)), message.vectors.shape
        if said > slots or choices != vocab:
            raise ValueError(
                f"the message has {said} slots of {choices} symbols, this TextEncoder is for {slots} slots of {vocab}: "
                f"give it slots={said} or more and vocab_size={choices}, or other views to the speaker"
            )
        mask, gate = message.mask, message.gate if self.silence == "gate" else None
        x = message.vectors @ self.symbols.to(message.vectors.dtype)  # [B, T, D]
        if gate is not None:
            # A relaxed gate is heard as loud as it is.
            mask = mask | (gate.detach() > 0)
            unsaid = F.embedding(message.symbols, self.symbols)
            x = torch.where(message.mask[:, :, None], x, unsaid.to(x.dtype))
        x, silent = x + self.positions[:said], x[:, :0]
        if self.silence == "attend":
            mask = torch.ones_like(mask)
        else:
            # Spoken slots first, in order, up to the longest message: silence costs nothing, or no backward pass.
            longest = int(mask.sum(dim=1).max())
            order = mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
            if gate is not None:
                learns = gate.requires_grad and torch.is_grad_enabled()
                gate = gate.gather(1, order if learns else order[:, :longest])
                gate = F.pad(gate, (1, 0), value=1.0)
                silent = _rows(x.detach(), order[:, longest:]) if learns else silent
            order = order[:, :longest]
            x, mask = _rows(x, order), mask.gather(1, order)
        return self.read(x, mask, gate, silent)

    def read(self, x: Tensor, mask: Tensor, gate: Tensor | None = None, silent: Tensor | None = None) -> Tensor:
        """Vectors at their positions, of symbols or of words, to embeddings ``[B, D]``.

        Args:
            x: ``[B, T, D]``.
            mask: which of them are there, bool ``[B, T]``.
            gate: as the blocks take it, with one for CLS in front, or None.
            silent: with a gate, the vectors of slots that are silent, for its gradient.
        """
        x = torch.cat([self.cls.expand(len(x), -1, -1).to(x.dtype), x], dim=1)  # [B, 1 + T, D]
        present = F.pad(mask, (1, 0), value=True)
        for left, block in zip(reversed(range(len(self.blocks))), self.blocks, strict=True):
            assert isinstance(block, Block)
            # Only CLS is read at the end, so only CLS asks in the last block.
            queries = None if left else 1
            if gate is None:
                x = block(x, present, queries)
            else:
                assert silent is not None
                x, silent = block.gated(x, silent, gate, queries)
        return self.norm(x[:, 0])


def _rows(x: Tensor, order: Tensor) -> Tensor:
    """Slots of ``x``, ``[B, T, D]``, in an order ``[B, K]``."""
    return x.gather(1, order[:, :, None].expand(-1, -1, x.shape[2]))


class Listener(nn.Module):
    """Embeds the message and the other view of the image in one space (section 3.3).

    Args:
        text: a module from `Message` to ``[B, text.out_dim]``.
        vision: a module from images to ``[B, vision_dim]``.
        vision_dim: width of what ``vision`` gives.
        head_hidden: width of the hidden layers of the two projection heads, one for texts and one for images.
        head_bottleneck: width of the heads' last layer, before the wide map.
        head_wide: width of the map that may follow; 0: none does.
        narrow: in training, where that is cheaper, give short vectors with the same cosines between texts and images
            in the place of wide ones (`compare_narrow`). For losses that compare nothing else, and detach neither.
        sentences: human sentences about the images, which the text side reads, too, in training; see
            `GroundedInfoNCE`. Excludes ``narrow``.
    """

    def __init__(
        self,
        text: TextEncoder,
        vision: nn.Module,
        vision_dim: int,
        head_hidden: int = 2048,
        head_bottleneck: int = 256,
        head_wide: int = 0,
        narrow: bool = False,
        sentences: SentenceReader | None = None,
    ) -> None:
        super().__init__()
        if narrow and sentences is not None:
            raise ValueError("narrow compares messages with images alone: leave it out, or the sentences")
        self.text, self.vision, self.narrow, self.sentences = text, vision, narrow, sentences
        self.text_head = Head(text.out_dim, head_hidden, head_bottleneck, head_wide)
        self.vision_head = Head(vision_dim, head_hidden, head_bottleneck, head_wide)

    def forward(
        self, message: Message, receiver_input: Tensor, aux_input: dict[str, Tensor] | None = None
    ) -> Sequence[Tensor]:
        """Embeds a message and the other view.

        Args:
            message: what the sender said.
            receiver_input: images as the vision network takes them: float ``[B, 3, H, W]``, normalised, as a
                `ViewLoader` gives them. The uint8 images of an `ImageLoader` have to be made into views first. With
                distractors, the image itself and K others, ``[B, 1 + K, 3, H, W]``.
            aux_input: with ``sentences``, in training, ``index``: the images' numbers in their source, ``[B]``.

        Returns:
            The text embedding and the image embedding, each float ``[B, D]``, not scaled to length 1; with distractors
            the second one is ``[B, 1 + K, D]``. With ``sentences``, in training, also that of a sentence about each
            image, and all zeros where there is none.

        Raises:
            ValueError: the message, or the width of what ``text`` or ``vision`` gives, does not fit.
        """
        candidates = receiver_input.shape[:2] if receiver_input.dim() == 5 else None
        said, seen = (
            self.text(message),
            self.vision(receiver_input if candidates is None else receiver_input.flatten(0, 1)),
        )
        for what, given, head in (("text", said, self.text_head), ("vision", seen, self.vision_head)):
            if given.dim() != 2 or given.shape[1] != head.in_dim:
                raise ValueError(
                    f"{what} gives {list(given.shape)}, the head behind it takes [B, {head.in_dim}]: make the Listener "
                    f"with {'a text whose out_dim is its width' if what == 'text' else 'vision_dim of that width'}"
                )
        if self.training and self.sentences is not None:
            return self.text_head(said), self.vision_head(seen), self._read_sentences(aux_input)
        first, second = self.text_head.wide, self.vision_head.wide
        if candidates is not None:
            return self.text_head(said), self.vision_head(seen).unflatten(0, candidates)
        if not (self.narrow and self.training and first and second) or not narrow_is_cheaper(
            len(said), first.in_features
        ):
            return self.text_head(said), self.vision_head(seen)
        return compare_narrow(self.text_head.narrow(said), self.vision_head.narrow(seen), first.weight, second.weight)

    def _read_sentences(self, aux_input: dict[str, Tensor] | None) -> Tensor:
        assert self.sentences is not None
        if aux_input is None or "index" not in aux_input:
            raise ValueError('sentences are of images by number: the batch\'s aux_input has no "index"')
        vectors, mask, there = self.sentences(aux_input["index"])
        # All are read, also those that are none, so that the work and the parameters at work are the same in every
        # batch, as distributed training needs it.
        return self.text_head(self.text.read(vectors, mask)) * there[:, None]
