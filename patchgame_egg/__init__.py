"""Referential games between a sender and a receiver, over interchangeable channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on, moved

if TYPE_CHECKING:
    from patchgame_egg.agents.listener import Listener as Listener, TextEncoder as TextEncoder
    from patchgame_egg.agents.patch_speaker import (
        PatchFeatures as PatchFeatures,
        PatchRank as PatchRank,
        PatchSpeaker as PatchSpeaker,
        PatchSymbol as PatchSymbol,
    )
    from patchgame_egg.agents.sequence_speaker import SequenceSpeaker as SequenceSpeaker
    from patchgame_egg.agents.trunks import vision_trunk as vision_trunk
    from patchgame_egg.channels.channel import Channel as Channel
    from patchgame_egg.channels.continuous import Continuous as Continuous
    from patchgame_egg.channels.estimator import Estimator as Estimator
    from patchgame_egg.channels.gumbel import Gumbel as Gumbel
    from patchgame_egg.channels.patch import PatchChannel as PatchChannel
    from patchgame_egg.channels.quantised import Quantised as Quantised
    from patchgame_egg.channels.ranking import soft_rank as soft_rank
    from patchgame_egg.channels.reinforce import Reinforce as Reinforce
    from patchgame_egg.channels.sequence import SequenceChannel as SequenceChannel
    from patchgame_egg.data.loader import ImageLoader as ImageLoader
    from patchgame_egg.data.scenes import Scenes as Scenes
    from patchgame_egg.game import Game as Game
    from patchgame_egg.interaction import Batch as Batch, Interaction as Interaction, Message as Message
    from patchgame_egg.losses import SymmetricInfoNCE as SymmetricInfoNCE
    from patchgame_egg.population import FrozenSpeakerGame as FrozenSpeakerGame, Population as Population
    from patchgame_egg.training.callback import Callback as Callback
    from patchgame_egg.training.checkpoint import Checkpoint as Checkpoint
    from patchgame_egg.training.log_file import read_log as read_log
    from patchgame_egg.training.trainer import Trainer as Trainer
    from patchgame_egg.views.loader import ViewLoader as ViewLoader
    from patchgame_egg.views.transforms import EvaluationView as EvaluationView, RandomViews as RandomViews

__version__ = "0.1.0"

# Opening a run takes the options of the games, which build on this package and not the other way round.
__getattr__, __dir__, __all__ = hand_on(__name__, {"load": "games.load, which opens a finished run"})

moved(
    {
        "patchgame_egg.augment": ("patchgame_egg.views.augment",),
        "patchgame_egg.cache": ("patchgame_egg.data.cache",),
        "patchgame_egg.callbacks": (
            "patchgame_egg.training.callback",
            "patchgame_egg.training.checkpoint",
            "patchgame_egg.training.log_file",
            "patchgame_egg.training.loggers",
        ),
        "patchgame_egg.checkpoint": ("patchgame_egg.training.checkpoint",),
        "patchgame_egg.egg_records": ("patchgame_egg.egg.records",),
        "patchgame_egg.estimators": (
            "patchgame_egg.channels.continuous",
            "patchgame_egg.channels.quantised",
            "patchgame_egg.channels.reinforce",
        ),
        "patchgame_egg.heads": ("patchgame_egg.agents.heads",),
        "patchgame_egg.jpeg": ("patchgame_egg.data.gpu_jpeg",),
        "patchgame_egg.memory": ("patchgame_egg.training.malloc",),
        "patchgame_egg.momentum_contrast": ("patchgame_egg.baselines.moco",),
        "patchgame_egg.patch_vae": ("patchgame_egg.baselines.patch_vae",),
        "patchgame_egg.reconstruction": ("patchgame_egg.baselines.reconstruction",),
        "patchgame_egg.scene_patterns": ("patchgame_egg.data.scene_drawing",),
        "patchgame_egg.scenes": ("patchgame_egg.data.scenes",),
        "patchgame_egg.sequences": (
            "patchgame_egg.agents.sequence_speaker",
            "patchgame_egg.channels.sequence",
        ),
        "patchgame_egg.shards": ("patchgame_egg.data.shards",),
        "patchgame_egg.soft_rank": ("patchgame_egg.channels.ranking",),
        "patchgame_egg.sources": ("patchgame_egg.data.sources",),
        "patchgame_egg.trainer": ("patchgame_egg.training.trainer",),
        "patchgame_egg.trunks": ("patchgame_egg.agents.trunks",),
        "patchgame_egg.vq_vae": ("patchgame_egg.baselines.vq_vae",),
        "patchgame_egg.whole_file": ("patchgame_egg.atomic_write",),
    }
)
