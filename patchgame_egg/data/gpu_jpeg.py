"""JPEG files decoded by a GPU, a batch at a time; workers then only read.

nvjpeg rounds in other places than the CPU's decoder, so pixels differ a little, and training with them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_jpeg

from patchgame_egg.data.images import EncodedImages, centre_square
from patchgame_egg.data.loader import ImageLoader, Readable
from patchgame_egg.data.pixels import UNREADABLE, orientation

# The image or a file's bytes, the label, the index.
_Item = tuple[Tensor, int, int]


def is_plain(data: bytes) -> bool:
    """Whether these bytes are a whole JPEG in colour or grey, not to be turned: a GPU decodes it as a CPU would."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            whole = image.format == "JPEG" and data.endswith(b"\xff\xd9")
            return whole and image.mode in ("RGB", "L") and orientation(image) == 1
    except (*UNREADABLE, ValueError):
        return False


class NoDecoder(ValueError):
    """The device cannot decode JPEG files."""


class _Encoded(Dataset[_Item]):
    """Plain JPEGs as bytes, all else decoded."""

    def __init__(self, images: Readable) -> None:
        self.images = images

    def __getitem__(self, index: int) -> _Item:
        assert isinstance(self.images.source, EncodedImages)
        try:
            data, label = self.images.source.encoded(index)
        except UNREADABLE:
            return self.images[index]
        if not is_plain(data):
            return self.images[index]
        return torch.frombuffer(bytearray(data), dtype=torch.uint8), label, index


class GpuJpegLoader(ImageLoader):
    """An `ImageLoader` whose batches come out of a GPU's decoder, on that GPU.

    Args:
        source: `EncodedImages`. Others, and those that are small enough to be kept in memory, are decoded on the CPU.
        batch_size: over all ranks; all options of `ImageLoader` follow.
        device: the GPU.
        decode: ``torchvision.io.decode_jpeg``, or what does the same.

    Raises:
        NoDecoder: the device cannot decode.
        ValueError: there are fewer images than one batch, or the ranks cannot share a batch evenly.
    """

    def __init__(
        self,
        source: Any,
        batch_size: int,
        *,
        device: torch.device,
        decode: Callable[..., list[Tensor]] = decode_jpeg,
        **options: Any,
    ) -> None:
        self.device, self.decode = device, decode
        super().__init__(source, batch_size, **options)

    def _make_loader(self, workers: int, pin_memory: bool) -> DataLoader:  # type: ignore[type-arg]
        self.encoded = isinstance(self.source, EncodedImages) and self.images.images is None
        if not self.encoded:
            return super()._make_loader(workers, pin_memory)
        self._try_decoder()
        # Its batches are lists of files, and are on the GPU once they are decoded: no memory to pin.
        return DataLoader(
            _Encoded(self.images),
            batch_sampler=self.order,  # type: ignore[arg-type]
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=list,
            generator=torch.Generator(),
        )

    def _try_decoder(self) -> None:
        file = io.BytesIO()
        Image.new("RGB", (16, 16)).save(file, "jpeg")
        try:
            self._decoded([torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)])
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise NoDecoder(f"torchvision cannot decode on {self.device}: {reason}") from error

    def _decoded(self, files: list[Tensor]) -> list[Tensor]:
        return self.decode(files, mode=ImageReadMode.RGB, device=self.device) if files else []

    def _batches(self) -> Iterator[Sequence[Tensor]]:
        return map(self._batch, self.loader) if self.encoded else super()._batches()

    def _batch(self, items: list[_Item]) -> Sequence[Tensor]:
        try:
            decoded = iter(self._decoded([image for image, _, _ in items if image.dim() == 1]))
        except RuntimeError:  # one broken file spoils the list; the CPU replaces it
            items = [self.images[index] for _, _, index in items]
        size = self.images.source.size  # type: ignore[attr-defined]
        # A GPU resizes floats alone.
        images = [
            centre_square(next(decoded).float(), size).round().clamp(0, 255).to(torch.uint8)
            if image.dim() == 1
            else image.to(self.device)
            for image, _, _ in items
        ]
        return torch.stack(images), torch.tensor([n for _, n, _ in items]), torch.tensor([i for _, _, i in items])
