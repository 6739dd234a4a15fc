"""Our agents in the games of EGG (Kharitonov et al., 2019), and its agents in our `Game`. EGG itself is not imported.

See `patchgame_egg.egg.records` for its messages. Letters in shapes: B batch, T message slots, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.channels.channel import Channel
from patchgame_egg.channels.estimator import Estimator
from patchgame_egg.channels.patch import PatchChannel
from patchgame_egg.channels.reinforce import LearntBaseline
from patchgame_egg.egg.records import Layout, from_tensor, per_exchange, to_tensor
from patchgame_egg.game import Game
from patchgame_egg.interaction import Message

Aux = dict[str, Tensor] | None
Scored = tuple[Tensor, Tensor, Tensor]


def in_egg(game: Game, layout: Layout = "slots", pair: bool = True) -> tuple[SenderInEgg, ReceiverInEgg, LossInEgg]:
    """Our game's parts as the sender, the receiver and the loss of a game of EGG; they share its weights.

    Args:
        game: for a game of EGG that ends in Reinforce, with the estimator `Reinforce`; for one that ends in GS, with
            another.
        layout: ``slots`` (or ``symbol``, for one slot that always speaks) for SymbolGameGS and SymbolGameReinforce;
            ``ended``, for a sequence channel, for SenderReceiverRnnGS and SenderReceiverRnnReinforce.
        pair: the receiver returns a pair of embeddings, as `Listener` does; False: one tensor.

    Raises:
        ValueError: the channel does not go with the layout.
    """
    scored, ended, channel = game.channel.estimator.scored, layout == "ended", game.channel
    if ended and isinstance(channel, PatchChannel):
        raise ValueError("a message of patches has holes and no end: use the layout 'slots' and a SymbolGame of EGG")
    if ended and channel.speak_cost:
        raise ValueError(f"nobody pays a speak_cost of {channel.speak_cost} there: set 0, and EGG's length_cost")
    loss = LossInEgg(game.loss, None if ended else channel, layout, pair)
    return SenderInEgg(game.sender, channel, layout), ReceiverInEgg(game.receiver, layout, scored), loss


class SenderInEgg(nn.Module):
    """A sender and its channel as a sender of EGG; `in_egg` makes one."""

    def __init__(self, sender: nn.Module, channel: Channel, layout: Layout = "slots") -> None:
        super().__init__()
        self.sender, self.channel, self.layout = sender, channel, layout

    def forward(self, sender_input: Tensor, aux_input: Aux = None) -> Tensor | Scored:
        """The message; with `Reinforce` also its log-probability and its entropy, both 0 in evaluation."""
        message, scored = self.channel(self.sender(sender_input, aux_input)), self.channel.estimator.scored
        tensor = to_tensor(message, self.layout, ids=scored and self.layout == "ended")
        # EGG hands on this very tensor. Its values lack what silent slots would have said, which gradients need.
        tensor.whole = message  # type: ignore[attr-defined]
        if not scored:
            return tensor
        none = torch.zeros(len(tensor), device=tensor.device)
        scores = [none if x is None else x for x in (message.log_prob, message.entropy)]
        if self.layout == "ended":
            # EGG sums over the steps up to the end, and there is always a first.
            scores = [F.pad(x[:, None], (0, tensor.shape[1] - 1)) for x in scores]
        return tensor, scores[0], scores[1]


class ReceiverInEgg(nn.Module):
    """A receiver as a receiver of EGG, for senders of both sides; `in_egg` makes one.

    Args:
        receiver: ``receiver(message, receiver_input, aux_input)``, as in `Game`.
        layout: of the messages.
        scored: for a game that ends in Reinforce: gives zeros for the log-probability and the entropy.
        vocab_size: V; needed if a sender of EGG sends ids.
    """

    def __init__(
        self, receiver: nn.Module, layout: Layout = "slots", scored: bool = False, vocab_size: int | None = None
    ) -> None:
        super().__init__()
        self.receiver, self.layout, self.scored, self.vocab_size = receiver, layout, scored, vocab_size

    def forward(
        self, message: Tensor, receiver_input: Tensor | None = None, aux_input: Aux = None, lengths: Any = None
    ) -> Tensor | Scored:
        """One tensor, a pair stacked in ``[B, 2, D]``; for SenderReceiverRnnGS one for every end, ``[B, T+1, ...]``."""
        whole = getattr(message, "whole", None)
        if whole is None:
            whole = from_tensor(message, self.layout, self.vocab_size)

        def hear(message: Message) -> Tensor:
            output = self.receiver(message, receiver_input, aux_input)
            return output if isinstance(output, Tensor) else torch.stack(tuple(output), dim=1)

        if self.layout == "ended" and not self.scored:
            # Each step contiguous, as EGG's own receiver gives it: there are losses that view it.
            return torch.stack([hear(_beginning(whole, steps)) for steps in range(message.shape[1])]).transpose(0, 1)
        zeros = torch.zeros(len(message), device=message.device)
        return (hear(whole), zeros, zeros) if self.scored else hear(whole)


def _beginning(message: Message, steps: int) -> Message:
    # Beyond the end too: the game weighs what each end would have cost.
    heard = torch.arange(message.mask.shape[1], device=message.mask.device) < steps
    unsaid = F.one_hot(message.symbols, message.vectors.shape[2]).to(message.vectors.dtype)
    vectors = torch.where(message.mask[:, :, None], message.vectors, unsaid) * heard[:, None]
    return replace(message, vectors=vectors, mask=heard.expand_as(message.mask), gate=None)


class LossInEgg(nn.Module):
    """A loss as a loss of EGG; `in_egg` makes one.

    Args:
        loss: gives one value per sample and what to record, called as in `Game`.
        channel: what it adds to the loss (a price of symbols, a commitment loss) is added; None: nothing.
        layout: of the messages; in SenderReceiverRnnGS the loss sees one step, as a message of one slot.
        pair: the receiver's output is a stacked pair.
    """

    def __init__(
        self, loss: nn.Module, channel: Channel | None = None, layout: Layout = "slots", pair: bool = True
    ) -> None:
        super().__init__()
        self.loss, self.channel, self.layout, self.pair = loss, channel, layout, pair

    def forward(
        self,
        sender_input: Tensor,
        message: Tensor,
        receiver_input: Tensor | None,
        receiver_output: Tensor,
        labels: Tensor | None,
        aux_input: Aux,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss ``[B]`` and what it records."""
        whole = getattr(message, "whole", None)
        if whole is None:
            one_step = self.layout == "ended" and message.dim() == 2
            whole = from_tensor(message[:, None] if one_step else message, "slots" if one_step else self.layout)
        output = tuple(x.contiguous() for x in receiver_output.unbind(dim=1)) if self.pair else receiver_output
        with torch.autocast(sender_input.device.type, enabled=False):
            per_sample, aux = self.loss(sender_input, whole, receiver_input, output, labels, aux_input)
        if self.channel is None:
            return per_sample, aux
        if self.channel.estimator.scored:
            # The score function is EGG's own; it only has to know the price.
            return per_sample + self.channel.speak_cost * whole.lengths, aux
        return per_sample + self.channel.surrogate(whole, per_sample), aux


class EggChannel(Channel):
    """Takes what a sender of EGG gives; it has sampled already, with torch's own generator.

    Args:
        estimator: `Reinforce`, with a `RunningMean`, for senders that give log-probabilities; None: for the others.
        vocab_size: V, without EGG's end; needed for senders that give ids.
        speak_cost: price of a spoken symbol, in nats of the listener's loss.

    Raises:
        ValueError: the estimator needs logits, or does not fit the sender.
    """

    def __init__(
        self, estimator: Estimator | None = None, vocab_size: int | None = None, speak_cost: float = 0.0
    ) -> None:
        super().__init__(estimator, speak_cost)
        if isinstance(getattr(estimator, "baseline", None), LearntBaseline):
            raise ValueError("a learnt baseline needs logits, which senders of EGG keep: use RunningMean")
        self.vocab_size = vocab_size

    def forward(self, features: Tensor | Scored) -> Message:
        """EGG's message, or (message, log-probability, entropy), the latter ``[B]`` or ``[B, T+1]``."""
        tensor, *scores = (features,) if isinstance(features, Tensor) else features
        if bool(scores) != self.estimator.scored:
            what = "returns log-probabilities: use" if scores else "returns no log-probabilities: do not use"
            raise ValueError(f"the sender {what} Reinforce")
        message = from_tensor(tensor, vocab_size=self.vocab_size)
        if scores and self.training:
            if scores[0].dim() == 2:
                heard = F.pad(message.mask, (1, 0), value=True)  # up to the end, and the end
                scores = [(x * heard).sum(dim=1) for x in scores]
            expected = self.estimator.expect(scores[0].detach()[:, None])
            message = replace(message, log_prob=scores[0], entropy=scores[1], expected_loss=expected)
        return message


class EggReceiver(nn.Module):
    """A receiver of EGG as a receiver of our `Game`.

    Args:
        receiver: of EGG. It must not sample: nothing here would teach it.
        layout: what it takes from senders of ours; senders of EGG send what they send.
        ids: the same, ids instead of vectors.
    """

    def __init__(self, receiver: nn.Module, layout: Layout = "ended", ids: bool = False) -> None:
        super().__init__()
        self.receiver, self.layout, self.ids = receiver, layout, ids

    def forward(self, message: Message, receiver_input: Tensor | None = None, aux_input: Aux = None) -> Tensor:
        """What the receiver of EGG gives.

        Raises:
            ValueError: the receiver samples.
        """
        output = self.receiver(to_tensor(message, self.layout, self.ids), receiver_input, aux_input)
        if not isinstance(output, Tensor) and output[1].requires_grad:
            raise ValueError("a receiver of EGG that samples cannot learn here: use a deterministic one")
        return output if isinstance(output, Tensor) else output[0]


class EggLoss(nn.Module):
    """A loss of EGG, with a tensor for the message, as a loss of our `Game`.

    Args:
        loss: any callable with EGG's six arguments.
        per_step: the receiver is an RnnReceiverGS, with an output for every step: the losses are weighted by how
            likely the message ends at each step, as EGG's SenderReceiverRnnGS does.
    """

    def __init__(self, loss: Callable[..., tuple[Tensor, dict[str, Tensor]]], per_step: bool = False) -> None:
        super().__init__()
        self.loss, self.per_step = loss, per_step

    def forward(
        self,
        sender_input: Tensor,
        message: Message,
        receiver_input: Tensor | None,
        receiver_output: Tensor,
        labels: Tensor | None,
        aux_input: Aux,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss ``[B]`` and what it records."""
        tensor, size = to_tensor(message, "ended" if self.per_step else "slots"), len(message.mask)

        def score(said: Tensor, output: Any) -> tuple[Tensor, dict[str, Tensor]]:
            loss, record = self.loss(sender_input, said, receiver_input, output, labels, aux_input)
            rows = {name: per_exchange(value, size) for name, value in record.items()}
            known = {name: value for name, value in rows.items() if value is not None}
            per_sample = per_exchange(loss, size) if loss.dim() else None
            if per_sample is None or per_sample.shape != (size,):
                raise ValueError(
                    f"the loss gives values {list(loss.shape)} for {size} exchanges: one for each is needed, or one "
                    "for each of two views"
                )
            return per_sample, known

        if not self.per_step:
            return score(tensor, receiver_output)
        ends = tensor[:, :-1, 0]
        # What is left at the last step ends there.
        weights = F.pad((1 - ends).cumprod(dim=1), (1, 0), value=1.0) * F.pad(ends, (0, 1), value=1.0)
        total, aux = torch.zeros(()), dict[str, Tensor]()
        for step, weight in enumerate(weights.unbind(dim=1)):
            loss, record = score(tensor[:, step], receiver_output[:, step].contiguous())
            total = total + loss * weight
            aux = {k: v * weight + aux.get(k, 0.0) for k, v in record.items()}
        return total, aux
