"""Commands: ``python -m games.patchgame``."""

from patchgame_egg.lazy_names import moved

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
