"""Tar shards: what is written is read, by us and by webdataset; every image once an epoch; indexes that fit."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from games.patchgame import main
from games.shards import main as write_shards
from patchgame_egg.data import loader as data
from patchgame_egg.data.cache import CachedImages, digest
from patchgame_egg.data.folders import folder_sets
from patchgame_egg.data.loader import ImageLoader, mixed
from patchgame_egg.data.shards import ShardedImages, index_path, shard_index, shard_sets
from patchgame_egg.data.sources import image_sets
from patchgame_egg.data.understood import understood
from patchgame_egg.training.callback import Callback
from patchgame_egg.training.log_file import read_log


@pytest.fixture
def shards(photo_folder: Path, tmp_path: Path) -> Path:
    """24 training images in 5 shards, two of them corrupt, and 12 held out in 3."""
    assert write_shards(["--root", str(photo_folder), "--out", str(tmp_path / "shards"), "--per-shard", "5"]) == 0
    return tmp_path / "shards"


def train_pattern(shards: Path) -> str:
    return f"{shards}/train-{{0000..0004}}.tar"


def test_files_are_copied_byte_by_byte(shards: Path, photo_folder: Path) -> None:
    folder, packed = folder_sets(photo_folder, 32)[0], shard_sets(train_pattern(shards), "", 32)[0]
    assert packed.groups == [5, 5, 5, 5, 4] and packed.classes == folder.classes
    ours = sorted(packed.encoded(i) for i in range(24))
    assert ours == sorted(folder.encoded(i) for i in range(24))
    assert [packed.encoded(i)[0] for i in range(24)] != [folder.encoded(i)[0] for i in range(24)]
    theirs = webdataset.WebDataset(train_pattern(shards), shardshuffle=False, empty_check=False)
    assert [(s["jpg"], int(s["cls"])) for s in theirs] == [packed.encoded(i) for i in range(24)]
    assert Path(packed.name(7)).name == "00000007.jpg" and "train-0001.tar" in packed.name(7)


@pytest.mark.slow
def test_squares_are_written_without_loss(tmp_path: Path, photo_folder: Path) -> None:
    out = tmp_path / "scenes"
    assert write_shards(["--data", "scenes", "--scenes", "6", "--size", "24", "--out", str(out)]) == 0
    packed, _ = shard_sets(str(out / "train-0000.tar"), "", 24)
    scenes, _ = image_sets("scenes", "", 24, scenes=6)
    order = np.random.default_rng(0).permutation(6)
    assert all(torch.equal(packed[i][0], scenes[int(k)][0]) for i, k in enumerate(order))
    assert [packed[i][1] for i in range(6)] == [scenes[int(k)][1] for k in order]


def test_unreadable_images_are_left_out_of_squares(
    tmp_path: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small"
    assert write_shards(["--root", str(photo_folder), "--size", "24", "--out", str(out)]) == 0
    assert sum(shard_sets(str(out / "train-0000.tar"), "", 24)[0].groups) == 22
    assert capsys.readouterr().out.count("left out") == 2


@pytest.mark.parametrize("groups", [[5], [3, 1, 4, 1, 5], [1] * 40, [7] * 20])
def test_mixed_holds_everything_once_and_keeps_to_a_few_groups(groups: list[int]) -> None:
    order = mixed(groups, np.random.default_rng(3))
    assert sorted(order.tolist()) == list(range(sum(groups)))
    group_of = np.repeat(np.arange(len(groups)), groups)[order]
    finished: set[int] = set()
    for start in range(0, len(groups), 8):
        window = list(dict.fromkeys(g for g in group_of.tolist() if g not in finished))[:8]
        count = sum(groups[g] for g in window)
        begin = sum(groups[g] for g in finished)
        assert set(group_of[begin : begin + count].tolist()) == set(window), start
        finished |= set(window)
    other = mixed(groups, np.random.default_rng(4))
    assert order.tolist() != other.tolist()
    if len(groups) > 8:
        assert set(group_of[: sum(groups[:8])].tolist()) != set(range(8))


@pytest.mark.parametrize("workers", [0, 2])
def test_every_image_once_an_epoch_over_ranks_and_workers(
    shards: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = shard_sets(train_pattern(shards), "", 32)[0]
    whole = ImageLoader(source, 8)
    whole.set_epoch(2)
    expected = list(whole)
    parts = []
    monkeypatch.setattr(data, "world_size", lambda: 2)
    for number in (0, 1):
        monkeypatch.setattr(data, "rank", lambda number=number: number)
        loader = ImageLoader(source, 8, workers=workers)
        loader.set_epoch(2)
        parts.append(list(loader))
    assert len(expected) == len(parts[0]) == len(parts[1]) == 3
    for batch, first, second in zip(expected, *parts, strict=True):
        assert torch.equal(batch.sender_input, torch.cat([first.sender_input, second.sender_input]))
        assert torch.equal(batch.labels, torch.cat([first.labels, second.labels]))
    asked = np.concatenate(list(ImageLoader(source, 4).order))  # this rank's half of every batch of 4
    monkeypatch.setattr(data, "rank", lambda: 0)
    asked = np.concatenate([asked, *ImageLoader(source, 4).order])
    assert sorted(asked.tolist()) == list(range(24))


def test_an_epoch_resumes_at_any_batch(shards: Path, tmp_path: Path) -> None:
    source = shard_sets(train_pattern(shards), "", 32)[0]
    loader, cached = ImageLoader(source, 4, seed=1), ImageLoader(CachedImages(source, tmp_path / "cache"), 4, seed=1)
    loader.set_epoch(3)
    whole = list(loader)
    for start in (0, 2, 5):
        for resumed in (loader, cached):
            resumed.set_epoch(3, start)
            rest = list(resumed)
            assert len(rest) == len(whole) - start
            for a, b in zip(rest, whole[start:], strict=True):
                assert torch.equal(a.sender_input, b.sender_input)
                assert torch.equal(a.aux_input["index"], b.aux_input["index"])


def test_corrupt_images_are_replaced_counted_and_named(shards: Path) -> None:
    loader = ImageLoader(shard_sets(train_pattern(shards), "", 32)[0], 8)
    assert all(batch.sender_input.shape == (8, 3, 32, 32) for batch in loader)
    assert len(loader.skipped) == 2 and all(".tar/" in name for name in loader.skipped.values())


def test_a_shard_without_an_index_that_fits_is_counted_once(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = shards / "train-0001.tar"
    entries, index = shard_index(shard), index_path(shard)
    index.unlink()
    assert shard_index(shard) == entries and index.exists()
    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "open", None)  # the index answers
        assert shard_index(shard) == entries
    index.write_text('{"shard": {"size"')
    assert shard_index(shard) == entries
    shard.write_bytes((shards / "train-0004.tar").read_bytes())
    assert len(shard_index(shard)) == 4
    index.unlink()

    def read_only(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("patchgame_egg.data.shards.write_text", read_only)
    with pytest.raises(ValueError, match=r"train-0001.tar has no index that fits it.*Permission denied.*start once"):
        shard_index(shard)


def test_shards_of_others_are_read(tmp_path: Path) -> None:
    def image(value: int, format: str) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (30, 20), (value, 0, 0)).save(file, format)
        return file.getvalue()

    files = {
        "./a/1.txt": b"caption", "./a/1.PNG": image(10, "png"), "./a/1.cls": b"3\n", "./a/1.seg.png": image(99, "png"),
        "__meta__/x": b"", "./a/2.webp": image(200, "webp"), "./b/2.jpeg": image(30, "jpeg"), "./b/2.cls": b"1",
        "readme": b"none",
    }  # fmt: skip
    for part in ("train", "val"):
        with tarfile.open(tmp_path / f"{part}-0.tar", "w") as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    train, val = shard_sets(str(tmp_path / "train-{0..0}.tar"), "", 16)
    assert [train[i][1] for i in range(len(train))] == [3, -1, 1] and train.classes == ["0", "1", "2", "3"]
    assert [int(val[i][0][0].float().mean() / 10 + 0.5) for i in range(3)] == [1, 20, 3]
    assert shard_sets(str(tmp_path / "val-0.tar"), str(tmp_path / "train-0.tar"), 16)[1].paths == train.paths


def picture(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(file, "png")
    return file.getvalue()


def packed(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    """A tar of these files."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def read(folder: Path, train: dict[str, bytes], val: dict[str, bytes]) -> tuple[ShardedImages, ShardedImages]:
    packed(folder / "train-0.tar", train)
    packed(folder / "val-0.tar", val)
    return shard_sets(str(folder / "train-0.tar"), "", 8)


def test_a_sample_without_a_class_has_none_and_is_counted(tmp_path: Path) -> None:
    files = {"1.png": picture(1), "1.cls": b"1", "2.png": picture(2), "3.png": picture(3), "3.cls": b" \n",
             "4.png": picture(4), "4.cls": b"-1"}  # fmt: skip
    train, val = read(tmp_path, files, {"1.png": picture(0), "1.cls": b"3"})
    assert [train[i][1] for i in range(4)] == [1, -1, -1, -1] and val[0][1] == 3
    assert train.classes == val.classes == ["0", "1", "2", "3"], "numbered over both parts"
    lines = understood("shards", {"to train on": train, "held out": val})
    assert lines[1] == "4 classes by .cls: 0, 1, 2, 3; without a class: 3"
    assert index_path(tmp_path / "train-0.tar").exists()
    assert [shard_sets(str(tmp_path / "train-0.tar"), "", 8)[0][i][1] for i in range(4)] == [1, -1, -1, -1]
    (tmp_path / "none").mkdir()
    train, _ = read(tmp_path / "none", {"1.png": picture(1)}, {"2.png": picture(1)})
    assert train.classes == [] and train[0][1] == -1
    assert understood("shards", {"to train on": train})[1] == "no classes"


def test_an_index_of_before_is_made_anew(tmp_path: Path) -> None:
    read(tmp_path, {"1.png": picture(1)}, {"1.png": picture(0)})
    shard = tmp_path / "train-0.tar"
    entries, index, status = shard_index(shard), index_path(shard), shard.stat()
    version = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    index.write_text(json.dumps({"shard": version, "images": [["1.png", 512, 9, 0]]}))
    assert shard_index(shard) == entries and entries[0].label == -1


def test_classes_may_be_words(tmp_path: Path) -> None:
    train, val = read(
        tmp_path,
        {
            "1.png": picture(1),
            "1.cls": "猫\n".encode(),
            "2.png": picture(2),
            "2.cls": b"\xef\xbb\xbfdog",
            "3.png": picture(3),
        },
        {
            "1.png": picture(1),
            "1.cls": b"caf\xe9",
            "2.png": picture(2),
            "2.cls": b"dog",
            "3.png": picture(1),
            "3.cls": b"7",
        },
    )
    assert train.classes == val.classes == ["7", "caf\\xe9", "dog", "猫"]
    assert [train[i][1] for i in range(3)] == [3, 2, -1] and [val[i][1] for i in range(3)] == [1, 2, 0]
    (tmp_path / "classes.txt").write_text("dog\u2028\nn猫\n", encoding="utf-8-sig")
    with pytest.raises(
        ValueError, match=r"train-0.tar/1.png is of class 猫, which is none of the 2 lines of .*classes.txt"
    ):
        shard_sets(str(tmp_path / "train-0.tar"), "", 8)
    (tmp_path / "classes.txt").write_text("猫\ndog\ncaf\\xe9\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is of class 7, which is none of the 3 lines"):
        shard_sets(str(tmp_path / "train-0.tar"), "", 8)


def test_dotted_names_are_read_as_webdataset_groups_them(tmp_path: Path) -> None:
    files = {"22.05.png": picture(50), "22.05.cls": b"3", "24.1.2.png": picture(90), "24.cls": b"1",
             "v1.x/5.png": picture(120), "7.png": picture(7), "7.mask.png": picture(255)}  # fmt: skip
    train, _ = read(tmp_path, files, files)
    assert [(train[i][0][0, 0, 0].item(), train[i][1]) for i in range(len(train))] == [
        (50, 3), (90, 1), (120, -1), (7, -1)]  # fmt: skip
    theirs = list(webdataset.WebDataset(str(tmp_path / "train-0.tar"), shardshuffle=False, empty_check=False))
    images = [s[next(k for k in s if k.endswith("png"))] for s in theirs]
    assert images == [train.encoded(i)[0] for i in range(len(train))]
    # Of dates, all but the year would be lost in one sample.
    dates = {f"2021.{month:02d}.01.png": picture(month) for month in range(1, 13)}
    assert len(read(tmp_path, dates, dates)[0]) == 12


def test_system_files_in_a_shard_are_no_images(tmp_path: Path) -> None:
    files = {"._1.png": b"", "1.png": picture(1), "__MACOSX/1.png": picture(1), ".ipynb_checkpoints/2.png": picture(2),
             "./a/@eaDir/1.png": picture(9), "./a/3.png": picture(3)}  # fmt: skip
    train, val = read(tmp_path, files, files)
    assert train.names.tolist() == ["1.png", "./a/3.png"]
    # Found, and found in the index.
    for source in (train, shard_sets(str(tmp_path / "train-0.tar"), "", 8)[0]):
        said = understood("shards", {"to train on": source, "held out": val})
        names = "._1.png, __MACOSX, .ipynb_checkpoints, @eaDir"
        assert said[2:4] == [f"left out: 4 with hidden or system names ({names})",
                             f"left out of what is held out: 4 with hidden or system names ({names})"]  # fmt: skip


def test_what_is_no_image_in_a_shard_is_counted(tmp_path: Path) -> None:
    files = {"1.png": picture(1), "1.cls": b"0", "1.json": b"{}", "2.JSON": b"{}", "2.PNG": picture(2), "README": b"",
             "2.mask.png": picture(3), "3.png": picture(4)}  # fmt: skip
    packed(tmp_path / "val-0.tar", {"1.png": picture(1)})
    with tarfile.open(packed(tmp_path / "train-0.tar", files), "a:") as tar:
        link = tarfile.TarInfo("4.png")
        link.type, link.linkname = tarfile.SYMTYPE, "1.png"
        again = tarfile.TarInfo("3.png")
        again.size = len(picture(9))
        for member in (link, again):
            tar.addfile(member, io.BytesIO(picture(9)))
    train, _ = shard_sets(str(tmp_path / "train-0.tar"), "", 8)
    assert train.names.tolist() == ["1.png", "2.PNG", "3.png"] and train[2][0][0, 0, 0] == 4
    assert train.origin.left_out == (
        "2 .json, 1 without a suffix (no images)", "1 that are links or no files",
        "1 images of a name that was there already", "1 further images of a sample",
    )  # fmt: skip


@pytest.mark.parametrize(("mode", "packer"), [("w:gz", "gzip"), ("w:bz2", "bzip2"), ("w:xz", "xz")])
@pytest.mark.parametrize("name", ["train-0.tar.gz", "train-0.tar"])
def test_a_compressed_shard_is_said_to_be_one(mode: str, packer: str, name: str, tmp_path: Path) -> None:
    packed(tmp_path / "val-0.tar", {"1.png": picture(1)})
    path = packed(tmp_path / name, {"1.png": picture(1)}, mode)
    with pytest.raises(
        ValueError, match=rf"{name} is compressed by {packer}, and images are read at any place: unpack it"
    ):
        shard_sets(str(path), "", 8)


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"1000000000", "1.cls in the shard .*train-0.tar is 1000000000: numbers of classes go from 0 to 999,999"),
     (b"1000000", "go from 0 to 999,999"), (b"-2", "go from 0"), (b"9" * 900, "go from 0"),
     (b"x" * 10**6, "has 1000000 bytes: a class is a number or a name of at most 1000")],
    ids=["billion", "million", "negative", "digits", "text"],
)  # fmt: skip
def test_numbers_of_classes_have_a_bound(text: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        read(tmp_path, {"1.png": picture(1), "1.cls": text}, {"1.png": picture(1)})
    assert read(tmp_path, {"1.png": picture(1), "1.cls": b"999999"}, {"1.png": picture(1)})[0][0][1] == 999_999


def test_fewer_names_than_numbers_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"1.png is of class 2, which is none of the 2 lines of .*classes.txt"):
        read(tmp_path, {"1.png": picture(1), "1.cls": b"2"}, {"1.png": picture(1)})


def test_a_part_of_the_shards(shards: Path) -> None:
    whole, part = (
        shard_sets(train_pattern(shards), "", 32)[0],
        image_sets("shards", train_pattern(shards), 32, limit=10)[0],
    )
    assert len(part) == 10 == sum(part.groups) and part.classes == whole.classes  # type: ignore[attr-defined]
    places = {whole.name(i): whole.encoded(i) for i in range(24)}
    assert all(part.encoded(i) == places[part.name(i)] for i in range(10))  # type: ignore[attr-defined]
    assert digest(part) != digest(whole)
    assert len(list(ImageLoader(part, 5))) == 2


def test_errors_say_what_is_wrong(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="name='shards' needs root='DIR/train-"):
        image_sets("shards", "", 32)
    with pytest.raises(ValueError, match=r"no shard .*train-0005.tar .*: give files that are there, as pattern="):
        shard_sets(f"{shards}/train-{{0004..0005}}.tar", "", 32)
    first = shards / "train-0000.tar"
    os.truncate(first, 9000)
    with pytest.raises(ValueError, match=r"train-0000.tar is damaged after \d+ images"):
        shard_sets(train_pattern(shards), "", 32)
    first.write_bytes(b"")
    with pytest.raises(ValueError, match=r"train-0000.tar is damaged"):
        shard_sets(train_pattern(shards), "", 32)
    with tarfile.open(first, "w"):
        pass
    with pytest.raises(ValueError, match="no images in the shard"):
        shard_sets(train_pattern(shards), "", 32)
    for held_out in shards.glob("val-*"):
        held_out.unlink()
    with pytest.raises(ValueError, match=r"val_pattern='DIR/val-{0000..0006}.tar' says where"):
        shard_sets(f"{shards}/train-0001.tar", "", 32)
    for options, said in (
        (["--out", str(shards)], "exists: --out takes"),
        (["--data", "scenes", "--out", str(tmp_path / "new")], "--size N writes squares"),
        (["--data", "folder", "--out", str(tmp_path / "new")], "--data folder needs --root DIR"),
        (["--per-shard", "0", "--out", str(tmp_path / "new")], "--per-shard 0"),
    ):
        with pytest.raises(SystemExit) as stop:
            write_shards(options)
        assert stop.value.code == 2 and said in capsys.readouterr().err


class StopAfter(Callback):
    """Stops the training in the middle of an epoch."""

    def on_batch_end(self, logs: object, loss: torch.Tensor, batch_id: int, is_training: bool = True) -> None:
        self.trainer.should_stop = self.trainer.step == 4


@pytest.mark.slow
def test_a_stopped_game_resumes_with_the_same_losses(
    shards: Path, tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [*tiny, "--data", "shards", "--root", train_pattern(shards), "--epochs", "2", "--out", str(tmp_path)]
    options += ["--no-pictures", "--no-tensorboard"]
    assert main([*options, "--name", "whole"]) == 0
    with monkeypatch.context() as patch:
        from games.build import trainer

        patch.setattr(trainer, "Console", StopAfter)
        main([*options, "--name", "stopped"])
    log = tmp_path / "stopped" / "log.jsonl"
    assert max(r["step"] for r in read_log(log)) == 4
    assert main(["--resume", str(tmp_path / "stopped"), "--workers", "2"]) == 0
    logs = [read_log(tmp_path / name / "log.jsonl") for name in ("whole", "stopped")]
    losses = [[(r["step"], r["loss"]) for r in records if "loss" in r] for records in logs]
    assert losses[0] == losses[1] and losses[0][-1][0] == 6
