"""Sources and the loader: splits, corrupt files, order, workers, resume, errors."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from patchgame_egg.data.folders import folder_sets, unseen_folder
from patchgame_egg.data.images import ImageFiles, square
from patchgame_egg.data.loader import ImageLoader, Readable, replacements
from patchgame_egg.data.scenes import Scenes
from patchgame_egg.data.sources import NAMES, image_sets, torchvision_sets
from patchgame_egg.interaction import Batch
from tests.support.tiny import LEAST_HELD_OUT


def seen(batches: Iterable[Batch]) -> list[list[int]]:
    return [batch.aux_input["index"].tolist() for batch in batches]


@pytest.mark.parametrize("size", [(90, 50), (50, 90), (20, 20), (33, 32)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_square_takes_the_middle_of_any_image(size: tuple[int, int], mode: str) -> None:
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[size[1] // 2 - 6 : size[1] // 2 + 6, size[0] // 2 - 6 : size[0] // 2 + 6] = 255
    out = square(Image.fromarray(pixels).convert(mode), 32)
    assert out.shape == (3, 32, 32) and out.dtype == torch.uint8
    assert out[:, 14:18, 14:18].min() > 200
    assert out[:, 0, 0].max() < 60


@pytest.mark.parametrize("size", [55, 96, 160])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_squares_are_those_of_pil(size: int, mode: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(128, 60, (9, 12, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noise).resize((150, 113), Image.Resampling.BICUBIC).convert(mode).save(tmp_path / "x.jpg")
    ours, _ = ImageFiles([tmp_path / "x.jpg"], [0], ["image"], size)[0]
    with Image.open(tmp_path / "x.jpg") as image:
        image.draft("RGB", (size, size))
        scale = size / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    theirs = np.asarray(resized.crop((left, top, left + size, top + size)))
    gap = np.abs(ours.permute(1, 2, 0).numpy().astype(int) - theirs)
    assert gap.max() <= 2 and gap.mean() < 0.02


def test_folder_with_train_and_val(photo_folder: Path) -> None:
    train, val = folder_sets(photo_folder, 32)
    assert (len(train), len(val)) == (24, 12)
    assert train.classes == val.classes == ["cat", "dog"]
    image, label = val[0]
    assert image.shape == (3, 32, 32) and label == 0


def test_folder_of_classes_is_split_95_to_5(photo_folder: Path) -> None:
    train, val = folder_sets(photo_folder / "val", 32)
    assert (len(train), len(val)) == (11, 1)
    assert not set(train.paths) & set(val.paths)
    again, _ = folder_sets(photo_folder / "val", 32)
    assert again.paths == train.paths
    assert train.classes == ["cat", "dog"]


def test_held_out_images_alone_are_not_trained_on(photo_folder: Path) -> None:
    shutil.rmtree(photo_folder / "train")
    with pytest.raises(ValueError, match=r"/val and no train/ beside it: root='.*/val' splits"):
        folder_sets(photo_folder, 32)
    (photo_folder / "dog").mkdir()
    assert folder_sets(photo_folder, 32)[0].classes == ["val"], "a class of that name, beside another"


def test_images_to_look_at_only_are_the_held_out_ones_or_all(photo_folder: Path) -> None:
    both = folder_sets(photo_folder, 32)[1]
    assert unseen_folder(photo_folder, 32).paths == both.paths
    assert len(unseen_folder(photo_folder / "train", 32)) == 24
    shutil.rmtree(photo_folder / "train")
    alone = unseen_folder(photo_folder, 32)
    assert alone.paths == both.paths
    assert alone.classes == ["cat", "dog"]


def test_folder_of_images_without_classes(photo_folder: Path) -> None:
    train, val = folder_sets(photo_folder / "val" / "cat", 32)
    assert len(train) + len(val) == 6
    assert train.classes == ["image"]


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_images_are_replaced_counted_and_named(photo_folder: Path, workers: int) -> None:
    train, _ = folder_sets(photo_folder, 32)
    loader = ImageLoader(train, 8, workers=workers)
    for epoch in (1, 2):
        loader.set_epoch(epoch)
        batches = list(loader)
        assert all(batch.sender_input.shape == (8, 3, 32, 32) for batch in batches)
        assert not set(loader.skipped) & {i for batch in seen(batches) for i in batch}
    assert sorted(Path(name).name for name in loader.skipped.values()) == ["000.jpg", "003.jpg"]


def test_train_without_held_out_images_is_split(photo_folder: Path) -> None:
    (photo_folder / "val").rename(photo_folder.parent / "elsewhere")
    train, val = folder_sets(photo_folder, 32)
    assert (len(train), len(val)) == (23, 1)
    assert train.classes == ["cat", "dog"]


def test_too_little_shared_memory_only_costs_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to mmap: No space left on device")

    expected = [batch.sender_input for batch in ImageLoader(Scenes(8, 16), 4)]
    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    reader = Readable(Scenes(8, 16), shared=True)
    assert reader.images is None
    loader = ImageLoader(Scenes(8, 16), 4)
    assert all(torch.equal(a, b.sender_input) for a, b in zip(expected, loader, strict=True))
    assert torch.equal(reader[3][0], Scenes(8, 16)[3][0])


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.jpg").write_bytes(b"no image")
    files = ImageFiles(sorted(tmp_path.iterdir()), [0, 0, 0], ["image"], 16)
    with pytest.raises(RuntimeError, match="none of 3 images in a row can be read"):
        next(iter(ImageLoader(files, 2)))


@pytest.mark.parametrize("count", [1, 2, 3, 10, 97, 1000])
def test_replacements_visit_different_images(count: int) -> None:
    tried = list(replacements(count // 2, count))
    assert tried[0] == count // 2
    assert len(set(tried)) == len(tried) == min(count, 100)


def test_epochs_differ_and_repeat_under_the_seed() -> None:
    loader = ImageLoader(Scenes(20, 16), 4, seed=3)
    loader.set_epoch(1)
    first = seen(loader)
    assert sorted(i for batch in first for i in batch) == list(range(20))
    loader.set_epoch(2)
    assert seen(loader) != first
    loader.set_epoch(1)
    assert seen(loader) == first
    other = ImageLoader(Scenes(20, 16), 4, seed=4)
    assert seen(other) != first


def test_an_epoch_resumes_from_any_batch_with_the_same_images() -> None:
    loader = ImageLoader(Scenes(22, 16), 4, seed=3)
    loader.set_epoch(5)
    whole = list(loader)
    assert len(whole) == len(loader) == 5
    loader.set_epoch(5, 3)
    rest = list(loader)
    assert seen(rest) == seen(whole)[3:]
    assert torch.equal(rest[0].sender_input, whole[3].sender_input)
    assert len(loader) == 5


def test_workers_and_memory_do_not_change_what_is_loaded() -> None:
    alone, workers = ImageLoader(Scenes(12, 16), 4), ImageLoader(Scenes(12, 16), 4, workers=2)
    for epoch in (1, 2):
        alone.set_epoch(epoch)
        workers.set_epoch(epoch)
        for a, b in zip(alone, workers, strict=True):
            assert torch.equal(a.sender_input, b.sender_input)
            assert torch.equal(a.labels, b.labels)


def test_validation_order_is_fixed_and_mixed() -> None:
    loader = ImageLoader(Scenes(64, 16), 16, seed=1, shuffle=False)
    loader.set_epoch(1)
    first = seen(loader)
    loader.set_epoch(2)
    assert seen(loader) == first
    assert first[0] != sorted(first[0])


def test_cifar10_files_are_read_through_torchvision(tmp_path: Path) -> None:
    import pickle

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"cifar10 is not in root='.*': download=True fetches it"):
        torchvision_sets("cifar10", tmp_path, 32)
    # torchvision checks the real files' checksums; a class with its reading code and without that check stands in.
    from torchvision.datasets import CIFAR10

    class Unchecked(CIFAR10):
        def _check_integrity(self) -> bool:
            return True

        def _load_meta(self) -> None:
            self.classes = ["a", "b"]

    names = [n for n, _ in CIFAR10.train_list + CIFAR10.test_list]
    for name in names:
        pixels = np.arange(2 * 3072, dtype=np.uint32).astype(np.uint8).reshape(2, 3072)
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": [0, 1]}))
    from patchgame_egg.data import sources

    sources.TORCHVISION["unchecked"] = (Unchecked, {"train": True}, {"train": False})
    try:
        train, val = torchvision_sets("unchecked", tmp_path, 32)
    finally:
        del sources.TORCHVISION["unchecked"]
    assert (len(train), len(val)) == (10, 2)
    image, label = train[3]
    assert image.shape == (3, 32, 32) and label == 1 and train.classes == ["a", "b"]


def test_every_name_is_offered() -> None:
    assert {"scenes", "folder", "cifar10", "stl10", "imagenet"} <= set(NAMES)


def test_scenes_are_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patchgame_egg.data.sources.LEAST_HELD_OUT", LEAST_HELD_OUT)
    assert [len(part) for part in image_sets("scenes", "", 16, scenes=40)] == [40, 1024]
    assert [len(part) for part in image_sets("scenes", "", 16, scenes=80_000)] == [80_000, 10_000]


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("scenes", "folder", "shards")])
def test_missing_torchvision_sets_are_one_line_errors(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=name) as error:
        image_sets(name, tmp_path, 32)
    assert "\n" not in str(error.value)
    assert f"root='{tmp_path}'" in str(error.value)


def test_errors_say_what_is_wrong(tmp_path: Path, photo_folder: Path) -> None:
    with pytest.raises(ValueError, match="name='folder' needs root='DIR'"):
        image_sets("folder", "", 32)
    with pytest.raises(ValueError, match="no folder"):
        image_sets("folder", tmp_path / "nowhere", 32)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="0 images in"):
        image_sets("folder", tmp_path / "empty", 32)
    with pytest.raises(ValueError, match="unknown data 'moons'"):
        image_sets("moons", "", 32)
    with pytest.raises(ValueError, match="a batch of 64 needs at least as many images, got 32"):
        ImageLoader(Scenes(32, 16), 64)
