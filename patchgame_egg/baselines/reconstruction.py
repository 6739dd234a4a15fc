"""Games in which the receiver has to rebuild what the sender saw, and how well it does.

Letters in shapes: B batch, H and W sides of the image.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.game import Game
from patchgame_egg.interaction import Interaction, Message


def laplacian_weights(images: Tensor, cell: int) -> Tensor:
    """Where an image has detail: the weight of every pixel's error, as in PatchVAE (Gupta et al., CVPR 2020).

    As in the authors' code: the absolute Laplacian of each colour (neighbours minus four times the middle, edges
    repeated), summed within square cells, then scaled to a mean of 1.

    Args:
        images: ``[B, 3, H, W]``.
        cell: side of the cells in pixels; divides H and W.

    Returns:
        ``[B, 3, H, W]``, at least 0, of mean 1 in each colour of each image; all 1 where there is no detail.
    """
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    neighbours = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
    detail = F.avg_pool2d((neighbours - 4 * images).abs(), cell) + 1e-6
    return F.interpolate(detail / detail.mean(dim=(2, 3), keepdim=True), scale_factor=cell, mode="nearest")


def reconstruction_errors(guess: Tensor, images: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
    """How far the guesses are from the images.

    Args:
        guess: ``[B, 3, H, W]``.
        images: of the same shape, and in the same units.
        weights: of the pixels, of mean 1, or None.

    Returns:
        Each ``[B]``: ``mse``, the mean squared error; ``mse_constant``, that of each image's own mean colour; with
        weights, ``mse_weighted``.
    """
    squared = (guess - images).square()
    found = {
        "mse": squared.mean(dim=(1, 2, 3)),
        "mse_constant": images.var(dim=(2, 3), unbiased=False).mean(dim=1),
    }
    return found if weights is None else found | {"mse_weighted": (squared * weights).mean(dim=(1, 2, 3))}


def relative_error(logs: Interaction) -> float:
    """The squared error of an epoch over that of painting every image in its mean colour: 0 perfect, 1 chance."""
    return float(logs.aux["mse"].mean() / logs.aux["mse_constant"].mean())


class SquaredError(nn.Module):
    """The mean squared error between the receiver's output and the sender's input, as a game's loss."""

    def forward(
        self,
        sender_input: Tensor,
        message: Message,
        receiver_input: Tensor | None,
        receiver_output: Tensor,
        labels: Tensor | None,
        aux_input: dict[str, Tensor] | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss ``[B]`` and the errors of `reconstruction_errors`."""
        errors = reconstruction_errors(receiver_output.float(), sender_input)
        return errors["mse"], {k: v.detach() for k, v in errors.items()}


class ReconstructionGame(Game):
    """A game whose sender has a trunk worth keeping: images to features ``[B, sender.trunk_dim]``."""

    @property
    def trunk(self) -> nn.Module:
        """The sender's trunk."""
        trunk = self.sender.trunk
        assert isinstance(trunk, nn.Module)
        return trunk

    @property
    def trunk_dim(self) -> int:
        """The width of what it gives."""
        width = self.sender.trunk_dim
        assert isinstance(width, int)
        return width
