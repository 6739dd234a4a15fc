"""The experiments of the paper, each from training to table or figure: ``python -m games.reproduce --help``."""
