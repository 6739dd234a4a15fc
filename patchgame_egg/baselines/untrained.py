"""Random weights: what a trunk is worth before it has learnt anything."""

from __future__ import annotations

from torch import Tensor, nn

from patchgame_egg.interaction import Interaction
from patchgame_egg.losses import symmetric_info_nce


class Untrained(nn.Module):
    """A trunk that plays without learning: it matches two views of an image by their features.

    Args:
        trunk: images to features ``[B, D]``.
        trunk_dim: D.
        temperature: of the loss.
    """

    def __init__(self, trunk: nn.Module, trunk_dim: int, temperature: float) -> None:
        super().__init__()
        self.trunk, self.trunk_dim, self.temperature = trunk, trunk_dim, temperature

    def forward(
        self,
        sender_input: Tensor,
        labels: Tensor | None = None,
        receiver_input: Tensor | None = None,
        aux_input: dict[str, Tensor] | None = None,
    ) -> tuple[Tensor, Interaction]:
        """The loss and a record, as of any game."""
        second = sender_input if receiver_input is None else receiver_input
        first, other = self.trunk(sender_input).float(), self.trunk(second).float()
        per_sample, aux = symmetric_info_nce(first, other, self.temperature)
        record = Interaction(labels=labels, aux_input=aux_input, aux={"loss": per_sample, **aux})
        return per_sample.mean(), record.map(Tensor.detach)
