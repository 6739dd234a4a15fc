"""What figure 4 needs before it can rank anything: Vision Transformers, and held-out images as they want them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from analysis.vit.patch_subset import Ranking, SubsetCurve, recognised, subset_curve
from games.build.data import load_images
from games.options.command_line import pick_device
from games.reproduce.runner.dry_run import classes_of
from games.reproduce.runner.setting import Setting, lasting, ours
from games.reproduce.vit.models import CROP, VitRecipe, build_vit, check_weights, make_vit, open_vit, train_vit
from games.runs.lock import output_lock
from patchgame_egg.data.images import ImageSource
from patchgame_egg.data.loader import EveryImage

PAPER_VITS = ("vit_base_patch32_384", "vit_base_patch16_224")
SHARES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

# Scale -> the small ViT, but for its patch size. That of the photos learns in 7 minutes of one core and names 26.6 % of
# 1,239 held-out photos of 100 classes.
SMALL: dict[str, dict[str, Any]] = {
    "toy": {"width": 16, "depth": 1, "heads": 2, "epochs": 1, "batch_size": 32},
    "photos": {"width": 128, "depth": 4, "heads": 4, "epochs": 28},
    "cifar10": {"width": 128, "depth": 4, "heads": 4, "epochs": 20},
}


@dataclass(frozen=True)
class Vit:
    """A Vision Transformer of the figure.

    Attributes:
        name: timm's; or, of a small one that is trained here, ``small``.
        paper: the paper's patch size, 32 or 16, of the PatchGame that ranks for it.
    """

    name: str
    paper: int


def vits(setting: Setting) -> list[Vit]:
    """The ViTs of the figure, each with the PatchGame whose patches are nearest to its own."""
    if setting.vit or setting.scale == "imagenet":
        found = []
        for name in [setting.vit] if setting.vit else PAPER_VITS:
            size = re.search(r"patch(\d+)", name)
            found.append(Vit(name, 32 if size is None or int(size[1]) >= 24 else 16))
        return found
    return [Vit("small", 32)]


@dataclass(frozen=True)
class Eye:
    """A ViT that is ready, and images for it.

    Attributes:
        vit: the model, in evaluation mode.
        train: images with which PatchRank is distilled, a little larger than the ViT's.
        held_out: images to classify, a little larger as well, in batches; decoded ones are remembered where they fit.
        classes: how many.
        kept: the k.
        device: where everything is.
        made_with: what results depend on beside the PatchGames.
    """

    vit: VisionTransformer
    train: ImageSource
    held_out: EveryImage
    classes: int
    kept: list[int]
    device: torch.device
    made_with: dict[str, Any]

    @property
    def size(self) -> int:
        """Side of the ViT's images, pixels."""
        return int(self.vit.patch_embed.img_size[0])

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The middle of every held-out image with a class, RGB in [0, 1] ``[B, 3, H, W]``, and the classes."""
        for batch in self.held_out:
            assert batch.labels is not None
            known = batch.labels >= 0
            if known.any():
                edge = (batch.sender_input.shape[-1] - self.size) // 2
                middle = batch.sender_input[known][:, :, edge : edge + self.size, edge : edge + self.size]
                yield middle.to(self.device).float() / 255, batch.labels[known].to(self.device)

    def curves(self, rankings: Mapping[str, Ranking]) -> dict[str, SubsetCurve]:
        """The curve of each ranking."""
        named = recognised(self.vit, self.batches(), rankings, self.kept)
        return {name: subset_curve(found, self.kept, self.classes) for name, found in named.items()}


def check_eye(setting: Setting, which: Vit) -> None:
    """Looks whether a ViT can be opened for the images, as far as that is known without its weights.

    Raises:
        ValueError: it cannot.
    """
    classes = classes_of(setting, ours(setting, setting.seeds[0], which.paper))
    if which.name != "small" and classes is not None:
        check_weights(which.name, setting.vit_checkpoint, classes)


def open_eye(setting: Setting, which: Vit) -> Eye:
    """Makes a ViT ready: opens its weights, or trains it.

    Raises:
        ValueError: the weights or the images cannot be had, or they do not fit each other.
    """
    device = pick_device(setting.device)
    config = setting.config(ours(setting, setting.seeds[0], which.paper))
    size = config.images.image_size
    # Paths as they are compared elsewhere; options of views and networks do not matter to a ViT.
    kept_images = lasting(config).images
    made_with: dict[str, Any] = {
        "vit": which.name,
        **{name: getattr(kept_images, name) for name in ("data", "root", "val_root", "scenes", "image_size")},
        "seed": config.training.seed,
    }
    if which.name == "small":
        recipe = _recipe(setting, which)
        sets = load_images(config, round(size / CROP))
        with output_lock(path := setting.folder / f"vit-{which.paper}.pt"):
            vit = train_vit(sets[0], recipe, size, path, device)
        made_with["recipe"] = asdict(recipe)
    else:
        classes = len(load_images(config, 32)[1].classes)
        vit = open_vit(which.name, setting.vit_checkpoint, classes).to(device)
        rows, columns = vit.patch_embed.img_size
        if rows != columns:
            raise ValueError(f"--vit {which.name} takes images of {rows} x {columns} px: a square one is needed")
        sets = load_images(config, round(rows / getattr(vit, "pretrained_cfg", {}).get("crop_pct", CROP)))
        made_with["checkpoint"] = setting.vit_checkpoint
    patches = vit.patch_embed.num_patches
    kept = sorted({max(1, round(share * patches)) for share in SHARES})
    held_out = EveryImage(sets[1], 256 if device.type == "cuda" else 64)
    return Eye(vit, sets[0], held_out, len(sets[1].classes), kept, device, made_with)


def untrained_vit(setting: Setting, which: Vit) -> VisionTransformer:
    """A ViT of the figure with random weights, for ten classes or those that timm gives it, in evaluation mode.

    Raises:
        ValueError: timm has no such model.
    """
    if which.name == "small":
        size = setting.config(ours(setting, setting.seeds[0], which.paper)).images.image_size
        return build_vit(_recipe(setting, which), size, 10).eval()
    return make_vit(which.name).eval()


def _recipe(setting: Setting, which: Vit) -> VitRecipe:
    given = setting.run is not None
    side = setting.config(ours(setting, 0)).speaker.patch_size if given else setting.patch_size(which.paper)
    return VitRecipe(side, **SMALL[setting.scale])
