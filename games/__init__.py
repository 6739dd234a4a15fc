"""Commands, ``python -m games.patchgame``, and what they leave: ``games.load("runs/first")``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on, moved

if TYPE_CHECKING:
    from games.runs.trained import TrainedRun as TrainedRun, load as load

__getattr__, __dir__, __all__ = hand_on(__name__)

moved(
    {
        "games.agents": ("games.build.agents",),
        "games.command_line": (
            "games.options.command_line",
            "games.options.config_file",
            "games.runs.folder",
        ),
        "games.config": ("games.options.config",),
        "games.images": (
            "games.build.data",
            "patchgame_egg.data.loader",
            "patchgame_egg.views.transforms",
        ),
        "games.presets": ("games.options.presets",),
        "games.trained": (
            "games.build.pretrained",
            "games.runs.load",
        ),
    }
)
