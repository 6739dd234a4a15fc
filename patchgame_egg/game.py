"""One exchange between a sender and a receiver, for any sender, channel, receiver and loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from patchgame_egg.channels import Channel
from patchgame_egg.interaction import Interaction


class Game(nn.Module):
    """Speak, listen, score, record.

    Args:
        sender: ``sender(sender_input, aux_input)`` gives whatever the channel understands.
        channel: ``channel(features)`` gives a `Message`; ``channel.surrogate(message, per_sample)`` gives the extra
            loss of its gradient estimator, 0 for most.
        receiver: ``receiver(message, receiver_input, aux_input)`` gives what the loss understands.
        loss: ``loss(sender_input, message, receiver_input, receiver_output, labels, aux_input)`` gives one value per
            sample ``[B]`` and a dict of tensors with B rows to record.
    """

    channel: Channel

    def __init__(self, sender: nn.Module, channel: Channel, receiver: nn.Module, loss: nn.Module) -> None:
        super().__init__()
        self.sender, self.channel, self.receiver, self.loss = sender, channel, receiver, loss

    def forward(
        self,
        sender_input: Tensor,
        labels: Tensor | None = None,
        receiver_input: Tensor | None = None,
        aux_input: dict[str, Tensor] | None = None,
    ) -> tuple[Tensor, Interaction]:
        """Plays one batch.

        Returns:
            The loss, a scalar averaged over the batch, and the `Interaction`, detached.
        """
        features = self.sender(sender_input, aux_input)
        message = self.channel(features)
        output = self.receiver(message, receiver_input, aux_input)
        # Cosines over a temperature near 0.07 need more digits than half precision has.
        with torch.autocast(sender_input.device.type, enabled=False):
            per_sample, aux = self.loss(sender_input, message, receiver_input, output, labels, aux_input)
            total = per_sample.mean() + self.channel.surrogate(message, per_sample)

        aux = {"loss": per_sample, **aux, "message_mask": message.mask}
        aux |= {k: v for k in ("keep_prob", "entropy") if (v := getattr(message, k)) is not None}
        record = Interaction(
            labels=labels,
            aux_input=aux_input,
            message=message.symbols,
            receiver_output=_stack(output),
            message_length=message.lengths,
            aux=aux,
        )
        return total, record.map(Tensor.detach)


def _stack(output: Tensor | Sequence[Tensor]) -> Tensor:
    return output if isinstance(output, Tensor) else torch.stack(tuple(output), dim=1)
