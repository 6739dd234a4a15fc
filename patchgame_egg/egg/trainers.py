"""What the trainers of both sides record of each other's games. EGG itself is not imported."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from patchgame_egg.egg.records import Layout, from_egg, holds_symbols
from patchgame_egg.interaction import Interaction


def own_record(record: Any, layout: Layout | None = None, messages: bool = True) -> Interaction:
    """What a game recorded, as ours; of a game of EGG without inputs and outputs, which would fill the memory.

    Args:
        record: an `Interaction`, which is handed back, or EGG's.
        layout: of the messages, as in `from_egg`.
        messages: keep them; those that are numbers and not symbols are left out.

    Raises:
        ValueError: the layout is unknown.
    """
    if isinstance(record, Interaction):
        return record
    fields = {name: getattr(record, name) for name in vars(Interaction())}
    said = fields["message"]
    if said is not None and "message_mask" not in (fields["aux"] or {}) and not (messages and holds_symbols(said)):
        fields["message"] = None
        if fields["message_length"] is None:
            fields["message_length"] = torch.ones(len(said), device=said.device)
    unkept = dict.fromkeys(("sender_input", "receiver_input", "receiver_output"))
    return from_egg(SimpleNamespace(**{**fields, **unkept}), layout)


def for_eggs_callbacks(record: Interaction, interaction_class: Callable[..., Any]) -> Any:
    """Our record for callbacks of EGG: all of ``aux`` is floats, and -1 in the message is silence.

    `from_egg` reads it back: the mask is still there.

    Args:
        record: ours.
        interaction_class: ``egg.core.Interaction``, or ours.
    """
    fields = dict(vars(record))
    aux = {name: value.float() for name, value in fields.pop("aux").items()}
    if fields["message"] is not None and "message_mask" in aux:
        fields["message"] = torch.where(aux["message_mask"] > 0, fields["message"], -1)
    fields["aux_input"] = fields["aux_input"] or {}
    return interaction_class(**fields, aux=aux)


class GameInEgg(nn.Module):
    """Our whole game as a game of EGG's `Trainer`, whose callbacks can read what it records.

    Args:
        game: ours. It works there as it is, too, but EGG's callbacks average whatever is in ``aux`` and cannot average
            a mask.
    """

    def __init__(self, game: nn.Module) -> None:
        super().__init__()
        self.game = game

    def forward(
        self,
        sender_input: Tensor,
        labels: Tensor | None = None,
        receiver_input: Tensor | None = None,
        aux_input: dict[str, Tensor] | None = None,
    ) -> tuple[Tensor, Interaction]:
        """The loss, and the record `for_eggs_callbacks`."""
        loss, record = self.game(sender_input, labels, receiver_input, aux_input)
        return loss, for_eggs_callbacks(record, Interaction)
