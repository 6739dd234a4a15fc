"""The agents of EGG's zoo game ``emcom_as_ssl`` (Dessi et al., 2021) in our `Game`.

Theirs is one module: vision networks, a sender that says one symbol and makes a vector of it, a receiver that makes a
vector of the other view, and a loss that compares the two. Here the symbol is the message, so that it is recorded and
measured like any other; making a vector of it is the listener's part. All weights are shared with theirs. EGG itself is
not imported. Letters in shapes: B batch, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from patchgame_egg.egg.agents import Aux, EggChannel, EggLoss
from patchgame_egg.game import Game
from patchgame_egg.interaction import Interaction, Message


def ssl_game(theirs: nn.Module) -> Game:
    """A game of ``emcom_as_ssl`` as ours: the same loss and the same gradients, from the same random numbers.

    Args:
        theirs: its ``VisionGameWrapper``, from ``egg.zoo.emcom_as_ssl.games.build_game``.

    Raises:
        ValueError: it is another game, or its sender has no symbols: a ``SimCLRSender``.
    """
    game, vision = getattr(theirs, "game", None), getattr(theirs, "vision_module", None)
    sender, receiver, loss = (getattr(game, name, None) for name in ("sender", "receiver", "loss"))
    if vision is None or sender is None or receiver is None or loss is None:
        raise ValueError(f"{type(theirs).__name__} is not a VisionGameWrapper of emcom_as_ssl: build_game makes one")
    if not hasattr(sender, "temperature") or not hasattr(sender, "fc_out"):
        raise ValueError(
            f"{type(sender).__name__} sends numbers and no symbols: build the game with simclr_sender=False"
        )
    other = vision.encoder if vision.shared else vision.encoder_recv
    return SslGame(SslSender(vision.encoder, sender), EggChannel(), SslReceiver(other, sender, receiver), SslLoss(loss))


class SslGame(Game):
    """A game that also takes the pairs of views which the loaders of ``emcom_as_ssl`` give as one input."""

    def forward(
        self,
        sender_input: Tensor | Sequence[Tensor],
        labels: Tensor | None = None,
        receiver_input: Tensor | None = None,
        aux_input: Aux = None,
    ) -> tuple[Tensor, Interaction]:
        """Plays one batch: two views ``[B, 3, H, W]``, the sender's and the receiver's, or these in a pair."""
        if not isinstance(sender_input, Tensor):
            # A third one is the image without augmentation, which nobody sees.
            sender_input, receiver_input = sender_input[:2]
        return super().forward(sender_input, labels, receiver_input, aux_input)


class SslSender(nn.Module):
    """A vision network and an ``EmSSLSender``: images ``[B, 3, H, W]`` to a symbol ``[B, V]``, one-hot or relaxed."""

    def __init__(self, vision: nn.Module, agent: nn.Module) -> None:
        super().__init__()
        self.vision, self.agent = vision, agent

    def forward(self, sender_input: Tensor, aux_input: Aux = None) -> Tensor:
        said: list[Tensor] = []
        # The agent returns its symbol without a gradient; what it makes a vector of has one.
        hook = self.agent.fc_out.register_forward_pre_hook(lambda _, given: said.append(given[0]))  # type: ignore
        try:
            self.agent(self.vision(sender_input))
        finally:
            hook.remove()
        return said[0]


class SslReceiver(nn.Module):
    """What makes vectors of the symbol and of the other view: a pair, each ``[B, D]``."""

    def __init__(self, vision: nn.Module, sender: nn.Module, agent: nn.Module) -> None:
        super().__init__()
        self.vision, self.words, self.agent = vision, sender.fc_out, agent

    def forward(self, message: Message, receiver_input: Tensor, aux_input: Aux = None) -> tuple[Tensor, Tensor]:
        text = self.words(message.vectors[:, 0])  # type: ignore[operator]
        return text, self.agent(text, self.vision(receiver_input))[0]


class SslLoss(nn.Module):
    """A loss of ``emcom_as_ssl``, which is given two vectors, as a loss of our `Game`."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def forward(
        self,
        sender_input: Tensor,
        message: Message,
        receiver_input: Tensor | None,
        receiver_output: Sequence[Tensor],
        labels: Tensor | None,
        aux_input: Aux,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss ``[B]``, and what it records."""
        text, image = receiver_output
        compared = EggLoss(lambda sent, _, other, seen, *rest: self.loss(sent, text, other, seen, *rest))
        return compared(sender_input, message, receiver_input, image, labels, aux_input)
