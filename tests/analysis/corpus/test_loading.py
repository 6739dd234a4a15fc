"""Corpora to and from files: JSON lines of three kinds, interactions of our trainer and of EGG, one way in for all."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analysis.corpus.corpus import Corpus
from analysis.corpus.interactions import from_interaction
from analysis.corpus.json_lines import Kind, read_json_lines, write_json_lines
from analysis.corpus.loading import load
from patchgame_egg.egg.records import from_egg
from patchgame_egg.interaction import Interaction


def corpus() -> Corpus:
    """Three messages, one of them empty and two with a hole."""
    return Corpus(
        symbols=np.array([[3, 1, 5], [7, 7, 7], [0, 2, 4]]),
        mask=np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1]], dtype=bool),
        vocab_size=12,
        labels=np.array([1, 0, 1]),
        label_names=("cat", "dog"),
        attributes=np.array([[0, 1], [1, -1], [0, 0]]),
        attribute_names=("colour", "size"),
        value_names=(("red", "grün"), ("small", "large")),
        info={"run": "first", "index": [4, 5, 6]},
    )


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def same(a: Corpus, b: Corpus) -> None:
    """All but what silent slots hold."""
    assert (np.where(a.mask, a.symbols, -1) == np.where(b.mask, b.symbols, -1)).all() and (a.mask == b.mask).all()
    for f in fields(Corpus):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if f.name not in ("symbols", "mask"):
            assert (x == y).all() if isinstance(x, np.ndarray) else x == y, f.name


def test_the_full_form_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "full.jsonl"
    for first in (
        corpus(),
        replace(corpus(), labels=None, label_names=()),
        Corpus(np.ones((2, 4), int), np.ones((2, 4), bool), 2),
    ):
        write_json_lines(first, path)
        same(load(path), first)
    write_json_lines(replace(corpus(), grid=(1, 3)), path)
    assert load(path).grid == (1, 3)
    write_json_lines(corpus(), path)
    assert lines(path)[1] == {"message": [3, None, 5], "label": 1, "attributes": [0, 1]}
    assert lines(path)[2] == {"message": [None] * 3, "label": 0, "attributes": [1, None]}


def test_a_full_file_without_a_first_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"message": [3, 1], "label": 2, "mood": 1}\n\n{"message": [0], "label": 0}\n')
    found = load(tmp_path / "a.jsonl")
    assert found.vocab_size == 4 and found.mask.tolist() == [[True, True], [True, False]]
    assert found.labels is not None and found.labels.tolist() == [2, 0] and found.attributes is None


def test_xferbench_gets_what_is_said(tmp_path: Path) -> None:
    write_json_lines(corpus(), tmp_path / "messages.jsonl", "messages")
    assert lines(tmp_path / "messages.jsonl") == [[3, 5], [], [2, 4]]
    found = load(tmp_path / "messages.jsonl")
    assert found.vocab_size == 6 and found.symbols.shape == (3, 2)
    assert [s[m].tolist() for s, m in zip(found.symbols, found.mask, strict=True)] == [[3, 5], [], [2, 4]]


def test_csar_gets_what_is_said_and_what_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    write_json_lines(corpus(), path, "pairs")
    assert lines(path) == [
        [[3, 5], ["colour=red", "size=large"]],
        [[], ["colour=grün"]],
        [[2, 4], ["colour=red", "size=small"]],
    ]
    found = load(path)
    assert found.attribute_names == ("colour=grün", "colour=red", "size=large", "size=small")
    assert found.attributes is not None and found.attributes.tolist() == [[0, 1, 1, 0], [1, 0, 0, 0], [0, 1, 0, 1]]
    assert found.value_names == (("no", "yes"),) * 4
    unnamed = replace(corpus(), attributes=None, attribute_names=(), value_names=())
    write_json_lines(unnamed, path, "pairs")
    assert [meant for _, meant in lines(path)] == [["class=dog"], ["class=cat"], ["class=dog"]]
    write_json_lines(replace(unnamed, label_names=()), path, "pairs")
    assert lines(path)[0] == [[3, 5], ["class=1"]]
    with pytest.raises(ValueError, match="nothing is known about what is meant"):
        write_json_lines(replace(unnamed, labels=None), path, "pairs")
    path.write_text("[[1, 2], []]\n[[], [7, 8]]\n")
    assert load(path).attribute_names == ("7", "8")


@pytest.mark.parametrize("kind", ["full", "messages", "pairs"])
def test_nothing_is_ever_said(kind: Kind, tmp_path: Path) -> None:
    silent = replace(corpus(), mask=np.zeros((3, 3), dtype=bool))
    write_json_lines(silent, tmp_path / "silent.jsonl", kind)
    found = read_json_lines(tmp_path / "silent.jsonl")
    assert len(found) == 3 and not found.mask.any() and found.vocab_size == (12 if kind == "full" else 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no message"),
        ('{"corpus": {"vocab_size": 3}}\n', "holds no message"),
        ("[1, 2\n", "line 1 is not JSON"),
        ("[1]\n\n[[1], []]\n", r"line 3: expected messages as in the first line, got \[\[1\], \[\]\]"),
        ("[[1], []]\n[1]\n", "line 2: expected pairs"),
        ("[1, -2]\n", "line 1: expected messages, pairs or objects with a message"),
        ("[1.5]\n", "line 1: expected messages, pairs"),
        ("[true]\n", "line 1: expected messages, pairs"),
        ('{"text": "a"}\n', "line 1: expected messages, pairs"),
        ('{"message": [1], "label": 1}\n{"message": [1]}\n', "label is not alike in all lines"),
        ('{"message": [1], "label": 1, "label": 2}\n', "line 1 is not JSON: 'label' is there twice"),
        ('{"message": [1], "attributes": [0.2]}\n{"message": [2], "attributes": [0.9]}\n', "0.2 is no whole number"),
        ('{"message": [1], "attributes": [1]}\n{"message": [1], "attributes": [1, 2]}\n', "attributes is not alike"),
    ],
)
def test_broken_lines_are_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(ValueError, match=said):
        load(tmp_path / "a.jsonl")


# Interactions


def interaction() -> Interaction:
    rng = np.random.default_rng(0)
    return Interaction(
        labels=torch.tensor([2, 0]),
        aux_input={"index": torch.tensor([7, 9])},
        message=torch.tensor([[3, 1, 5, 9], [7, 7, 7, 0]]),
        receiver_output=torch.tensor(rng.normal(size=(2, 2, 6))).float(),
        message_length=torch.tensor([2, 3]),
        aux={
            "message_mask": torch.tensor([[1, 0, 1, 0], [1, 1, 1, 0]]).bool(),
            "keep_prob": torch.rand(2, 4),
            "acc": torch.tensor([1.0, 0.0]),
        },
    )


def test_an_interaction_of_ours(tmp_path: Path) -> None:
    interaction().save(tmp_path / "it.pt")
    found = load(tmp_path / "it.pt")
    assert found.symbols.tolist() == interaction().message.tolist() and found.vocab_size == 8  # type: ignore[union-attr]
    assert found.mask.tolist() == interaction().aux["message_mask"].tolist() and found.grid == (2, 2)
    assert found.labels is not None and found.labels.tolist() == [2, 0] and found.info == {"index": [7, 9]}
    assert found.probes["as played"].tolist() == [True, False]
    assert found.text is not None and found.image is not None
    output = interaction().receiver_output
    np.testing.assert_allclose(found.text, torch.nn.functional.normalize(output[:, 0], dim=1), atol=1e-6)  # type: ignore[index]
    np.testing.assert_allclose(found.image, torch.nn.functional.normalize(output[:, 1], dim=1), atol=1e-6)  # type: ignore[index]
    assert from_interaction(interaction(), vocab_size=20).vocab_size == 20


def test_a_record_of_training_is_read_with_its_graph() -> None:
    record = Interaction(
        message=torch.tensor([[1, 2], [0, 0]]), receiver_output=torch.rand(2, 2, 4).requires_grad_(),
        aux={"acc": torch.tensor([1.0, 0.0], requires_grad=True)},
    )  # fmt: skip
    found = from_interaction(record)
    assert found.probes["as played"].tolist() == [True, False]
    assert found.text is not None and found.text.shape == (2, 4)


def test_an_interaction_with_less(tmp_path: Path) -> None:
    found = from_interaction(Interaction(message=torch.tensor([[1, 2], [0, 0]]), labels=torch.tensor([[0, 1], [2, 0]])))
    assert found.mask.all() and found.text is found.grid is found.labels is None and found.probes == {}
    assert found.attributes is not None and found.attributes.tolist() == [[0, 1], [2, 0]]
    for message in (None, torch.rand(2, 3, 4), torch.rand(2, 3)):
        with pytest.raises(ValueError, match="expected ids"):
            from_interaction(Interaction(message=message))


def test_an_interaction_of_egg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class EggInteraction(Interaction):
        """Pickled under EGG's name, as its InteractionSaver does."""

    module = types.ModuleType("egg.core.interaction")
    EggInteraction.__module__, EggInteraction.__qualname__ = "egg.core.interaction", "Interaction"
    module.Interaction = EggInteraction  # type: ignore[attr-defined]
    for name in ("egg", "egg.core"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "egg.core.interaction", module)
    record = EggInteraction(message=torch.tensor([[4, 2, 0], [1, 0, 0]]), labels=torch.tensor([1, 0]), aux={})
    torch.save(record, tmp_path / "interaction_gpu0")
    for name in ("egg", "egg.core", "egg.core.interaction"):
        monkeypatch.delitem(sys.modules, name)
    found = load(tmp_path / "interaction_gpu0")
    assert found.symbols.tolist() == [[3, 1], [0, 0]] and found.mask.tolist() == [[True, True], [True, False]]
    assert found.vocab_size == 4 and found.labels is not None and found.labels.tolist() == [1, 0]
    holes = load(tmp_path / "interaction_gpu0", layout="slots")
    assert holes.symbols.shape == (2, 3) and holes.mask.tolist() == [[True, True, False], [True, False, False]]


# One way in


def test_a_run_and_a_saved_corpus(tmp_path: Path) -> None:
    corpus().save(tmp_path / "corpus.npz")
    same(load(tmp_path), corpus())
    same(load(str(tmp_path / "corpus.npz")), corpus())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nowhere.npz", None, "there is no file"),
        (".", None, "holds no corpus.npz: give the folder of a run whose language was recorded$"),
        ("a.npz", b"", "a.npz is not a corpus"),
        ("a.npz", b"PK nonsense", "a.npz is not a corpus"),
        ("a.pt", b"nonsense", "a.pt is not a file of interactions"),
        ("a.pt", {"game": {}}, "a.pt is not a file of interactions: it holds something else"),
        ("a.pt", [1, 2], "it holds something else"),
        ("a.pt", {"labels": torch.tensor([1])}, "the message is missing: expected ids"),
        ("config.json", b"{}", "config.json is no array of messages or pairs"),
    ],
)
def test_other_files_are_refused_in_one_line(name: str, content: Any, said: str, tmp_path: Path) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / name)
    with pytest.raises(ValueError, match=said) as error:
        load(tmp_path / name)
    assert "\n" not in str(error.value)


def test_another_npz_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz is not a corpus"):
        load(tmp_path / "other.npz")


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    torch.save({"message": Evil()}, tmp_path / "evil.pt")
    np.savez(tmp_path / "evil.npz", json=np.array([Evil()], dtype=object))
    for name in ("evil.pt", "evil.npz"):
        with pytest.raises(ValueError, match=f"{name} is not"):
            load(tmp_path / name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", ["full", "messages", "pairs"])
@pytest.mark.parametrize("largest", [2**16, 10**9, 2**63 - 1, 2**63, 10**30])
def test_ids_of_any_size_are_numbered(kind: str, largest: int, tmp_path: Path) -> None:
    path = tmp_path / "far.jsonl"
    entries = {
        "full": [{"message": [5, None, largest]}, {"message": [largest, 17]}],
        "messages": [[5, largest], [largest, 17]],
        "pairs": [[[5, largest], ["a"]], [[largest, 17], ["b"]]],
    }[kind]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    found = load(path)
    assert found.vocab_size == 3
    assert found.symbol_ids == (5, 17, largest)
    assert [found.said(i) for i in range(2)] == [[5, largest], [largest, 17]]
    assert [found.symbols[i][found.mask[i]].tolist() for i in range(2)] == [[0, 2], [2, 1]]
    for name in ("again.jsonl", "again.npz"):
        write_json_lines(found, tmp_path / name) if name.endswith("l") else found.save(tmp_path / name)
        same(load(tmp_path / name), replace(found, symbols=np.where(found.mask, found.symbols, 0)))


@pytest.mark.parametrize("layout", [None, "slots"])
@pytest.mark.parametrize("largest", [10**9, 2**63 - 1])
def test_ids_of_any_size_in_interactions(layout: Any, largest: int, tmp_path: Path) -> None:
    record = Interaction(message=torch.tensor([[3, largest], [largest, 4]]), labels=torch.tensor([10**12, 2]))
    record.save(tmp_path / "record")
    found = load(tmp_path / "record")
    assert [found.said(i) for i in range(2)] == [[3, largest], [largest, 4]]
    assert found.vocab_size == 3
    assert (found.labels is not None) and found.labels.tolist() == [1, 0]
    assert found.label_names == ("2", "1000000000000")


def test_one_symbol_of_any_size_from_egg_is_no_silence() -> None:
    found = from_egg(Interaction(message=torch.tensor([0, 2**63 - 1])))
    assert found.aux["message_mask"].all()


def test_values_of_any_size_keep_their_names(tmp_path: Path) -> None:
    path = tmp_path / "far.jsonl"
    header = {"vocab_size": 10**12, "label_names": ["cat", "dog"], "attribute_names": ["id", "size"]}
    lines = [
        {"message": [1, 2], "label": 1, "attributes": [10**15, 3]},
        {"message": [2], "label": 10**12, "attributes": [7, None]},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in [{"corpus": header}, *lines]))
    found = load(path)
    assert (found.vocab_size, found.symbol_ids) == (2, (1, 2))
    assert found.label_names == ("dog", "1000000000000")
    assert found.to_frame()[["class", "id", "size"]].to_numpy().tolist() == [
        ["dog", "1000000000000000", "3"],
        ["1000000000000", "7", ""],
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"corpus": {"vocab_size": "many"}}\n{"message": [1]}', 'vocab_size is "many": a whole number from 1'),
        ('{"corpus": {"grid": [100000, 100000]}}\n{"message": [1]}', "1 slots are not those of 1 grid"),
        ('{"corpus": {"grid": [1, 1], "scales": 1000000000}}\n{"message": [1]}', "not those of 1000000000 grid"),
        ('{"message": [1], "label": 9223372036854775808}', "a number of label is beyond 2\\^63 - 1"),
    ],
)
def test_numbers_in_files_do_not_become_sizes(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "far.jsonl").write_text(text + "\n")
    with pytest.raises(ValueError, match=said):
        load(tmp_path / "far.jsonl")


def test_files_and_messages_are_joined(tmp_path: Path) -> None:
    language = replace(
        corpus(), files=("cat/1.jpg", "b\udcff.jpg", "=c.jpg"), probes={"as played": np.array([True, False, True])}
    )
    expected = {
        "image": [4, 5, 6],
        "file": ["cat/1.jpg", "b\udcff.jpg", "=c.jpg"],
        "class": ["dog", "cat", "dog"],
        "colour": ["red", "grün", "red"],
        "size": ["large", "", "small"],
        "message": ["3 5", "", "2 4"],
        "slots": ["0 2", "", "1 2"],
        "length": [2, 0, 2],
        "understood": [True, False, True],
    }
    assert language.to_frame().to_dict("list") == expected
    assert list(language.to_frame()) == list(expected)
    language.save(tmp_path / "language.npz")
    assert load(tmp_path / "language.npz").files == language.files
    write_json_lines(replace(language, files=("a", "b", "c")), tmp_path / "language.jsonl")
    assert load(tmp_path / "language.jsonl").files == ("a", "b", "c")


def test_a_language_without_names_is_a_table_all_the_same() -> None:
    bare = Corpus(np.array([[1, 0]]), np.array([[True, True]]), vocab_size=2, attributes=np.array([[3]]))
    assert bare.to_frame().to_dict("list") == {
        "image": [0], "attribute 1": ["3"], "message": ["1 0"], "slots": ["0 1"], "length": [2],
    }  # fmt: skip
    taken = replace(bare, attribute_names=("length",), value_names=(("a", "b", "c", "d"),))
    assert taken.to_frame()[["length", "attribute length"]].to_numpy().tolist() == [[2, "d"]]
