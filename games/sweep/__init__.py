"""Many runs of games.patchgame: ``python -m games.sweep --lr 1e-4 5e-4 --seed 0 1 2``, a grid or a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on

if TYPE_CHECKING:
    from games.sweep.__main__ import main as main
    from games.sweep.grid import read_grid as read_grid, split_words as split_words, trainings as trainings

__getattr__, __dir__, __all__ = hand_on(__name__)
