"""A recorded language: what was said of which image, and where it is read from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on

if TYPE_CHECKING:
    from analysis.corpus.corpus import Corpus as Corpus

__getattr__, __dir__, __all__ = hand_on(__name__)
