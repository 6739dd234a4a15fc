"""A codebook: a choice is the nearest code, the gradient goes straight through (van den Oord et al., 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from patchgame_egg.channels.estimator import Estimator
from patchgame_egg.distributed.random_module import RandomModule


class Quantised(Estimator, RandomModule):
    """The nearest code of a learnt codebook (van den Oord et al., 2017), by ``vector-quantize-pytorch``.

    The speaker's last axis holds a code of D numbers instead of V logits. Codes follow a moving average; a commitment
    loss keeps the speaker near them; those that fall out of use are put where a speaker's code lies. The gradient is
    the straight-through one: that of the one-hot vectors is carried over to the code by the pseudo-inverse of the
    codebook, which is "as if the code had been copied" for every listener whose embedding is linear in the code.

    Args:
        code_dim: D.
        vocab_size: V, codes in the codebook.
        commitment: weight of the commitment loss.
        decay: of the codebook's moving average, per step.
        seed: seed of where codes start and where unused ones are put.

    Example:
        >>> codebook = Quantised(code_dim=2, vocab_size=3).eval()
        >>> _ = codebook.quantiser.codebook.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        >>> vectors, _ = codebook.choose(torch.tensor([[0.9, 0.2], [0.1, 0.1]]), uniform=None)
        >>> vectors.tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """

    def __init__(
        self, code_dim: int, vocab_size: int, commitment: float = 0.25, decay: float = 0.95, seed: int = 0
    ) -> None:
        from vector_quantize_pytorch import VectorQuantize

        super().__init__(seed)
        if not 0 <= decay < 1 or commitment < 0:
            raise ValueError(f"decay must be in [0, 1) and commitment 0 or more, got {decay} and {commitment}")
        self.quantiser = VectorQuantize(
            code_dim, vocab_size, decay=decay, commitment_weight=commitment, kmeans_init=True,
            threshold_ema_dead_code=1, rotation_trick=False,
        )  # fmt: skip

    def nearest(self, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Finds the nearest codes; in training, the codebook learns from it.

        Args:
            codes: the speaker's, float32 ``[N, D]``.

        Returns:
            Their symbols, int64 ``[N]``; the codebook in which they were looked up, ``[V, D]``, which in training has
            moved on since; and the commitment loss, a scalar, 0 in evaluation.
        """
        # Distances in half precision would be those of other codes.
        with torch.autocast(codes.device.type, enabled=False):
            if self.training:
                book = self.quantiser.codebook.detach().clone()
                # A code that is not a number must end in a loss that is none, not in the codebook.
                finite = codes.nan_to_num(posinf=0.0, neginf=0.0)
                with self.local_randomness(codes.device):
                    _, (symbols,), penalty = self.quantiser(finite[None])
                penalty = penalty + (codes - finite).sum()
                # The codebook is zero until the first codes that it meets make it.
                book = torch.where(book.any(), book, self.quantiser.codebook.detach())
                return symbols, book, penalty.sum()
            # The quantiser would make its codebook from the first codes that it meets, in evaluation too.
            book = self.quantiser.codebook.detach()
            return torch.cdist(codes, book).argmin(dim=1), book, codes.new_zeros(())

    def choose(self, logits: Tensor, uniform: Tensor | None) -> tuple[Tensor, Tensor]:
        codes = logits.float().flatten(0, -2)
        symbols, book, penalty = self.nearest(codes)
        hard = F.one_hot(symbols, len(book)).to(codes.dtype)
        # Codes near the largest float overflow in the codebook, where the decomposition would stop a diverging run.
        moved = (codes - codes.detach()) @ torch.linalg.pinv(book.nan_to_num(0.0, 0.0, 0.0))
        return (hard + moved).unflatten(0, logits.shape[:-1]), penalty
