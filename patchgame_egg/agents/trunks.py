"""Networks from images to features: a small ResNet of our own, and any trunk of torchvision or timm by name.

torchvision and timm are imported where they are used, like every package that takes seconds and that most runs do
without.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from patchgame_egg.choices import Padding

# A vector of AVX2 holds eight float32.
_VECTOR = 8


class _Shortcut(nn.Conv2d):
    """A 1 x 1 convolution that steps over pixels, safe at any width.

    torch 2.15 can end the process in the training of very narrow ones, on processors without AVX-512. There the
    pixels are picked first, which is the same function; wider layers, where it works, stay as they are, to the last
    digit.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.in_channels >= _VECTOR:
            return super().forward(input)
        picked = input[..., :: self.stride[0], :: self.stride[1]]
        return nn.functional.conv2d(picked, self.weight, self.bias)


class _MirroredConv(nn.Conv2d):
    """A convolution whose kernels are their own mirror images: of a mirrored image it makes the mirrored map."""

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, (self.weight + self.weight.flip(3)) / 2, self.bias)


class _BasicBlock(nn.Module):
    """Two convolutions beside a shortcut (He et al., 2016): torchvision's ``BasicBlock``, down to names of weights."""

    def __init__(
        self, channels: int, planes: int, stride: int, downsample: nn.Module | None, convolution: type[nn.Conv2d]
    ) -> None:
        super().__init__()
        self.conv1 = convolution(channels, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = convolution(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += shortcut
        return self.relu(out)


class ResNet9(nn.Module):
    """A ResNet of a stem and four basic blocks: one number out of every ``stride x stride`` pixels in.

    Args:
        width: channels of the first block; the paper's ResNet-9 has 64. The last block has eight times as many.
        stride: pixels per cell of the output. Halvings are spent from the stem on; at 16 the last block keeps
            its resolution, as in the authors' release.
        padding: what convolutions see beyond the border: ``zeros``, as every ResNet does, or, ``replicate``, the
            nearest value that is there, so that a plain image has plain features up to its border.
        mirrored: every kernel is its own mirror image, so that left and right are alike to the network. Its map of a
            mirrored image is nearly the mirrored map; not quite, since a halving keeps every second pixel, from the
            left on.

    Attributes:
        out_dim: channels of the output.
        stride: pixels per cell of the output, a power of two from 1 to 32.
    """

    def __init__(self, width: int = 64, stride: int = 32, padding: Padding = "zeros", mirrored: bool = False) -> None:
        super().__init__()
        convolution = _MirroredConv if mirrored else nn.Conv2d
        halvings = min(max(stride, 1).bit_length() - 1, 5)
        self.stride = 2**halvings
        strides = [2] * halvings + [1] * (5 - halvings)
        self.stem = nn.Sequential(
            convolution(3, width, 7, strides[0], 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, strides[1], 1),
        )
        blocks: list[nn.Module] = []
        channels = width
        for planes, step in zip((width, 2 * width, 4 * width, 8 * width), (1, *strides[2:]), strict=True):
            shortcut = None
            if step != 1 or channels != planes:
                shortcut = nn.Sequential(_Shortcut(channels, planes, 1, step, bias=False), nn.BatchNorm2d(planes))
            blocks.append(_BasicBlock(channels, planes, step, shortcut, convolution))
            channels = planes
        self.blocks = nn.Sequential(*blocks)
        self.out_dim = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.padding != (0, 0):
                module.padding_mode = padding

    def forward(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W] -> [B, 8*width, H/stride, W/stride]``, rounded up where the stride does not divide."""
        return self.blocks(self.stem(images))


def vit_tiny(image_size: int, patch_size: int, class_token: bool = False) -> nn.Module:
    """A ViT-tiny that keeps its patches apart: ``[B, 3, H, W] -> [B, P, 192]``, or, with a class token, that first."""
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        image_size, patch_size, embed_dim=192, depth=12, num_heads=3, num_classes=0, global_pool="",
        class_token=class_token, drop_path_rate=0.1,
    )  # fmt: skip


def vision_trunk(name: str, image_size: int, width: int = 64) -> tuple[nn.Module, int]:
    """A vision network without its classifier.

    Args:
        name: ``resnet9`` (ours), or any classification model of torchvision or timm, built with random weights.
        image_size: side of the square images, pixels.
        width: channels of ``resnet9``'s first block; the other models have their own.

    Returns:
        A module ``[B, 3, H, W] -> [B, D]`` and D.

    Raises:
        ValueError: no such model, or one that cannot take such images.
    """
    if name == "resnet9":
        # At least 3 x 3 cells are left before pooling, also of a small image.
        trunk = ResNet9(width, min(32, max(image_size // 3, 1)))
        return nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten()), trunk.out_dim
    import torchvision

    if name in torchvision.models.list_models(torchvision.models):
        options = {"image_size": image_size} if name.startswith("vit_") else {}
        if name.startswith(("resnet", "resnext", "wide_resnet")):
            options["zero_init_residual"] = True
        model = torchvision.models.get_model(name, weights=None, **options)
        for classifier in ("fc", "classifier", "head", "heads"):
            if hasattr(model, classifier):
                setattr(model, classifier, nn.Identity())
        for auxiliary in ("aux1", "aux2", "AuxLogits"):
            if hasattr(model, auxiliary):
                raise ValueError(f"vision trunk {name!r} has auxiliary classifiers; choose one without")
    else:
        model = _timm_model(name, image_size)
    model = nn.Sequential(model, nn.Flatten())
    try:
        with torch.no_grad():
            out = model.eval()(torch.zeros(1, 3, image_size, image_size))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"vision trunk {name!r} does not take images of {image_size} px: {error}") from error
    return model.train(), out.shape[1]


def _timm_model(name: str, image_size: int) -> nn.Module:
    import timm

    if not timm.is_model(name):
        raise ValueError(f"unknown vision trunk {name!r}: give resnet9 or a model name of torchvision or timm")
    fixed = getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False)
    options: dict[str, Any] = {"img_size": image_size} if fixed else {}
    model = timm.create_model(name, num_classes=0, **options)
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", (1,))
    if any(image_size % side for side in patch):
        # timm leaves out the pixels beyond the last whole patch, and says nothing.
        raise ValueError(
            f"vision trunk {name!r} cuts images into patches of {patch[0]} px, which do not divide {image_size} px: "
            f"use {image_size // patch[0] * patch[0] or patch[0]} px, or another trunk"
        )
    return model
