"""Folders of images: links and loops, names that are nobody's, formats, levels of classes, shares, what is said."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image

from games.build import data as build
from games.build.data import load_images
from games.options.command_line import parse
from games.runs.results import write_skipped
from games.shards import main as write_shards
from patchgame_egg.data.cache import digest
from patchgame_egg.data.folders import folder_sets, listing, unseen_folder
from patchgame_egg.data.images import ImageFiles
from patchgame_egg.data.names import image_suffixes, is_system, printable
from patchgame_egg.data.shards import shard_sets
from patchgame_egg.data.sources import image_sets
from patchgame_egg.data.understood import understood


def put(root: Path, names: Iterable[str]) -> Path:
    """A small image at each of these places."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path, "PNG")
    return root


def names_of(source: ImageFiles, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in source.paths]


def said_of(root: Path, **options: object) -> str:
    train, held_out = folder_sets(root, 8, **options)  # type: ignore[arg-type]
    return "\n".join(understood(root.name, {"to train on": train, "held out": held_out}))


def test_linked_classes_are_read_and_belong_to_the_cache(tmp_path: Path) -> None:
    store = put(tmp_path / "store", [f"{c}/{i}.png" for c in "abc" for i in range(6)])
    root = put(tmp_path / "photos", [f"train/d/{i}.png" for i in range(6)])
    for name in "abc":
        (root / "train" / name).symlink_to(store / name)
    train, held_out = folder_sets(root, 8)
    assert len(train) + len(held_out) == 24 and train.classes == list("abcd")
    assert {label for _, label in (train[i] for i in range(len(train)))} == {0, 1, 2, 3}
    before = digest(train)
    file = next(path for path in train.paths if path.parent.name == "a")
    Image.new("RGB", (9, 9)).save(store / "a" / file.name)
    assert digest(train) != before, "the cache is of what the links lead to"
    # All of them linked, and the parts themselves.
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "train").symlink_to(store)
    assert sum(map(len, folder_sets(tmp_path / "linked", 8))) == 18


def test_loops_end_and_no_image_is_there_twice(tmp_path: Path) -> None:
    root = put(tmp_path / "photos", [f"{c}/{i}.png" for c in "ab" for i in range(3)])
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "other").symlink_to(root / "b")
    (root / "b" / "other").symlink_to("../a")
    (root / "b" / "itself").symlink_to("itself")
    (root / "b" / "gone.png").symlink_to("nowhere.png")
    (root / "again").symlink_to(root / "b")
    found = listing(root)
    assert sorted(p.relative_to(root).as_posix() for p in found.images()) == [
        f"{c}/{i}.png" for c in "ab" for i in range(3)
    ]
    assert found.broken == {"links to folders that were read already": 4, "links that lead nowhere": 2}
    assert "left out: 2 links that lead nowhere; 4 links to folders that were read already" in said_of(root)


SYSTEM = [".ipynb_checkpoints/1-checkpoint.png", "__MACOSX/cat/._1.png", "cat/@eaDir/1.png/SYNOPHOTO_THUMB.png",
          "cat/._1.png", ".DS_Store", "cat/.hidden/x.png", "cat/Thumbs.db", "dog/desktop.ini", "$RECYCLE.BIN/1.png",
          "cat/.ipynb_checkpoints/2.png", "@Recycle/x.png"]  # fmt: skip


def test_system_names_are_left_out_everywhere_and_counted(tmp_path: Path) -> None:
    own = [f"{c}/{i}.png" for c in ("cat", "dog") for i in range(5)]
    root = put(tmp_path / "photos", [*own, *SYSTEM])
    train, held_out = folder_sets(root, 8)
    assert train.classes == ["cat", "dog"] and sorted(names_of(train, root) + names_of(held_out, root)) == own
    assert f"{len(SYSTEM)} with hidden or system names (" in said_of(root)
    assert len(unseen_folder(root, 8)) == 10
    assert write_shards(["--root", str(root), "--out", str(tmp_path / "shards")]) == 0
    assert (tmp_path / "shards" / "classes.txt").read_text() == "cat\ndog\n"
    assert sum(len(s) for s in shard_sets(str(tmp_path / "shards" / "train-0000.tar"), "", 8)) == 10
    # Neither is one a part, nor does it make a class of the held-out part.
    alone = put(tmp_path / "alone", [".ipynb_checkpoints/x.png", "val/cat/1.png", "val/cat/2.png"])
    with pytest.raises(ValueError, match="and no train/ beside it"):
        folder_sets(alone, 8)


def test_a_hidden_root_is_what_was_asked_for(tmp_path: Path) -> None:
    root = put(tmp_path / ".photos", ["cat/1.png", "dog/2.png"])
    assert folder_sets(root, 8)[0].classes == ["cat", "dog"]


@pytest.mark.parametrize("suffix", ["gif", "avif", "jfif", "jp2", "webp", "tga", "JPE", "TIFF", "qoi"])
def test_what_pillow_opens_is_read(suffix: str, tmp_path: Path) -> None:
    form = Image.registered_extensions()[f".{suffix.lower()}"]
    for i in range(2):
        Image.new("RGB", (16, 16), (250, 0, 0)).save(tmp_path / f"{i}.{suffix}", form)
    image, _ = unseen_folder(tmp_path, 8)[0]
    assert image[0].min() > 240 and image[1].max() < 16


def test_what_is_no_image_is_counted_by_suffix_with_the_reason(tmp_path: Path) -> None:
    root = put(tmp_path / "photos", [f"cat/{i}.png" for i in range(4)])
    for name in ("a.xyz", "b.XYZ", "c.csv", "d", "e.svg", "f.cr2", "g.cr2"):
        (root / "cat" / name).write_bytes(b"x")
    said = said_of(root)
    assert "2 .cr2, 1 .svg (pictures that Pillow does not read here)" in said
    assert "2 .xyz, 1 .csv, 1 without a suffix (no images)" in said
    shutil.rmtree(root / "cat")
    (root / "x.heif").write_bytes(b"x")
    if ".heif" not in image_suffixes():
        with pytest.raises(ValueError, match=r"0 images in .* left out: 1 .heif \(pictures that Pillow does not read"):
            folder_sets(root, 8)


def test_the_level_of_classes(tmp_path: Path) -> None:
    places = [f"{d}/{c}/{i}.png" for d in ("photo", "sketch") for c in ("cat", "dog", "owl") for i in range(4)]
    root = put(tmp_path / "art", places)
    said = said_of(root)
    assert said.splitlines()[1] == "2 classes by folder, class_level=1: photo, sketch"
    assert "note: class_level=2 takes the next folders for classes: cat, dog, owl" in said
    train, held_out = folder_sets(root, 8, class_level=2)
    assert train.classes == ["cat", "dog", "owl"] == held_out.classes
    assert all(path.parent.name == train.classes[label] for path, label in zip(train.paths, train.labels, strict=True))
    assert "note: class_level" not in said_of(root, class_level=2)
    with pytest.raises(ValueError, match=r"class_level=3: no image in .*art lies so deep, the deepest in 2 folders"):
        folder_sets(root, 8, class_level=3)
    with pytest.raises(ValueError, match="class_level=0"):
        folder_sets(root, 8, class_level=0)
    with pytest.raises(ValueError, match="class_level=2 counts folders"):
        image_sets("scenes", "", 16, class_level=2)


def test_a_folder_one_level_too_high_is_noticed(tmp_path: Path) -> None:
    put(tmp_path / "a", [f"photos/{c}/{i}.png" for c in ("cat", "dog") for i in range(3)])
    said = said_of(tmp_path / "a")
    assert "1 class by folder, class_level=1: photos" in said and "class_level=2 takes the next folders" in said
    put(tmp_path / "b", [f"photos/{p}/{c}/{i}.png" for p in ("train", "val") for c in ("cat", "dog") for i in range(3)])
    assert f"note: root='{tmp_path}/b/photos' has parts to train on and to hold out, which are mixed here" in said_of(
        tmp_path / "b"
    )


def test_images_outside_classes_have_none_and_new_classes_are_said(tmp_path: Path) -> None:
    places = ["train/loose.png", "train/cat/1.png", "train/dog/1.png", "val/images/1.png", "val/cat/2.png"]
    root = put(tmp_path / "p", places)
    train, held_out = folder_sets(root, 8)
    assert dict(zip(names_of(train, root), train.labels, strict=True))["train/loose.png"] == -1
    said = said_of(root)
    assert "3 classes by folder, class_level=1: cat, dog, images; without a class: 1" in said
    assert "note: classes that are held out and never trained on: images" in said
    assert held_out.classes == train.classes


def test_share_and_limit(tmp_path: Path) -> None:
    root = put(tmp_path / "loose", [f"{i:03d}.png" for i in range(100)])
    usual = folder_sets(root, 8)
    assert [len(part) for part in usual] == [95, 5]
    train, held_out = folder_sets(root, 8, val_share=0.3)
    assert (len(train), len(held_out)) == (70, 30) and not set(train.paths) & set(held_out.paths)
    assert folder_sets(root, 8, val_share=0.3)[1].paths == held_out.paths
    assert set(usual[1].paths) <= set(held_out.paths)
    assert [len(part) for part in folder_sets(root, 8, val_share=0.999)] == [1, 99]
    few = image_sets("folder", root, 8, val_share=0.3, limit=20)
    assert [len(part) for part in few] == [20, 20]
    assert few[0].paths == image_sets("folder", root, 8, val_share=0.3, limit=20)[0].paths  # type: ignore[attr-defined]
    assert set(few[0].paths) < set(train.paths) and set(few[1].paths) < set(held_out.paths)  # type: ignore[attr-defined]
    assert [len(part) for part in image_sets("scenes", "", 16, scenes=40, limit=10)] == [10, 10]
    assert "100 images to train" not in said_of(root) and "drawn, val_share=0.05" in said_of(root)
    for share in (0, 1, -0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="val_share="):
            folder_sets(root, 8, val_share=share)
    put(tmp_path / "parts", [f"{p}/{i}.png" for p in ("train", "val") for i in range(2)])
    with pytest.raises(ValueError, match=r"val_share=0.2 is for images without a held-out part, which is .*parts/val"):
        folder_sets(tmp_path / "parts", 8, val_share=0.2)
    with pytest.raises(ValueError, match=r"val_share=0.2 is for images"):
        image_sets("scenes", "", 16, val_share=0.2)
    with pytest.raises(ValueError, match="limit=1"):
        image_sets("folder", root, 8, limit=1)


def test_few_held_out_images_are_a_note(tmp_path: Path) -> None:
    root = put(tmp_path / "loose", [f"{i:03d}.png" for i in range(20)])
    # 1.96 * sqrt(0.25 / 10) = 0.31
    said = said_of(root, val_share=0.5)
    assert "note: with 10 images held out an accuracy is known to 31 points; 200 make it 7" in said
    assert not any("known to" in line for line in understood("x", {"held out": image_sets("scenes", "", 16)[1]}))


def test_options_and_lines_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = put(tmp_path / "art", [f"{d}/{c}/{i}.png" for d in "xy" for c in ("cat", "dog") for i in range(5)])
    words = ["--data", "folder", "--root", str(root), "--class-level", "2", "--val-share", "0.5", "--limit", "8"]
    build._print_once.cache_clear()
    sets = load_images(parse(words).config, 8)
    load_images(parse(words).config, 16)
    assert [len(s) for s in sets] == [8, 8] and sets[0].classes == ["cat", "dog"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"folder {root}: 8 images to train on, 8 held out (drawn, --val-share 0.5)"
    assert lines[1] == "2 classes by folder, --class-level 2: cat, dog"
    assert lines[2].startswith("note: with 8 images held out") and len(lines) == 3, "once, whatever the size"
    for wrong in (["--class-level", "0"], ["--val-share", "1"], ["--limit", "1"]):
        with pytest.raises(ValueError, match=f"{wrong[0]} {wrong[1]}.*: must be"):
            parse([*words, *wrong])


BAD = os.fsdecode(b"caf\xe9")


def test_names_that_are_no_utf8_are_written_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = put(tmp_path / BAD, [f"{BAD}/{i}.png" for i in range(6)])
    put(root, [f"dog\u2028\n/{i}.png" for i in range(6)])
    (root / BAD / os.fsdecode(b"x\xff.jpg")).write_bytes(b"no image")
    train, held_out = folder_sets(root, 8)
    assert train.classes == ["caf\\xe9", "dog\\u2028\\n"] and len(train) + len(held_out) == 13
    name = next(s.name(i) for s in (train, held_out) for i in range(len(s)) if "x\\xff.jpg" in s.name(i))
    name.encode()
    said_of(root).encode()
    assert len(digest(train)) == 12
    write_skipped([name, "\udcff.jpg"], tmp_path)
    assert (tmp_path / "skipped.txt").read_text() == f"{name}\n\\xff.jpg\n"
    assert write_shards(["--root", str(root), "--size", "8", "--out", str(tmp_path / "shards")]) == 0
    assert "left out" in capsys.readouterr().out
    packed = shard_sets(str(tmp_path / "shards" / "train-0000.tar"), "", 8)
    assert sum(map(len, packed)) == 12 and packed[0].classes == train.classes


def test_names() -> None:
    assert [is_system(n) for n in ("a.jpg", "Thumbs.db", "thumbs.DB", "@eaDir", "eaDir", "__MACOSX", ".x", "x.")] == [
        False, True, True, True, False, True, True, False,
    ]  # fmt: skip
    assert printable("Größe 猫 \u3000") == "Größe 猫 \u3000" and printable("\x1b[31m") == "\\x1b[31m"


def test_held_out_images_that_are_trained_on_are_counted(tmp_path: Path) -> None:
    root = put(tmp_path / "photos", [f"{part}/a/{i}.png" for part in ("train", "val") for i in range(3)])
    assert "trained on" not in said_of(root)
    (root / "val" / "a" / "3.png").symlink_to(root / "train" / "a" / "0.png")
    (root / "train" / "a" / "4.png").symlink_to(root / "val" / "a" / "1.png")
    assert "note: 2 of the held-out images are trained on, too, by links" in said_of(root)
    shutil.rmtree(root / "val")
    (root / "val").symlink_to("train")
    assert "note: 3 of the held-out images are trained on, too, by links" in said_of(root.rename(tmp_path / "moved"))


def test_what_lies_beside_the_parts_is_said(tmp_path: Path) -> None:
    names = [f"{part}/a/{i}.png" for part in ("train", "val", "test", "extra", ".cache") for i in range(2)]
    root = put(tmp_path / "photos", names)
    assert "note: folders beside train and val are not read: extra, test" in said_of(root)
    for name in ("val", "test"):
        shutil.rmtree(root / name)
    assert "note: folders beside train are not read: extra" in said_of(root)
    shutil.rmtree(root / "extra")
    assert "note: folders" not in said_of(root)
    # Taken for themselves, the parts have nothing beside them.
    assert "note: folders" not in said_of(put(root, ["extra/a/0.png"]) / "train")


def test_parts_in_capitals_are_said_to_be_classes(tmp_path: Path) -> None:
    root = put(tmp_path / "photos", [f"{part}/a/{i}.png" for part in ("Train", "Val") for i in range(2)])
    assert "note: Train and Val are classes here: call them train and val to tell parts" in said_of(root)
