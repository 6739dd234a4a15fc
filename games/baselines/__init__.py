"""The rivals of Table 1, trained like PatchGame: ``python -m games.baselines moco --data folder --root photos``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on

if TYPE_CHECKING:
    from games.baselines.__main__ import main as main, read_command as read_command
    from games.baselines.play import build as build, play as play

__getattr__, __dir__, __all__ = hand_on(__name__)
