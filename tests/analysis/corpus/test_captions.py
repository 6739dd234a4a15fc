"""Sentences about images: both kinds of file, what broken ones are answered, and those of the built-in scenes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from analysis.corpus.annotations import annotate_scenes
from analysis.corpus.caption_files import CaptionFile, read_captions
from analysis.corpus.captions import ADJECTIVES, captions_of_files, describe_scene
from analysis.corpus.corpus import Corpus
from patchgame_egg.data.images import ImageFiles
from patchgame_egg.data.scenes import CONCEPTS, Scenes

SAID = [("val/a.png", "A cat, asleep."), ("val/b.png", 'He said "no"'), ("val/a.png", "Two\u2028lines"), ("b.png", " ")]
READ = CaptionFile({"val/a.png": ("A cat, asleep.", "Two lines"), "val/b.png": ('He said "no"',)}, blank=1)


def corpus(index: list[int]) -> Corpus:
    blank = np.zeros((len(index), 4), dtype=np.int64)
    return Corpus(blank, blank > 0, 8, info={"index": index})


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_both_kinds_say_the_same(tmp_path: Path, mark: str, end: str) -> None:
    lines = [json.dumps({"caption": said, "file": name, "by": 3}, ensure_ascii=False) for name, said in SAID]
    (tmp_path / "said.jsonl").write_bytes((mark + end.join(["", *lines, ""])).encode())
    assert read_captions(tmp_path / "said.jsonl") == READ
    with (tmp_path / "said.csv").open("w", newline="") as file:
        file.write(mark)
        writer = csv.writer(file, lineterminator=end)
        writer.writerows([("number", "Caption", "file"), *((i, said, name) for i, (name, said) in enumerate(SAID))])
    assert read_captions(tmp_path / "said.csv") == READ


def test_encodings_and_what_is_nested_without_end(tmp_path: Path) -> None:
    path = tmp_path / "said.csv"
    path.write_bytes("file,caption\na.jpg,caf\u00e9\n".encode("utf-16"))
    assert read_captions(path).by_name == {"a.jpg": ("caf\u00e9",)}
    path.write_text('{"file": "a.jpg", "caption": ' + "[" * 100_000)
    with pytest.raises(ValueError, match=r"said.csv, line 1 is not JSON"):
        read_captions(path)


def test_lists_line_breaks_and_dots(tmp_path: Path) -> None:
    (tmp_path / "x").write_text(
        '{"file": "./a//b.png", "caption": ["one", "two"]}\n{"file": "a/b.png", "caption": "one"}'
    )
    assert read_captions(tmp_path / "x").by_name == {"a/b.png": ("one", "two", "one")}
    (tmp_path / "y").write_text('file,caption\na.png,"over\ntwo lines"\n\n')
    assert read_captions(tmp_path / "y").by_name == {"a.png": ("over two lines",)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("", "has the columns none: give a first line file,caption"),
        ("image,caption\na,b\n", "has the columns image, caption"),
        ("file,caption\na.png,one, two\n", "line 2: 3 columns instead of 2"),
        ('{"file": "a.png", "caption": "one", "caption": "two"}\n', "line 1 is not JSON ('caption' is there twice)"),
        ('file,caption\na.png,"one\n', "is not CSV"),
        ("file,caption\na.png,\n", "holds no caption"),
        ("file,caption\n ,one\n", "line 2: no file is named"),
        ('{"file": "a"}\n', "line 1: expected an object with the texts file and caption"),
        ('{"file": "a", "caption": "b"}\n[]\n', "line 2: expected an object"),
        ('{"file": "a", "caption": 3}', "line 1: expected an object"),
        ('{"file": "a", "caption": "b"\n', "line 1 is not JSON"),
        (b"file,caption\na,\xff\n", "is not text in UTF-8 (at byte 15)"),
    ],
)
def test_broken_files(text: str | bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "captions"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError) as error:
        read_captions(path)
    assert said in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_images_get_their_own(tmp_path: Path) -> None:
    paths = [tmp_path / "val" / name for name in ("c.png", "a.png", "b.png")]
    source = ImageFiles(paths, [0, 0, 0], ["val"], 8)
    found = captions_of_files(corpus([1, 0]), READ.by_name, source, tmp_path)
    assert found.captions == (READ.by_name["val/a.png"], ())
    found.save(tmp_path / "corpus.npz")
    assert Corpus.load(tmp_path / "corpus.npz").captions == found.captions
    with pytest.raises(ValueError, match=r"speak of 'val/a.png' and others, the first image is 'val/c.png'"):
        captions_of_files(corpus([0]), READ.by_name, source, tmp_path)


def test_a_name_means_the_image_whose_path_ends_with_it(tmp_path: Path) -> None:
    paths = [tmp_path / "val" / name for name in ("cat/1.jpg", "dog/1.jpg", "dog/2.png")]
    source, others = ImageFiles(paths, [0, 0, 0], ["val"], 8), [tmp_path / "train" / "cat" / "3.jpg"]
    said = {"cat/1.jpg": ("one",), "2": ("two",), str(paths[2]): ("more",), "3.jpg": ("three",), "9.jpg": ("none",)}
    found = captions_of_files(corpus([2, 0, 1]), said, source, tmp_path, others)
    assert found.captions == (("two", "more"), ("one",), ())
    with pytest.raises(ValueError, match=r"the captions: '1\.jpg' fits 2 images, .*: name the image with its folders"):
        captions_of_files(corpus([0]), {"1.jpg": ("one",)}, source, tmp_path)
    # What is said of another image is given to none of these.
    with pytest.raises(ValueError, match="no image has a caption"):
        captions_of_files(corpus([0]), {"3.jpg": ("three",)}, source, tmp_path, others)


def test_a_corpus_of_before_there_were_captions(tmp_path: Path) -> None:
    corpus([0]).save(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as file:
        arrays = {name: file[name] for name in file.files}
    plain = json.loads(str(arrays.pop("json")))
    del plain["captions"]
    np.savez(tmp_path / "old.npz", **arrays, json=np.array(json.dumps(plain)))
    assert Corpus.load(tmp_path / "old.npz").captions == ()


def test_scenes_are_described_as_they_are() -> None:
    assert ADJECTIVES.keys() == set(CONCEPTS["texture"])
    scenes, nouns = Scenes(60, 32, seed=3), set()
    said = annotate_scenes(corpus(list(range(60))), scenes).captions
    for i in range(60):
        scene, (text,) = scenes.scene(i), said[i]
        assert text == describe_scene(scene)
        objects, ground = text.rsplit(" on ", 1)
        assert ground == CONCEPTS["background"][scene.background]
        words = [
            w for w in objects.replace(" and", "").split() if w not in ("a", "of", "left", "right", "above", "below")
        ]
        meant = [
            (CONCEPTS["size"][o.size], ADJECTIVES[CONCEPTS["texture"][o.texture]], CONCEPTS["colour"][o.colour],
             CONCEPTS["shape"][o.shape])
            for o in scene.objects
        ]  # fmt: skip
        assert words == [word for thing in meant for word in thing]
        nouns.add(ground)
        # The centre of mass of what is seen, unlike that of the box, agrees wherever one side is clear.
        middles = [np.argwhere(o.mask).mean(axis=0) for o in scene.objects]
        sides = [w for w in text.split() if w in ("left", "right", "above", "below")]
        for side, middle in zip(sides, middles[1:], strict=True):
            down, right = middle - middles[0]
            if abs(abs(down) - abs(right)) > 6:
                along = (
                    ("left" if right > 0 else "right") if abs(right) > abs(down) else "above" if down > 0 else "below"
                )
                assert side == along
    assert len(nouns) == len(CONCEPTS["background"])
