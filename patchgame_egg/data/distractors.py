"""Which images stand beside each image for the listener to choose among: random ones, or some of a pool of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Distractors:
    """K images beside each of N, drawn anew for every epoch; the same ones for a seed, whatever the ranks and workers.

    Args:
        images: N, how many there are.
        count: K.
        pools: for each image, those among which its own are drawn, itself ignored; where they are too few, all of them
            and random ones. None: all images.
        seed: of the draws.

    Raises:
        ValueError: there are too few images.

    Example:
        >>> beside = Distractors(6, 2, pools=[[1, 2], [0, 2], [0, 1], [4], [3], []])
        >>> [sorted(row) for row in beside([0, 1, 2], epoch=1)]
        [[1, 2], [0, 2], [0, 1]]
        >>> 4 in beside([3], epoch=1)[0], beside.filled
        (True, 3)
    """

    def __init__(
        self, images: int, count: int, pools: Sequence[Sequence[int] | NDArray[np.int64]] | None = None, seed: int = 0
    ) -> None:
        if not 1 <= count < images:
            raise ValueError(
                f"{count} distractors beside each of {images} images: give 1 to {images - 1}, or more images"
            )
        if pools is not None and len(pools) != images:
            raise ValueError(f"{len(pools)} pools of distractors for {images} images: give one for each image")
        self.images, self.count, self.pools, self.seed = images, count, pools, seed

    @property
    def filled(self) -> int:
        """Of how many images the pool is too small, so that some of their distractors are random."""
        if self.pools is None:
            return 0
        return sum(len(pool) - (index in pool) < self.count for index, pool in enumerate(self.pools))

    def __call__(self, index: Sequence[int], epoch: int) -> list[list[int]]:
        """The distractors of some images: K different ones for each, none of them the image itself."""
        return [self._of(one, np.random.default_rng((self.seed, epoch, one))) for one in index]

    def _of(self, index: int, generator: np.random.Generator) -> list[int]:
        chosen: list[int] = []
        if self.pools is not None:
            pool = np.unique(np.asarray(self.pools[index], dtype=np.int64))
            pool = pool[pool != index]
            chosen = generator.permutation(pool)[: self.count].tolist()
        taken = np.sort([index, *chosen])
        # Numbers of what is left, moved up past what is taken.
        rest = np.sort(
            generator.choice(self.images - len(taken), self.count - len(chosen), replace=False, shuffle=False)
        )
        places = rest + np.searchsorted(taken - np.arange(len(taken)), rest, side="right")
        return [*chosen, *places.tolist()]
