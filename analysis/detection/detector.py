"""A detector on a trained trunk: Faster R-CNN of torchvision, in two forms.

- ``c4`` (Ren et al., 2015, as in MoCo's transfer to VOC): all blocks of the trunk but the last make one map of the
  image; regions are proposed on it, cut out, and seen by the last block.
- ``fpn`` (Lin et al., 2017): the whole trunk runs over the image, and a pyramid joins the maps of its resolutions;
  regions are seen by two new layers. On small images, and with a trunk of few blocks, this finds small objects.

Which form Table 2 used is not said. Detectron2's C4 adds a batch norm behind the last block; there is none here.

B batch, H and W height and width of the padded images, R number of regions.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from analysis.detection.backbone import by_resolution, trunk_blocks
from patchgame_egg.views.transforms import IMAGENET_MEAN, IMAGENET_STD

FORMS = ("fpn", "c4")

# Faster R-CNN's anchors, in pixels of an image whose shorter side has 800.
_SIZES, _SHORT_SIDE = (32.0, 64.0, 128.0, 256.0, 512.0), 800.0
_RATIOS = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class DetectorShape:
    """How a detector is built; the defaults are Faster R-CNN's own.

    Attributes:
        form: ``fpn`` or ``c4``.
        short_side: images are scaled until their shorter side has so many pixels; anchors are scaled with it.
        train_sides: further short sides of which training draws one for every image.
        long_side: at most, in pixels.
        width: channels of the pyramid (``fpn``).
        head: units of the two layers that see regions (``fpn``).
        anchors: anchors of an image that the loss of the proposals looks at, of which at most half lie on objects. With
            one small object, few do: of fewer anchors they are a larger share, and proposals are learnt sooner.
        regions: proposed regions of an image that the loss looks at, of which at most a quarter lie on objects.
        proposals: regions of an image that are handed on, in training and in evaluation.
    """

    form: str = "fpn"
    short_side: int = 800
    train_sides: tuple[int, ...] = ()
    long_side: int = 1333
    width: int = 256
    head: int = 1024
    anchors: int = 256
    regions: int = 512
    proposals: tuple[int, int] = (2000, 1000)


class CoarserMaps(ExtraFPNBlock):
    """Adds ``count`` maps to a pyramid, each half as fine as the one before."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """Takes every second cell of the coarsest map, as torchvision's own pyramid does, ``count`` times."""
        for number in range(self.count):
            results = [*results, F.max_pool2d(results[-1], 1, 2)]
            names = [*names, f"coarser{number}"]
        return results, names


class Pyramid(nn.Module):
    """A trunk's maps, joined from the coarsest to the finest: ``[B, 3, H, W]`` -> name -> ``[B, out_channels, h, w]``.

    There are as many maps as sizes of anchors, or one more than the trunk has.
    """

    def __init__(self, blocks: Sequence[nn.Module], channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.fpn = FeaturePyramidNetwork(list(channels), width, CoarserMaps(max(1, len(_SIZES) - len(blocks))))
        self.out_channels = width

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Runs the trunk, then the pyramid."""
        maps: OrderedDict[str, Tensor] = OrderedDict()
        for number, block in enumerate(self.blocks):
            images = block(images)
            maps[str(number)] = images
        found: dict[str, Tensor] = self.fpn(maps)
        return found


class SingleMap(nn.Module):
    """All blocks of a trunk but the last: ``[B, 3, H, W] -> [B, out_channels, h, w]``."""

    def __init__(self, blocks: Sequence[nn.Module], channels: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.out_channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Runs the blocks one after the other."""
        for block in self.blocks:
            images = block(images)
        return images


class RegionBlock(nn.Module):
    """A trunk's last block, over regions: ``[R, C, s, s] -> [R, D]``, the mean of its map."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, regions: Tensor) -> Tensor:
        """Runs the block and averages."""
        out: Tensor = self.block(regions)
        return out.mean(dim=(2, 3))


class RegionLayers(nn.Sequential):
    """Two layers over regions: ``[R, C, s, s] -> [R, D]``."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(inputs, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU())


class RegionOutputs(nn.Module):
    """Scores of all classes and the background, and a box for each: ``[R, D] -> ([R, 1 + C], [R, 4 * (1 + C)])``."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.scores = nn.Linear(inputs, classes + 1)
        self.boxes = nn.Linear(inputs, 4 * (classes + 1))

    def forward(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Both, in the order that torchvision expects."""
        return self.scores(regions), self.boxes(regions)


def build_detector(trunk: nn.Module, classes: int, shape: DetectorShape, seed: int = 0) -> FasterRCNN:
    """A detector that starts from a copy of a trunk's weights.

    Args:
        trunk: `patchgame_egg.agents.trunks.ResNet9`, a ResNet of torchvision or timm, a torchvision model with
            ``features``, or a chain of layers; perhaps inside others, with a pooling and a classifier behind, which are
            left out.
        classes: how many, without the background.
        shape: of the detector.
        seed: seed of the new layers' weights.

    Returns:
        A detector of RGB images in [0, 1], which normalises and scales them itself.

    Raises:
        ValueError: the trunk has no maps, or too few for this form, or there is no such form.
    """
    if shape.form not in FORMS:
        raise ValueError(f"detector {shape.form!r}: one of {', '.join(FORMS)}")
    blocks = trunk_blocks(copy.deepcopy(trunk))
    scale = shape.short_side / _SHORT_SIDE
    # Weights are drawn on the CPU; torch.manual_seed would also reseed every GPU, for good.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if shape.form == "fpn":
            levels = by_resolution(blocks)
            modules, channels = [level.module for level in levels], [level.channels for level in levels]
            backbone: nn.Module = Pyramid(modules, channels, shape.width)
            names, cut = [str(i) for i in range(len(levels))], 7
            head: nn.Module = RegionLayers(shape.width * cut * cut, shape.head)
            features = shape.head
            # A trunk with so many resolutions that sizes run out has the largest twice.
            sizes: list[tuple[float, ...]] = [
                (scale * size,) for size in (*_SIZES, _SIZES[-1])[: max(len(_SIZES), len(levels) + 1)]
            ]
        else:
            *most, last = blocks
            backbone = SingleMap([block.module for block in most], most[-1].channels)
            # 7 x 7 cells are left behind the last block.
            names, cut = ["0"], 7 * max(1, last.stride // most[-1].stride)
            head, features = RegionBlock(last.module), last.channels
            sizes = [tuple(scale * size for size in _SIZES)]
        detector = FasterRCNN(
            backbone,
            min_size=(*shape.train_sides, shape.short_side),
            max_size=shape.long_side,
            image_mean=list(IMAGENET_MEAN),
            image_std=list(IMAGENET_STD),
            rpn_anchor_generator=AnchorGenerator(tuple(sizes), (_RATIOS,) * len(sizes)),
            rpn_pre_nms_top_n_train=shape.proposals[0],
            rpn_pre_nms_top_n_test=shape.proposals[1],
            rpn_post_nms_top_n_train=shape.proposals[0],
            rpn_post_nms_top_n_test=shape.proposals[1],
            box_roi_pool=MultiScaleRoIAlign(names, cut, sampling_ratio=2),
            box_head=head,
            box_predictor=RegionOutputs(features, classes),
            rpn_batch_size_per_image=shape.anchors,
            box_batch_size_per_image=shape.regions,
        )
    return detector
