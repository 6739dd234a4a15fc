"""Objects found with a trunk: Faster R-CNN, Pascal VOC folders, mean average precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on

if TYPE_CHECKING:
    from analysis.detection.detector import (
        CoarserMaps as CoarserMaps,
        DetectorShape as DetectorShape,
        Pyramid as Pyramid,
        RegionBlock as RegionBlock,
        RegionLayers as RegionLayers,
        RegionOutputs as RegionOutputs,
        SingleMap as SingleMap,
        build_detector as build_detector,
    )

__getattr__, __dir__, __all__ = hand_on(__name__)
