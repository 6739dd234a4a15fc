"""Other people's languages: CSAR's array, ELCC's folder, tables made by hand; or one line on what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.corpus.csv_export import csv_text
from analysis.corpus.json_lines import write_json_lines
from analysis.corpus.loading import load
from tests.support.synthetic_corpus import sequence_corpus

PAIRS = [[[0, 1, 2], ["a", "b"]], [[1, 2], ["b"]], [[7], []]]


def said(path: Path) -> list[list[int]]:
    corpus = load(path)
    return [corpus.said(i) for i in range(len(corpus))]


@pytest.mark.parametrize("name", ["pairs.json", "pairs.jsonl"])
@pytest.mark.parametrize("indent", [None, 1])
def test_csar_writes_one_array(name: str, indent: int | None, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith("jsonl") and indent:
        path.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    else:
        path.write_text(json.dumps(PAIRS, indent=indent))
    corpus = load(path)
    assert said(path) == [[0, 1, 2], [1, 2], [7]] and corpus.attribute_names == ("a", "b")
    assert corpus.attributes is not None and corpus.attributes.tolist() == [[1, 1], [0, 1], [0, 0]]


def test_an_array_of_messages_is_no_pair(tmp_path: Path) -> None:
    (tmp_path / "two.json").write_text("[[3, 5], [2]]")
    assert said(tmp_path / "two.json") == [[3, 5], [2]] and load(tmp_path / "two.json").attributes is None
    (tmp_path / "one.jsonl").write_text("[[3, 5], [2]]\n")
    assert said(tmp_path / "one.jsonl") == [[3, 5]] and load(tmp_path / "one.jsonl").attribute_names == ("2",)


def test_a_folder_of_elcc(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text("[1, 2, 6]\n[1,2]\n[]\n")
    assert said(tmp_path) == [[1, 2, 6], [1, 2], []] and load(tmp_path).info == {}
    (tmp_path / "metadata.json").write_text('{"system": {"name": "ec-at-scale"}, "corpus_size": 3}')
    assert load(tmp_path).info["metadata"]["system"]["name"] == "ec-at-scale"
    (tmp_path / "metadata.json").write_text("{")
    with pytest.raises(ValueError, match=r"metadata\.json beside corpus\.jsonl is not JSON"):
        load(tmp_path)


def test_a_table_of_ours_comes_back(tmp_path: Path) -> None:
    corpus = sequence_corpus(40)
    (tmp_path / "messages.csv").write_text(csv_text(corpus.to_frame()))
    found = load(tmp_path / "messages.csv")
    assert (found.mask == corpus.mask).all() and (found.symbols[found.mask] == corpus.symbols[corpus.mask]).all()
    assert found.attribute_names == ("first", "second") and found.value_names == corpus.value_names
    assert found.attributes is not None and (found.attributes == corpus.attributes).all()
    again = tmp_path / "again.jsonl"
    write_json_lines(found, again)
    assert [found.said(i) for i in range(40)] == said(again)


def test_tables_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "hand.csv"
    path.write_text("\ufeffcolour,message,class,file\nred,3 5,cat,a.jpg\n,1 4 4,,\n", encoding="utf-8")
    corpus = load(path)
    assert said(path) == [[3, 5], [1, 4, 4]] and corpus.label_names == ("cat",) and corpus.files == ("a.jpg", "")
    assert corpus.labels is not None and corpus.labels.tolist() == [0, -1]
    assert corpus.attributes is not None and corpus.attributes.tolist() == [[0], [-1]]
    path.write_text("message,size\n3,1\n4,1.0\n5,NaN\n6,nan\n7,2.50\n")
    corpus = load(path)
    assert corpus.value_names == (("1", "2.5"),) and corpus.attributes is not None
    assert corpus.attributes[:, 0].tolist() == [0, 0, -1, -1, 1]
    path.write_text("3,5,2\n1,,4\n")
    assert said(path) == [[3, 5, 2], [1, 4]] and load(path).mask.tolist() == [[True] * 3, [True, False, True]]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.csv", "", "holds no message"),
        ("a.csv", "message,class\n", "holds no message"),
        ("a.csv", "words,class\n3 5,cat\n", "has the columns words, class: give one called message"),
        ("a.csv", "message\n3 x\n", r"line 2: 'x' is no symbol: give whole numbers from 0"),
        ("a.csv", "3,5\n2,-1\n", r"line 2: '-1' is no symbol"),
        ("a.csv", "message,class\n3 5\n", "line 2: 1 columns instead of 2"),
        ("a.csv", "message,class,class\n3 5,cat,dog\n", "two columns called class"),
        ("a.csv", "message,slots\n3 5,0\n", "2 symbols at the slots '0': give one slot for each"),
        ("a.json", "[[3, 5], 2]", "is no array of messages or pairs"),
        ("a.json", "[[3, 5], [2]", "is not JSON"),
        ("a.json", "[]", "holds no message"),
        ("a.json", '[[[3], ["a"]], [2]]', r"line 2: expected pairs as in the first line, got \[2\]"),
    ],
)
def test_what_is_something_else_is_refused_in_one_line(name: str, text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=why) as refused:
        load(tmp_path / name)
    assert "\n" not in str(refused.value) and name in str(refused.value)
