"""Cached images: the same batches as without, once for all processes, never stale, never half."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import FakeData

from games.patchgame import main
from patchgame_egg.data import cache
from patchgame_egg.data.cache import CachedImages, digest
from patchgame_egg.data.folders import folder_sets
from patchgame_egg.data.images import PIXELS_VERSION, ImageFiles, square
from patchgame_egg.data.loader import ImageLoader
from patchgame_egg.data.scenes import Scenes
from patchgame_egg.data.sources import TorchvisionSet
from patchgame_egg.training.log_file import read_log


def built(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_and_skipped_images_are_those_of_the_source(photo_folder: Path, tmp_path: Path, workers: int) -> None:
    train, _ = folder_sets(photo_folder, 32)
    cached = CachedImages(train, tmp_path / "cache", workers)
    plain, stored = ImageLoader(train, 8), ImageLoader(cached, 8, workers=workers)
    for epoch in (1, 2):
        plain.set_epoch(epoch, 1)
        stored.set_epoch(epoch, 1)
        for a, b in zip(plain, stored, strict=True):
            assert torch.equal(a.sender_input, b.sender_input) and torch.equal(a.labels, b.labels)
            assert torch.equal(a.aux_input["index"], b.aux_input["index"])
    assert stored.skipped == plain.skipped and len(plain.skipped) == 2
    assert cached.classes == train.classes and stored.images.images is None


def test_images_are_read_from_the_file_also_in_a_process_that_is_no_fork(photo_folder: Path, tmp_path: Path) -> None:
    cached = CachedImages(folder_sets(photo_folder, 32)[1], tmp_path)
    assert np.shares_memory(cached[3][0].numpy(), cached.images)
    assert len(pickle.dumps(cached)) < 5000 < cached.images.nbytes
    again = pickle.loads(pickle.dumps(cached))
    assert torch.equal(again[3][0], cached[3][0])
    cached[3][0].zero_()  # what a user does to an image stays with him
    assert again[3][0].any() and CachedImages(cached.source, tmp_path)[3][0].any()


def test_a_cache_is_made_once(photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = CachedImages(folder_sets(photo_folder, 32)[0], tmp_path)

    def never(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(ImageFiles, "__getitem__", never)
    again = CachedImages(folder_sets(photo_folder, 32)[0], tmp_path)
    assert again.folder == first.folder and torch.equal(again[2][0], first[2][0])


def test_whatever_changes_in_the_source_makes_a_new_cache(photo_folder: Path, tmp_path: Path) -> None:
    def folder(size: int = 32) -> Path:
        return CachedImages(folder_sets(photo_folder, size)[1], tmp_path).folder

    seen = [folder(), folder(40)]
    file = photo_folder / "val" / "dog" / "002.jpg"
    os.utime(file, ns=(0, 0))
    seen.append(folder())
    Image.new("RGB", (40, 40)).save(file)
    seen.append(folder())
    assert CachedImages(folder_sets(photo_folder, 32)[1], tmp_path)[7][0].max() == 0
    (photo_folder / "val" / "cat" / "001.jpg").rename(photo_folder / "val" / "dog" / "001.jpg")
    seen.append(folder())
    assert len(set(seen)) == 5


def test_a_cache_is_of_a_version_of_the_pixels(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder_sets(photo_folder, 32)[1]
    before = digest(source)
    # What a comment in the code that decodes would change.
    monkeypatch.setattr(inspect, "getsource", lambda _: "other")
    assert digest(source) == before
    monkeypatch.setattr(cache, "PIXELS_VERSION", cache.PIXELS_VERSION + 1)
    assert digest(source) != before


def test_these_are_the_pixels_of_this_version() -> None:
    """Where this fails, a cache made before holds other pixels than would be decoded now: raise `PIXELS_VERSION`."""
    y, x = np.mgrid[:10, :16]
    pixels = np.stack([16 * x, 25 * y, (x * y * 7) % 256], axis=2).astype(np.uint8)
    found = square(Image.fromarray(pixels), 4)
    expected = [
        [[55, 99, 141, 185], [55, 99, 141, 185], [55, 99, 141, 185], [55, 99, 141, 185]],
        [[20, 20, 20, 20], [80, 80, 80, 80], [145, 145, 145, 145], [205, 205, 205, 205]],
        [[19, 34, 55, 75], [77, 145, 164, 147], [146, 166, 117, 140], [169, 117, 162, 136]],
    ]
    assert PIXELS_VERSION == 2
    # Processors round a level apart.
    np.testing.assert_allclose(found.numpy().astype(int), expected, atol=2)


def test_a_file_that_was_cut_is_made_again(photo_folder: Path, tmp_path: Path) -> None:
    source = folder_sets(photo_folder, 32)[1]
    whole = CachedImages(source, tmp_path)
    expected = [whole[i][0].clone() for i in range(len(whole))]
    for name in ("images.npy", "labels.npy"):
        file = whole.folder / name
        os.truncate(file, file.stat().st_size - 1)
        again = CachedImages(source, tmp_path)
        assert all(torch.equal(again[i][0], x) for i, x in enumerate(expected))


def test_what_an_interrupted_process_left_is_cleared(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder_sets(photo_folder, 32)[1]
    with monkeypatch.context() as patch:
        patch.setattr(cache.os, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            CachedImages(source, tmp_path / "cache")
    assert [name.endswith(".partial") for name in built(tmp_path / "cache")] == [True]
    CachedImages(source, tmp_path / "cache")
    assert [name.endswith(".partial") for name in built(tmp_path / "cache")] == [False]


def _build_beside_others(photos: Path, folder: Path, start: object, results: object) -> None:
    source = folder_sets(photos, 32)[0]
    start.wait()  # type: ignore[attr-defined]
    results.put(CachedImages(source, folder)[2][0].sum().item())  # type: ignore[attr-defined]


@pytest.mark.process
def test_processes_that_start_at_once_make_one_cache(
    photo_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(3), context.Queue()
    folder = tmp_path / "cache"
    players = [
        context.Process(target=_build_beside_others, args=(photo_folder, folder, start, results)) for _ in range(3)
    ]
    for player in players:
        player.start()
    sums = {results.get(timeout=60) for _ in players}
    for player in players:
        player.join()
    assert len(sums) == 1 and len(built(folder)) == 1
    assert capfd.readouterr().out.count("caching 24 images of 32 px") == 1


def test_images_without_a_label_are_images(tmp_path: Path) -> None:
    base = FakeData(6, (3, 40, 40), num_classes=1, target_transform=lambda _: torch.tensor(-1))
    base.root = str(tmp_path / "data")
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "batch"
    file.write_text("1")
    folder = tmp_path / "data" / "cache"
    cached = CachedImages(TorchvisionSet(base, 32, indices=range(2, 6)), folder)
    assert [cached[i][1] for i in range(4)] == [-1] * 4
    assert CachedImages(TorchvisionSet(base, 32, indices=range(2, 6)), folder).folder == cached.folder
    assert CachedImages(TorchvisionSet(base, 32, indices=range(1, 5)), folder).folder != cached.folder
    file.write_text("12")
    assert CachedImages(TorchvisionSet(base, 32, indices=range(2, 6)), folder).folder != cached.folder


def test_errors_are_one_line(photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="not Scenes: leave it out"):
        CachedImages(Scenes(8, 16), tmp_path)
    source = folder_sets(photo_folder, 32)[0]
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"no cache in .*file: "):
        CachedImages(source, tmp_path / "file")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(ValueError, match=r"GiB are needed, 0\.0 GiB are free"):
        CachedImages(source, tmp_path)


@pytest.mark.slow
def test_a_game_on_cached_images_has_the_same_losses(photo_folder: Path, tmp_path: Path, tiny: list[str]) -> None:
    options = [*tiny, "--data", "folder", "--root", str(photo_folder), "--epochs", "2", "--out", str(tmp_path)]
    options += ["--no-pictures", "--no-tensorboard"]
    assert main([*options, "--name", "plain"]) == 0
    assert main([*options, "--name", "cached", "--cache", "auto"]) == 0
    logs = [read_log(tmp_path / name / "log.jsonl") for name in ("plain", "cached")]
    losses = [[r["loss"] for r in log if "loss" in r] for log in logs]
    assert losses[0] == losses[1] and len(losses[0]) == 8
    skipped = [(tmp_path / name / "skipped.txt").read_text() for name in ("plain", "cached")]
    assert skipped[0] == skipped[1] != ""
    assert len(built(tmp_path / "cache")) == 2
