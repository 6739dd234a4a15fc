"""More than two agents: random pairs of a population, who understands whom, and a listener who comes late."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from patchgame_egg.channels.channel import Channel
from patchgame_egg.distributed.random_module import RandomModule
from patchgame_egg.game import Game
from patchgame_egg.interaction import Interaction


class Population(RandomModule):
    """Several speakers and listeners; in training a random pair plays each batch, the same on every rank.

    Args:
        senders: n modules, ``sender(sender_input, aux_input)`` each.
        channels: n, one for each sender: noise, baseline and codebook belong to a speaker.
        receivers: m modules, ``receiver(message, receiver_input, aux_input)`` each.
        loss: gives one value per sample and what to record, called as in `Game`.
        seed: seed of the random pairs.
        micro_batch: in training, activations of at most so many images are in memory at a time; 0: of the whole batch.

    Attributes:
        pair: (speaker, listener) who play in evaluation.

    Raises:
        ValueError: nobody speaks or listens, or there are not as many channels as senders.
    """

    # A pair leaves all others without a gradient.
    takes_turns = True

    def __init__(
        self,
        senders: Sequence[nn.Module],
        channels: Sequence[Channel],
        receivers: Sequence[nn.Module],
        loss: nn.Module,
        seed: int = 0,
        micro_batch: int = 0,
    ) -> None:
        super().__init__(seed)
        if not senders or not receivers:
            raise ValueError(f"a population needs agents, got {len(senders)} senders and {len(receivers)} receivers")
        if len(channels) != len(senders):
            raise ValueError(f"each sender has its own channel, got {len(channels)} for {len(senders)} senders")
        self.senders, self.channels = nn.ModuleList(senders), nn.ModuleList(channels)
        self.receivers, self.loss = nn.ModuleList(receivers), loss
        self.pair, self.micro_batch = (0, 0), micro_batch

    def game(self, speaker: int, listener: int) -> Game:
        """The game of one pair; it shares their weights."""
        channel = self.channels[speaker]
        assert isinstance(channel, Channel)
        game = Game(self.senders[speaker], channel, self.receivers[listener], self.loss, self.micro_batch)
        game.training = self.training
        return game

    def forward(
        self,
        sender_input: Tensor,
        labels: Tensor | None = None,
        receiver_input: Tensor | None = None,
        aux_input: dict[str, Tensor] | None = None,
    ) -> tuple[Tensor, Interaction]:
        """Plays one batch, as `Game` does; ``aux`` also says who played: ``speaker`` and ``listener``, ``[B]``."""
        pair = self._draw() if self.training else self.pair
        total, record = self.game(*pair)(sender_input, labels, receiver_input, aux_input)
        for name, number in zip(("speaker", "listener"), pair, strict=True):
            record.aux[name] = torch.full((record.size,), number, device=total.device)
        return total, record

    def _draw(self) -> tuple[int, int]:
        generator = torch.Generator().manual_seed(self.next_key())
        pair = int(torch.randint(len(self.senders) * len(self.receivers), (), generator=generator))
        return divmod(pair, len(self.receivers))


class FrozenSpeakerGame(Game):
    """A speaker that no longer learns or samples, and a listener that learns its language.

    How fast the listener gets there is the language's ease of learning (Li and Bowling, 2019).

    Args:
        sender: ``sender(sender_input, aux_input)`` gives what the channel understands; it and the channel are changed
            in place.
        channel: gives a `Message`; it no longer samples.
        receiver: ``receiver(message, receiver_input, aux_input)`` gives what the loss understands; it alone learns.
        loss: gives one value per sample and what to record, called as in `Game`.
        micro_batch: in training, activations of at most so many images are in memory at a time; 0: of the whole batch.
    """

    def __init__(
        self, sender: nn.Module, channel: Channel, receiver: nn.Module, loss: nn.Module, micro_batch: int = 0
    ) -> None:
        super().__init__(sender, channel, receiver, loss, micro_batch)
        for part in (self.sender, self.channel):
            part.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> FrozenSpeakerGame:
        """Training mode for the listener alone."""
        super().train(mode)
        self.sender.eval()
        self.channel.eval()
        return self
