"""The transfer score: text itself helps a reader of text, its shuffled words do not; sizes, seeds and mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.corpus.corpus import Corpus
from analysis.corpus.human_text import random_corpus, read_sentences, text_corpus
from analysis.corpus.json_lines import write_json_lines
from analysis.transfer.language_model import transfer_score
from tests.support.synthetic_corpus import only_messages, sequence_corpus


def grammar(count: int, words: int = 4) -> list[list[str]]:
    """Sentences whose words follow each other in a strict order."""
    rng = np.random.default_rng(0)
    return [[f"w{start + i % 7}" for i in range(start, start + words)] for start in rng.integers(0, 7, count).tolist()]


@pytest.mark.slow
def test_the_order_of_text_is_worth_something_and_no_order_nothing() -> None:
    text = grammar(400, words=8)
    read, asked = text[:200], text[200:]
    said = np.ones((200, 8), dtype=bool)
    noise = Corpus(np.random.default_rng(1).integers(0, 14, said.shape), said, 14)
    ordered, random = (
        transfer_score(corpus, asked, seeds=1, steps=150, tuning=40) for corpus in (text_corpus(read, 200), noise)
    )
    assert ordered.beyond[0] > 0.1 > abs(random.beyond[0]), "bits a word"
    alike = transfer_score(Corpus(np.full(said.shape, 3), said, 4), asked, seeds=1, steps=20, tuning=40)
    assert alike.gain[0] == alike.control[0], "messages that are all alike are the same in any order"
    assert alike.without[0] == ordered.without[0], "the same text, the same weights"


def test_seeds_decide_and_mistakes_are_said() -> None:
    text = grammar(150)
    corpus = sequence_corpus(40)
    one, again = (transfer_score(corpus, text, seeds=1, steps=3, tuning=3) for _ in range(2))
    assert (one.gain == again.gain).all() and np.isnan(one.beyond[1])
    with pytest.raises(ValueError, match="8 words of human text: give 500 or more"):
        transfer_score(corpus, text[:2])
    with pytest.raises(ValueError, match="nothing is said"):
        transfer_score(Corpus(corpus.symbols, corpus.mask & False, 8), text)


def test_human_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A red cat.\n\nNo!\n")
    assert read_sentences(tmp_path / "a.txt") == [["a", "red", "cat"], ["no"]]
    (tmp_path / "c.jsonl").write_text('{"file": "a", "caption": ["A cat", "a Dog"]}\n')
    assert read_sentences(tmp_path / "c.jsonl") == [["a", "cat"], ["a", "dog"]]
    (tmp_path / "empty.txt").write_text("...\n")
    for name, why in (("empty.txt", "holds no word"), ("nowhere.txt", "cannot be read")):
        with pytest.raises(ValueError, match=why):
            read_sentences(tmp_path / name)


def test_random_messages_are_as_long_and_of_the_same_symbols() -> None:
    corpus = only_messages(200)
    found = random_corpus(corpus, seed=1)
    assert (found.mask == corpus.mask).all() and (found.symbols != corpus.symbols).mean() > 0.8
    counts = np.bincount(found.symbols[found.mask], minlength=10)
    assert counts.min() > 0.6 * counts.mean()


@pytest.mark.slow
def test_languages_of_others_beside_text_and_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for i in range(2):
        files.append(tmp_path / f"l{i}.jsonl")
        write_json_lines(only_messages(30, seed=i), files[-1], "messages")
    (tmp_path / "pairs.json").write_text('[[[0, 1], ["a"]], [[1, 2], ["b"]], [[0, 1], ["a"]]]')
    (tmp_path / "hand.csv").write_text("message,colour\n3 5,red\n5 3,blue\n3 5,red\n")
    names = [str(path) for path in (*files, tmp_path / "pairs.json", tmp_path / "hand.csv")]
    folder = tmp_path / "beside"
    assert main(["compare", *names, "--controls", "--permutations", "0", "--out", str(folder)]) == 0
    table = pd.read_csv(folder / "table.csv")
    assert len(set(table.variant)) == 6 and {"human-like text", "random"} <= set(table.variant)
    entropy = table[table.metric == "symbol_entropy"].set_index("variant")
    assert entropy.loc["random", "runs"] == entropy.loc["human-like text", "runs"] == 4
    capsys.readouterr()
    out = tmp_path / "t.csv"
    (tmp_path / "text.txt").write_text("\n".join(" ".join(words) for words in grammar(150)))
    assert main(["transfer", names[0], "--text", str(tmp_path / "text.txt"), "--out", str(out), "--seeds", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"wrote {out}" and "their order is worth" in said[-2] and len(pd.read_csv(out)) == 1
    for words, why in ((["--seeds", "0"], "0 seeds: give at least 1"), (["--out", str(tmp_path)], "is a folder")):
        with pytest.raises(SystemExit) as stopped:
            main(["transfer", names[0], *words])
        assert stopped.value.code == 2 and why in capsys.readouterr().err
