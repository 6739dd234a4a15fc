"""The HTML page of one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on

if TYPE_CHECKING:
    from analysis.report.page import render as render

__getattr__, __dir__, __all__ = hand_on(__name__)
