"""PatchGame from the command line: ``python -m games.patchgame --vocab 128``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on

if TYPE_CHECKING:
    from games.patchgame.__main__ import main as main
    from games.patchgame.play import build as build, finish as finish, play as play

__getattr__, __dir__, __all__ = hand_on(__name__)
