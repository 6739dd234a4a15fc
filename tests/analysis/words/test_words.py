"""A language in words: against loops, brute force and other libraries; perfect, partly known and random languages."""

from __future__ import annotations

import itertools
import time
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import hypergeom

from analysis.__main__ import main
from analysis.corpus.corpus import Corpus
from analysis.words.dictionary import dictionary, learn_lexicon, luck
from analysis.words.forms import distinct_parts, pair_forms, place_forms, symbol_forms
from analysis.words.glosses import UNKNOWN, gloss_messages, gloss_table, measure_glosses
from analysis.words.held_out import areas, measure_told
from analysis.words.reading import learn_reader
from analysis.words.study import study_words
from analysis.words.text import Words, count_words
from analysis.words.translation import translation_table, word_probabilities
from tests.support.synthetic_corpus import degenerate_corpora, scene_corpus

COLOURS, SHAPES = ("red", "green", "blue", "white"), ("star", "ring", "cross", "heart", "moon")


def language(count: int, seed: int = 0, words: int = 0) -> tuple[Corpus, NDArray[np.int64]]:
    """Three slots, colour from 0, shape from 4, nonsense from 9 and a word of nonsense; and what each message means."""
    rng = np.random.default_rng(seed)
    meant = np.stack([rng.integers(0, 4, count), rng.integers(0, 5, count)], axis=1)
    symbols = np.column_stack([meant + np.array([0, 4]), 9 + rng.integers(0, 4, count)])
    order = rng.permuted(np.tile(np.arange(3), (count, 1)), axis=1)
    said = tuple((f"a {COLOURS[c]} {SHAPES[s]} {'so' if rng.random() < 0.5 else 'well'}",) for c, s in meant)
    mask = np.ones((count, 3), dtype=bool)
    return Corpus(np.take_along_axis(symbols, order, 1), mask, 13, captions=said), meant


def random_language(count: int, seed: int, vocab: int = 12, slots: int = 4) -> tuple[Corpus, Words]:
    """Messages and captions that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    symbols, said = rng.integers(0, vocab, (count, slots)), rng.random((count, slots)) < 0.8
    captions = [[" ".join(f"w{i}" for i in rng.integers(0, 8, 3))] for _ in range(count)]
    return Corpus(symbols, said, vocab), count_words(captions)


def test_model_1_by_loops() -> None:
    rng = np.random.default_rng(0)
    forms, words = rng.integers(0, 3, (9, 4)), rng.integers(0, 3, (9, 5))
    forms[:, 3] = 0  # a form that nobody says
    speakers = [[*np.repeat(np.arange(4), row), 4] for row in forms]
    captions = [np.repeat(np.arange(5), row) for row in words]
    table = {(s, w): 1 / 5 for s in range(5) for w in range(5)}
    for _ in range(6):
        counts = dict.fromkeys(table, 0.0)
        for said, used in zip(speakers, captions, strict=True):
            for w in used:
                total = sum(table[s, w] for s in said)
                for s in said:
                    counts[s, w] += table[s, w] / total
        for s in range(5):
            total = sum(counts[s, w] for w in range(5))
            for w in range(5):
                table[s, w] = counts[s, w] / total if total else 0.0
    found = translation_table(csr_array(forms), csr_array(words), rounds=6)
    np.testing.assert_allclose(found.toarray(), [[table[s, w] for w in range(5)] for s in range(5)], atol=1e-12)
    p = word_probabilities(csr_array(forms), found)
    for row, said in zip(p, speakers, strict=True):
        np.testing.assert_allclose(row, np.mean([[table[s, w] for w in range(5)] for s in said], axis=0))
    # In parts, as large corpora are.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.words.translation._PART", 10)
        in_parts = translation_table(csr_array(forms), csr_array(words), rounds=6)
        np.testing.assert_allclose(in_parts.toarray(), found.toarray())


def test_a_round_never_makes_captions_less_probable() -> None:
    corpus, words = random_language(80, 1)
    forms = symbol_forms(corpus.symbols, corpus.mask).counts
    items, used = words.all.nonzero()
    scores = [
        float(
            (
                words.all[items, used]
                * np.log(word_probabilities(forms, translation_table(forms, words.all, n))[items, used])
            ).sum()
        )
        for n in range(1, 12)
    ]
    assert np.diff(scores).min() > 0


def test_luck_by_brute_force() -> None:
    there, uses = np.array([1, 1, 0, 0, 1, 0]), np.array([1, 1, 0, 0, 0, 1])
    every = [sum(there[list(order)] * uses) for order in itertools.permutations(range(6))]
    expected = np.mean(np.array(every) >= 2)
    both, said, used = (np.array([x.sum()]) for x in (there * uses, there, uses))
    assert luck(both, said, np.array([6]), used)[0] == pytest.approx(expected)
    # Among those messages alone that could have it.
    base = np.array([1, 1, 1, 0, 1, 0])
    inside = np.flatnonzero(base)
    every = [sum(there[inside][list(order)] * uses[inside]) for order in itertools.permutations(range(4))]
    found = luck(both, said, np.array([base.sum()]), np.array([(base * uses).sum()]))
    assert found[0] == pytest.approx(np.mean(np.array(every) >= 2))
    # No more often than by luck; and cases that recur, in any order.
    counts = np.array([[1, 2, 4, 2], [2, 2, 4, 2], [3, 4, 9, 5], [2, 2, 4, 2], [1, 2, 4, 2]])
    rows = [hypergeom.sf(k - 1, m, u, s) for k, s, m, u in counts.tolist()]
    assert luck(*counts.T).tolist() == pytest.approx([1, rows[1], rows[2], rows[1], 1])


def test_rare_forms_and_many_words_take_little_memory() -> None:
    """All 25,000 forms times all 300 words would be 60 MB for each thing that is known of a pair."""
    rng = np.random.default_rng(4)
    symbols = rng.integers(0, 5000, (1500, 20))
    words = count_words([[f"a w{i % 300}"] for i in range(1500)])
    forms = place_forms(symbols, rng.random(symbols.shape) < 0.9)
    tracemalloc.start()
    try:
        reader = learn_reader([forms], words, np.ones(1500, dtype=bool))
        gloss_messages(reader, np.arange(1500))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(forms.names) * len(words.words) * 8 > 55e6 and peak < 25e6


@pytest.mark.parametrize("columns", [1, 2, 9])
def test_parts_are_told_apart_as_rows_are(columns: int) -> None:
    """Nine columns of 300 values have more rows than 64 bits can number."""
    parts = np.random.default_rng(6).integers(-(2**40), 2**40, (300, columns))
    rows = parts[np.random.default_rng(7).integers(0, 300, 1000)]
    kinds, which = np.unique(rows, axis=0, return_inverse=True)
    found = distinct_parts(rows)
    assert found[0].tolist() == kinds.tolist() and found[1].tolist() == which.reshape(-1).tolist()


def test_forms_by_loops() -> None:
    rng = np.random.default_rng(3)
    symbols, mask = rng.integers(0, 3, (30, 12)) * 10**9, rng.random((30, 12)) < 0.7
    corpus = Corpus(symbols, mask, 3 * 10**9, grid=(2, 3))  # two symbols a patch
    for n in range(30):
        spoken = np.flatnonzero(mask[n])
        place = place_forms(symbols, mask)
        assert [place.names[f] for f in place.said[n] if f >= 0] == [f"{symbols[n, t]}@{t}" for t in spoken]
    found = pair_forms(corpus, least=1)
    names = [{found.names[f] for f in row if f >= 0} for row in found.said]
    for n in range(30):
        pairs = set()
        for row, column, j in itertools.product(range(2), range(3), range(2)):
            here = (row * 3 + column) * 2 + j
            there = [(here + 1, " ")] * (j == 0) + [(here + 2, " ")] * (column < 2) + [(here + 6, "/")] * (row < 1)
            pairs |= {f"{symbols[n, here]}{by}{symbols[n, t]}" for t, by in there if mask[n, here] and mask[n, t]}
        assert names[n] == pairs
    counts = dict(zip(found.names, (found.counts > 0).sum(axis=0), strict=True))
    some = pair_forms(corpus, least=12)
    assert set(some.names) == {name for name, n in counts.items() if n >= 12} and some.names
    assert dict(zip(some.names, (some.counts > 0).sum(axis=0), strict=True)).items() <= counts.items()
    nothing = pair_forms(Corpus(symbols[:, :1], mask[:, :1], 3))
    assert nothing.names == () and nothing.counts.shape == (30, 0)


@pytest.mark.slow
def test_areas_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    positive = rng.random((60, 3)) < 0.4
    scores = np.round(rng.normal(size=(60, 3)) + positive, 1)
    area, parts = areas(scores, positive)
    np.testing.assert_allclose(area, [roc_auc_score(positive[:, w], scores[:, w]) for w in range(3)])
    # The error as the spread over samples drawn again.
    draws = [rng.integers(0, 60, 60) for _ in range(300)]
    again = [roc_auc_score(positive[d, 0], scores[d, 0]) for d in draws if 0 < positive[d, 0].sum() < 60]
    assert np.sqrt((parts[:, 0] ** 2).sum()) == pytest.approx(np.std(again), rel=0.25)


def test_what_is_told_by_loops() -> None:
    corpus, _ = language(150)
    words, learnt = count_words(corpus.captions), np.arange(150) < 100
    reader = learn_reader([symbol_forms(corpus.symbols, corpus.mask)], words, learnt)
    told = measure_told(reader, words, ~learnt, candidates=50, permutations=20)
    p = reader.probabilities(np.arange(100, 150))
    np.testing.assert_allclose(p.sum(axis=1), 1)
    first = words.first[100:].toarray()
    gained = np.array(
        [[sum(c * np.log2(q[w] / reader.usual[w]) for w, c in enumerate(row)) for row in first] for q in p]
    )
    assert told.bits.value == pytest.approx(np.trace(gained) / 50)
    assert told.bits_of_caption == pytest.approx(-np.mean(first @ np.log2(reader.usual)))

    def hits(table: NDArray[np.float64]) -> float:
        return float(
            np.mean([(row[i] >= row.max() - 1e-9) / (row > row.max() - 1e-9).sum() for i, row in enumerate(table)])
        )

    # All are candidates, so that it does not matter which ones are drawn.
    assert told.candidates == 50 and told.caption_found.value == pytest.approx(hits(gained))
    assert told.message_found.value == pytest.approx(hits(gained.T))
    assert told.caption_found.null_mean == pytest.approx(0.02, abs=0.015)


def test_a_perfect_language_is_read() -> None:
    corpus, meant = language(600)
    study = study_words(corpus, permutations=40)
    told = study.told
    # Colour and shape are all that a message says: 2 of 4 words, and 20 kinds of caption among 100.
    assert told.bits.value > 0.7 * np.log2(20) and told.bits.p < 0.05 and told.bits.low > 0
    assert 0.15 < told.caption_found.value < 0.3 and told.caption_found.p < 0.05 and told.candidates == 100
    assert set(told.words["word"]) == {*COLOURS, *SHAPES} and (told.words["auc"] == 1).all()
    assert study.worth.precision.value == study.worth.recall.value == 1
    table = study.dictionary[study.dictionary["kind"] == "symbol"]
    assert list(zip(table["form"], table["word"], strict=True)) == [
        (str(i), w) for i, w in enumerate((*COLOURS, *SHAPES))
    ]
    assert (table["pmi"] > 0).all() and (table["lift"] > 3).all()
    rows = study.glosses.groupby("message")["word"].apply(set)
    assert all(rows[n] == {COLOURS[c], SHAPES[s], UNKNOWN} for n, (c, s) in enumerate(meant))
    unknown = study.glosses[study.glosses["word"] == UNKNOWN]
    assert unknown["confidence"].isna().all() and (unknown["symbols"].astype(int) >= 9).all()
    for row in study.glosses.head(30).itertuples():
        assert str(corpus.symbols[row.message, int(row.places)]) == row.symbols


@pytest.mark.slow
def test_nothing_is_in_the_dictionary_of_shuffled_languages() -> None:
    """At most one in twenty of them may have any word at all; five of forty would be one in seven hundred."""
    dirty, learnt = 0, np.ones(150, dtype=bool)
    for seed in range(40):
        corpus, words = random_language(150, seed)
        found = dictionary(corpus, words, learnt)
        dirty += len(found) > 0
    assert dirty <= 4


@pytest.mark.slow
def test_p_of_shuffled_languages_is_fair() -> None:
    values, learnt = [], np.arange(120) < 60
    for seed in range(60):
        corpus, words = random_language(120, seed)
        # A reader who believes: one that has found out that nothing is told would claim nothing.
        reader = replace(learn_reader([symbol_forms(corpus.symbols, corpus.mask)], words, learnt), share=0.5)
        told = measure_told(reader, words, ~learnt, candidates=20, permutations=19, seed=seed)
        values.append([told.bits.p, told.word_auc.p, told.caption_found.p, told.message_found.p])
    share = (np.array(values) <= 0.1).mean(axis=0)
    assert (share <= 0.22).all(), share  # 0.1 and three standard deviations
    assert np.abs(np.mean(values, axis=0) - 0.52).max() < 0.15


def test_a_reader_of_nonsense_claims_nothing() -> None:
    corpus, words = random_language(400, 5)
    learnt = np.arange(400) < 280
    forms = [symbol_forms(corpus.symbols, corpus.mask), place_forms(corpus.symbols, corpus.mask)]
    reader = learn_reader(forms, words, learnt)
    told = measure_told(reader, words, ~learnt, permutations=20)
    assert reader.share <= 0.1 and told.bits.value < 0.05 and told.words.empty
    assert {g.word for glosses in gloss_messages(reader, np.arange(400)) for g in glosses} == {UNKNOWN}
    assert measure_glosses(reader, words, ~learnt).precision.reason == "no_words"


def test_places_and_pairs_are_there_only_for_what_they_add() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, 500)
    # The symbols of all messages are the same; which comes first is what they say.
    symbols = np.where(first[:, None] == 0, [7, 8], [8, 7])
    corpus = Corpus(symbols, np.ones_like(symbols, dtype=bool), 9)
    words = count_words([["left" if f == 0 else "right"] for f in first])
    learnt = np.arange(500) < 350
    found = dictionary(corpus, words, learnt)
    assert set(zip(found["form"], found["word"], strict=True)) == {
        ("7@0", "left"), ("8@1", "left"), ("8@0", "right"), ("7@1", "right"), ("7 8", "left"), ("8 7", "right"),
    }  # fmt: skip
    kinds = [symbol_forms(corpus.symbols, corpus.mask), place_forms(corpus.symbols, corpus.mask)]
    reader = learn_reader(kinds, words, learnt)
    assert reader.lexicon.forms.kind == "place" and measure_told(reader, words, ~learnt).bits.value > 0.7
    # What the symbols say by themselves, their places do not say again.
    found = dictionary(language(500)[0], count_words(language(500)[0].captions), learnt)
    assert set(found["kind"]) == {"symbol"}


def test_places_and_pairs_are_held_against_the_messages_with_their_symbols() -> None:
    rng = np.random.default_rng(2)
    symbols, mask = rng.integers(0, 3, (60, 4)), rng.random((60, 4)) < 0.8
    about = rng.integers(0, 3, 60)
    words = count_words([["cat dog" if n == 2 else ("cat", "dog")[n]] for n in about], least=1)
    learnt = rng.random(60) < 0.8
    corpus = Corpus(symbols, mask, 3)
    for forms in (place_forms(symbols, mask), pair_forms(corpus, least=1)):
        found = learn_lexicon(forms, words, learnt)
        p = dict(zip(zip(*found.pairs.tolist(), strict=True), found.p.tolist(), strict=True))
        for f, name in enumerate(forms.names):
            parts = [int(part) for part in name.split("@")[0].split()]
            for w in range(len(words.words)):
                base = [n for n in np.flatnonzero(learnt) if not Counter(parts) - Counter(symbols[n, mask[n]].tolist())]
                there = [n for n in base if f in forms.said[n]]
                used = [n for n in base if words.all[n, w]]
                both = len(set(there) & set(used))
                expected = hypergeom.sf(both - 1, len(base), len(used), len(there)) if both else 1.0
                # Where there are no more together than by luck, nothing is worked out.
                if both * len(base) > len(there) * len(used):
                    assert p[f, w] == pytest.approx(expected), (name, words.words[w])
                else:
                    assert p.get((f, w), 1) == 1 and ((f, w) in p) == (both > 0)
    assert any(a == b for a, b in forms.parts.tolist())


@pytest.mark.slow
def test_scenes_by_a_perfect_speaker() -> None:
    corpus = scene_corpus(300, noise=0)
    study = study_words(corpus, permutations=20)
    grounds = {word for names in (corpus.value_names[5],) for word in names}
    held_out = study.glosses[study.glosses["held_out"] == "yes"]
    said = {n: set(words) & grounds for n, words in held_out.groupby("message")["word"]}
    right = [said[n] == {corpus.captions[n][0].split()[-1]} for n in said]
    assert np.mean(right) > 0.9 and study.told.bits.p < 0.05
    assert study.glosses["places"].str.match(r"[0-5]:[0-5]( [0-5]:[0-5])*$").all()


def test_several_captions_teach_and_the_first_is_asked() -> None:
    words = count_words([["one two", "Two three"], [], ["one"]], least=1)
    assert words.words == ("one", "three", "two")
    assert words.all.toarray().tolist() == [[1, 1, 2], [0, 0, 0], [1, 0, 0]]
    assert words.first.toarray().tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert count_words([["..."], []]).words == () and count_words([]).all.shape == (0, 0)


@pytest.mark.slow
def test_ten_thousand_messages_take_seconds() -> None:
    rng = np.random.default_rng(0)
    symbols, mask = rng.integers(0, 128, (10_000, 36)), rng.random((10_000, 36)) < 0.5
    captions = tuple((" ".join(f"w{i}" for i in row),) for row in rng.integers(0, 60, (10_000, 12)))
    corpus = Corpus(symbols, mask, 128, grid=(6, 6), captions=captions)
    words, learnt = count_words(captions), np.arange(10_000) < 7_000
    start = time.process_time()
    reader = learn_reader([symbol_forms(symbols, mask), place_forms(symbols, mask)], words, learnt)
    measure_told(reader, words, ~learnt)
    assert dictionary(corpus, words, learnt).empty
    assert time.process_time() - start < 20  # 8 on an idle core


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus, _ = language(200)
    corpus.save(tmp_path / "corpus.npz")
    assert main(["words", str(tmp_path), "--permutations", "20"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == [f"wrote {tmp_path / 'glosses.csv'}", f"wrote {tmp_path / 'dictionary.csv'}"]
    assert any(line.startswith("caption found among 60: ") and line.endswith("p = 0.0476") for line in said)
    glosses = pd.read_csv(tmp_path / "glosses.csv", keep_default_na=False)
    assert list(glosses.columns) == ["message", "file", "image", "held_out", "word", "confidence", "symbols", "places"]
    assert glosses["message"].nunique() == 200 and (glosses["held_out"] == "yes").any()
    out = tmp_path / "new" / "g.csv"
    assert main(["words", str(tmp_path), "--out", str(out), "--held-out", "0.5", "--permutations", "3"]) == 0
    assert out.exists() and (out.parent / "dictionary.csv").exists()


def test_ids_and_files_are_called_what_they_were() -> None:
    corpus, _ = language(200)
    files = tuple(f"val/{i}.png" for i in range(200))
    found = study_words(replace(corpus, symbol_ids=tuple(range(1000, 1013)), files=files), permutations=3)
    same = study_words(corpus, permutations=3)
    assert found.glosses["file"].tolist() == [files[n] for n in found.glosses["message"]]
    for table in ("dictionary", "glosses"):
        name = "form" if table == "dictionary" else "symbols"
        ids = getattr(same, table)[name].map(lambda said: " ".join(str(1000 + int(s)) for s in said.split()))
        assert getattr(found, table)[name].tolist() == ids.tolist()


def test_random_messages_are_said_to_be_like_luck(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus, _ = random_language(200, 2)
    named = tuple((f"w{i}",) for i in np.random.default_rng(9).integers(0, 4, 200))
    replace(corpus, captions=named).save(tmp_path / "x.npz")
    assert main(["words", str(tmp_path / "x.npz"), "--permutations", "20"]) == 0
    said = capsys.readouterr().out
    assert said.count("like luck") >= 3 and "words told best" not in said
    assert set(pd.read_csv(tmp_path / "glosses.csv")["word"]) == {UNKNOWN}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing is said in words of these images"),
        (["--held-out", "1"], "give a share above 0 and below 1"),
        (["--permutations", "-1"], "--permutations -1: must be at least 0"),
        (["--out", "FILE"], "is named twice"),
        (["--out", "."], "is a folder: give a file in it"),
        (["--dictionary", "glosses.csv", "--out", "glosses.csv"], "is named twice"),
    ],
)
def test_mistakes_end_in_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, _ = language(60)
    file = tmp_path / "corpus.npz"
    (replace(corpus, captions=()) if not words else corpus).save(file)
    before = file.read_bytes()
    with pytest.raises(SystemExit) as stop:
        main(["words", str(file), *[str(file) if word == "FILE" else word for word in words]])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and said in error
    assert file.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["corpus.npz"]


@pytest.mark.parametrize("name", [n for n, c in degenerate_corpora().items() if n != "one item"])
def test_degenerate_languages_have_a_reason(name: str) -> None:
    corpus = degenerate_corpora()[name]
    with pytest.raises(ValueError, match=r"nothing is said in words|at least 20 are needed"):
        study_words(corpus)


def test_one_symbol_and_silence_are_studied() -> None:
    corpus, _ = language(100)
    same = study_words(replace(corpus, symbols=np.zeros_like(corpus.symbols)), permutations=5)
    assert same.told.bits.value == pytest.approx(0, abs=0.05) and same.told.word_auc.value == 0.5
    silent = replace(corpus, mask=np.zeros_like(corpus.mask))
    with pytest.raises(ValueError, match="nothing is said in these messages"):
        study_words(silent)
    half = replace(corpus, mask=corpus.mask & (np.arange(100) % 2 == 0)[:, None])
    found = study_words(half, permutations=5)
    assert set(found.glosses["message"]) == set(range(0, 100, 2)) and np.isfinite(found.told.bits.value)
    assert (
        gloss_table(
            half,
            learn_reader([symbol_forms(half.symbols, half.mask)], count_words(half.captions), found.learnt),
            found.learnt,
        )["image"]
        .isna()
        .all()
    )


def test_a_lexicon_knows_what_it_was_taught() -> None:
    corpus, _ = language(300)
    words = count_words(corpus.captions)
    some, every = (
        learn_lexicon(symbol_forms(corpus.symbols, corpus.mask), words, np.arange(300) < n) for n in (12, 300)
    )
    assert some.said.sum() == 36 and every.said.sum() == 900 and some.sure.sum() < every.sure.sum() == 9
