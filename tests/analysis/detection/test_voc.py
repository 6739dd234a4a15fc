"""Folders in Pascal VOC's format: what is read, how it is split, and what is said of broken ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.corpus.annotation_files import NotedObject, VocObject, read_notes, read_voc_objects
from analysis.detection.voc import VocImages, voc_sets, write_voc

OBJECTS = [VocObject("cat", (0, 0, 4, 5)), VocObject("dog", (3, 2, 9, 6), difficult=True)]
HEAD = "<annotation><object><name>cat</name><bndbox>"
BOX = "<xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>5</ymax>"
TAIL = "</bndbox></object></annotation>"

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
    assert read_voc_objects(path) == (VocObject("cat", (0, 0, 4, 5)),)


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
        (HEAD + BOX.replace("4", "0") + TAIL, r"the box \['1', '1', '0', '5'\] of 'cat' has no area: give xmin <="),
        (HEAD + BOX.replace("4", "nan") + TAIL, "has no area"),
        (HEAD + BOX.replace("4", "inf") + TAIL, "has no area"),
        (f"<annotation><object><bndbox>{BOX}</bndbox></object></annotation>", "has no name: give its class"),
        (HEAD.replace("cat", " ") + BOX + TAIL, "has no name: give its class"),
    ],
)
def test_a_broken_annotation_says_which_and_what_to_do(
    make: Make, text: str, said: str, read: Callable[[Path], object]
) -> None:
    root = make(train=2, val=1)
    file = root / "Annotations/train-000001.xml"
    file.write_text(text)
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
