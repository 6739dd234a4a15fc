"""What patches show: against the scenes pixel by pixel, against boxes by hand, and what broken files are answered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from analysis.corpus.annotation_files import NotedObject, Notes, read_notes
from analysis.corpus.annotations import annotate_files, annotate_scenes, patch_shares
from analysis.corpus.corpus import Corpus
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
        ('{"file": "a", "objects": [{"box": [1, 2, 1, 4]}]}', "has no area"),
        ('{"file": "a", "objects": [{"x": 1, "y": "2", "size": 1}]}', "the numbers x, y and size"),
        ('{"file": "a", "objects": [{"box": [1, 2, NaN, 4]}]}', "give box"),
    ],
)
def test_broken_lines_are_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text(text)
    with pytest.raises(ValueError, match=said) as error:
        read_notes(tmp_path / "notes.jsonl")
    assert str(tmp_path / "notes.jsonl") in str(error.value)


def test_a_folder_without_annotations_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected VOC's XML files"):
        read_notes(tmp_path)


def test_files_that_are_not_there_or_speak_of_others(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_notes(tmp_path / "nowhere.jsonl")
    source = files(tmp_path, {"in/a.png": (20, 20)})
    with pytest.raises(ValueError, match=r"'b.png' and others, the first image is in/a.png"):
        described(tmp_path, source, [{"file": "b.png"}, {"file": "a.png"}])
