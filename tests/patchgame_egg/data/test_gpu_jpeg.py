"""Decoding by batches, with the CPU's decoder in the place of a GPU's: which files go there, and what if it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import decode_jpeg

from games.build.data import build_loaders
from games.options.command_line import parse
from patchgame_egg.data import loader as data
from patchgame_egg.data.folders import folder_sets
from patchgame_egg.data.gpu_jpeg import GpuJpegLoader, NoDecoder, is_plain
from patchgame_egg.data.loader import ImageLoader
from patchgame_egg.data.scenes import Scenes

CPU = torch.device("cpu")


class Decoder:
    """Notes how many files it got at a time."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def __call__(self, files: list[Tensor], **options: Any) -> list[Tensor]:
        self.counts.append(len(files))
        return [decode_jpeg(file, **options) for file in files]


@pytest.fixture
def mixed_folder(photo_folder: Path) -> Path:
    """A broken file, an empty one, one without tables, and three that only the CPU decodes."""
    train = photo_folder / "train"
    Image.open(train / "cat" / "005.jpg").convert("CMYK").save(train / "cat" / "005.jpg")
    Image.open(train / "cat" / "007.jpg").save(train / "cat" / "007.png")
    (train / "cat" / "009.jpg").write_bytes((train / "cat" / "009.jpg").read_bytes() + b"\0")
    whole = (train / "dog" / "004.jpg").read_bytes()
    # As the marker says now, the quantisation tables are a comment.
    (train / "dog" / "004.jpg").write_bytes(whole.replace(b"\xff\xdb", b"\xff\xfe"))
    return photo_folder


@pytest.mark.parametrize("workers", [0, 2])
def test_the_images_are_those_of_the_cpu(mixed_folder: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_MEMORY_BYTES", 0)
    source, decoder = folder_sets(mixed_folder, 40)[0], Decoder()
    loader = GpuJpegLoader(source, 5, seed=1, workers=workers, device=CPU, decode=decoder)
    plain = ImageLoader(source, 5, seed=1)
    for epoch in (1, 2):
        loader.set_epoch(epoch)
        plain.set_epoch(epoch)
        for a, b in zip(plain, loader, strict=True):
            # Files of the wanted size, so that no decoder skips resolution.
            assert torch.equal(a.sender_input, b.sender_input) and torch.equal(a.labels, b.labels)
            assert torch.equal(a.aux_input["index"], b.aux_input["index"])
    assert loader.skipped == plain.skipped and len(plain.skipped) == 3
    assert decoder.counts[0] == 1 and max(decoder.counts) > 1


def test_images_are_resized_as_on_the_cpu(photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_MEMORY_BYTES", 0)
    source = folder_sets(photo_folder, 30)[1]
    ours = next(iter(GpuJpegLoader(source, 12, device=CPU, decode=Decoder()))).sender_input
    gap = (ours.int() - next(iter(ImageLoader(source, 12))).sender_input.int()).abs()
    assert gap.max() <= 6 and gap.float().mean() < 0.5  # bytes are rounded between rows and columns


def test_what_is_kept_in_memory_or_drawn_is_not_sent(photo_folder: Path) -> None:
    decoder = Decoder()
    for source in (folder_sets(photo_folder, 32)[0], Scenes(8, 32)):
        batch = next(iter(GpuJpegLoader(source, 8, device=CPU, decode=decoder)))
        assert batch.sender_input.shape == (8, 3, 32, 32)
    assert decoder.counts == []


def test_plain_files_are_whole_jpegs_in_colour_or_grey(mixed_folder: Path) -> None:
    train = mixed_folder / "train"
    Image.open(train / "cat" / "011.jpg").convert("L").save(train / "cat" / "011.jpg")
    names = ["cat/001.jpg", "cat/011.jpg", "cat/003.jpg", "cat/005.jpg", "cat/007.png", "cat/009.jpg", "dog/000.jpg"]
    assert [is_plain((train / name).read_bytes()) for name in names] == [True, True, *[False] * 5]


def test_devices_that_cannot_decode_are_one_line(photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_MEMORY_BYTES", 0)

    def missing(*_: Any, **__: Any) -> list[Tensor]:
        raise RuntimeError("decode_jpegs_cuda: torchvision not compiled with nvJPEG support\nstack")

    with pytest.raises(NoDecoder, match=r"^torchvision .*cpu: decode_jpegs_cuda: .* support$"):
        GpuJpegLoader(folder_sets(photo_folder, 32)[0], 8, device=CPU, decode=missing)
    options = ["--data", "folder", "--root", str(photo_folder), "--decode", "gpu", "--batch-size", "8"]
    with pytest.raises(ValueError, match="--decode gpu needs a CUDA GPU, the device is cpu"):
        build_loaders(parse(options).config, CPU)


def test_no_loader_is_built_in_vain(photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_MEMORY_BYTES", 0)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a loader that decodes on the CPU")

    monkeypatch.setattr(data, "DataLoader", never)
    GpuJpegLoader(folder_sets(photo_folder, 32)[0], 8, device=CPU, decode=Decoder())
    with pytest.raises(AssertionError, match="on the CPU"):
        GpuJpegLoader(Scenes(8, 32), 8, device=CPU, decode=Decoder())
