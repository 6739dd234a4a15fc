"""Sizes of every experiment: seconds in a test, one small machine with photos or with CIFAR-10, the paper's own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """How large an experiment is.

    Attributes:
        words: options of `games.patchgame` that every training starts from.
        methods: further ones of those trainings that play one method: ``patchgame``, or one of `games.baselines`.
        patches: the paper's patch sizes at 224 pixels -> those that give as many patches here, or about.
        needs_root: whether ``--root`` has to say where the images lie.
        about: what this size is for, one line.
    """

    words: tuple[str, ...]
    methods: dict[str, tuple[str, ...]]
    patches: dict[int, int]
    needs_root: bool
    about: str


_QUIET = ("--no-tensorboard", "--no-pictures", "--no-corpus", "--analyse-every", "0")

# What the small preset was when the results that the pages show were measured.
_MEASURED = ("--optimizer", "adamw", "--text-depth", "3", "--view-ramp", "0")

SCALES = {
    "toy": Scale(
        (
            *("--scenes", "192", "--image-size", "32", "--epochs", "1", "--batch-size", "32", "--candidates", "32"),
            *("--vocab", "16", "--symbol-hidden", "16", "--rank-width", "4", "--text-dim", "12", "--text-depth", "1"),
            *("--vision-width", "4", "--head-hidden", "16", "--head-bottleneck", "16", *_QUIET),
        ),
        {},
        {32: 8, 16: 4},
        False,
        "built-in scenes and networks of a few units, to see that an experiment runs: a minute",
    ),
    "photos": Scale(
        ("--data", "folder", "--image-size", "56", "--epochs", "15", *_MEASURED, *_QUIET),
        # Of the default 0.0005 and 0.002, what has the lower held-out loss on photos.tar.
        {"vqvae": ("--lr", "2e-3"), "patchvae": ("--lr", "2e-3")},
        {32: 8, 16: 4},
        True,
        "a folder of photos at a quarter of the paper's image and patch size: hours on two cores",
    ),
    "cifar10": Scale(
        ("--data", "cifar10", "--image-size", "32", "--epochs", "5", *_MEASURED, *_QUIET),
        {"vqvae": ("--lr", "2e-3"), "patchvae": ("--lr", "2e-3")},
        {32: 4, 16: 2},
        True,
        "CIFAR-10 at 32 px, whose classes a small network can tell: an hour on two cores",
    ),
    "imagenet": Scale(
        ("--preset", "paper", "--data", "imagenet", *_QUIET),
        # MoCo: its release's rate for batches of 256, for 512; PatchVAE's release; VQ-VAE-2: rosinality's.
        {
            "moco": ("--lr", "0.06", "--warmup", "0"),
            "vqvae": ("--optimizer", "adamw", "--lr", "3e-4", "--weight-decay", "0", "--warmup", "0"),
            "patchvae": ("--optimizer", "adamw", "--lr", "2e-4", "--weight-decay", "0", "--warmup", "0"),
        },
        {32: 32, 16: 16},
        True,
        "the paper's recipe, for those who have the images and the GPUs",
    ),
}
