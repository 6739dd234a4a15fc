"""The Vision Transformers of figure 4: timm's with weights that others trained, or a small one trained here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from analysis.vit.patch_subset import check_vit, classify_patches
from patchgame_egg.data.images import ImageSource
from patchgame_egg.data.loader import ImageLoader
from patchgame_egg.training import checkpoint
from patchgame_egg.training.optimizer import cosine, decay_groups, linear_warmup
from patchgame_egg.views.augment import NUMBERS_PER_VIEW, ViewStrength, draw_parameters, make_view
from patchgame_egg.views.transforms import IMAGENET_MEAN, IMAGENET_STD, normalise

# Stronger crops than the game's, without blur: of a few thousand images a ViT learns every one by heart.
VIEW = ViewStrength(min_area=0.25, jitter=0.8, saturation=0.4, grey=0.1, blur=0.0)


# Of images that were loaded, the ViT sees the middle: 56 of 64 pixels, as 224 of 256.
CROP = 7 / 8


@dataclass(frozen=True)
class VitRecipe:
    """A small ViT and how it is trained.

    Attributes:
        patch_size: pixels.
        width: features of a token.
        depth: blocks.
        heads: attention heads of each.
        epochs: of training.
        batch_size: images of a step.
        lr: AdamW's, after an epoch or two of warm-up and before a cosine to 0.
        weight_decay: of matrices.
        drop_path: largest probability of skipping a block.
        mix: probability that a batch is mixed with itself (mixup, Zhang et al., 2018).
        drop_patches: train on random subsets of patches, of a size drawn for each batch from a quarter of them to all.
            A ViT that has always seen all of them is surprised by fewer.
        seed: seed of weights, order, views and subsets.
    """

    patch_size: int
    width: int = 192
    depth: int = 6
    heads: int = 3
    epochs: int = 60
    batch_size: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.05
    drop_path: float = 0.0
    mix: float = 0.0
    drop_patches: bool = True
    seed: int = 0


def open_vit(name: str, weights: str, classes: int) -> VisionTransformer:
    """A ViT of timm with trained weights, in evaluation mode.

    Args:
        name: timm's.
        weights: checkpoint that timm reads; empty: timm's own, from its hub.
        classes: of the images.

    Raises:
        ValueError: no such model or no plain ViT, its weights cannot be had, or they are for other classes.
    """
    check_weights(name, weights, classes)
    try:
        options = {"num_classes": classes, "checkpoint_path": weights} if weights else {"pretrained": True}
        vit: Any = timm.create_model(name, **options)
    except Exception as error:
        # The hub's client and the reader of weights raise what they like.
        where = f"from {weights}" if weights else "from timm's hub; --vit-checkpoint FILE takes them from a file"
        raise ValueError(f"the weights of {name} cannot be had {where} ({str(error).strip()[:200]})") from error
    check_vit(vit)
    return vit.eval()


def check_weights(name: str, weights: str, classes: int) -> None:
    """Looks whether `open_vit` would have what it needs, but for the hub and the content of a file.

    Raises:
        ValueError: timm has no such model, there is no such file, or timm's own weights are for other classes.
    """
    _check_name(name)
    if weights and not Path(weights).is_file():
        raise ValueError(f"--vit-checkpoint {weights}: no such file")
    own = getattr(timm.get_pretrained_cfg(name), "num_classes", 0)
    if not weights and own != classes:
        raise ValueError(
            f"the pretrained {name} knows {own} classes and the images have {classes}: give --vit-checkpoint, weights "
            "that were fine-tuned on these classes"
        )


def make_vit(name: str) -> VisionTransformer:
    """A ViT of timm with random weights.

    Raises:
        ValueError: no such model, or no plain ViT.
    """
    _check_name(name)
    vit: Any = timm.create_model(name)
    check_vit(vit)
    return vit


def _check_name(name: str) -> None:
    if not timm.is_model(name):
        raise ValueError(f"--vit {name}: timm has no such model (timm.list_models('vit_*') lists them)")


def build_vit(recipe: VitRecipe, image_size: int, classes: int) -> VisionTransformer:
    """The small ViT with weights drawn from its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.seed)
        vit = VisionTransformer(
            image_size, recipe.patch_size, num_classes=classes, embed_dim=recipe.width, depth=recipe.depth,
            num_heads=recipe.heads, drop_path_rate=recipe.drop_path,
        )  # fmt: skip
    values: Any = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "crop_pct": CROP}
    vit.pretrained_cfg = values
    return vit


def train_vit(
    train: ImageSource,
    recipe: VitRecipe,
    image_size: int,
    path: Path,
    device: torch.device,
    report: Callable[[str], None] = print,
) -> VisionTransformer:
    """Trains a small ViT to name the classes of images, or goes on from the file of an earlier training.

    Args:
        train: images with labels, a little larger than the ViT's; those labelled -1 are left out.
        recipe: how it is trained.
        image_size: side of the ViT's images, pixels.
        path: where it is kept after every epoch; one that was stopped goes on as if it had not been.
        device: where it is trained.
        report: is told of each tenth of the training.

    Returns:
        The ViT, in evaluation mode.

    Raises:
        ValueError: the file holds one of another recipe, or there are no classes to learn.
    """
    classes = len(train.classes)
    if classes < 2:
        raise ValueError(f"images of {classes} class(es): a ViT needs at least 2 to tell apart (--vit NAME brings one)")
    made_with = {**asdict(recipe), "image_size": image_size, "classes": list(train.classes), "images": len(train)}
    vit = build_vit(recipe, image_size, classes).to(device)
    loader = ImageLoader(train, min(recipe.batch_size, len(train)), recipe.seed)
    total = recipe.epochs * len(loader)
    optimizer = torch.optim.AdamW(decay_groups(vit.parameters(), recipe.weight_decay), recipe.lr)
    warmup = max(1, min(2 * len(loader), total // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(linear_warmup(step, warmup), cosine(step / total))
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    parts = {"vit": vit, "optimizer": optimizer, "schedule": schedule, "generator": generator}
    first = 1
    if path.exists():
        saved = checkpoint.load(path, device)
        if saved["made_with"] != made_with:
            raise ValueError(f"{path} was trained with {saved['made_with']}: delete it, or give another --out")
        # Files of earlier versions were written at the end alone.
        first = saved.get("epoch", recipe.epochs) + 1
        if first > recipe.epochs:
            vit.load_state_dict(saved["vit"])
            return vit.eval()
        checkpoint.restore(parts, saved)
    vit.train()
    # Skipping of blocks draws from torch's own generator.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for epoch in range(first, recipe.epochs + 1):
            torch.manual_seed(recipe.seed + epoch)
            loader.set_epoch(epoch)
            losses = []
            for batch in loader:
                assert batch.labels is not None
                known = batch.labels >= 0
                if not known.any():
                    continue
                images, labels = batch.sender_input[known].to(device), batch.labels[known].to(device)
                loss = _step(vit, images, labels, recipe, generator)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(vit.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                losses.append(float(loss.detach()))
            if epoch % max(1, recipe.epochs // 10) == 0 and losses:
                report(f"{path.stem}: epoch {epoch} of {recipe.epochs}, loss {sum(losses) / len(losses):.3f}")
            checkpoint.save({"made_with": made_with, "epoch": epoch, **checkpoint.states(parts)}, path)
    return vit.eval()


def _step(
    vit: VisionTransformer, images: Tensor, labels: Tensor, recipe: VitRecipe, generator: torch.Generator
) -> Tensor:
    """Loss of one batch of uint8 images, in a random view and with a random subset of their patches."""
    size, patches = vit.patch_embed.img_size[0], vit.patch_embed.num_patches
    numbers = torch.rand(len(images), NUMBERS_PER_VIEW, generator=generator)
    parameters = draw_parameters(numbers, VIEW, images.shape[2], images.shape[3], size)
    seen = make_view(images, parameters, VIEW, size)
    seen = normalise(seen, out=seen)
    share = 1.0
    if torch.rand(1, generator=generator) < recipe.mix:
        share = float(torch.rand(1, generator=generator))
        seen = share * seen + (1 - share) * seen.flip(0)
    keep = None
    if recipe.drop_patches:
        k = int(torch.randint(max(1, patches // 4), patches + 1, (1,), generator=generator))
        keep = torch.rand(len(images), patches, generator=generator).argsort(dim=1)[:, :k].to(images.device)
    logits = classify_patches(vit, seen, keep)
    loss = share * F.cross_entropy(logits, labels, label_smoothing=0.1)
    if share < 1:
        loss = loss + (1 - share) * F.cross_entropy(logits, labels.flip(0), label_smoothing=0.1)
    return loss
