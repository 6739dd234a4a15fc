"""What patches show: against the scenes pixel by pixel, against boxes by hand, and what broken files are answered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from analysis.corpus.annotation_files import read_notes
from analysis.corpus.annotation_table import NotedObject, Notes
from analysis.corpus.annotations import annotate_files, annotate_scenes, patch_shares
from analysis.corpus.corpus import Corpus
from analysis.evaluation.table import measure
from analysis.report.page import render
from patchgame_egg.data.images import ImageFiles
from patchgame_egg.data.scenes import CONCEPTS, Scenes


def corpus(index: list[int], grid: tuple[int, int] | None) -> Corpus:
    blank = np.zeros((len(index), 4), dtype=np.int64)
    return Corpus(blank, blank > 0, 8, grid=grid, info={"index": index})


def test_shares_of_patches_whose_borders_cut_pixels() -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((3, 10, 10))
    share, area = patch_shares(maps, (4, 6))
    fine = np.kron(maps, np.ones((1, 12, 12)))  # 120 pixels: divided by 4 and by 6
    np.testing.assert_allclose(share, fine.reshape(3, 4, 30, 6, 20).mean(axis=(2, 4)).reshape(3, 24))
    both = fine.max(axis=0).reshape(4, 30, 6, 20).mean(axis=(1, 3)).reshape(24)
    np.testing.assert_allclose(area, both)
    nothing, none = patch_shares(np.zeros((0, 8, 8)), (2, 2))
    assert nothing.shape == (0, 4) and none.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(("side", "grid"), [(48, 6), (55, 6), (48, 3)])
def test_scenes_patch_by_patch(side: int, grid: int) -> None:
    scenes, index = Scenes(40, side, split="val"), [5, 3, 39, *range(10, 30)]
    found = annotate_scenes(corpus(index, (grid, grid)), scenes)
    assert found.attribute_names == scenes.attribute_names and found.value_names == tuple(CONCEPTS.values())
    assert found.attributes is not None and found.patch_attributes is not None and found.object_area is not None
    assert found.attributes.tolist() == [scenes.attributes(i).tolist() for i in index]
    assert found.patch_attribute_names == ("content", "shape", "colour", "texture", "background")
    assert found.patch_value_names[0] == (*CONCEPTS["background"], "object")
    assert found.patch_attributes.shape == (len(index), grid**2, 5)
    for row, i in enumerate(index):
        scene = scenes.scene(i)
        # Every pixel as a square of grid x grid points, of which each belongs to one patch.
        owner = np.zeros((side, side), dtype=int)
        for number, thing in enumerate(scene.objects, 1):
            owner[thing.mask] = number
        points = np.kron(owner, np.ones((grid, grid), dtype=int)).reshape(grid, side, grid, side)
        for patch in range(grid**2):
            here = np.bincount(points[patch // grid, :, patch % grid].ravel(), minlength=4) / side**2
            assert found.object_area[row, patch] == pytest.approx(1 - here[0], abs=1e-6)
            content, shape, colour, texture, background = found.patch_attributes[row, patch].tolist()
            if here[0] <= 0.5:
                main = scene.objects[int(here[1:].argmax())]
                assert content == len(CONCEPTS["background"]) and background == -1
                assert (shape, colour, texture) == (main.shape, main.colour, main.texture)
            else:
                assert content == background == scene.background and shape == colour == texture == -1


def test_a_speaker_without_patches_gets_attributes_alone() -> None:
    found = annotate_scenes(corpus([1, 2], None), Scenes(8, 32))
    assert found.attributes is not None and found.patch_attributes is found.object_area is None


def test_a_corpus_that_does_not_say_which_images_it_is_about() -> None:
    blank = np.zeros((2, 4), dtype=np.int64)
    for info in ({}, {"index": [1]}):
        with pytest.raises(ValueError, match="which images"):
            annotate_scenes(Corpus(blank, blank > 0, 8, info=info), Scenes(8, 32))


# Files


def files(folder: Path, sizes: dict[str, tuple[int, int]], side: int = 32) -> ImageFiles:
    for name, size in sizes.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(folder / name)
    return ImageFiles([folder / name for name in sizes], [0] * len(sizes), ["image"], side)


def described(
    folder: Path, source: ImageFiles, lines: list[dict[str, object]], grid: tuple[int, int] = (2, 2)
) -> Corpus:
    (folder / "notes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    notes = read_notes(folder / "notes.jsonl")
    return annotate_files(corpus(list(range(len(source))), grid), notes, source, folder)


def patches(found: Corpus, image: int) -> list[list[str | None]]:
    """What each patch shows, by key."""
    assert found.patch_attributes is not None
    return [
        [None if v < 0 else names[v] for v, names in zip(row, found.patch_value_names, strict=True)]
        for row in found.patch_attributes[image].tolist()
    ]


def attribute(found: Corpus, name: str) -> list[str | None]:
    assert found.attributes is not None
    column = found.attribute_names.index(name)
    return [None if v < 0 else found.value_names[column][v] for v in found.attributes[:, column].tolist()]


def test_boxes_and_keys(tmp_path: Path) -> None:
    source = files(tmp_path, {f"{n}.png": (100, 100) for n in "abcd"})
    found = described(
        tmp_path, source,
        [
            {"file": "a.png", "light": "dim", "count": 12, "objects": [
                {"x": 0, "y": 0, "size": 50, "colour": "blue", "shape": "square"},
                {"box": [60, 60, 70, 70], "colour": "red", "round": True},
            ]},
            {"file": "b.png", "light": "bright", "count": 3, "objects": []},
            {"file": "c.png", "dimmed": False},
        ],
    )  # fmt: skip
    assert found.patch_attribute_names == ("colour", "shape", "round")
    # The first covers its patch; the second lies within one, though it covers little of it.
    assert patches(found, 0) == [["blue", "square", None], [None] * 3, [None] * 3, ["red", None, "yes"]]
    assert patches(found, 1) == patches(found, 2) == patches(found, 3) == [[None] * 3] * 4
    assert found.object_area is not None
    np.testing.assert_allclose(found.object_area[0], [1, 0, 0, 0.04], atol=1e-6)
    assert found.object_area[1].tolist() == [0] * 4 and np.isnan(found.object_area[2:]).all()
    assert attribute(found, "light") == ["dim", "bright", None, None]
    assert attribute(found, "count") == ["12", "3", None, None]
    assert found.value_names[found.attribute_names.index("count")] == ("3", "12")
    assert attribute(found, "dimmed") == [None, None, "no", None]
    assert attribute(found, "number of objects") == ["2", "0", None, None]
    assert attribute(found, "has blue") == attribute(found, "has square") == ["yes", "no", None, None]
    assert attribute(found, "has round yes") == ["yes", "no", None, None]
    assert not {"has size", "has x", "size"} & set(found.attribute_names)


def test_where_boxes_meet(tmp_path: Path) -> None:
    source = files(tmp_path, {"a.png": (80, 80)})
    objects = [
        {"box": [0, 0, 40, 30], "name": "wide"},
        {"box": [0, 20, 40, 40], "name": "low"},  # covers half of the patch, and the other a third of that
        {"box": [30, 50, 50, 60], "name": "across"},  # half in each of two patches
        {"box": [60, 70, 200, 200], "name": "out"},  # mostly outside of the image
    ]
    found = described(tmp_path, source, [{"file": "a.png", "objects": objects}])
    assert patches(found, 0) == [["wide"], [None], ["across"], ["out"]]
    assert found.object_area is not None
    np.testing.assert_allclose(found.object_area[0], [1, 0, 100 / 1600, (100 + 200) / 1600], atol=1e-6)


@pytest.mark.parametrize(("size", "box"), [((200, 100), [50, 0, 100, 50]), ((60, 180), [0, 60, 30, 90])])
def test_boxes_follow_the_middle_square(size: tuple[int, int], box: list[int], tmp_path: Path) -> None:
    image = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    (tmp_path / "a.png").parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(tmp_path / "a.png")
    source = ImageFiles([tmp_path / "a.png"], [0], ["image"], 24)
    found = described(tmp_path, source, [{"file": "a.png", "objects": [{"box": box, "kind": "x"}]}], (4, 4))
    seen: NDArray[np.float64] = source[0][0][0].numpy().reshape(4, 6, 4, 6).mean(axis=(1, 3)).ravel() / 255
    assert found.object_area is not None and seen.max() > 0.9
    np.testing.assert_allclose(found.object_area[0], seen, atol=0.05)


def test_values_of_two_keys_say_which(tmp_path: Path) -> None:
    source = files(tmp_path, {"a.png": (20, 20)})
    things = [{"box": [0, 0, 9, 9], "colour": "orange", "fruit": "orange", "ripe": True, "wheels": 2}]
    found = described(tmp_path, source, [{"file": "a.png", "objects": things}])
    names = {"has colour orange", "has fruit orange", "has wheels 2", "has ripe yes", "number of objects"}
    assert set(found.attribute_names) == names


def test_keys_that_name_things_are_left_out(tmp_path: Path) -> None:
    source = files(tmp_path, {"a.png": (20, 20)})
    thing = {"box": [0, 0, 9, 9], "kind": "x"}
    lines: list[dict[str, object]] = [
        {"file": f"{name}.png", "id": name, "side": i % 2, "objects": [{**thing, "id": i}]}
        for i, name in enumerate(["a", *map(str, range(100))])
    ]
    found = described(tmp_path, source, lines)
    assert found.attribute_names == ("side", "number of objects", "has x") and found.patch_attribute_names == ("kind",)


def test_the_most_frequent_of_many_kinds_are_words(tmp_path: Path) -> None:
    """200 kinds with boxes: 100 are told apart, in patches and in images, and the rest are another."""
    source = files(tmp_path, {f"{i}.png": (20, 20) for i in range(20)})
    lines: list[dict[str, object]] = [
        {"file": f"{i % 20}.png", "box": [0, 0, 20, 10], "kind": f"k{i % 200:03d}"} for i in range(300)
    ]
    found = described(tmp_path, source, [*lines, {"file": "0.png", "serial": 1}])
    assert found.patch_value_names == ((*(f"k{i:03d}" for i in range(100)), "other"),)
    assert attribute(found, "has k001") == ["no", "yes"] + ["no"] * 18
    assert attribute(found, "has other") == ["yes"] * 20
    assert patches(found, 1)[0] in (["k001"], ["k021"]) and patches(found, 1)[2] == [None]
    assert "300 boxes, 200 kinds kept 100 of 'kind', the rest is 'other'" in found.info["annotations"]
    # A report of all these words takes long.
    short = Corpus(found.symbols, found.mask, found.vocab_size, info=found.info)
    assert "200 kinds kept 100" in render(short, measure(short, permutations=2), permutations=2)


def test_boxes_drawn_in_parts_are_as_if_drawn_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (30, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 40, (30, 2))], axis=1).tolist()
    source = files(tmp_path, {"a.png": (80, 80)})
    lines: list[dict[str, object]] = [{"file": "a.png", "objects": [{"box": b, "n": i} for i, b in enumerate(boxes)]}]
    once = described(tmp_path, source, lines, (4, 4))
    monkeypatch.setattr("analysis.corpus.annotations._AT_ONCE", 7)
    parts = described(tmp_path, source, lines, (4, 4))
    assert patches(once, 0) == patches(parts, 0) and any(patches(once, 0)[5])
    np.testing.assert_allclose(once.object_area, parts.object_area)


def test_what_is_said_of_another_image_is_given_to_none(tmp_path: Path) -> None:
    source = files(tmp_path, {"val/cat/1.png": (20, 20), "val/cat/2.png": (20, 20)})
    notes = {"1": Notes({"light": "dim"}, file=("dog", "1.png")), "2": Notes({"light": "bright"}, file=("", ""))}
    trained_on = [tmp_path / "train/dog/1.png"]
    found = annotate_files(corpus([0, 1], None), notes, source, tmp_path, trained_on)
    assert attribute(found, "light") == [None, "bright"]


def test_voc(tmp_path: Path) -> None:
    source = files(tmp_path / "JPEGImages", {"000001.jpg": (40, 40), "000002.jpg": (40, 40)})
    (tmp_path / "Annotations").mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>21</ymin><xmax>20</xmax><ymax>40</ymax></bndbox>"
    thing = f"<object><name>Nail</name><pose>Left</pose>{box}</object>"
    (tmp_path / "Annotations" / "000001.xml").write_text(f"<annotation><filename>x</filename>{thing}</annotation>")
    for place in (tmp_path, tmp_path / "Annotations"):
        notes = read_notes(place)
        assert notes == {"000001": Notes({}, (NotedObject((0, 20, 20, 40), {"class": "Nail"}),))}
    found = annotate_files(corpus([1, 0], (2, 2)), notes, source, tmp_path)
    assert found.patch_attribute_names == ("class",) and attribute(found, "has Nail") == [None, "yes"]
    assert patches(found, 1) == [[None], [None], ["Nail"], [None]] and patches(found, 0) == [[None]] * 4
    assert found.object_area is not None and found.object_area[1].tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("{", "line 1: "),
        ('{"file": "a"}\n\n[1]', r"line 3: expected an object with the text 'file', got \[1\]"),
        ('{"name": "a"}', "expected an object with the text 'file'"),
        ('{"file": "a", "objects": 3}', "objects is 3: expected a list"),
        ('{"file": "a", "objects": [3]}', "expected a list of objects"),
        ('{"file": "a", "objects": [{"kind": "x"}]}', r"is None: give box \[x0, y0, x1, y1\]"),
        ('{"file": "a", "objects": [{"box": [1, 2, 3]}]}', r"is \[1, 2, 3\]: give box"),
        ('{"file": "a", "objects": [{"x": 1, "y": "2", "size": 1}]}', "the numbers x, y and size"),
        ('{"file": "a", "objects": [{"box": [1, 2, NaN, 4]}]}', "give box"),
        ('{"file": "a", "objects": [{"box": [1, 2, Infinity, 4]}]}', "give box"),
        ('{"file": "a", "objects": [{"box": [1, 2, 1e9, 4]}]}', r"line 1: 1e\+09 is no place in an image"),
        ('{"file": "a", "objects": [{"box": [1, 2, 1' + 400 * "0" + ", 4]}]}", "line 1: 1e\\+300 is no place"),
        ('{"file": "a", "x": ' + 100_000 * "[" + "}", "line 1: "),
        ('{"file": "a", "objects": [{"box": [0, 0, 0.5, 1]}, {"box": [0.1, 0, 1, 1]}]}', "give pixels, not shares"),
        ('{"file": " "}', "line 1: the image has no name"),
        ('{"file": "a", "light": "dim"}\n\n{"file": "a", "light": "bright"}', "'dim' in line 1 and 'bright' in line 3"),
        ('{"file": "a", "objects": {"bbox": [[0, 0, 1, 1]], "kind": []}}', "the lists in objects differ in length"),
        ('{"file": "a"}\n{"file": "b"', "line 2: "),
        ("[\n]", "neither an object a line nor COCO's"),
        ('{\n"shapes": []\n}', "neither an object a line nor COCO's"),
        ("\x89PNG", r"is of no known form: give JSON lines, COCO's JSON, a CSV .*its first line is '\\x89PNG'"),
        ("a.png,1,2,3,4,cat", "is of no known form"),
        ("file,light\na,dim\n\nb", "line 4: 1 cells, and the header has 2"),
        ("file,x0,y0,x1,y1\na,1,2,3,", r"line 2: the place of an object is \[1.0, 2.0, 3.0, None\]: give box"),
        ("file,x0,y0,x1,y1\na,1,2,3,four", "line 2: the place of an object is"),
        ("file,x0,y0,x1,y1\na,1,2,3,1e400", "line 2: the place of an object is"),
        ('file,light\na,"dim', "line 2: "),
        ("file,light\na," + 200_000 * "x", "line 2: field larger than field limit"),
        ("file,light,light\na,b,c", "a column's name is there twice"),
        (",,,", "is of no known form"),
        ("file,light\na,dim\na,dim\na,bright", "'dim' in line 2 and 'bright' in line 4"),
        ("file,light\n", "is empty: it names no image"),
        (
            '{"images": [{"id": 1}], "annotations": []}',
            "entry 1 of images is .*: give an id of its own and the text 'fi",
        ),
        ('{"images": [], "annotations": [{"image_id": 1}]}', "annotation 1: its image_id is '1', which is not in the"),
        ('{"images": [], "annotations": [3]}', "annotation 1: its image_id is 'None'"),
        ("2\nA B\na.jpg 1", "line 3: 1 values, and line 2 names 2"),
        ("a\tn01\t0\t0\t9\t9\na\tn01\t0\t0\t9", "line 2: 5 cells, and the first line has 6"),
        ("a\tn01\t0\t0\t9\t9\na\tn01\t0\t0\t9\tx", "line 2: the place of an object is"),
    ],
)
def test_broken_lines_are_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text(text)
    with pytest.raises(ValueError, match=said) as error:
        read_notes(tmp_path / "notes.jsonl")
    assert str(tmp_path / "notes.jsonl") in str(error.value) and "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_a_folder_without_annotations_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected VOC's XML files"):
        read_notes(tmp_path)


def test_files_that_are_not_there_or_speak_of_others(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_notes(tmp_path / "nowhere.jsonl")
    source = files(tmp_path, {"in/a.png": (20, 20)})
    with pytest.raises(ValueError, match=r"'b.png' and others, the first image is in/a.png"):
        described(tmp_path, source, [{"file": "b.png"}, {"file": "out/a.png"}])
