"""VQ-VAE-2 as a game: the sender says a coarse and a fine grid of codes, the receiver rebuilds the image from them.

Razavi, van den Oord and Vinyals, "Generating Diverse High-Fidelity Images with VQ-VAE-2" (NeurIPS 2019), first stage
only: no prior over the codes is learnt. The networks are those of the paper's 256-pixel models (grids at strides 4 and
8, two residual blocks each), and the commitment weighs 0.25; these are from memory of the paper. Codes follow a moving
average, here with a decay of 0.95 instead of 0.99: in trainings of hundreds of steps the slower one leaves most codes
behind. They start at k-means of the first batch, and unused ones move to where they are needed, which the paper does
not do.

Letters in shapes: B batch, C channels, D width of a code, h and w sides of the coarse grid, V codes in each codebook,
T codes of a message: h*w coarse ones, then 4*h*w fine ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from patchgame_egg.channels.channel import Channel
from patchgame_egg.channels.estimator import straight_through
from patchgame_egg.channels.quantised import Quantised
from patchgame_egg.interaction import Message


class Residual(nn.Module):
    """x + conv1(relu(conv3(relu(x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width // 2, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, H, W]`` to the same."""
        return x + self.change(x)


def _encoder(inputs: int, width: int, halvings: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for step in range(halvings):
        outputs = width if step == 1 else width // 2
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.ReLU(inplace=True)]
        inputs = outputs
    layers += [nn.Conv2d(inputs, width, 3, padding=1), Residual(width), Residual(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _decoder(inputs: int, width: int, outputs: int, doublings: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(inputs, width, 3, padding=1), Residual(width), Residual(width), nn.ReLU()]
    if doublings == 2:
        layers += [nn.ConvTranspose2d(width, width // 2, 4, 2, 1), nn.ReLU(inplace=True)]
        width //= 2
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, outputs, 4, 2, 1))


class HierarchyEncoder(nn.Module):
    """The encoder: a grid of stride 4, and one of stride 8 on top of it.

    Args:
        width: C; the paper's is 128.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fine = _encoder(3, width, 2)
        self.coarse = _encoder(width, width, 1)

    def grids(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``[B, 3, 8h, 8w]`` to ``[B, C, h, w]`` and ``[B, C, 2h, 2w]``."""
        fine = self.fine(images)
        return self.coarse(fine), fine

    def forward(self, images: Tensor) -> Tensor:
        """Images to features ``[B, 2C]``, for whoever wants one vector: the means of both grids, coarse first."""
        return torch.cat([grid.mean(dim=(2, 3)) for grid in self.grids(images)], dim=1)


@dataclass(frozen=True)
class HierarchyFeatures:
    """What the sender knows before anything is chosen.

    Attributes:
        coarse: what the coarse codes should be like, ``[B, D, h, w]``.
        refine: from the coarse codes as they were said, ``[B, D, h, w]``, to what the fine ones should be like,
            ``[B, D, 2h, 2w]``.
    """

    coarse: Tensor
    refine: Callable[[Tensor], Tensor]


class HierarchySender(nn.Module):
    """The encoder, and what it takes to say its grids in codes.

    Args:
        width: C.
        code_dim: D.
    """

    def __init__(self, width: int, code_dim: int) -> None:
        super().__init__()
        self.trunk, self.trunk_dim = HierarchyEncoder(width), 2 * width
        self.coarse_code = nn.Conv2d(width, code_dim, 1)
        self.context = _decoder(code_dim, width, code_dim, 1)
        self.fine_code = nn.Conv2d(code_dim + width, code_dim, 1)

    def forward(self, sender_input: Tensor, aux_input: dict[str, Tensor] | None = None) -> HierarchyFeatures:
        """Images ``[B, 3, 8h, 8w]`` to what the channel chooses from."""
        coarse, fine = self.trunk.grids(sender_input)
        return HierarchyFeatures(
            self.coarse_code(coarse), lambda said: self.fine_code(torch.cat([self.context(said), fine], dim=1))
        )


class HierarchyChannel(Channel):
    """Two codebooks. Coarse symbols are 0 to V - 1, fine ones V to 2V - 1; every slot speaks.

    A message's vectors are the codes themselves, ``[B, T, D]``, for sender and receiver share the codebooks; one-hot
    vectors of this many slots would not fit in memory. The gradient passes as if the codes had been copied.

    Args:
        code_dim: D.
        vocab_size: V.
        commitment: weight of the loss that keeps the sender near its codes.
        decay: of the codebooks' moving averages, per batch.
        seed: seed of where codes start and where unused ones are put.
    """

    estimator: Quantised

    def __init__(
        self, code_dim: int, vocab_size: int, commitment: float = 0.25, decay: float = 0.95, seed: int = 0
    ) -> None:
        super().__init__(Quantised(code_dim, vocab_size, commitment, decay, seed), seed=seed)
        self.fine = Quantised(code_dim, vocab_size, commitment, decay, seed + 1)
        self.vocab_size = vocab_size

    @staticmethod
    def say(book: Quantised, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A grid ``[B, D, h, w]`` in codes of the same shape, their symbols ``[B, h*w]``, and the commitment loss."""
        wanted = grid.float().movedim(1, 3)  # [B, h, w, D]
        symbols, codebook, penalty = book.nearest(wanted.flatten(0, 2))
        codes = straight_through(codebook[symbols].view_as(wanted), wanted)
        return codes.movedim(3, 1), symbols.view(len(grid), -1), penalty

    def forward(self, features: HierarchyFeatures) -> Message:
        """Speaks: the coarse grid in raster order, then the fine one, which knows what the coarse one said."""
        coarse, coarse_symbols, first = self.say(self.estimator, features.coarse)
        fine, fine_symbols, second = self.say(self.fine, features.refine(coarse))
        symbols = torch.cat([coarse_symbols, fine_symbols + self.vocab_size], dim=1)
        return Message(
            symbols=symbols,
            vectors=torch.cat([coarse.flatten(2), fine.flatten(2)], dim=2).mT,
            mask=torch.ones_like(symbols, dtype=torch.bool),
            penalty=first + second if self.training else None,
        )


class HierarchyReceiver(nn.Module):
    """Rebuilds the image from the codes of both grids.

    Args:
        width: C.
        code_dim: D.
        image_size: side of the square images, pixels; a multiple of 8.

    Raises:
        ValueError: another size.
    """

    def __init__(self, width: int, code_dim: int, image_size: int) -> None:
        super().__init__()
        if image_size % 8:
            raise ValueError(f"images of {image_size} px: the grids of VQ-VAE-2 need a multiple of 8")
        self.side = image_size // 8
        self.enlarge = nn.ConvTranspose2d(code_dim, code_dim, 4, 2, 1)
        self.decoder = _decoder(2 * code_dim, width, 3, 2)

    def forward(
        self, message: Message, receiver_input: Tensor | None = None, aux_input: dict[str, Tensor] | None = None
    ) -> Tensor:
        """A message to images ``[B, 3, 8h, 8w]``; the receiver sees none itself."""
        side = self.side
        coarse, fine = message.vectors.mT.split([side**2, 4 * side**2], dim=2)
        coarse, fine = coarse.unflatten(2, (side, side)), fine.unflatten(2, (2 * side, 2 * side))
        return self.decoder(torch.cat([self.enlarge(coarse), fine], dim=1))
