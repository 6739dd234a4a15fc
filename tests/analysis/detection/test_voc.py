"""Folders in Pascal VOC's format: what is read, how it is split, and what is said of broken ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.corpus.annotation_files import read_notes
from analysis.corpus.annotation_table import NotedObject
from analysis.corpus.voc_xml import VocObject, read_voc
from analysis.detection.voc import VocImages, check_voc_images, voc_sets, write_voc

OBJECTS = [VocObject("cat", (0, 0, 4, 5)), VocObject("dog", (3, 2, 9, 6), difficult=True)]
HEAD = "<annotation><object><name>cat</name><bndbox>"
BOX = "<xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>5</ymax>"
TAIL = "</bndbox></object></annotation>"
# Of thirty such lines, the last unfolds to a billion letters.
LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY c "&b;&b;">]>'

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a folder of grey images, each with a cat and a difficult dog; its lists have the given lengths."""

    def folder(root: str = "voc", **parts: int) -> Path:
        image = np.full((3, 6, 10), 90, dtype=np.uint8)
        write_voc(tmp_path / root, {part: [(image, OBJECTS)] * count for part, count in parts.items()})
        return tmp_path / root

    return folder


def names(images: VocImages) -> list[str]:
    return [path.stem for path in images.annotations]


def test_what_is_written_is_read(make: Make) -> None:
    train, _ = voc_sets(make(train=1, val=1))
    item = train[0]
    assert train.classes == ["cat", "dog"]
    assert item.image.shape == (3, 6, 10)
    assert item.image.dtype == torch.uint8
    assert item.objects.boxes.tolist() == [[0, 0, 4, 5], [3, 2, 9, 6]]
    assert item.objects.labels.tolist() == [1, 2]
    assert item.objects.difficult.tolist() == [False, True]


def test_boxes_count_pixels_from_one_and_include_the_last(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(HEAD + BOX + TAIL)
    assert read_voc(path).objects == (VocObject("cat", (0, 0, 4, 5)),)


def test_annotations_and_detection_read_the_same_objects(make: Make) -> None:
    root = make(train=1, val=1)
    file = root / "Annotations/train-000000.xml"
    # Written by hand: white space around texts, and fractions of pixels.
    text = file.read_text().replace("<name>dog</name>", "<name>\n dog </name>")
    text = text.replace("<xmin>4</xmin>", "<xmin> 4.5 </xmin>").replace(">1</difficult>", "> 1 </difficult>")
    file.write_text(text)
    train, _ = voc_sets(root)
    assert train.classes == ["cat", "dog"] and train[0].objects.difficult.tolist() == [False, True]
    boxes = [(0, 0, 4, 5), (3.5, 2, 9, 6)]
    assert train[0].objects.boxes.tolist() == [list(box) for box in boxes]
    noted = read_notes(root)["train-000000"].objects
    assert noted == tuple(NotedObject(b, {"class": n}) for b, n in zip(boxes, train.classes, strict=True))


def test_an_image_without_objects(tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": [(np.zeros((3, 4, 4), dtype=np.uint8), [])] * 2})
    train, _ = voc_sets(tmp_path)
    assert train[0].objects.boxes.shape == (0, 4)
    assert train[0].objects.labels.dtype == torch.int64


def test_a_box_over_the_border_is_cut(tmp_path: Path) -> None:
    pairs = [(np.zeros((3, 6, 10), dtype=np.uint8), [VocObject("cat", (-1, 2, 12, 6))])] * 2
    write_voc(tmp_path, {"train": pairs})
    assert voc_sets(tmp_path)[0][0].objects.boxes.tolist() == [[0, 2, 10, 6]]


@pytest.mark.parametrize(
    ("lists", "train", "held_out"),
    [
        ({"train": 3, "val": 2}, 3, 2),
        ({"train": 3, "val": 2, "test": 4}, 5, 4),
        ({"trainval": 3, "test": 4}, 3, 4),
        ({"trainval": 10}, 8, 2),
        ({"anything": 5}, 4, 1),
    ],
)
def test_splits(make: Make, lists: dict[str, int], train: int, held_out: int) -> None:
    ours, theirs = voc_sets(make(**lists))
    assert (len(ours), len(theirs)) == (train, held_out)
    assert not set(names(ours)) & set(names(theirs))


def test_a_split_depends_on_the_seed_alone(make: Make) -> None:
    root = make(trainval=20)
    assert names(voc_sets(root, 0)[1]) == names(voc_sets(root, 0)[1]) != names(voc_sets(root, 1)[1])


def test_a_withheld_test_set_is_as_good_as_none(make: Make) -> None:
    root = make(train=2, val=2)
    (root / "ImageSets/Main/test.txt").write_text("never\nseen\n")
    assert len(voc_sets(root)[1]) == 2


def test_torchvision_s_layout_with_two_years(make: Make, tmp_path: Path) -> None:
    from torchvision.datasets import VOCDetection

    make("data/VOCdevkit/VOC2007", trainval=3, test=2)
    make("data/VOCdevkit/VOC2012", trainval=4)
    train, test = voc_sets(tmp_path / "data")
    assert (len(train), len(test)) == (7, 2)
    theirs = VOCDetection(str(tmp_path / "data"), "2007", "trainval")
    assert [Path(p).stem for p in theirs.annotations] == names(train)[:3]
    box = theirs[0][1]["annotation"]["object"][1]["bndbox"]
    assert {side: float(v) for side, v in box.items()} == {"xmin": 4, "ymin": 3, "xmax": 9, "ymax": 6}


def test_a_list_of_one_class_has_a_second_column(make: Make) -> None:
    root = make(train=2, val=1)
    path = root / "ImageSets/Main/val.txt"
    path.write_text(path.read_text().replace("\n", " -1\n"))
    assert len(voc_sets(root)[1]) == 1


@pytest.mark.parametrize("read", [voc_sets, read_notes], ids=["detection", "annotations"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<annotation><object>", "is not readable XML .*: repair it or take it away"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "is not readable XML .*klingon.*: repair it"),
        ("<html></html>", "holds a <html>: give a file of VOC's XML"),
        (HEAD + "<xmin>1</xmin>" + TAIL, r"the box of 'cat' is \['1', '', '', ''\]: give four numbers, xmin"),
        (HEAD + BOX.replace("4", "nan") + TAIL, "give four numbers"),
        (HEAD + BOX.replace("4", "inf") + TAIL, "give four numbers"),
        (
            HEAD + BOX.replace("4", "1e9") + TAIL,
            r"the box \['1', '1', '1e9', '5'\] of 'cat' is in no image: give pixels",
        ),
        ("<!DOCTYPE html>\n<html><br></html>", "is not readable XML"),
        ("<annotation>\xff</annotation>", "is not readable XML .*utf-8"),
        (LAUGHS + HEAD.replace("cat", "&c;") + BOX + TAIL, "has the entity 'a', and entities are not read"),
        ('<!DOCTYPE x SYSTEM "x.dtd">' + HEAD.replace("cat", "&c;") + BOX + TAIL, "has the entity 'c'"),
        ('<!DOCTYPE x [<!ENTITY % c SYSTEM "x.dtd"> %c;]>' + HEAD + BOX + TAIL, "has the entity 'c'"),
        (20_000 * "<a>", "is not readable XML"),
        (f"<annotation><object><bndbox>{BOX}</bndbox></object></annotation>", "has no name: give its class"),
        (HEAD.replace("cat", " ") + BOX + TAIL, "has no name: give its class"),
    ],
)
def test_a_broken_annotation_says_which_and_what_to_do(
    make: Make, text: str, said: str, read: Callable[[Path], object]
) -> None:
    root = make(train=2, val=1)
    file = root / "Annotations/train-000001.xml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=said) as error:
        read(root)
    assert str(error.value).startswith(str(file)) and "\n" not in str(error.value)


def test_what_is_missing_is_named(make: Make, tmp_path: Path) -> None:
    root = make(train=2, val=1)
    (root / "JPEGImages/train-000000.jpg").unlink()
    with pytest.raises(ValueError, match=r"train-000000.xml has no image"):
        voc_sets(root)[0][0]
    (root / "JPEGImages/train-000001.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"train-000001.jpg cannot be read"):
        voc_sets(root)[0][1]
    (root / "Annotations/val-000000.xml").unlink()
    with pytest.raises(ValueError, match=r"val.txt names 1 images without annotations"):
        voc_sets(root)
    with pytest.raises(ValueError, match="not in VOC's format"):
        voc_sets(tmp_path / "nothing")


def test_a_box_outside_its_image(make: Make) -> None:
    root = make(train=1, val=1)
    Image.new("RGB", (2, 2)).save(root / "JPEGImages/train-000000.jpg")
    with pytest.raises(ValueError, match=r"train-000000.xml: the box .* of 'dog' is outside its 2 x 2 image"):
        voc_sets(root)[0][0]


def test_boxes_without_area_are_skipped_and_counted(make: Make) -> None:
    root = make(train=3, val=2)
    for name in ("train-000000", "val-000001"):
        file = root / f"Annotations/{name}.xml"
        file.write_text(file.read_text().replace("<xmin>4</xmin>", "<xmin>10</xmin>"))
    train, held_out = voc_sets(root)
    assert (train.flat, held_out.flat) == (1, 1) and train[0].objects.labels.tolist() == [1]
    said = check_voc_images(train, held_out)
    assert said.startswith(
        "3 images with boxes to train on, 2 held out, 8 boxes of 2 classes, 2 boxes without area skip"
    )
    assert said.endswith("train-000000.xml") and read_notes(root).flat == 2


@pytest.mark.parametrize(
    ("declared", "encoding"), [("GBK", "gbk"), ("gb2312", "gb18030"), ("UTF-8", "utf-8-sig"), ("UTF-16", "utf-16")]
)
def test_encodings_and_namespaces(declared: str, encoding: str, tmp_path: Path) -> None:
    text = f'<?xml version="1.0" encoding="{declared}"?>\n' + (HEAD + BOX + TAIL).replace("cat", " 猫镕 ")
    text = text.replace("<annotation>", '<v:annotation xmlns:v="http://host.example/voc" xmlns="http://host.example">')
    (tmp_path / "a.xml").write_bytes(text.replace("</annotation>", "</v:annotation>").encode(encoding))
    assert read_voc(tmp_path / "a.xml").objects == (VocObject("猫镕", (0, 0, 4, 5)),)


def test_what_is_wrong_with_images_is_found_before_they_are_asked_for(make: Make) -> None:
    root = make(train=3, val=2)
    sets = voc_sets(root)
    good = (root / "JPEGImages/val-000001.jpg").read_bytes()
    (root / "JPEGImages/val-000001.jpg").write_bytes(good[: len(good) - 40])
    with pytest.raises(ValueError, match=r"val-000001.jpg cannot be read as an image: "):
        check_voc_images(*sets)
    Image.new("RGB", (2, 2)).save(root / "JPEGImages/val-000001.jpg")
    with pytest.raises(ValueError, match=r"val-000001.xml: the box .* of 'dog' is outside its 2 x 2 image"):
        check_voc_images(*sets)
    (root / "JPEGImages/val-000001.jpg").unlink()
    with pytest.raises(ValueError, match=r"val-000001.xml has no image"):
        check_voc_images(*sets)
    # Under the name that the annotation gives, it is there after all.
    (root / "JPEGImages/val-000001.JPEG").write_bytes(good)
    file = root / "Annotations/val-000001.xml"
    file.write_text(file.read_text().replace("<object>", "<filename>val-000001.JPEG</filename><object>", 1))
    file.write_text(file.read_text().replace("<filename>val-000001.jpg</filename>", ""))
    assert check_voc_images(*voc_sets(root)).startswith("3 images with boxes")


def test_lists_that_overlap_are_refused(make: Make) -> None:
    root = make(train=3, val=2)
    lists = root / "ImageSets/Main"
    (lists / "val.txt").write_text("val-000000\ntrain-000001\ntrain-000002\n")
    with pytest.raises(
        ValueError, match=r"^2 images are trained on and held out, the first is that of .*train-000001.xml"
    ):
        voc_sets(root)
    (lists / "val.txt").write_text("val-000000\nval-000001\nval-000000\n")
    with pytest.raises(ValueError, match=r"^1 images are in a list twice, the first is that of .*val-000000.xml"):
        voc_sets(root)
    (lists / "val.txt").write_bytes(b"\xef\xbb\xbfval-000000\r\nval-000001\r\n")
    assert names(voc_sets(root)[1]) == ["val-000000", "val-000001"]


def test_folders_within_annotations(make: Make) -> None:
    root = make(anything=4)
    for name in ("anything-000000", "anything-000001"):
        for kind, suffix in (("Annotations", "xml"), ("JPEGImages", "jpg")):
            (root / kind / "cat").mkdir(exist_ok=True)
            (root / kind / f"{name}.{suffix}").rename(root / kind / "cat" / f"{name}.{suffix}")
    (root / "Annotations/._anything-000002.xml").write_bytes(b"Mac")
    assert check_voc_images(*voc_sets(root)).startswith("3 images with boxes to train on, 1 held out")
