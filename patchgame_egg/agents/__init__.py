"""Speakers and listeners: deterministic networks. What is random is in `patchgame_egg.channels`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on

if TYPE_CHECKING:
    from patchgame_egg.agents.heads import Head as Head
    from patchgame_egg.agents.listener import Listener as Listener, TextEncoder as TextEncoder
    from patchgame_egg.agents.patch_speaker import (
        PatchFeatures as PatchFeatures,
        PatchRank as PatchRank,
        PatchSpeaker as PatchSpeaker,
        PatchSymbol as PatchSymbol,
        PatchSymbols as PatchSymbols,
    )
    from patchgame_egg.agents.sequence_speaker import (
        Decoder as Decoder,
        RecurrentDecoder as RecurrentDecoder,
        SequenceFeatures as SequenceFeatures,
        SequenceSpeaker as SequenceSpeaker,
        TransformerDecoder as TransformerDecoder,
    )
    from patchgame_egg.agents.transformer import Block as Block
    from patchgame_egg.agents.trunks import ResNet9 as ResNet9, vision_trunk as vision_trunk, vit_tiny as vit_tiny

__getattr__, __dir__, __all__ = hand_on(__name__)
