"""The records that travel through a game: `Batch` in, `Message` between the agents, `Interaction` out.

Letters in shapes: B batch, P patches, L symbols per patch, T message slots (P*L, or the longest sequence), V
vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from patchgame_egg.atomic_write import replacing
from patchgame_egg.distributed.gather import gather_rows


@dataclass(frozen=True)
class Batch:
    """What one step of a game starts from, in EGG's order; unpacks as a tuple.

    Attributes:
        sender_input: what the sender sees, ``[B, ...]``.
        labels: ``[B]``, or None; the games here never train on them.
        receiver_input: what the receiver sees, or None.
        aux_input: more tensors with B rows, for example ``index``, the images' numbers in their data set.

    Example:
        >>> batch = Batch(torch.zeros(2, 3, 8, 8), aux_input={"index": torch.tensor([5, 3])})
        >>> sender_input, labels, receiver_input, aux_input = batch
        >>> tuple(sender_input.shape), labels, aux_input["index"].tolist()
        ((2, 3, 8, 8), None, [5, 3])
    """

    sender_input: Tensor
    labels: Tensor | None = None
    receiver_input: Tensor | None = None
    aux_input: dict[str, Tensor] | None = None

    def __iter__(self) -> Iterator[Tensor | dict[str, Tensor] | None]:
        return iter((self.sender_input, self.labels, self.receiver_input, self.aux_input))

    @staticmethod
    def of(given: object) -> Batch:
        """What a loader gave as a batch: one of ours or of EGG's, or a tuple or list of the parts, in their order.

        Raises:
            ValueError: it is something else.

        Example:
            >>> Batch.of((torch.zeros(2, 5), torch.tensor([1, 0]))).labels.tolist()
            [1, 0]
        """
        if isinstance(given, Batch):
            return given
        parts = [given] if isinstance(given, Tensor) else given
        if isinstance(parts, (tuple, list)) or hasattr(parts, "receiver_input"):
            parts = list(parts)  # type: ignore[call-overload]
            aux = parts[3] if len(parts) > 3 else None
            if 1 <= len(parts) <= 4 and _holds_tensors(parts[0]) and (aux is None or isinstance(aux, Mapping)):
                return Batch(*parts)
        held = f" of {', '.join(type(part).__name__ for part in parts)}" if isinstance(parts, (tuple, list)) else ""
        raise ValueError(
            f"the loader gives a {type(given).__name__}{held}: a Batch is needed, or a tuple "
            "(sender_input, labels, receiver_input, aux_input) of tensors and a dict, the last three of which may be "
            "left out"
        )

    def to(self, device: torch.device | str) -> Batch:
        """A copy on ``device``; transfers from pinned memory overlap with computation."""

        def move(x: Any) -> Any:
            # Loaders of EGG give pairs of views, or inputs with their lengths, as one input.
            if isinstance(x, (tuple, list)):
                return [move(part) for part in x]
            if isinstance(x, Mapping):
                return {k: move(v) for k, v in x.items()}
            return x.to(device, non_blocking=True) if isinstance(x, Tensor) else x

        return Batch(*(move(part) for part in self))


def _holds_tensors(value: object) -> bool:
    if isinstance(value, (tuple, list)):
        return bool(value) and all(_holds_tensors(part) for part in value)
    return isinstance(value, Tensor)


@dataclass(frozen=True)
class Message:
    """What a channel passes on.

    Silence is the mask, never symbol 0: a message of patches has holes. The end of a sequence is no symbol either.

    Attributes:
        symbols: int64 ``[B, T]``, ids in [0, V); at silent slots what would have been said, which nobody hears.
        vectors: what the receiver reads, float ``[B, T, V]``, differentiable where the channel is. Of a
            `PatchChannel` or `SequenceChannel` exactly one-hot where a symbol is sent and exactly zero where none is,
            in training as in evaluation. Not so where nothing is discrete: `Continuous` gives standardised logits, and
            the gate ``released`` scales every one-hot vector. The baselines differ too: a VQ-VAE sends codes of D
            numbers, ``[B, T, D]``, and PatchVAE has a 1 for each of the parts in a cell (multi-hot).
        mask: bool ``[B, T]``, true where a symbol is sent.
        gate: float ``[B, T]`` or None: the mask as numbers whose gradient reaches whatever decided who speaks.
        keep_prob: float ``[B, P]`` in [0, 1] or None: how likely each patch was to speak. In training, where a fixed
            number of patches is drawn, the weight p with which a patch is drawn, at odds of p / (1 - p).
        log_prob: float ``[B]`` or None: log-probability of what was sampled (score-function channels).
        entropy: float ``[B]`` or None: entropy of the sampling distribution along what was sampled, in nats.
        expected_loss: float ``[B]`` or None: the loss that the speaker expected (the baseline of REINFORCE).
        penalty: a scalar or None: what the channel adds to the loss for how it spoke (a commitment loss).

    Example:
        >>> symbols = torch.tensor([[2, 0], [1, 1]])
        >>> mask = torch.tensor([[True, True], [True, False]])
        >>> vectors = torch.nn.functional.one_hot(symbols, 3) * mask[:, :, None]
        >>> message = Message(symbols, vectors.float(), mask)
        >>> message.vectors[1].tolist(), message.lengths.tolist()
        ([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [2, 1])
    """

    symbols: Tensor
    vectors: Tensor
    mask: Tensor
    gate: Tensor | None = None
    keep_prob: Tensor | None = None
    log_prob: Tensor | None = None
    entropy: Tensor | None = None
    expected_loss: Tensor | None = None
    penalty: Tensor | None = None

    @property
    def lengths(self) -> Tensor:
        """How many symbols were said, int64 ``[B]``."""
        return self.mask.sum(dim=1)

    @staticmethod
    def join(parts: Sequence[Message]) -> Message:
        """The message of a batch from those of its parts; a penalty is averaged over the images."""
        whole: dict[str, Tensor | None] = {}
        for f in fields(Message):
            values = [getattr(part, f.name) for part in parts]
            if values[0] is not None and values[0].dim() == 0:
                share = torch.tensor([len(part.mask) for part in parts], device=values[0].device)
                whole[f.name] = (torch.stack(values) * share).sum() / share.sum()
            else:
                whole[f.name] = None if values[0] is None else torch.cat(values)
        return Message(**whole)  # type: ignore[arg-type]


@dataclass
class Interaction:
    """What happened in a batch or an epoch: EGG's eight fields, with its names and its order.

    ``message`` holds integer ids; ``aux["message_mask"]`` says which slots spoke. Images are not kept: an epoch of
    them would not fit in memory, and ``aux_input["index"]`` says which they were.

    Example:
        >>> first = Interaction(message=torch.tensor([[2, 0]]), aux={"loss": torch.tensor([0.5])})
        >>> other = Interaction(message=torch.tensor([[1, 1]]), aux={"loss": torch.tensor([1.5])})
        >>> both = first + other
        >>> both.size, both.message.tolist(), both.aux["loss"].mean().item()
        (2, [[2, 0], [1, 1]], 1.0)
    """

    sender_input: Tensor | None = None
    receiver_input: Tensor | None = None
    labels: Tensor | None = None
    aux_input: dict[str, Tensor] | None = None
    message: Tensor | None = None
    receiver_output: Tensor | None = None
    message_length: Tensor | None = None
    aux: dict[str, Tensor] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The number of exchanges recorded.

        Raises:
            ValueError: nothing is recorded.
        """
        # Labels of EGG's loaders are not always a row for each exchange.
        for value in (self.message, self.message_length, *self._tensors()):
            if value is not None:
                return value.shape[0]
        raise ValueError("the interaction is empty: no field holds a tensor")

    def _tensors(self) -> Iterator[Tensor]:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                yield value
            elif isinstance(value, Mapping):
                yield from value.values()

    def map(self, function: Callable[[Tensor], Tensor]) -> Interaction:
        """A copy with ``function`` applied to every tensor."""

        def each(value: Tensor | dict[str, Tensor] | None) -> Tensor | dict[str, Tensor] | None:
            if isinstance(value, Tensor):
                return function(value)
            return None if value is None else {k: function(v) for k, v in value.items()}

        return Interaction(**{f.name: each(getattr(self, f.name)) for f in fields(self)})  # type: ignore[arg-type]

    def to(self, device: torch.device | str) -> Interaction:
        """A copy on ``device``."""
        return self.map(lambda x: x.to(device))

    def gather(self) -> Interaction:
        """The interactions of all ranks, in the order that one process on the whole batch would have."""
        # Process groups do not carry booleans everywhere.
        return self.map(
            lambda x: gather_rows(x.to(torch.uint8)).bool() if x.dtype == torch.bool else gather_rows(x.detach())
        )

    @staticmethod
    def from_iterable(interactions: Sequence[Interaction]) -> Interaction:
        """Concatenates interactions along the first dimension.

        Raises:
            ValueError: the sequence is empty, or some hold a field that others lack.
        """
        if not interactions:
            raise ValueError("no interaction to concatenate: give at least one")

        def join(name: str, values: list[object]) -> object:
            present = [v for v in values if v is not None]
            if not present:
                return None
            if len(present) != len(values):
                raise ValueError(f"{name} is missing in {len(values) - len(present)} of {len(values)} interactions")
            if isinstance(present[0], Tensor):
                return torch.cat(present)  # type: ignore[arg-type]
            keys = present[0].keys()  # type: ignore[attr-defined]
            if any(v.keys() != keys for v in present):  # type: ignore[attr-defined]
                raise ValueError(f"{name} has different keys in different interactions")
            return {k: torch.cat([v[k] for v in present]) for k in keys}  # type: ignore[index]

        columns = {f.name: join(f.name, [getattr(i, f.name) for i in interactions]) for f in fields(Interaction)}
        return Interaction(**columns)  # type: ignore[arg-type]

    def __add__(self, other: Interaction) -> Interaction:
        return Interaction.from_iterable([self, other])

    def save(self, path: Path | str) -> None:
        """Writes tensors and plain values only, so that ``torch.load`` needs no trust in the file."""
        with replacing(Path(path)) as file:
            torch.save(dict(vars(self)), file)

    @staticmethod
    def load(path: Path | str) -> Interaction:
        """Reads what `save` wrote."""
        return Interaction(**torch.load(path, map_location="cpu", weights_only=True))
