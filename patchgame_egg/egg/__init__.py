"""Our agents in EGG's games, EGG's in ours, and its records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on

if TYPE_CHECKING:
    from patchgame_egg.egg.agents import (
        Aux as Aux,
        EggChannel as EggChannel,
        EggLoss as EggLoss,
        EggReceiver as EggReceiver,
        LossInEgg as LossInEgg,
        ReceiverInEgg as ReceiverInEgg,
        Scored as Scored,
        SenderInEgg as SenderInEgg,
        in_egg as in_egg,
    )
    from patchgame_egg.egg.records import (
        EggMessage as EggMessage,
        Layout as Layout,
        from_egg as from_egg,
        from_tensor as from_tensor,
        holds_symbols as holds_symbols,
        load_egg as load_egg,
        per_exchange as per_exchange,
        to_egg as to_egg,
        to_tensor as to_tensor,
        vocabulary_of as vocabulary_of,
    )
    from patchgame_egg.egg.self_supervised import ssl_game as ssl_game
    from patchgame_egg.egg.trainers import (
        GameInEgg as GameInEgg,
        for_eggs_callbacks as for_eggs_callbacks,
        own_record as own_record,
    )

__getattr__, __dir__, __all__ = hand_on(__name__)
