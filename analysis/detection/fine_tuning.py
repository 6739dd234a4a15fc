"""Training a detector on images with boxes, and what it finds afterwards.

**Batch norm.** A few images a step say too little about the mean and the variance of a map, and a trunk's own
statistics are those of other images at another size - of a trunk with random weights, of none. So before fine-tuning
the statistics of every trunk alike are measured on training images as the detector sees them, and stay fixed from then
on; scale and shift are learnt like other weights. ``Recipe.batch_norm = "batch"`` learns with the statistics of each
batch instead, as MoCo does with 16 images a step.

Difficult objects are trained on as any other, as Detectron2 does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import FasterRCNN

from analysis.detection.boxes import BoxedImage, Detections, Objects
from analysis.detection.detector import RegionBlock
from patchgame_egg.counted import counted
from patchgame_egg.training import checkpoint
from patchgame_egg.training.optimizer import decay_groups, linear_warmup

BATCH_NORMS = ("fixed", "batch")
OPTIMIZERS = ("sgd", "adamw")
# Of a training of hours a stop costs a few minutes at most.
_STEPS_KEPT = 200


@dataclass(frozen=True)
class Recipe:
    """How a detector is trained; the defaults are MoCo's on VOC (He et al., 2020, appendix), on one GPU.

    Attributes:
        steps: of the optimizer.
        optimizer: ``sgd``, with momentum 0.9, or ``adamw``, which finds objects after a few hundred steps already.
        batch_size: images a step.
        lr: learning rate, after ``warmup`` steps over which it rises linearly.
        warmup: those steps.
        drops: shares of all steps after which the learning rate falls to a tenth.
        weight_decay: on all weights but biases and batch norms.
        grad_norm: gradients are scaled down to this norm; 0: never.
        batch_norm: ``fixed`` or ``batch``, see above.
        calibration: images on which fixed statistics are measured, at least; less if there are fewer.
        workers: processes that read images.
    """

    steps: int = 24_000
    optimizer: str = "sgd"
    batch_size: int = 16
    lr: float = 0.02
    warmup: int = 100
    drops: tuple[float, ...] = (0.75, 11 / 12)
    weight_decay: float = 1e-4
    grad_norm: float = 0.0
    batch_norm: str = "batch"
    calibration: int = 128
    workers: int = 0


def fine_tune(
    detector: FasterRCNN,
    images: Dataset[BoxedImage],
    recipe: Recipe,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    path: Path | None = None,
    made_with: Mapping[str, Any] | None = None,
) -> list[float]:
    """Trains a detector, in place, or goes on from the file of a training that was stopped.

    Args:
        detector: of `analysis.detection.detector.build_detector`; it is moved to ``device``.
        images: to train on; every one is seen before any comes again, half of them mirrored.
        recipe: of the training.
        seed: seed of everything random: the order, mirroring, sizes, and which regions the loss looks at.
        device: where.
        path: where everything is kept after every 200 steps and at the end; None: nowhere. A training that was stopped
            goes on as if it had not been.
        made_with: what the detector started from and on which images it is trained; kept in the file.

    Returns:
        The loss of every step, also of those before a stop.

    Raises:
        ValueError: there are no images, an option is wrong, or the file holds another training.
        RuntimeError: the loss is not finite.
    """
    for name, value, known in (
        ("batch_norm", recipe.batch_norm, BATCH_NORMS),
        ("optimizer", recipe.optimizer, OPTIMIZERS),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}: one of {', '.join(known)}")
    count = len(images)  # type: ignore[arg-type]
    if not count:
        raise ValueError("there are no images to train a detector on")
    detector.to(device)
    generator = torch.Generator().manual_seed(seed)
    depends_on = {**(made_with or {}), **asdict(replace(recipe, workers=0)), "seed": seed, "images": count}
    saved = None
    if path is not None and path.exists():
        saved = checkpoint.load(path)
        if saved.get("made_with") != depends_on:
            raise ValueError(f"{path} holds a detector that was trained otherwise: delete it")
    elif recipe.batch_norm == "fixed":
        measure_batch_norm(detector, images, recipe, generator)
    optimizer, scheduler = _optimizer(detector, recipe)
    parts: dict[str, Any] = {
        "detector": detector,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "generator": generator,
    }
    parts |= _randomness(device)
    losses: list[float] = []
    with _own_randomness(seed, device):
        if saved is None:
            order = _order(count, recipe.steps * recipe.batch_size, generator)
        else:
            order, losses = saved["order"], saved["losses"]
            # A training that began on a CPU may go on on a GPU, with other numbers.
            checkpoint.restore({name: part for name, part in parts.items() if name in saved}, saved)
        done = len(losses)
        batches = _read(images, order[done * recipe.batch_size :], recipe.batch_size, recipe.workers)
        what = "trains the detector, in steps"
        for step, batch in enumerate(counted(batches, what, recipe.steps - done), done + 1):
            train_mode(detector, recipe.batch_norm)
            coins = _coins(batch, generator)
            pairs = [_mirrored(item) if flip else item for item, flip in zip(batch, coins, strict=True)]
            targets = [{"boxes": p.objects.boxes.to(device), "labels": p.objects.labels.to(device)} for p in pairs]
            loss = sum(detector([_unit(p.image, device) for p in pairs], targets).values())
            if not loss.isfinite():
                raise RuntimeError(f"the detector's loss is {loss.item()} at step {step}: try a smaller learning rate")
            optimizer.zero_grad()
            loss.backward()
            if recipe.grad_norm:
                nn.utils.clip_grad_norm_(detector.parameters(), recipe.grad_norm)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            if path is not None and (step % _STEPS_KEPT == 0 or step == recipe.steps):
                state = {"made_with": depends_on, "order": order, "losses": losses, **checkpoint.states(parts)}
                checkpoint.save(state, path)
    return losses


def train_mode(detector: FasterRCNN, batch_norm: str) -> None:
    """Puts a detector into training mode, except for batch norms whose statistics are fixed."""
    detector.train()
    if batch_norm == "fixed":
        for module in detector.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


@torch.no_grad()
def measure_batch_norm(
    detector: FasterRCNN, images: Dataset[BoxedImage], recipe: Recipe, generator: torch.Generator
) -> None:
    """Sets the statistics of the trunk's batch norms to those of training images as the detector sees them.

    Of a ``c4`` detector the last block, too, is shown whole images, of which regions are parts.

    Args:
        detector: its batch norms are changed.
        images: some of them are drawn.
        recipe: says how many, and how many at a time; they are averaged over batches.
        generator: draws them.
    """
    device = next(detector.parameters()).device
    norms = [m for m in detector.modules() if isinstance(m, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    detector.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        # The mean of all batches.
        norm.momentum = None
    head = detector.roi_heads.box_head
    blocks = [*detector.backbone.blocks, *([head.block] if isinstance(head, RegionBlock) else [])]
    count = len(images)  # type: ignore[arg-type]
    order = _order(count, min(recipe.calibration, count), generator)
    batches = _read(images, order, recipe.batch_size, recipe.workers)
    for batch in counted(batches, "measures batch norms, in batches"):
        x = detector.transform([_unit(item.image, device) for item in batch])[0].tensors
        for block in blocks:
            x = block(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@torch.no_grad()
def detect(
    detector: FasterRCNN,
    images: Dataset[BoxedImage],
    *,
    batch_size: int = 8,
    device: torch.device | str = "cpu",
    workers: int = 0,
) -> tuple[list[Detections], list[Objects]]:
    """What a detector finds in images, and what there is to find, in pixels of the images as they were read.

    Args:
        detector: is left in evaluation mode.
        images: each is seen once, in order.
        batch_size: images at a time.
        device: where.
        workers: processes that read images.
    """
    detector.to(device).eval()
    found: list[Detections] = []
    there: list[Objects] = []
    batches = _read(images, list(range(len(images))), batch_size, workers)  # type: ignore[arg-type]
    for batch in counted(batches, "detects objects, in batches"):
        there += [item.objects for item in batch]
        for one in detector([_unit(item.image, device) for item in batch]):
            found.append(Detections(*(one[key].cpu() for key in ("boxes", "labels", "scores"))))
    return found, there


def _optimizer(detector: nn.Module, recipe: Recipe) -> tuple[Optimizer, LambdaLR]:
    groups = decay_groups(detector.parameters(), recipe.weight_decay)
    optimizer: Optimizer = SGD(groups, recipe.lr, 0.9) if recipe.optimizer == "sgd" else AdamW(groups, recipe.lr)

    def factor(step: int) -> float:
        return linear_warmup(step, recipe.warmup) * 0.1 ** sum(step >= share * recipe.steps for share in recipe.drops)

    return optimizer, LambdaLR(optimizer, factor)


def _order(count: int, length: int, generator: torch.Generator) -> list[int]:
    """Indices below ``count``, all of them before any comes again, ``length`` in all."""
    rounds = [torch.randperm(count, generator=generator) for _ in range(math.ceil(length / count))]
    return torch.cat(rounds)[:length].tolist()


def _read(images: Dataset[BoxedImage], order: list[int], batch_size: int, workers: int) -> Iterator[list[BoxedImage]]:
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    # Without a generator of its own it would draw from torch's global numbers.
    own = torch.Generator()
    return iter(DataLoader(images, batch_sampler=batches, num_workers=workers, collate_fn=list, generator=own))


def _unit(image: Tensor, device: torch.device | str) -> Tensor:
    return image.to(device).float() / 255


def _coins(batch: list[BoxedImage], generator: torch.Generator) -> list[bool]:
    return torch.randint(2, (len(batch),), generator=generator).bool().tolist()


def _mirrored(item: BoxedImage) -> BoxedImage:
    """The image with left and right exchanged."""
    x0, y0, x1, y1 = item.objects.boxes.unbind(1)
    width = item.image.shape[2]
    boxes = torch.stack([width - x1, y0, width - x0, y1], dim=1)
    return BoxedImage(item.image.flip(2), Objects(boxes, item.objects.labels, item.objects.difficult))


@contextmanager
def _own_randomness(seed: int, device: torch.device | str) -> Iterator[None]:
    """torchvision's detectors draw from torch's global numbers, which are put back afterwards."""
    on_gpu = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _randomness(device: torch.device | str) -> dict[str, torch.Generator]:
    """The generators of torch's global numbers, on a CPU and, where it is used, on a GPU."""
    where = torch.device(device)
    if where.type != "cuda":
        return {"random": torch.default_generator}
    index = torch.cuda.current_device() if where.index is None else where.index
    return {"random": torch.default_generator, "cuda_random": torch.cuda.default_generators[index]}
