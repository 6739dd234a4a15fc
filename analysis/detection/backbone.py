"""A trained trunk as a chain of blocks with maps, for what needs places in the image rather than its mean feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import nn

from patchgame_egg.agents.trunks import ResNet9


@dataclass(frozen=True)
class Block:
    """A block of a trunk, and the map that comes out: its channels, and the pixels of the image to a cell's side."""

    module: nn.Module
    channels: int
    stride: int


def trunk_blocks(trunk: nn.Module) -> list[Block]:
    """A trunk as a chain of blocks, whose composition is its last map.

    Raises:
        ValueError: no such chain is found in it.
    """
    return _measured(_chain(trunk))


def _chain(trunk: nn.Module) -> list[nn.Module]:
    for module in trunk.modules():
        if isinstance(module, ResNet9):
            first, *rest = module.blocks
            return [nn.Sequential(module.stem, first), *rest]
        children = dict(module.named_children())
        if "layer1" in children:
            stem = [children[name] for name in takewhile(lambda name: name != "layer1", children)]
            first, *more = (child for name, child in children.items() if name.startswith("layer"))
            return [nn.Sequential(*stem, first), *more]
        features = children.get("features")
        if isinstance(features, nn.Sequential):
            return list(features)
    return list(trunk) if isinstance(trunk, nn.Sequential) else []


def _measured(chain: Sequence[nn.Module], side: int = 128) -> list[Block]:
    """The blocks up to the last one that gives a map; those without weights join the one before."""
    found: list[Block] = []
    weight = next((p for module in chain for p in module.parameters()), torch.zeros(1))
    image = torch.zeros(1, 3, side, side, device=weight.device)
    for module in chain:
        was_training = module.training
        try:
            with torch.no_grad():
                image = module.eval()(image)
        except (AssertionError, RuntimeError, TypeError, ValueError):
            # It takes images of one size only, as Vision Transformers do, or is no layer of maps.
            break
        finally:
            module.train(was_training)
        if image.dim() != 4 or image.shape[2] < 2:
            break
        if found and next(module.parameters(), None) is None:
            module = nn.Sequential(found.pop().module, module)
        found.append(Block(module, image.shape[1], round(side / image.shape[2])))
    if len(found) < 2:
        raise ValueError(
            "a detector needs a trunk with maps: ResNet9, a ResNet of torchvision or timm, a torchvision model with "
            f"features, or a chain of layers that keep height and width; found {len(found)} such blocks"
        )
    return found


def by_resolution(blocks: Sequence[Block]) -> list[Block]:
    """Blocks whose maps are equally fine, as one; those finer than a quarter go with the next."""
    found: list[Block] = []
    for block in blocks:
        if found and (found[-1].stride == block.stride or found[-1].stride < 4):
            block = Block(nn.Sequential(found.pop().module, block.module), block.channels, block.stride)
        found.append(block)
    return found
