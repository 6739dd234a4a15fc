"""One exchange between a sender and a receiver, for any sender, channel, receiver and loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from patchgame_egg.channels.channel import Channel
from patchgame_egg.fit import check_message, check_score, fitting
from patchgame_egg.interaction import Interaction, Message
from patchgame_egg.micro_batch import exchange_in_parts


class Game(nn.Module):
    """Speak, listen, score, record.

    Args:
        sender: ``sender(sender_input, aux_input)`` gives whatever the channel understands.
        channel: ``channel(features)`` gives a `Message`; ``channel.surrogate(message, per_sample)`` gives the extra
            loss of its gradient estimator, 0 for most.
        receiver: ``receiver(message, receiver_input, aux_input)`` gives what the loss understands.
        loss: ``loss(sender_input, message, receiver_input, receiver_output, labels, aux_input)`` gives one value per
            sample ``[B]`` and a dict of tensors with B rows to record.
        micro_batch: in training, activations of at most so many images are in memory at a time; the loss is that of
            the whole batch (`exchange_in_parts`). 0: all at once.

    Raises:
        ValueError: ``micro_batch`` is negative.
    """

    channel: Channel

    def __init__(
        self, sender: nn.Module, channel: Channel, receiver: nn.Module, loss: nn.Module, micro_batch: int = 0
    ) -> None:
        super().__init__()
        if micro_batch < 0:
            raise ValueError(f"a micro-batch of {micro_batch} images: give 1 or more, or 0 for whole batches")
        self.sender, self.channel, self.receiver, self.loss = sender, channel, receiver, loss
        self.micro_batch = micro_batch

    def exchange(
        self, sender_input: Tensor, receiver_input: Tensor | None, aux_input: dict[str, Tensor] | None
    ) -> tuple[Message, Tensor | Sequence[Tensor]]:
        """What is said, and what the receiver makes of it."""
        with fitting("the sender", sender_input=sender_input):
            features = self.sender(sender_input, aux_input)
        with fitting("the channel", features=features):
            message = check_message(self.channel(features), len(sender_input))
        with fitting("the receiver", message=message, receiver_input=receiver_input):
            return message, self.receiver(message, receiver_input, aux_input)

    def forward(
        self,
        sender_input: Tensor,
        labels: Tensor | None = None,
        receiver_input: Tensor | None = None,
        aux_input: dict[str, Tensor] | None = None,
    ) -> tuple[Tensor, Interaction]:
        """Plays one batch.

        Args:
            sender_input: what the sender sees, ``[B, ...]``. For the agents of this library: images, float
                ``[B, 3, H, W]``, normalised, as a `ViewLoader` gives them, not the uint8 of an `ImageLoader`.
            labels: ``[B]``, or None; handed to the loss and recorded.
            receiver_input: what the receiver sees, float ``[B, 3, H, W]`` as well, or None. With K distractors beside
                each image, ``[B, 1 + K, 3, H, W]``, the image itself first.
            aux_input: more tensors with B rows; handed to both agents and the loss, and recorded.

        Returns:
            The loss, a scalar averaged over the batch, and the `Interaction`, detached.

        Raises:
            ValueError: a part does not fit the others; it is named, with what it was given or gave.
        """
        inputs = sender_input, receiver_input, aux_input
        if self.micro_batch and torch.is_grad_enabled():
            message, output = exchange_in_parts(self, self.exchange, self.micro_batch, *inputs)
        else:
            message, output = self.exchange(*inputs)
        # Cosines over a temperature near 0.07 need more digits than half precision has.
        with torch.autocast(sender_input.device.type, enabled=False):
            with fitting("the loss", message=message, receiver_output=output):
                scored = self.loss(sender_input, message, receiver_input, output, labels, aux_input)
            per_sample, aux = check_score(scored, len(sender_input))
            total = per_sample.mean() + self.channel.surrogate(message, per_sample)

        aux = {"loss": per_sample, **aux, "message_mask": message.mask}
        aux |= {k: v for k in ("keep_prob", "entropy") if (v := getattr(message, k)) is not None}
        record = Interaction(
            # Some loaders of EGG give one label for a whole batch.
            labels=labels if isinstance(labels, Tensor) and labels.shape[:1] == per_sample.shape else None,
            aux_input=aux_input,
            message=message.symbols,
            receiver_output=_stack(output),
            message_length=message.lengths,
            aux=aux,
        )
        return total, record.map(Tensor.detach)


def _stack(output: Tensor | Sequence[Tensor]) -> Tensor:
    if isinstance(output, Tensor):
        return output
    if len({part.shape for part in output}) == 1:
        return torch.stack(tuple(output), dim=1)
    # A text, and an image with its distractors.
    return torch.cat([part[:, None] if part.dim() == 2 else part for part in output], dim=1)
