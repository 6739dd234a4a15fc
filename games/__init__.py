"""Commands: ``python -m games.patchgame``."""
