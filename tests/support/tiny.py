"""Options under which a step takes milliseconds."""

from patchgame_egg.data import sources

TINY = [
    "--image-size", "32", "--patch-size", "8", "--vocab", "16", "--scenes", "32", "--batch-size", "8",
    "--candidates", "8", "--symbol-hidden", "16", "--rank-width", "4", "--text-dim", "12", "--text-depth", "1",
    "--vision", "resnet9", "--vision-width", "4", "--head-hidden", "16", "--head-bottleneck", "8", "--head-wide", "0",
    "--freeze-epochs", "0", "--warmup", "0", "--device", "cpu", "--no-corpus",
]  # fmt: skip
"""Options under which a step takes milliseconds, over any preset."""

LEAST_HELD_OUT, FEW_HELD_OUT = sources.LEAST_HELD_OUT, 32
"""Scenes that are held out at least: what users have, and what tests have."""
