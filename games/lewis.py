"""A Lewis game: a sender says which values the attributes of an object have, a receiver has to name them all."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import tyro
from torch import Tensor, nn

from patchgame_egg import Batch, Game, Message, agents, channels, training


@dataclass
class Options:
    attributes: int = 3  # that an object has
    values: int = 5  # that an attribute can have
    vocab: int = 20  # symbols that carry meaning; the end of a message is one more choice
    max_len: int = 5  # the most symbols that a message has
    cell: Literal["lstm", "gru", "rnn", "transformer"] = "lstm"  # what the sender speaks with
    channel: Literal["gumbel", "reinforce"] = "gumbel"  # how the gradient gets past a symbol
    epochs: int = 5  # of 100 steps
    seed: int = 0  # of weights and noise


class Receiver(nn.Sequential):  # hears the message, and sees nothing
    def forward(self, message: Message, *_: Any) -> Tensor:
        return super().forward(message)


class Reconstruction(nn.Module):  # an object is right if all of its attributes are
    def forward(self, *exchange: Any) -> tuple[Tensor, dict[str, Tensor]]:
        *_, guess, objects, _ = exchange  # [B, A, V] and [B, A]
        loss = nn.functional.cross_entropy(guess.mT, objects, reduction="none").sum(dim=1)
        return loss, {"acc": (guess.argmax(dim=2) == objects).all(dim=1).float()}


def main(argv: list[str] | None = None) -> None:
    o = tyro.cli(Options, prog="python -m games.lewis", description=__doc__, args=argv)
    torch.manual_seed(o.seed)
    objects = torch.cartesian_prod(*[torch.arange(o.values)] * o.attributes)  # all there are, [N, A]
    data = Batch(nn.functional.one_hot(objects, o.values).float(), labels=objects)
    sizes = o.vocab, o.max_len, 48
    decoder: agents.Decoder = agents.TransformerDecoder(*sizes, logit_scale=3.0)
    if o.cell != "transformer":
        decoder = agents.RecurrentDecoder(*sizes, o.cell, logit_scale=3.0)
    sender = agents.SequenceSpeaker(nn.Flatten(), o.attributes * o.values, decoder)
    estimator = channels.Gumbel() if o.channel == "gumbel" else channels.Reinforce()
    channel = channels.SequenceChannel(estimator, seed=o.seed)
    text = agents.TextEncoder(*sizes, depth=1, silence="gate")
    receiver = Receiver(text, nn.Linear(48, o.attributes * o.values), nn.Unflatten(1, (o.attributes, o.values)))
    lewis = Game(sender, channel, receiver, Reconstruction())
    adam = torch.optim.AdamW(lewis.parameters(), lr=2e-3)
    training.Trainer(lewis, adam, [data] * 100, validation_data=[data], callbacks=[training.Console()]).train(o.epochs)
    message = lewis.cpu().eval().channel(sender(data.sender_input))
    for n in torch.randperm(len(objects))[:5]:
        print(*objects[n].tolist(), "->", *message.symbols[n, message.mask[n]].tolist())


if __name__ == "__main__":
    main()
