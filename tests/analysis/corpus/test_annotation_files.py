"""Annotations in every form are one table: the same objects, names, values, whatever wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from analysis.corpus.annotation_files import read_notes
from analysis.corpus.annotation_table import AnnotationTable, NotedObject, Notes

CAT = NotedObject((0, 20, 20, 40), {"class": "cat"})
DOG = NotedObject((3, 2, 9.5, 6), {"class": "dog"})
WANTED = {"a.jpg": Notes({}, (CAT, DOG)), "b.jpg": Notes({}, ())}

LINES = """\
{"file": "a.jpg", "objects": [{"box": [0, 20, 20, 40], "class": "cat"}]}
{"file": "b.jpg", "objects": []}

{"file": "a.jpg", "objects": [{"box": [3, 2, 9.5, 6], "class": "dog"}]}
"""
FLAT = """\
{"file": "a.jpg", "box": [0, 20, 20, 40], "class": "cat"}
{"file": "b.jpg", "box": null, "class": null}
{"file": "a.jpg", "x0": 3, "y0": 2, "x1": 9.5, "y1": 6, "class": "dog"}
"""
METADATA = """\
{"file_name": "a.jpg", "objects": {"bbox": [[0, 20, 20, 20], [3, 2, 6.5, 4]], "class": ["cat", "dog"]}}
{"file_name": "b.jpg", "objects": {"bbox": [], "class": []}}
"""
COCO = {
    "info": {"year": 2026},
    "images": [
        {"id": 7, "file_name": "a.jpg", "width": 40, "height": 40},
        {"id": 9, "file_name": "b.jpg", "width": 40, "height": 40},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [0, 20, 20, 20], "area": 400, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 4, "bbox": [3, 2, 6.5, 4], "area": 26, "iscrowd": 0},
    ],
    "categories": [{"id": 3, "name": "cat", "supercategory": "animal"}, {"id": 4, "name": "dog"}],
}
TABLES = {
    "csv": "file,x0,y0,x1,y1,class\na.jpg,0,20,20,40,cat\na.jpg,3,2,9.5,6,dog\nb.jpg,,,,,\n",
    "csv of tensorflow": "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    "a.jpg,40,40,cat,0,20,20,40\na.jpg,40,40,dog,3,2,9.5,6\nb.jpg,40,40,,,,,\n",
    "csv of pandas": ",image_path,x_min,y_min,w idth,class\n".replace("w idth", "width,height")
    + "0,a.jpg,0.0,20.0,20.0,20.0,cat\n1,a.jpg,3.0,2.0,6.5,4.0,dog\n2,b.jpg,NaN,NaN,NaN,NaN,NaN\n",
    "semicolons": "Image;Left;Top;Right;Bottom;class\r\na.jpg;0;20;20;40;cat\r\na.jpg;3;2;9.5;6;dog\r\nb.jpg;;;;;\r\n",
    "tabs": "image_id\tbbox\tclass\na.jpg\t[0, 20, 20, 20]\tcat\na.jpg\t[3.0, 2, 6.5, 4]\tdog\nb.jpg\t\t\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    "text",
    [LINES, FLAT, METADATA, json.dumps(COCO), json.dumps(COCO, indent=1), *TABLES.values()],
    ids=["lines", "flat", "metadata", "coco", "coco over lines", *TABLES],
)
def test_every_form_says_the_same(text: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "notes").write_bytes(text.encode(encoding))
    found = read_notes(tmp_path / "notes")
    assert found == WANTED and found.flat == 0


def test_celeba_s_lists(tmp_path: Path) -> None:
    text = "2\n5_o_Clock_Shadow Bald \n000001.jpg -1  1\n000002.jpg  1 -1\n"
    (tmp_path / "list_attr_celeba.txt").write_text(text)
    assert read_notes(tmp_path / "list_attr_celeba.txt") == {
        "000001.jpg": Notes({"5_o_Clock_Shadow": "no", "Bald": "yes"}),
        "000002.jpg": Notes({"5_o_Clock_Shadow": "yes", "Bald": "no"}),
    }
    text = "1\nimage_id x_1 y_1 width height\n000001.jpg    95  71 226 313\n"
    (tmp_path / "list_bbox_celeba.txt").write_text(text)
    box = NotedObject((95, 71, 321, 384), {})
    assert read_notes(tmp_path / "list_bbox_celeba.txt") == {"000001.jpg": Notes({}, (box,))}


def test_tiny_imagenet_s_list(tmp_path: Path) -> None:
    (tmp_path / "val_annotations.txt").write_text("val_0.JPEG\tn03444034\t0\t32\t44\t63\n")
    thing = NotedObject((0, 32, 45, 64), {"class": "n03444034"})
    assert read_notes(tmp_path / "val_annotations.txt") == {"val_0.JPEG": Notes({}, (thing,))}


def test_an_object_a_line_loses_none(tmp_path: Path) -> None:
    """217 rows are 217 objects, though of 200 images."""
    rows = [{"file": f"{i % 200}.jpg", "box": [i, 0, i + 1, 2], "kind": "x"} for i in range(217)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pd.DataFrame([{**r, "box": json.dumps(r["box"])} for r in rows]).to_csv(tmp_path / "a.csv", index=False)
    for name in ("a.jsonl", "a.csv"):
        found = read_notes(tmp_path / name)
        assert len(found) == 200 and sum(len(notes.objects or ()) for notes in found.values()) == 217
        assert [thing.box[0] for thing in found["16.jpg"].objects or ()] == [16, 216]


def test_lines_of_an_image_are_joined_key_by_key(tmp_path: Path) -> None:
    lines = [{"file": "a", "light": "dim"}, {"file": " a ", "size": 3, "light": "dim"}, {"file": "a", "objects": []}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_notes(tmp_path / "a.jsonl") == {"a": Notes({"light": "dim", "size": "3"}, ())}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"), (1.0, "1"), ("1.0", "1"), ("1.50", "1.5"), (-0.0, "0"), ("-0.0", "0"), ("-2.0", "-2"), (True, "yes"),
        ("007", "007"), ("1.0.0", "1.0.0"), (1e22, "1e+22"), (" wet ", "wet"), ("\ud800", "\\ud800"), ("None", "None"),
        (float("nan"), None), (float("inf"), None), ("NaN", None), ("", None), ("NA", None), (None, None), ([1], None),
    ],
)  # fmt: skip
def test_values(value: object, text: str | None) -> None:
    table = AnnotationTable(Path("a"))
    table.add("line 1", "b", {"key": value})
    assert table["b"].values == ({} if text is None else {"key": text})


def test_1_and_1_0_do_not_contradict_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("file,size\na,1\na,1.0\na,NaN\n")
    assert read_notes(tmp_path / "a.csv") == {"a": Notes({"size": "1"})}


def test_separators_of_lines_within_texts(tmp_path: Path) -> None:
    text = json.dumps({"file": "a", "name": "x\u2028y\u0085z"}, ensure_ascii=False)
    (tmp_path / "a.jsonl").write_text(text + "\n", encoding="utf-8")
    assert read_notes(tmp_path / "a.jsonl")["a"].values == {"name": "x\u2028y\u0085z"}
    (tmp_path / "a.csv").write_text('file,name\na,x\u2028y\u0085z\nb,"two\nlines"\n', encoding="utf-8")
    found = read_notes(tmp_path / "a.csv")
    assert found["a"].values == {"name": "x\u2028y\u0085z"} and found["b"].values == {"name": "two\nlines"}


@pytest.mark.parametrize("box", [[5, 5, 5, 9], [5, 9, 7, 9], [7, 5, 5, 9], [0, 0, 0, 0]])
def test_boxes_without_area_are_counted(box: list[int], tmp_path: Path) -> None:
    rows = [{"file": "a", "box": [0, 0, 2, 2], "kind": "x"}, *[{"file": "b", "box": box, "kind": "y"}] * 3]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_notes(tmp_path / "a.jsonl")
    assert found["b"] == Notes({}, ()) and (found.flat, found.first_flat) == (3, "line 2")
    said = found.summary(list(found.values()))
    assert said == "2 images with 1 attributes, 1 boxes, 3 boxes without area skipped, the first in line 2"


def test_of_too_many_kinds_the_most_frequent_are_kept() -> None:
    table = AnnotationTable(Path("a"))
    for i in range(200):
        # The later a kind comes, the more there are of it.
        table.add("line", f"{i}.jpg", {}, [((0, 0, 1, 1), {"kind": f"k{i:03d}"})] * (1 + (i >= 150) + (i >= 190)))
    kinds = table.kinds()[1]["kind"]
    kept = [f"k{i:03d}" for i in range(50)] + [f"k{i:03d}" for i in range(150, 200)]
    assert kinds.names == (*kept, "other") and kinds.total == 200
    assert kinds.name("k199") == "k199" and kinds.name("k100") == "other" and kinds.name(None) is None
    assert "200 kinds kept 100 of 'kind', the rest is 'other'" in table.summary(list(table.values()))


def test_kinds_of_which_no_two_are_alike() -> None:
    table, named = AnnotationTable(Path("a")), AnnotationTable(Path("b"))
    for i in range(200):
        table.add("line", f"{i}.jpg", {}, [((0, 0, 1, 1), {"kind": f"k{i}"})])
        named.add("line", f"{i}.jpg", {}, [((0, 0, 1, 1), {"id": f"k{i}", "kind": "x"})])
    assert len(table.kinds()[1]["kind"].names) == 101 and not table.kinds()[1]["kind"].left_out
    assert named.kinds()[1]["id"].left_out and "'id' left out: its 200 values name things" in named.summary([])


def test_a_key_that_is_there_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    for line in ('{"file": "a.jpg", "kind": "x", "kind": "y"}', '{"file": "a.jpg", "objects": [{"a": 1, "a": 1}]}'):
        path.write_text(f'{{"file": "b.jpg"}}\n{line}\n')
        with pytest.raises(ValueError, match=r"notes.jsonl, line 2: '(kind|a)' is there twice"):
            read_notes(path)


def test_lists_in_the_place_of_values_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    objects = '"objects": [{"box": [0, 0, 1, 1], "kind": "cat", "outline": [1, 2]}]'
    path.write_text(f'{{"file": "a.jpg", "tags": ["x"], "none": [], {objects}}}\n{{"file": "b.jpg", "tags": ["y"]}}\n')
    table = read_notes(path)
    said = table.summary(list(table.values()))
    assert said.endswith(", 3 lists and objects in the place of values skipped (tags, outline)")
