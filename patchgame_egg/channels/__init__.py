"""Channels turn numbers into symbols: sampled in training, argmax in evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on

if TYPE_CHECKING:
    from patchgame_egg.channels.channel import Channel as Channel
    from patchgame_egg.channels.continuous import Continuous as Continuous
    from patchgame_egg.channels.estimator import Estimator as Estimator, straight_through as straight_through
    from patchgame_egg.channels.gumbel import (
        Gumbel as Gumbel,
        gumbel_max as gumbel_max,
        gumbel_softmax as gumbel_softmax,
    )
    from patchgame_egg.channels.patch import PatchChannel as PatchChannel
    from patchgame_egg.channels.quantised import Quantised as Quantised
    from patchgame_egg.channels.ranking import soft_rank as soft_rank
    from patchgame_egg.channels.reinforce import (
        LearntBaseline as LearntBaseline,
        Reinforce as Reinforce,
        RunningMean as RunningMean,
    )
    from patchgame_egg.channels.sequence import SequenceChannel as SequenceChannel

__getattr__, __dir__, __all__ = hand_on(__name__)
