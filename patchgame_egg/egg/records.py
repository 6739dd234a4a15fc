"""What EGG (Kharitonov et al., 2019) calls a message and an interaction, to and from ours. EGG itself is not needed.

EGG passes a message as one tensor, of ids or of vectors:

    layout   ids       vectors
    symbol   [B]       [B, V]         one symbol, always said
    slots    [B, T]    [B, T, 1+V]    0 is silence, our symbol s is s + 1; for messages of patches
    ended    [B, T+1]  [B, T+1, 1+V]  0 is the end, our symbol s is s + 1; the last step is always the end

Letters in shapes: B batch, T message slots, V vocabulary, the end and silence not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from patchgame_egg.interaction import Interaction, Message

Layout = Literal["symbol", "slots", "ended"]


@dataclass(frozen=True)
class EggMessage(Message):
    """A message that came from EGG.

    Attributes:
        tensor: as it came.
    """

    tensor: Tensor | None = None


def to_tensor(message: Message, layout: Layout, ids: bool = False) -> Tensor:
    """A message as EGG's receivers take it; one that came from EGG goes back as it came.

    Args:
        message: ``[B, T]``; for ``symbol``, T is 1.
        layout: see the module.
        ids: int64 ids instead of vectors; they carry no gradient.

    Raises:
        ValueError: the layout is unknown, or does not fit the message.
    """
    if isinstance(message, EggMessage) and message.tensor is not None:
        return message.tensor
    if ids:
        return _ids(message.symbols, message.mask, layout)
    vectors = message.vectors
    if layout == "symbol":
        return _only_slot(vectors)
    gate = message.mask.to(vectors.dtype) if message.gate is None else message.gate
    if layout == "slots":
        return torch.cat([1 - gate[:, :, None], vectors], dim=2)
    _check(layout)
    # EGG multiplies the ends itself: it wants how likely one is if none came before.
    before = F.pad(gate[:, :-1], (1, 0), value=1.0)
    alive = before.detach() > 0.5
    end = 1 - torch.where(alive, gate, 0) / torch.where(alive, before, 1)
    steps = torch.cat([end[:, :, None], vectors], dim=2)
    last = F.pad(steps.new_ones(len(steps), 1, 1), (0, vectors.shape[2]))
    return torch.cat([steps, last], dim=1)


def _ids(symbols: Tensor, mask: Tensor, layout: Layout) -> Tensor:
    _check(layout)
    if layout == "symbol":
        return _only_slot(symbols)
    return F.pad(torch.where(mask, symbols + 1, 0), (0, int(layout == "ended")))


def _only_slot(x: Tensor) -> Tensor:
    if x.shape[1] != 1:
        raise ValueError(f"the layout 'symbol' is for messages of one slot, these have {x.shape[1]}")
    return x[:, 0]


def _check(layout: str) -> None:
    if layout not in get_args(Layout):
        raise ValueError(f"unknown layout {layout!r}: {', '.join(get_args(Layout))}")


def from_tensor(tensor: Tensor, layout: Layout | None = None, vocab_size: int | None = None) -> EggMessage:
    """A message as EGG's senders give it. Where vectors are relaxed, the largest entry says whether a slot speaks.

    Args:
        tensor: ids or vectors.
        layout: see the module; None: ``symbol`` or ``ended``, by the number of dimensions.
        vocab_size: V; needed for ids.

    Raises:
        ValueError: the layout is unknown, or ids come without ``vocab_size``.
    """
    differentiable = tensor.is_floating_point()
    layout = layout or ("symbol" if tensor.dim() == 1 + differentiable else "ended")
    _check(layout)
    if not differentiable:
        if vocab_size is None:
            raise ValueError("EGG's message holds ids, which do not tell the vocabulary: give vocab_size")
        steps = F.one_hot(tensor, vocab_size + (layout != "symbol")).float()
    else:
        steps = tensor
    if layout == "symbol":
        symbols = steps.detach().argmax(dim=1, keepdim=True)
        return EggMessage(symbols, steps[:, None], torch.ones_like(symbols, dtype=torch.bool), tensor=tensor)
    if layout == "ended":
        steps = steps[:, :-1]
    mask, vectors, gate = steps.detach().argmax(dim=2) > 0, steps[:, :, 1:], 1 - steps[:, :, 0]
    symbols = vectors.detach().argmax(dim=2)
    if layout == "ended":
        mask, gate = mask.cumprod(dim=1).bool(), gate.cumprod(dim=1)
        vectors = vectors * F.pad(gate[:, :-1], (1, 0), value=1.0)[:, :, None]
    return EggMessage(symbols, vectors * mask[:, :, None], mask, gate if differentiable else None, tensor=tensor)


def from_egg(record: Any, layout: Layout | None = None) -> Interaction:
    """A record of EGG as ours: ids, a mask, lengths that do not count the end, and no gradients.

    Args:
        record: an ``egg.core.Interaction``, or anything with its eight fields. Of vectors, the largest entry counts. A
            ``message_mask`` in its ``aux``, of a game of ours that EGG's trainer played, is believed: ids and mask stay
            as they are. A number for the whole batch in ``aux`` becomes one for each exchange.
        layout: of its messages; None: ``symbol`` or ``ended``, by the number of dimensions.

    Raises:
        ValueError: the layout is unknown, the messages are numbers and not symbols, or the mask does not fit them.
    """
    fields = {name: _detached(getattr(record, name)) for name in vars(Interaction())}
    aux, message = fields.pop("aux") or {}, fields["message"]
    if message is not None and "message_mask" in aux:
        mask = torch.as_tensor(aux["message_mask"]).bool()
        if message.is_floating_point() or message.shape != mask.shape or message.dim() != 2:
            raise ValueError(
                f"aux has a message_mask of shape {tuple(mask.shape)}, the message is {message.dtype} of shape "
                f"{tuple(message.shape)}: a mask belongs to ids of the same shape [B, T]"
            )
        fields |= {"message": message.clamp(min=0), "message_length": mask.sum(dim=1)}
        aux = {**aux, "message_mask": mask}
    elif message is not None:
        if layout is not None:
            _check(layout)
        if not holds_symbols(message):
            raise ValueError(
                f"the message, {message.dtype} of shape {tuple(message.shape)}, holds numbers: neither ids nor vectors "
                "that say how likely each symbol is. A continuous game has no symbols to read"
            )
        symbols, mask = _read(message, layout)
        fields |= {"message": symbols, "message_length": mask.sum(dim=1)}
        aux = {**aux, "message_mask": mask}
    size = _size({**fields, "aux": aux})
    for name in ("labels", "sender_input", "receiver_input"):
        if not isinstance(fields[name], Tensor) or fields[name].shape[:1] != (size,):
            fields[name] = None
    rows = {name: per_exchange(value, size) for name, value in aux.items()}
    extra = fields.pop("aux_input")
    if extra is not None:
        extra = {name: value for name, value in extra.items() if isinstance(value, Tensor)}
    return Interaction(**fields, aux_input=extra, aux={k: v for k, v in rows.items() if v is not None})


def holds_symbols(message: Tensor) -> bool:
    """Whether a message of EGG is ids, or vectors that say how likely each symbol is."""
    if not message.is_floating_point():
        return True
    likely = message.detach().float()
    return bool((likely >= -0.01).all()) and bool(((likely.sum(dim=-1) - 1).abs() < 0.01).all())


def vocabulary_of(record: Any, layout: Layout | None = None) -> int | None:
    """V of a record of EGG whose messages are vectors; None: they are ids, which do not tell.

    Args:
        record: as in `from_egg`.
        layout: as in `from_egg`.
    """
    message = record.message
    if message is None or not message.is_floating_point():
        return None
    return int(message.shape[-1]) - ((layout or _layout(message.dim() - 1)) != "symbol")


def _layout(dimensions: int) -> Layout:
    return "symbol" if dimensions == 1 else "ended"


def _read(message: Tensor, layout: Layout | None) -> tuple[Tensor, Tensor]:
    """Ids without EGG's end, and the mask, each ``[B, T]``."""
    ids = message.argmax(dim=-1) if message.is_floating_point() else message
    layout = layout or _layout(ids.dim())
    if layout == "symbol":
        # The largest integer plus one would be the smallest, and silence.
        ids = ids[:, None].long().clamp(max=torch.iinfo(torch.int64).max - 1) + 1
    mask = ids > 0
    if layout == "ended":
        # All senders of EGG's core end with the end; others may not.
        steps = ids.shape[1] - int(not mask[:, -1].any())
        mask, ids = mask.cumprod(dim=1).bool()[:, :steps], ids[:, :steps]
    return (ids - 1).clamp(min=0), mask


def _detached(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _detached(part) for name, part in value.items()}
    return value.detach() if isinstance(value, Tensor) else value


def _size(fields: dict[str, Any]) -> int:
    """The number of exchanges in a record."""
    for name in ("message", "message_length", "receiver_output", "labels", "sender_input", "receiver_input"):
        if isinstance(fields[name], Tensor) and fields[name].dim():
            return len(fields[name])
    return next((len(v) for v in fields["aux"].values() if isinstance(v, Tensor) and v.dim()), 1)


def per_exchange(value: Any, size: int) -> Tensor | None:
    """What was recorded as a number, or a row, for each exchange: ``[B, ...]``; None where it is neither.

    A number for the whole batch is repeated. Of losses over both views of every image, one after the other as in EGG's
    ``NTXentLoss``, the mean of the two is taken.

    Args:
        value: a number or a tensor.
        size: B.

    Example:
        >>> per_exchange(0.5, size=2).tolist(), per_exchange(torch.tensor([1.0, 0.0, 0.0, 0.0]), size=2).tolist()
        ([0.5, 0.5], [0.5, 0.0])
    """
    if isinstance(value, (bool, int, float)):
        value = torch.tensor(float(value))
    if not isinstance(value, Tensor):
        return None
    if value.numel() == 1:
        return value.reshape(1).expand(size)
    if len(value) != size and len(value) % size == 0 and value.dim() == 1:
        return value.unflatten(0, (-1, size)).float().mean(dim=0)
    return value


def load_egg(path: Path | str, layout: Layout | None = None) -> Interaction:
    """Reads a record that EGG's InteractionSaver wrote; needs neither EGG nor trust in the file.

    Args:
        path: the file.
        layout: how the messages are laid out, as in `from_egg`; None: found by their dimensions.

    Raises:
        ValueError: as `from_egg`.
    """
    with torch.serialization.safe_globals([(Interaction, "egg.core.interaction.Interaction")]):
        return from_egg(torch.load(path, map_location="cpu", weights_only=True), layout)


def to_egg(record: Interaction, interaction_class: Callable[..., Any], layout: Layout = "ended") -> Any:
    """Our record as EGG's: ids, and for ``ended`` lengths that count the end.

    Args:
        record: ours.
        interaction_class: ``egg.core.Interaction``.
        layout: of the messages, see the module.

    Raises:
        ValueError: the layout is unknown, or does not fit the messages.
    """
    fields = dict(vars(record))
    aux, symbols = dict(fields.pop("aux")), fields["message"]
    if symbols is not None:
        mask = aux.pop("message_mask", torch.ones_like(symbols, dtype=torch.bool))
        if layout == "ended" and (mask[:, 1:] & ~mask[:, :-1]).any():
            raise ValueError("a message with holes has no end: use the layout 'slots'")
        fields["message"] = _ids(symbols, mask, layout)
        fields["message_length"] = mask.sum(dim=1) + (layout == "ended")
    return interaction_class(**fields, aux=aux)
