"""PatchVAE as a game: the sender says which parts occur in which cell of the image, the receiver rebuilds it.

Gupta, Singh and Shrivastava, "PatchVAE: Learning Local Latent Codes for Recognition" (CVPR 2020). Sizes, prices and
the weighting of the error are those of the authors' code; that the paper trains with the weighting, which the code has
as an option, is from memory. What differs here:

* An occurrence is exactly 0 or 1, its gradient the relaxed one (straight-through); theirs is relaxed throughout.
* Features, not appearances, are averaged over the cells of a part, and a kernel of 1 pixel instead of 3 reads the
  average: the mean is then the same up to the kernel, the variance a geometric instead of an arithmetic mean, at a
  hundredth of the cost.
* No tanh at the end, since our images reach beyond [-1, 1].

Letters in shapes: B batch, C channels of the trunk, P cells, N parts, D numbers in the appearance of a part.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.agents.full_precision import in_full
from patchgame_egg.agents.trunks import ResNet9
from patchgame_egg.baselines.reconstruction import laplacian_weights, reconstruction_errors
from patchgame_egg.channels.channel import Channel
from patchgame_egg.channels.estimator import straight_through
from patchgame_egg.channels.gumbel import Gumbel
from patchgame_egg.interaction import Message
from patchgame_egg.patches import patch_grid

# The prices of both divergences were set for images of this side; smaller ones have fewer pixels to set against them.
_PRICED_AT = 224


def cell_trunk(name: str, stride: int, width: int = 64) -> tuple[nn.Sequential, int]:
    """A residual network that gives a cell of features for every ``stride x stride`` pixels, and their mean.

    Args:
        name: ``resnet9`` (ours: all blocks, of which as many halve the image as the stride asks for), or a residual
            network of torchvision, which ends at the layer of that stride, as in the authors' code. Names of weights
            are those of `vision_trunk`.
        stride: 2, 4, 8, 16 or 32; torchvision's from 4 on.
        width: channels of ``resnet9``'s first block.

    Returns:
        ``[cells, mean, flatten]``: the first maps images ``[B, 3, H, W]`` to ``[B, C, H/stride, W/stride]``, the whole
        to ``[B, C]``; and C.

    Raises:
        ValueError: another network, or another stride.
    """
    least = 2 if name == "resnet9" else 4
    if stride not in (2, 4, 8, 16, 32) or stride < least:
        raise ValueError(f"patches of {stride} px: cells of {name} have {least} to 32 px, a power of 2")
    unknown = f"PatchVAE's trunk {name!r}: give resnet9, or a residual network of torchvision"
    if name == "resnet9":
        cells: nn.Module = ResNet9(width, stride)
        dim = 8 * width
    elif name.startswith(("resnet", "resnext", "wide_resnet")):
        from torchvision import models

        if name not in models.list_models():
            raise ValueError(unknown)
        whole = models.get_model(name, weights=None, zero_init_residual=True)
        last = f"layer{stride.bit_length() - 2}"
        kept: OrderedDict[str, nn.Module] = OrderedDict()
        for layer, module in whole.named_children():
            kept[layer] = module
            if layer == last:
                break
        cells = nn.Sequential(kept)
        block = list(kept[last].children())[-1]
        dim = (block.bn3 if hasattr(block, "bn3") else block.bn2).num_features  # type: ignore[union-attr,assignment]
    else:
        raise ValueError(unknown)
    return nn.Sequential(cells, nn.AdaptiveAvgPool2d(1), nn.Flatten()), dim


@dataclass(frozen=True)
class PartFeatures:
    """What the sender knows before anything is drawn.

    Attributes:
        logits: of each part's occurrence in each cell, ``[B, P, N]``.
        mean: of each part's appearance, ``[B, N, D]``.
        log_var: of the appearance's variance, ``[B, N, D]``.
    """

    logits: Tensor
    mean: Tensor
    log_var: Tensor


@dataclass(frozen=True, kw_only=True)
class PartMessage(Message):
    """A message whose slots are cells, where any number of parts may occur, and the appearances that go with it.

    ``vectors`` ``[B, P, N]`` has a 1 for every part of a cell, ``symbols`` its likeliest part, and ``mask`` says
    whether there is any.

    Attributes:
        appearance: of each part, the same wherever it occurs, ``[B, N, D]``.
        features: what was drawn from.
    """

    appearance: Tensor
    features: PartFeatures


class PartSender(nn.Module):
    """A trunk with two heads: which parts occur where, and what they look like.

    Args:
        trunk: from `cell_trunk`.
        trunk_dim: C.
        parts: N.
        appearance_dim: D; the authors' 16.
    """

    def __init__(self, trunk: nn.Sequential, trunk_dim: int, parts: int, appearance_dim: int = 16) -> None:
        super().__init__()
        self.trunk, self.trunk_dim = trunk, trunk_dim
        self.occurrence = nn.Conv2d(trunk_dim, parts, 3, padding=1)
        self.appearance = nn.Parameter(torch.randn(parts, trunk_dim, 2 * appearance_dim) * trunk_dim**-0.5)
        self.shift = nn.Parameter(torch.zeros(parts, 2 * appearance_dim))

    def forward(self, sender_input: Tensor, aux_input: dict[str, Tensor] | None = None) -> PartFeatures:
        """Images ``[B, 3, H, W]`` to what the channel draws from."""
        cells = self.trunk[0](sender_input)  # [B, C, G, G]
        logits = in_full(self.occurrence, cells).flatten(2).mT.float()  # [B, P, N]
        weight = logits.detach().sigmoid()
        share = weight / (weight.sum(dim=1, keepdim=True) + 1e-7)
        pooled = share.mT.to(cells.dtype) @ cells.flatten(2).mT  # [B, N, C]
        read = torch.einsum("bnc,ncd->bnd", pooled, self.appearance.to(cells.dtype)).float() + self.shift
        mean, log_var = read.chunk(2, dim=2)
        return PartFeatures(logits, mean, log_var.clamp(-10, 10))


class PartChannel(Channel):
    """Draws occurrences and appearances in training; in evaluation takes the likeliest.

    Args:
        temperature: of the relaxed Bernoulli variables whose gradient is used; a schedule may set ``estimator``'s.
        seed: seed of all random draws.
    """

    estimator: Gumbel

    def __init__(self, temperature: float = 1.0, seed: int = 0) -> None:
        super().__init__(Gumbel(temperature), seed=seed)

    def forward(self, features: PartFeatures) -> PartMessage:
        """Speaks, cells in raster order."""
        logits, appearance = features.logits, features.mean
        if self.training:
            device = logits.device
            # The difference of two Gumbel variables is logistic.
            noisy = logits + self.uniform(*logits.shape, device=device).logit(eps=1e-6)
            unit = self.uniform(*appearance.shape, device=device).clamp(1e-6, 1 - 1e-6)
            appearance = appearance + torch.special.ndtri(unit) * (features.log_var / 2).exp()
        else:
            noisy = logits
        occurs = straight_through((noisy > 0).to(logits.dtype), (noisy / self.estimator.temperature).sigmoid())
        return PartMessage(
            symbols=logits.argmax(dim=2),
            vectors=occurs,
            mask=(noisy > 0).any(dim=2),
            appearance=appearance,
            features=features,
        )


class PartReceiver(nn.Module):
    """Rebuilds the image: every cell holds the appearances of its parts, and a pyramid of convolutions enlarges it.

    Args:
        image_size: side of the square images, pixels.
        patch_size: side of a cell, a power of 2 that divides it.
        parts: N.
        appearance_dim: D.
        width: channels before the last convolution, doubled at each halving of the resolution; the authors' 64.
    """

    def __init__(self, image_size: int, patch_size: int, parts: int, appearance_dim: int = 16, width: int = 64) -> None:
        super().__init__()
        self.grid = patch_grid(image_size, patch_size)
        channels = width * patch_size // 2
        self.mix = nn.Parameter(torch.randn(parts, appearance_dim, channels) * (parts * appearance_dim) ** -0.5)
        layers: list[nn.Module] = [nn.BatchNorm2d(channels), nn.LeakyReLU(0.2, inplace=True)]
        while channels > width:
            layers += [
                nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1, bias=False),
                nn.BatchNorm2d(channels // 2),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            channels //= 2
        self.enlarge = nn.Sequential(*layers, nn.ConvTranspose2d(channels, 3, 4, 2, 1))

    def forward(
        self, message: PartMessage, receiver_input: Tensor | None = None, aux_input: dict[str, Tensor] | None = None
    ) -> Tensor:
        """A message to images ``[B, 3, H, W]``; the receiver sees none itself."""
        # A 1 x 1 convolution over (part, number) channels, of which most cells leave most at 0.
        looks = torch.einsum("bnd,ndc->bnc", message.appearance, self.mix)
        cells = torch.bmm(message.vectors.to(looks.dtype), looks)  # [B, P, channels]
        return self.enlarge(cells.mT.unflatten(2, (self.grid, self.grid)))


def occurrence_divergence(logits: Tensor, prior: float) -> Tensor:
    """KL of Bernoulli variables from a prior.

    Args:
        logits: any shape.
        prior: probability, in (0, 1).

    Returns:
        Of the same shape, nats, at least 0.
    """
    yes, no = F.logsigmoid(logits), F.logsigmoid(-logits)
    return logits.sigmoid() * (yes - math.log(prior)) + (-logits).sigmoid() * (no - math.log1p(-prior))


def appearance_divergence(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL of normal variables from the standard normal one: two tensors of one shape to another, nats, at least 0."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var)


class PartLoss(nn.Module):
    """The negative evidence bound: the error where there is detail, and what the parts cost.

    Args:
        patch_size: side of the cells whose detail is compared.
        prior: probability that a part occurs in a cell; the authors' 1/N.
        occurrence_price: of a nat of occurrence; the authors' 10.
        appearance_price: of a nat of appearance; the authors' 1.

    The whole is per pixel value, so that its size does not depend on the image's. The prices are those of the
    authors' images of 224 pixels: an image of 56 pixels counts as one of 224 with the same error per pixel.
    """

    def __init__(
        self, patch_size: int, prior: float, occurrence_price: float = 10.0, appearance_price: float = 1.0
    ) -> None:
        super().__init__()
        if not 0 < prior < 1 or occurrence_price < 0 or appearance_price < 0:
            raise ValueError(
                f"a prior in (0, 1) and prices of 0 or more: got {prior}, {occurrence_price} and {appearance_price}"
            )
        self.patch_size, self.prior = patch_size, prior
        self.occurrence_price, self.appearance_price = occurrence_price, appearance_price

    def forward(
        self,
        sender_input: Tensor,
        message: PartMessage,
        receiver_input: Tensor | None,
        receiver_output: Tensor,
        labels: Tensor | None,
        aux_input: dict[str, Tensor] | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss ``[B]``; the errors; both divergences, nats per image; and how many parts occurred."""
        weights = laplacian_weights(sender_input, self.patch_size)
        errors = reconstruction_errors(receiver_output.float(), sender_input, weights)
        features = message.features
        occurrence = occurrence_divergence(features.logits, self.prior).sum(dim=(1, 2))
        appearance = appearance_divergence(features.mean, features.log_var).sum(dim=(1, 2))
        price = self.occurrence_price * occurrence + self.appearance_price * appearance
        aux = {
            **errors,
            "kl_occurrence": occurrence,
            "kl_appearance": appearance,
            "occurrences": message.vectors.sum(dim=(1, 2)),
        }
        return errors["mse_weighted"] + price / (3 * _PRICED_AT**2), {k: v.detach() for k, v in aux.items()}
