"""What PatchGame is compared with, as games: MoCo-v2, PatchVAE, VQ-VAE-2, random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on

if TYPE_CHECKING:
    from patchgame_egg.baselines.moco import MomentumContrast as MomentumContrast
    from patchgame_egg.baselines.patch_vae import (
        PartChannel as PartChannel,
        PartLoss as PartLoss,
        PartReceiver as PartReceiver,
        PartSender as PartSender,
    )
    from patchgame_egg.baselines.reconstruction import (
        ReconstructionGame as ReconstructionGame,
        SquaredError as SquaredError,
    )
    from patchgame_egg.baselines.untrained import Untrained as Untrained
    from patchgame_egg.baselines.vq_vae import (
        HierarchyChannel as HierarchyChannel,
        HierarchyReceiver as HierarchyReceiver,
        HierarchySender as HierarchySender,
    )

__getattr__, __dir__, __all__ = hand_on(__name__)
