"""Morphemes: languages whose morphemes are known are recovered exactly, random ones have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.corpus.corpus import Corpus
from analysis.words.morphemes import (
    Inventory,
    in_lines,
    induce_morphemes,
    inventory_table,
    meanings_of,
    segment_table,
)
from tests.support.synthetic_corpus import sequence_corpus

Pair = tuple[tuple[int, ...], tuple[str, ...]]


def spoken(messages: list[list[int]], meanings: list[set[str]], **options: int) -> Inventory:
    longest = max(map(len, messages))
    symbols = np.array([[*m, *[0] * (longest - len(m))] for m in messages])
    mask = np.array([[i < len(m) for i in range(longest)] for m in messages])
    return induce_morphemes(Corpus(symbols, mask, 100), [frozenset(m) for m in meanings], **options)


def pairs(found: Inventory) -> set[Pair]:
    return {(m.form, m.meaning) for m in found.morphemes}


def scores(found: Inventory, truth: set[Pair]) -> tuple[float, float]:
    """Precision and recall."""
    right = len(pairs(found) & truth)
    return right / max(len(found.morphemes), 1), right / len(truth)


@pytest.mark.parametrize("seed", range(3))
def test_a_perfect_language_is_recovered(seed: int) -> None:
    """Three attributes, in free order: words of one symbol, of two, and of one or two."""
    rng = np.random.default_rng(seed)
    words = {f"colour={i}": [i] for i in range(5)} | {f"shape={i}": [10 + i, 20 + i] for i in range(4)}
    words |= {f"size={i}": [30 + i] if i else [40, 41] for i in range(3)}
    messages, meanings = [], []
    for _ in range(600):
        atoms = [f"colour={rng.integers(5)}", f"shape={rng.integers(4)}", f"size={rng.integers(3)}"]
        messages.append([s for atom in rng.permutation(atoms) for s in words[str(atom)]])
        meanings.append(set(atoms))
    found = spoken(messages, meanings)
    assert scores(found, {(tuple(form), (atom,)) for atom, form in words.items()}) == (1, 1)
    assert found.explained_symbols == found.explained_atoms == found.synonymy == found.polysemy == 1
    assert all(0 < m.bits <= 1 and m.p < 1e-6 for m in found.morphemes)
    assert list(inventory_table(found).columns) == ["form", "meaning", "bits", "messages", "p", "synonyms", "senses"]


def test_names_of_wholes_are_not_taken_apart() -> None:
    meanings = [{c, s} for c in ("blue", "red") for s in ("car", "truck")] * 50
    whole = spoken([[i % 4] for i in range(200)], meanings)
    assert scores(whole, {((i,), tuple(sorted(meanings[i]))) for i in range(4)}) == (1, 1)
    parts = spoken([[i % 4 // 2, 5 + i % 2] for i in range(200)], meanings)
    assert scores(parts, {((0,), ("blue",)), ((1,), ("red",)), ((5,), ("car",)), ((6,), ("truck",))}) == (1, 1)
    # A compound that means something of its own: red, card, and red card.
    kinds = [([1, 9], {"red"}), ([2, 8], {"card"}), ([3, 7], {"red", "card"}), ([9], set()), ([8], set()), ([7], set())]
    mixed = [kinds[i % 6] for i in range(240)]
    found = spoken([m for m, _ in mixed], [a for _, a in mixed], longest=1)
    assert {((1,), ("red",)), ((2,), ("card",)), ((3,), ("card", "red"))} == pairs(found)


def test_synonyms_and_homonyms_are_kept_apart() -> None:
    rng = np.random.default_rng(0)
    messages, meanings = [], []
    for _ in range(800):
        colour, shape = int(rng.integers(4)), int(rng.integers(4))
        # Colour 0 has two names; symbol 13 is shape 3 and, as good as never together, colour 3.
        said = [[20, 21][rng.integers(2)] if colour == 0 else 13 if colour == 3 else colour, 10 + shape]
        messages.append(said)
        meanings.append({f"colour={colour}", f"shape={shape}"})
    found = spoken(messages, meanings, longest=1, largest=1)
    truth: set[Pair] = {((20,), ("colour=0",)), ((21,), ("colour=0",)), ((1,), ("colour=1",)), ((2,), ("colour=2",))}
    truth |= {((13,), ("colour=3",)), *(((10 + i,), (f"shape={i}",)) for i in range(4))}
    assert scores(found, truth) == (1, 1)
    assert found.synonymy == pytest.approx(9 / 8) and found.polysemy == pytest.approx(9 / 8)


@pytest.mark.slow
def test_random_languages_have_none() -> None:
    """One in twenty may have any; six of forty would be one in four hundred."""
    spoilt = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        atoms = [{f"colour={rng.integers(4)}", f"shape={rng.integers(4)}"} for _ in range(120)]
        found = spoken(rng.integers(0, 8, (120, 3)).tolist(), atoms)
        spoilt += len(found.morphemes) > 0
    assert spoilt <= 5


def test_noise_adds_nothing() -> None:
    """What is left after the morphemes are taken out is no morpheme."""
    rng = np.random.default_rng(1)
    colours, shapes = rng.integers(0, 4, 600), rng.integers(0, 4, 600)
    symbols = np.column_stack([colours, 10 + shapes])
    symbols = np.where(rng.random(symbols.shape) < 0.25, rng.integers(0, 14, symbols.shape), symbols)
    meanings = [{f"colour={c}", f"shape={s}"} for c, s in zip(colours, shapes, strict=True)]
    found = spoken(symbols.tolist(), meanings, largest=1, longest=1)
    truth = {((i,), (f"colour={i}",)) for i in range(4)} | {((10 + i,), (f"shape={i}",)) for i in range(4)}
    assert scores(found, truth) == (1, 1) and 0.6 < found.explained_symbols < 0.9


def test_patterns_of_patches() -> None:
    """Neighbors say together what neither of them says alone."""
    rng = np.random.default_rng(0)
    symbols, meanings = rng.integers(5, 9, (300, 9)), []
    for row in symbols:
        kind = int(rng.integers(3))
        meanings.append(frozenset({f"kind={kind}"}))
        # 1 above 2, 2 above 1, or both apart from each other.
        column = int(rng.integers(3))
        a, b = [(column, column + 3), (column + 3, column), (0, 8)][kind]
        row[a], row[b] = 1, 2
    corpus = Corpus(symbols, np.ones_like(symbols, dtype=bool), 9, grid=(3, 3))
    found = induce_morphemes(corpus, meanings)
    assert {((1, 2), ("kind=0",)), ((2, 1), ("kind=1",))} <= pairs(found)
    assert all(len(m.form) == 2 for m in found.morphemes)
    assert {("1/2", ("kind=0",)), ("2/1", ("kind=1",))} <= {(m.name, m.meaning) for m in found.morphemes}


def test_patterns_of_four_patches_and_which_way_they_lie() -> None:
    """The same two symbols mean one thing side by side and another one above the other; four mean a third."""
    rng = np.random.default_rng(0)
    symbols, meanings = rng.integers(10, 30, (400, 16)), []
    shapes = [([0, 1], [1, 2]), ([0, 4], [1, 2]), ([0, 1, 4, 5], [3, 4, 5, 6])]
    for row in symbols:
        kind = int(rng.integers(3))
        place = 4 * int(rng.integers(3)) + int(rng.integers(3))
        row[place + np.array(shapes[kind][0])] = shapes[kind][1]
        meanings.append(frozenset({f"kind={kind}"}))
    corpus = Corpus(symbols, np.ones_like(symbols, dtype=bool), 30, grid=(4, 4))
    found = induce_morphemes(corpus, meanings, longest=4)
    assert {("1 2", ("kind=0",)), ("1/2", ("kind=1",)), ("3 4/5 6", ("kind=2",))} == {
        (m.name, m.meaning) for m in found.morphemes
    }
    table = segment_table(corpus, found)
    assert (table[table.form == "3 4/5 6"].places.str.count(":") == 4).all()
    assert set(table[table.form == "1/2"].meaning) == {"kind=1"}


def test_symbols_at_places() -> None:
    """Slots that share their symbols: without places each symbol has two meanings, with places one."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, (400, 2))
    meanings = [frozenset({f"colour={a}", f"shape={b}"}) for a, b in values.tolist()]
    corpus = Corpus(values, np.ones_like(values, dtype=bool), 4)
    blind = induce_morphemes(corpus, meanings, largest=1, longest=1)
    assert len(blind.morphemes) == 8 and blind.polysemy == 2
    found = induce_morphemes(corpus, meanings, largest=1, longest=1, places=True)
    truth = {(f"{v}@{a}", (f"{name}={v}",)) for a, name in enumerate(("colour", "shape")) for v in range(4)}
    assert {(m.name, m.meaning) for m in found.morphemes} == truth
    assert found.explained_symbols == 1 and found.polysemy == found.synonymy == 1


def test_messages_are_cut_into_their_morphemes() -> None:
    rng = np.random.default_rng(0)
    words = {f"colour={i}": [i] for i in range(3)} | {f"shape={i}": [10 + i, 20 + i] for i in range(3)}
    messages, meanings, truth = [], [], []
    for _ in range(300):
        atoms = rng.permutation([f"colour={rng.integers(3)}", f"shape={rng.integers(3)}"]).tolist()
        noise = [int(rng.integers(40, 90))] if rng.random() < 0.3 else []
        messages.append([s for atom in atoms for s in words[atom]] + noise)
        meanings.append(set(atoms))
        truth.append([" ".join(map(str, words[atom])) for atom in atoms] + [str(n) for n in noise])
    found = spoken(messages, meanings)
    longest = max(map(len, messages))
    symbols = np.array([[*m, *[0] * (longest - len(m))] for m in messages])
    mask = np.array([[i < len(m) for i in range(longest)] for m in messages])
    table = segment_table(Corpus(symbols, mask, 100), found)
    assert table.groupby("message").form.agg(list).tolist() == truth
    assert set(table[table.meaning == "?"].form.astype(int)) <= set(range(40, 90))
    assert in_lines(found)[0].startswith("6 morphemes explain 9")


def test_meanings_and_mistakes() -> None:
    corpus = sequence_corpus(60)
    assert meanings_of(corpus)[0] <= {f"first={v}" for v in "abcd"} | {f"second={v}" for v in "efgh"}
    found = induce_morphemes(corpus, meanings_of(corpus), largest=1)
    assert {m.form for m in found.morphemes} >= {(i,) for i in range(4)}
    with pytest.raises(ValueError, match="59 meanings for 60 messages"):
        induce_morphemes(corpus, meanings_of(corpus)[1:])
    with pytest.raises(ValueError, match="longest=0"):
        induce_morphemes(corpus, meanings_of(corpus), longest=0)
    with pytest.raises(ValueError, match="nothing is known about what is meant"):
        meanings_of(Corpus(corpus.symbols, corpus.mask, 8))
    nothing = induce_morphemes(Corpus(np.zeros((0, 0), np.int64), np.zeros((0, 0), bool), 4), [])
    assert nothing.morphemes == () and np.isnan(nothing.synonymy)
    silent = induce_morphemes(Corpus(corpus.symbols, corpus.mask & False, 8), meanings_of(corpus))
    assert silent.morphemes == () and silent.explained_symbols == silent.explained_atoms == 0


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = sequence_corpus(200)
    corpus.save(tmp_path / "corpus.npz")
    assert main(["morphemes", str(tmp_path), "--largest", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("8 morphemes explain 100.0 % of the symbols said")
    assert said[-2:] == [f"wrote {tmp_path / 'morphemes.csv'}", f"wrote {tmp_path / 'segments.csv'}"]
    table = pd.read_csv(tmp_path / "morphemes.csv", dtype=str)
    truth = [(str(i), f"{'second' if i > 3 else 'first'}={v}") for i, v in enumerate("abcdefgh")]
    assert sorted(zip(table.form, table.meaning, strict=True)) == truth
    assert len(pd.read_csv(tmp_path / "segments.csv")) == corpus.mask.sum()
    # Another seed than that of what is meant, from whose stream smaller numbers would come.
    rng = np.random.default_rng(1)
    replace(corpus, symbols=rng.integers(0, 8, (200, 2))).save(tmp_path / "random.npz")
    assert main(["morphemes", str(tmp_path / "random.npz"), "--out", str(tmp_path / "none.csv")]) == 0
    assert capsys.readouterr().out.startswith("no morpheme: ")
    for words, message in (
        (["--longest", "0"], "longest=0"),
        (["--out", str(tmp_path)], "is a folder"),
        (["--segments", str(tmp_path / "morphemes.csv")], "is named twice: give other names with --out and --segments"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["morphemes", str(tmp_path), *words])
        assert stopped.value.code == 2 and message in capsys.readouterr().err
