"""Batches that exceed memory: played in parts, whose activations are computed anew in the backward pass.

Accumulated gradients of small batches are those of another game, in which every message has fewer rivals. Here only
what the agents compute is cut into parts; the loss compares everything with everything, so that its gradient is that of
the whole batch. It costs one more forward pass. Only batch normalisation sees parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from patchgame_egg.distributed.random_module import RandomModule
from patchgame_egg.interaction import Message

Aux = dict[str, Tensor] | None
Output = Tensor | Sequence[Tensor]


def exchange_in_parts(
    game: nn.Module,
    exchange: Callable[[Tensor, Tensor | None, Aux], tuple[Message, Output]],
    size: int,
    sender_input: Tensor,
    receiver_input: Tensor | None,
    aux_input: Aux,
) -> tuple[Message, Output]:
    """An exchange whose activations never take more memory than those of ``size`` images.

    Args:
        game: holds the modules that ``exchange`` uses; none of them may learn in its forward pass, as an
            exponential-moving-average codebook does.
        exchange: of a part.
        size: images per part, at least 1; the last part may be smaller.
        sender_input: what the sender sees in the whole batch, ``[B, ...]``.
        receiver_input: what the receiver sees in the whole batch, ``[B, ...]``, or None.
        aux_input: more tensors of the whole batch, with B rows each, or None.

    Returns:
        The message and the receiver's output of the whole batch.
    """
    parts = []
    for start in range(0, len(sender_input), size):
        rows = slice(start, start + size)
        aux = None if aux_input is None else {k: v[rows] for k, v in aux_input.items()}
        seen = None if receiver_input is None else receiver_input[rows]
        parts.append(
            checkpoint(
                exchange, sender_input[rows], seen, aux, use_reentrant=False, context_fn=lambda: _first_and_again(game)
            )
        )
    messages, outputs = zip(*parts, strict=True)
    if isinstance(outputs[0], Tensor):
        return Message.join(messages), torch.cat(outputs)
    return Message.join(messages), tuple(torch.cat(column) for column in zip(*outputs, strict=True))


def _first_and_again(game: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What surrounds the first pass, and the second: the same draws, and no second count in running statistics."""
    random = [m for m in game.modules() if isinstance(m, RandomModule)]
    statistics = [b for m in game.modules() if isinstance(m, _BatchNorm) for b in m.buffers()]
    first = [m.draws for m in random]

    @contextmanager
    def again() -> Iterator[None]:
        now, before = [m.draws for m in random], [b.clone() for b in statistics]
        for module, draws in zip(random, first, strict=True):
            module.draws = draws
        try:
            yield
        finally:
            for module, draws in zip(random, now, strict=True):
                module.draws = draws
            for buffer, value in zip(statistics, before, strict=True):
                buffer.copy_(value)

    return nullcontext(), again()
