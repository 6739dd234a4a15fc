"""Which image a name means: its own folder's, never another of the same name, and none by guess."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.corpus.annotation_files import read_notes
from analysis.corpus.annotation_table import Notes
from analysis.corpus.image_names import Found, ImageNames

ROOT = Path("photos")
PATHS = [ROOT / name for name in ("train/cat/1.jpg", "train/dog/1.jpg", "val/cat/2.jpg", "val/dog/22.05.jpg", "3.png")]


def find(*names: str, paths: list[Path] = PATHS) -> Found:
    return ImageNames(paths, ROOT).find({name: Notes({"name": name}) for name in names}, Path("notes"))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("train/cat/1.jpg", 0), ("cat/1.jpg", 0), ("dog/1", 1), ("./train/dog/1.jpg", 1), ("photos/train/dog/1.jpg", 1),
        ("train\\dog\\1.jpg", 1), ("2.jpg", 2), (" 2 ", 2), ("22.05", 3), ("22.05.jpg", 3), ("3.png", 4), ("3", 4),
    ],
)  # fmt: skip
def test_names(name: str, meant: int) -> None:
    assert find(name).notes == {PATHS[meant]: Notes({"name": name})}


@pytest.mark.parametrize(
    "name", ["bird/1.jpg", "at/1.jpg", "test/cat/1.jpg", "2.png", "22", "4.jpg", "elsewhere/3.png"]
)
def test_names_of_no_image(name: str) -> None:
    assert find(name) == Found({}, [name])


@pytest.mark.parametrize("name", ["1.jpg", "1"])
def test_names_of_several_images_are_refused(name: str) -> None:
    with pytest.raises(
        ValueError, match=f"notes: '{name}' fits 2 images, 'photos/train/cat/1.jpg' and 'photos/train/d"
    ):
        find(name)


def test_a_whole_path_goes_before_the_end_of_another() -> None:
    paths = [ROOT / "1.jpg", ROOT / "cat/1.jpg", ROOT / "a/cat/1.jpg"]
    assert [*find("1.jpg", paths=paths).notes] == paths[:1] and [*find("cat/1.jpg", paths=paths).notes] == paths[1:2]


def test_accents_in_one_character_or_two() -> None:
    paths = [ROOT / "cafe\u0301.jpg"]
    assert [*find("caf\u00e9.jpg", paths=paths).notes] == paths


def test_two_names_of_an_image_are_joined_or_contradict_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("file,light,wet\n2.jpg,dim,\ncat/2.jpg,dim,yes\n")
    table = read_notes(tmp_path / "a.csv")
    assert ImageNames(PATHS, ROOT).find(table, table.path).notes == {PATHS[2]: Notes({"light": "dim", "wet": "yes"})}
    (tmp_path / "a.csv").write_text("file,light\n2.jpg,dim\ncat/2.jpg,bright\n")
    with pytest.raises(ValueError, match=r"'light' of the image 'cat/2.jpg' is 'dim' in line 2 and 'bright' in line 3"):
        ImageNames(PATHS, ROOT).find(read_notes(tmp_path / "a.csv"), Path("a.csv"))


def voc(folder: Path, **files: str) -> Found:
    """What is found of XML files by name (``__`` is a folder), each with a head."""
    thing = "<object><name>x</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>5</ymax></bndbox></object>"
    for name, head in files.items():
        path = folder / "Annotations" / (name.replace("__", "/") + ".xml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<annotation>{head}{thing}</annotation>")
    table = read_notes(folder)
    return ImageNames(PATHS, ROOT).find(table, table.path)


def test_voc_by_folders(tmp_path: Path) -> None:
    found = voc(tmp_path / "a", _1="").lost
    assert found == ["_1"]
    assert [*voc(tmp_path / "b", **{"1": "<folder>dog</folder><filename>1.jpg</filename>"}).notes] == [PATHS[1]]
    assert [*voc(tmp_path / "c", cat__1="", dog__1="").notes] == PATHS[:2]
    # Folders in which no image lies say nothing, and neither does a wrong file name beside a right one of the XML.
    assert [*voc(tmp_path / "d", batch7__2="<folder>VOC2007</folder><filename>1.jpg</filename>").notes] == [PATHS[2]]
    # The dog of this name is gone, and the cat is another image.
    assert voc(tmp_path / "e", **{"dog__2": "", "2": "<folder>dog</folder>"}) == Found({}, ["2", "dog/2"])
    assert [*voc(tmp_path / "f", x="<filename>22.05.jpg</filename>").notes] == [PATHS[3]]
    with pytest.raises(ValueError, match=r"1.xml: '1' fits 2 images"):
        voc(tmp_path / "g", **{"1": "<folder>VOC2007</folder><filename>1.jpg</filename>"})


def test_voc_beside_its_images_and_hidden_files(tmp_path: Path) -> None:
    found = voc(tmp_path, cat__2="<filename>2.jpg</filename>", cat__lost="")
    for name in ("._2.xml", "__MACOSX/2.xml", ".ipynb_checkpoints/2.xml"):
        path = tmp_path / "Annotations" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("no XML")
    table = read_notes(tmp_path / "Annotations")
    assert ImageNames(PATHS, ROOT).find(table, table.path) == found == Found(found.notes, ["cat/lost"])
