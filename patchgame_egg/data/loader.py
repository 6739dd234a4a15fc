"""From files to batches of uint8 images: decoding, then one loader for training and validation.

A source is a map-style data set of ``(uint8 image [3, S, S], label)`` with ``classes``; `patchgame_egg.data.sources`
finds them. What the loader yields depends on the seed, the epoch and the position alone, whatever the number of workers
and ranks. One file, because the order, the images put in the place of broken ones, and the batches keep this promise
together.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from patchgame_egg.data.distractors import Distractors
from patchgame_egg.data.images import ImageSource, side
from patchgame_egg.data.pixels import UNREADABLE, is_exhausted
from patchgame_egg.distributed.processes import rank, world_size
from patchgame_egg.interaction import Batch

# Decoded images are kept while all of them fit in this much memory.
_MEMORY_BYTES = 2**30


# Of a source in groups, the images of so many groups are mixed at a time.
_GROUPS_AT_ONCE = 8


class NothingReadable(RuntimeError):
    """One image after another cannot be read."""


class Readable(Dataset[tuple[Tensor, int, int]]):
    """Puts the next readable image in the place of one that cannot be read, and remembers decoded ones.

    Items are (image, label, index of the image that it really is).
    """

    def __init__(self, source: ImageSource, shared: bool = False) -> None:
        self.source = source
        size = side(source)
        self.images: Tensor | None = None
        if 0 < len(source) * 3 * size * size <= _MEMORY_BYTES:
            self.images = torch.empty(len(source), 3, size, size, dtype=torch.uint8)
            # A slot is marked here after it is filled.
            self.labels = torch.full((len(source),), -2, dtype=torch.int64)
            if shared:
                try:
                    # Worker processes fill one memory.
                    self.images.share_memory_()
                    self.labels.share_memory_()
                except RuntimeError:  # containers often have little shared memory; images are decoded anew then
                    self.images = None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        if self.images is not None and self.labels[index] != -2:
            return self.images[index], int(self.labels[index]), index
        last: BaseException | None = None
        for actual in replacements(index, len(self)):
            try:
                item = self.source[actual]
            except UNREADABLE as error:
                if is_exhausted(error):
                    raise
                last = error
                continue
            image, label = _checked(item, self.source, actual)
            if self.images is not None:
                self.images[actual] = image
                self.labels[actual] = label
            return image, label, actual
        raise NothingReadable(
            f"none of {min(len(self), 100)} images in a row can be read, the first is {name_of(self.source, index)}; "
            f"of the last: {last}"
        ) from last


def _checked(item: object, source: ImageSource, index: int) -> tuple[Tensor, int]:
    """An item of a source, if it is what the loader needs."""
    if isinstance(item, (tuple, list)) and len(item) == 2:
        image, label = item
        if isinstance(image, Tensor) and image.dtype == torch.uint8 and image.ndim == 3 and len(image) == 3:
            return image, label
    parts = item if isinstance(item, (tuple, list)) else [item]
    kinds = ", ".join(f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__ for x in parts)
    raise ValueError(
        f"item {index} of {type(source).__name__} is ({kinds}): (uint8 image [3, S, S], class number) is needed; "
        "MapImages(data_set, size) of patchgame_egg.data makes it of any data set of pictures"
    )


def name_of(source: ImageSource, index: int) -> str:
    """What a source calls an image, or else its number."""
    name = getattr(source, "name", lambda i: f"image {i}")
    return str(name(index))


def say_first_skipped(source: ImageSource, index: int) -> None:
    """Says on stderr which image cannot be read, and why."""
    reason: object = "it can be read now"
    try:
        source[index]
    except UNREADABLE as error:
        reason = error
    print(
        f"note: skipped {name_of(source, index)}: {reason}; the loader counts and names all that follow",
        file=sys.stderr,
        flush=True,
    )


def replacements(index: int, count: int) -> Iterator[int]:
    """The indices tried in turn for an image: itself, then up to 99 others far from it in the list."""
    # Neighbours in a list often share a fate, and a batch: a stride near the golden section of the list meets neither.
    stride = next(s for s in range(max(1, round(count * 0.618)), 2 * count + 2) if np.gcd(s, count) == 1)
    for k in range(min(count, 100)):
        yield (index + k * stride) % count


def readable(source: ImageSource, indices: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Images and labels at the given places, another image in the place of each that cannot be read.

    Returns:
        uint8 ``[N, 3, S, S]`` and N class numbers.
    """
    images = Readable(source)
    items = [images[i] for i in indices]
    return torch.stack([image for image, _, _ in items]), [label for _, label, _ in items]


def mixed(groups: Sequence[int], generator: np.random.Generator) -> np.ndarray:
    """An order that keeps to a few groups at a time, so that a slow disk reads in few places.

    Args:
        groups: how many images lie together, in the order of their indices.
        generator: draws the order.

    Returns:
        Every index once: the groups shuffled, then the images of each eight groups.
    """
    starts = np.cumsum([0, *groups])
    parts = [np.arange(starts[g], starts[g + 1]) for g in generator.permutation(len(groups))]
    together = [np.concatenate(parts[i : i + _GROUPS_AT_ONCE]) for i in range(0, len(parts), _GROUPS_AT_ONCE)]
    return np.concatenate([generator.permutation(indices) for indices in together])


class _Order:
    """Index lists of one epoch's batches, this rank's share of each; the rest of the last one is left out.

    Where there are distractors, those of each image follow after all images of the batch.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        shuffle: bool,
        groups: Sequence[int] | None,
        distractors: Distractors | None,
    ) -> None:
        self.count, self.batch_size, self.seed, self.shuffle = count, batch_size, seed, shuffle
        self.groups, self.distractors = groups, distractors
        self.epoch, self.start = 1, 0

    def __len__(self) -> int:
        return self.count // self.batch_size - self.start

    def __iter__(self) -> Iterator[list[int]]:
        # Held-out images come in one fixed shuffled order: sorted by class, all candidates would be of one kind.
        epoch = self.epoch if self.shuffle else 0
        generator = np.random.default_rng((self.seed, epoch))
        order = generator.permutation(self.count) if self.groups is None else mixed(self.groups, generator)
        share = self.batch_size // world_size()
        for batch in range(self.start, self.count // self.batch_size):
            begin = batch * self.batch_size + rank() * share
            index = order[begin : begin + share].tolist()
            beside = [] if self.distractors is None else self.distractors(index, epoch)
            yield [*index, *(one for row in beside for one in row)]


class ImageLoader:
    """Batches of uint8 images; the same ones in the same order for a seed, whatever the workers and ranks.

    Args:
        source: the images.
        batch_size: over all ranks.
        seed: seed of the order.
        shuffle: a new order every epoch (training), or one fixed order (validation).
        workers: processes that decode; 0 decodes in this one.
        pin_memory: page-locked batches, for faster copies to a GPU.
        distractors: which images stand beside each image. Batches then have them as ``receiver_input``, uint8
            ``[B, K, 3, S, S]``. None: there are none.

    Attributes:
        skipped: the unreadable images met so far, by name where the source has names. The first is said on stderr.

    Raises:
        ValueError: fewer images than one batch, or a batch that the ranks cannot share evenly.
    """

    def __init__(
        self,
        source: ImageSource,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        workers: int = 0,
        pin_memory: bool = False,
        distractors: Distractors | None = None,
    ) -> None:
        if batch_size > len(source):
            raise ValueError(f"a batch of {batch_size} needs at least as many images, got {len(source)}")
        if batch_size % world_size():
            raise ValueError(f"a batch of {batch_size} does not divide among {world_size()} processes")
        self.source = source
        groups = getattr(source, "groups", None)
        self.order = _Order(len(source), batch_size, seed, shuffle, groups, distractors)
        self.skipped: dict[int, str] = {}
        self.images = Readable(source, shared=workers > 0)
        self.loader = self._make_loader(workers, pin_memory)

    def _make_loader(self, workers: int, pin_memory: bool) -> DataLoader:  # type: ignore[type-arg]
        return DataLoader(
            self.images,
            batch_sampler=self.order,  # type: ignore[arg-type]
            num_workers=workers,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            # An iterator draws a number for its workers: not from the stream of dropout.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Batches per epoch."""
        return self.order.count // self.order.batch_size

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Which epoch comes next, counted from 1, and from which of its batches on."""
        self.order.epoch, self.order.start = epoch, start

    def __iter__(self) -> Iterator[Batch]:
        asked = iter(self.order)
        for images, labels, index in self._batches():
            for want, got in zip(next(asked), index.tolist(), strict=True):
                if want != got:
                    self._note_skipped(want, got)
            beside = self.order.distractors
            if beside is None:
                yield Batch(images, labels, aux_input={"index": index})
                continue
            rows = len(images) // (1 + beside.count)
            others = images[rows:].unflatten(0, (rows, beside.count))
            yield Batch(images[:rows], labels[:rows], others, {"index": index[:rows]})

    def _batches(self) -> Iterator[Sequence[Tensor]]:
        return iter(self.loader)

    def _note_skipped(self, want: int, got: int) -> None:
        for bad in replacements(want, len(self.source)):
            if bad == got:
                return
            if not self.skipped:
                say_first_skipped(self.source, bad)
            self.skipped[bad] = name_of(self.source, bad)


class EveryImage:
    """All images of a source once, in order; each process has its share, and those that cannot be read are left out.

    Args:
        source: the images.
        batch_size: of each process.
        workers: processes that decode; 0 decodes in this one.

    Attributes:
        skipped: the unreadable images met so far, by name where the source has names. The first is said on stderr.
    """

    def __init__(self, source: ImageSource, batch_size: int = 256, workers: int = 0) -> None:
        self.source, self.skipped = source, dict[int, str]()
        mine = range(rank(), len(source), world_size())
        self.loader = DataLoader(
            Subset(Readable(source), mine), batch_size, num_workers=workers, generator=torch.Generator()
        )
        self.mine = mine

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        done = 0
        for images, labels, index in self.loader:
            asked = torch.tensor(self.mine[done : done + len(index)])
            done += len(index)
            itself = index == asked
            for place in asked[~itself].tolist():
                if not self.skipped:
                    say_first_skipped(self.source, place)
                self.skipped[place] = name_of(self.source, place)
            if itself.any():
                yield Batch(images[itself], labels[itself], aux_input={"index": index[itself]})
