"""A network that has learnt PatchRank's order of patches and costs a fraction of it (figure 4, ``--fast``).

The paper's first limitation is that its speaker costs time of its own. `FastRank` looks at 4 x 4 pixels for each patch,
whatever its size, through four convolutions of a few channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from analysis.vit.patch_subset import Ranking
from analysis.vit.rankings import on_grid
from patchgame_egg.data.images import ImageSource
from patchgame_egg.data.loader import ImageLoader
from patchgame_egg.training import checkpoint
from patchgame_egg.training.optimizer import cosine
from patchgame_egg.views.transforms import normalise

CELL = 4


class FastRank(nn.Module):
    """Scores the patches of an image that is first shrunk to 4 x 4 pixels per patch.

    Args:
        grid: rows and columns of patches.
        width: channels of the first convolution; the others have twice as many.
    """

    def __init__(self, grid: tuple[int, int], width: int = 16) -> None:
        super().__init__()
        self.grid = grid
        layers: list[nn.Module] = []
        for channels, out, stride in ((3, width, 2), (width, 2 * width, 2), (2 * width, 2 * width, 1)):
            layers += [nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(2 * width, 1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` to scores ``[B, P]``, in raster order."""
        small = F.adaptive_avg_pool2d(images, (CELL * self.grid[0], CELL * self.grid[1]))
        return self.layers(small).flatten(1)


def distil(
    teacher: Ranking,
    train: ImageSource,
    image_size: int,
    grid: tuple[int, int],
    path: Path,
    device: torch.device,
    *,
    epochs: int = 20,
    width: int = 16,
    seed: int = 0,
    made_with: Mapping[str, Any] | None = None,
) -> FastRank:
    """Trains a `FastRank` to put patches in a ranking's order, or takes it from the file of an earlier training.

    Scores are compared after each image's were standardised (1 - Pearson's correlation): only the order counts.

    Args:
        teacher: the ranking.
        train: images to learn on; of each a random square of the size, flipped at random, is shown.
        image_size: of those that the teacher ranks, pixels.
        grid: rows and columns of the patches.
        path: where it is kept after every epoch; one that was stopped goes on as if it had not been.
        device: where it is trained.
        epochs: of training.
        width: channels of the first convolution of the `FastRank`.
        seed: seed of everything random.
        made_with: who the teacher is and on which images; kept in the file.

    Returns:
        The network, in evaluation mode.

    Raises:
        ValueError: the file holds the pupil of another teacher.
    """
    known = {**(made_with or {}), "epochs": epochs, "width": width, "seed": seed}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        student = FastRank(grid, width).to(device)
    loader = ImageLoader(train, min(128, len(train)), seed)
    total = epochs * len(loader)
    optimizer = torch.optim.AdamW(student.parameters(), 3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine(step / total))
    generator = torch.Generator().manual_seed(seed)
    parts = {"student": student, "optimizer": optimizer, "schedule": schedule, "generator": generator}
    first = 1
    if path.exists():
        saved = checkpoint.load(path, device)
        if saved.get("made_with") != known:
            raise ValueError(
                f"{path} was distilled from another PatchRank or otherwise: delete it, or give another --out"
            )
        # Files of earlier versions were written at the end alone.
        first = saved.get("epoch", epochs) + 1
        if first > epochs:
            student.load_state_dict(saved["student"])
            return student.eval()
        checkpoint.restore(parts, saved)
    student.train()
    for epoch in range(first, epochs + 1):
        loader.set_epoch(epoch)
        for batch in loader:
            images = _moved(batch.sender_input, image_size, generator).to(device)
            wanted = _standardised(teacher(images).float())
            found = _standardised(on_grid(student(normalise(images, out=torch.empty_like(images))), grid))
            loss = 1 - (wanted * found).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        checkpoint.save({"made_with": known, "epoch": epoch, **checkpoint.states(parts)}, path)
    return student.eval()


def _moved(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A random square of a batch, flipped or not: uint8 ``[B, 3, H, W]`` to floats in [0, 1]."""
    top, left = (int(torch.randint(side - size + 1, (1,), generator=generator)) for side in images.shape[-2:])
    part = images[:, :, top : top + size, left : left + size].float() / 255
    return part.flip(3) if torch.rand(1, generator=generator) < 0.5 else part


def _standardised(scores: Tensor) -> Tensor:
    centred = scores - scores.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=1, keepdim=True).sqrt() + 1e-6)


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's correlation of two scorings of the same patches, ``[N, P]`` each, mean over images."""
    ranks = (scores.argsort(dim=1).argsort(dim=1).float() for scores in (first, second))
    a, b = (_standardised(r) for r in ranks)
    return float((a * b).mean())
