"""What the parts of a game must give each other, checked at every step: a part that does not fit is named.

Only shapes and types are looked at, so nothing waits for the device. Letters in shapes: B batch, P patches, L symbols
per patch, T message slots, V vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from patchgame_egg.interaction import Message

# What torch's own checks of sizes and types speak of; what fails for other reasons is not a matter of fit.
_MISFIT = re.compile(r"shape|size|dimension|channels|expand|dtype|same type|not implemented for|range of \[", re.I)
_FAILURE = re.compile(r"out of memory|can't allocate|CUDA error|NCCL|gloo|DataLoader", re.I)


@contextmanager
def fitting(part: str, **given: object) -> Iterator[None]:
    """Around the call of a part: torch's complaints about sizes become one sentence that names the part.

    What torch said, or a part of the user's own, stays the cause. All other errors pass as they are.

    Args:
        part: what is called, such as ``the sender``.
        given: what it was given, by name.

    Raises:
        ValueError: torch found that sizes or types do not fit.
    """
    try:
        yield
    except (RuntimeError, IndexError) as error:
        text = str(error)
        own = type(error) in (RuntimeError, NotImplementedError, IndexError)
        if not own or _FAILURE.search(text) or not _MISFIT.search(text):
            raise
        seen = ", ".join(f"{name} {_described(value)}" for name, value in given.items() if value is not None)
        raise ValueError(
            f"{part} cannot take {seen}: {text.splitlines()[0]}. Its sizes, and those of the parts before it, must "
            "be of one game: image size, patches, vocabulary, slots, widths"
            + ("; uint8 images become views by a ViewLoader" if "uint8" in seen else "")
        ) from error


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, Message):
        return f"with vectors {list(value.vectors.shape)}"
    parts = {name: _described(x) for name, x in vars(value).items() if isinstance(x, Tensor)} if _plain(value) else {}
    return f"{type(value).__name__}({', '.join(f'{name} {x}' for name, x in parts.items())})"


def _plain(value: object) -> bool:
    return hasattr(value, "__dataclass_fields__")


def check_message(message: Any, rows: int) -> Message:
    """What a channel gave, as every receiver takes it.

    Args:
        message: of the channel.
        rows: B.

    Raises:
        ValueError: it is no `Message` of B rows, with symbols and mask ``[B, T]`` and vectors ``[B, T, V]``.
    """
    if not isinstance(message, Message):
        raise ValueError(f"the channel gave {_kind(message)}: give a Message of symbols, vectors and a mask")
    symbols, vectors, mask = (list(x.shape) for x in (message.symbols, message.vectors, message.mask))
    if len(symbols) != 2 or symbols[0] != rows or mask != symbols or vectors[:2] != symbols or len(vectors) != 3:
        raise ValueError(
            f"the channel's message has symbols {symbols}, vectors {vectors} and a mask {mask} for {rows} inputs: "
            f"give [{rows}, T], [{rows}, T, V] and [{rows}, T]"
        )
    return message


def check_score(scored: Any, rows: int) -> tuple[Tensor, dict[str, Tensor]]:
    """What a loss gave, as every game averages and records it.

    Args:
        scored: of the loss.
        rows: B.

    Returns:
        The loss of each sample, ``[B]``, and what is recorded.

    Raises:
        ValueError: it is not a pair of a value for each sample, and of tensors by name with a row for each.
    """
    if not isinstance(scored, tuple | list) or len(scored) != 2:
        raise ValueError(
            f"the loss gave {_kind(scored)}: give a pair, one value for each of the {rows} samples, and a dict of "
            "what to record, which may be empty"
        )
    per_sample, aux = scored
    if not isinstance(per_sample, Tensor) or list(per_sample.shape) != [rows]:
        shape = f"of shape {list(per_sample.shape)}" if isinstance(per_sample, Tensor) else f"as {_kind(per_sample)}"
        raise ValueError(
            f"the loss came {shape}: give one value for each of the {rows} samples, [{rows}], as torch does with "
            "reduction='none'; the game takes the mean"
        )
    if not isinstance(aux, Mapping):
        raise ValueError(f"the loss recorded {_kind(aux)}: give a dict of tensors by name, or an empty one")
    for name, value in aux.items():
        if not isinstance(value, Tensor) or value.dim() == 0 or len(value) != rows:
            shape = f"of shape {list(value.shape)}" if isinstance(value, Tensor) else f"as {_kind(value)}"
            raise ValueError(
                f"the loss recorded {name!r} {shape}: give a tensor with a row for each of the {rows} samples; "
                f"torch.full(({rows},), value) repeats one number"
            )
    return per_sample, dict(aux)


def check_pair(output: Any) -> tuple[Tensor, Tensor]:
    """What a receiver gave, for a loss that compares messages with images.

    Raises:
        ValueError: it is not a pair of two tensors ``[B, D]`` of one shape, or ``[B, D]`` and ``[B, 1 + K, D]``.
    """
    parts = list(output) if isinstance(output, tuple | list) else [output]
    shapes = [list(x.shape) if isinstance(x, Tensor) else _kind(x) for x in parts]
    said, seen = shapes if len(shapes) == 2 else ("", "")
    if isinstance(seen, list) and len(seen) == 3 and seen[1] > 1:
        seen = seen[:1] + seen[2:]
    if said != seen or not isinstance(said, list) or len(said) != 2:
        raise ValueError(
            f"the receiver gave {' and '.join(map(str, shapes))}: this loss compares a pair, "
            "the embeddings of the messages and those of the images, both [B, D], or [B, 1 + K, D] of images with "
            "their K distractors"
        )
    return parts[0], parts[1]


def check_patches(features: Any) -> None:
    """What a speaker of patches gave.

    Raises:
        ValueError: it is not logits ``[B, P, L, V]`` and scores ``[B, P]`` of the same patches.
    """
    logits, scores = (getattr(features, name, None) for name in ("logits", "scores"))
    if not isinstance(logits, Tensor) or not isinstance(scores, Tensor):
        raise ValueError(
            f"the sender gave {_kind(features)}: a PatchChannel takes PatchFeatures, logits [B, P, L, V] and scores "
            "[B, P]"
        )
    if logits.dim() != 4 or list(scores.shape) != list(logits.shape[:2]):
        raise ValueError(
            f"the sender gave logits {list(logits.shape)} and scores {list(scores.shape)}: [B, P, L, V] and [B, P] of "
            "the same P patches are needed. Is the size of the views the image size that its parts were made for?"
        )


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"one tensor {list(value.shape)}"
    return "nothing" if value is None else type(value).__name__
