"""``python -m analysis``: what it writes, where, and its one-line mistakes."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.compare import name_variants, tabulate
from analysis.corpus.json_lines import write_json_lines
from analysis.corpus.loading import load
from analysis.evaluation.rows import COLUMNS
from analysis.evaluation.table import measure
from tests.support.synthetic_corpus import only_messages, sequence_corpus


def run_folder(path: Path, seed: int = 0, **options: object) -> Path:
    path.mkdir(parents=True)
    sequence_corpus(60, seed=seed).save(path / "corpus.npz")
    config = {
        "preset": "small", "channel": {"channel": "gumbel", **options}, "training": {"seed": seed, "device": "cpu"},
        "run": {"out": "runs", "name": path.name, "frozen_speaker": ""},
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))
    (path / "log.jsonl").write_text('{"kind": "train", "step": 1, "loss": 2.0, "images": 8, "epoch": 1}\n{"kind": "tr')
    return path


@pytest.mark.slow
def test_a_run_gets_a_page_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_folder(tmp_path / "first")
    (run / "metrics.json").write_text("the run's own")
    for kind, name in (("html", "report.html"), ("csv", "analysis.csv"), ("json", "analysis.json")):
        assert main([str(run), "--format", kind, "--permutations", "3", "--seed", "2"]) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0].startswith(f"{run}: 60 messages, ") and said[1].startswith("measures success (1 of ")
        assert said[-1] == f"wrote {run / name}"
    expected = measure(sequence_corpus(60), permutations=3, seed=2)
    numbers = {column: [""] for column in ("value", *COLUMNS[5:13])}
    found = pd.read_csv(run / "analysis.csv", keep_default_na=False, na_values=numbers)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    told = json.loads((run / "analysis.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert told["messages"] == 60 and told["permutations"] == 3 and len(told["metrics"]) == len(expected)
    assert told["metrics"][0] == {**expected.iloc[0].to_dict(), "chance": None} | {
        name: None for name in ("null_mean", "null_std", "p", "low", "high")
    }
    page = (run / "report.html").read_text()
    assert "<!DOCTYPE html>" in page and "learning curve: loss" in page and "--permutations 3 --seed 2" in page
    assert (run / "metrics.json").read_text() == "the run's own"


@pytest.mark.slow
def test_a_file_gets_its_page_beside_it(tmp_path: Path) -> None:
    write_json_lines(only_messages(), tmp_path / "dump.jsonl")
    assert main([str(tmp_path / "dump.jsonl")]) == 0 and (tmp_path / "dump.html").exists()
    deep = tmp_path / "a" / "b" / "table.csv"
    assert main([str(tmp_path / "dump.jsonl"), "--format", "csv", "--out", str(deep)]) == 0
    assert next(csv.reader(io.StringIO(deep.read_text()))) == list(COLUMNS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: RUN"),
        (["nowhere"], "there is no file nowhere"),
        (["empty"], "recorded (of a run, python -m games.record empty records it)"),
        (["nowhere", "--format", "pdf"], "invalid choice: 'pdf'"),
        (["nowhere", "--permutations", "-1"], "--permutations -1: must be at least 0"),
        (["nowhere", "--seed", "x"], "invalid int value: 'x'"),
        (["nowhere", "--wrong"], "unrecognized arguments: --wrong"),
        (["corpus.npz", "--out", "corpus.npz"], "is the file to be analysed"),
        (["corpus.npz", "--out", "."], "--out . is a folder: give a file in it"),
        (["compare", "corpus.npz"], "1 run: give two or more"),
        (["compare"], "required: RUN"),
        (["compare", "corpus.npz", "gone.npz"], "there is no file gone.npz"),
    ],
)
def test_mistakes_end_in_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    only_messages().save("corpus.npz")
    before = Path("corpus.npz").read_bytes()
    with pytest.raises(SystemExit) as stop:
        main(words)
    said = capsys.readouterr()
    assert stop.value.code == 2 and said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("error: ") and message in said.err
    assert Path("corpus.npz").read_bytes() == before


def test_help_shows_how(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["compare", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert not stop.value.code and "python -m analysis compare runs/first runs/second" in capsys.readouterr().out


@pytest.mark.slow
def test_runs_that_differ_in_their_seed_are_one_variant(tmp_path: Path) -> None:
    runs = [
        run_folder(tmp_path / "a", 0), run_folder(tmp_path / "b", 1), run_folder(tmp_path / "c", 2, keep=4)
    ]  # fmt: skip
    assert name_variants(runs) == ["keep None", "keep None", "keep 4"]
    assert name_variants(runs[:2]) == ["all alike", "all alike"]
    bare = tmp_path / "dump.npz"
    only_messages().save(bare)
    assert name_variants([*runs, bare])[-1] == "dump.npz"
    out = tmp_path / "out"
    assert main(["compare", *map(str, runs), str(bare), "--permutations", "2", "--out", str(out)]) == 0
    table = pd.read_csv(out / "table.csv", keep_default_na=False, na_values={"mean": [""], "std": [""]})
    assert list(dict.fromkeys(table.variant)) == ["keep None", "keep 4", "dump.npz"]
    (row,) = table[(table.variant == "keep None") & (table.metric == "symbol_entropy")].to_dict("records")
    values = [
        float(m.value[m.metric == "symbol_entropy"].iloc[0])
        for m in (measure(sequence_corpus(60, seed=s), permutations=0) for s in (0, 1))
    ]
    assert (
        row["runs"] == 2 and np.isclose(row["mean"], np.mean(values)) and np.isclose(row["std"], np.std(values, ddof=1))
    )
    picture = matplotlib.image.imread(out / "metrics.png")
    assert min(picture.shape[:2]) > 200 and picture[..., :3].std() > 0.05


def test_a_variant_counts_the_runs_that_have_a_value() -> None:
    rows = [
        {"variant": "x", "run": str(i), "group": "g", "metric": "ami", "of": "", "unit": "", "value": value,
         "chance": 0.1, "null_mean": 0.0, "p": p, "reason": reason}
        for i, (value, p, reason) in enumerate([(0.5, 0.01, ""), (0.3, 0.5, ""), (np.nan, np.nan, "no_concepts")])
    ]  # fmt: skip
    (row,) = tabulate(pd.DataFrame(rows)).to_dict("records")
    assert (row["runs"], row["mean"], row["min"], row["max"]) == (2, 0.4, 0.3, 0.5)
    assert row["beyond_luck"] == 1 and row["reason"] == ""
    (row,) = tabulate(pd.DataFrame(rows[2:])).to_dict("records")
    assert row["runs"] == 0 and np.isnan(row["mean"]) and row["reason"] == "no_concepts"


def test_broken_options_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = run_folder(tmp_path / "a"), run_folder(tmp_path / "b")
    for broken in ("{", "[1]"):
        (second / "config.json").write_text(broken)
        with pytest.raises(SystemExit):
            main(["compare", str(first), str(second), "--out", str(tmp_path)])
        assert "config.json does not hold the options of a run" in capsys.readouterr().err


def test_messages_are_a_table_that_is_safe_to_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_folder(tmp_path / "first")
    corpus = load(run)
    names = [f"{i}.jpg" for i in range(57)] + ["=1+1.jpg", "b\udcff.jpg", "@c.jpg"]
    replace(corpus, files=tuple(names)).save(run / "corpus.npz")
    assert main(["messages", str(run)]) == 0
    assert capsys.readouterr().out == f"wrote {run / 'messages.csv'}\n"
    with (run / "messages.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows[-4:]] == ["56.jpg", "'=1+1.jpg", "b\\udcff.jpg", "'@c.jpg"]
    assert [row["message"] for row in rows] == [" ".join(map(str, corpus.said(i))) for i in range(60)]
    assert main(["messages", str(run), "--out", str(tmp_path / "deep" / "m.csv")]) == 0
    assert (tmp_path / "deep" / "m.csv").read_bytes() == (run / "messages.csv").read_bytes()


def test_messages_are_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_folder(tmp_path / "first")
    corpus = load(run)
    names = [f"{i}.jpg" for i in range(57)] + ["=1+1.jpg", "b\udcff.jpg", "ä\n.jpg"]
    replace(corpus, files=tuple(names)).save(run / "corpus.npz")
    assert main(["messages", str(run), "--out", str(run / "m.jsonl")]) == 0
    rows = [json.loads(line) for line in (run / "m.jsonl").read_text().split("\n")[:-1]]
    assert [row["file"] for row in rows[-4:]] == ["56.jpg", "=1+1.jpg", "b\\udcff.jpg", "ä\n.jpg"]
    assert [row["message"] for row in rows] == [" ".join(map(str, corpus.said(i))) for i in range(60)]
    # All lines have the same columns, as readers of data sets want it.
    assert {tuple(row) for row in rows} == {tuple(load(run).to_frame())}
    monkeypatch.setattr("analysis.__main__.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        main(["messages", str(run), "--out", str(run / "m.parquet")])
    assert "Parquet needs the package pyarrow: pip install pyarrow" in capsys.readouterr().err
    assert not (run / "m.parquet").exists()


def test_messages_as_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    run = run_folder(tmp_path / "first")
    assert main(["messages", str(run), "--out", str(run / "m.parquet")]) == 0
    pd.testing.assert_frame_equal(pd.read_parquet(run / "m.parquet"), load(run).to_frame())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["messages", "{run}", "--out", "{run}/.."], "is a folder: give a file in it"),
        (["messages", "{run}/corpus.npz", "--out", "{run}/corpus.npz"], "is the file to be analysed"),
        (["messages", "{run}/missing.npz"], "there is no file"),
        (["messages", "{run}", "--seed", "1"], "unrecognized arguments: --seed 1"),
    ],
)
def test_mistakes_about_messages(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_folder(tmp_path / "first")
    with pytest.raises(SystemExit) as ended:
        main([word.format(run=run) for word in words])
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert said in error
    assert error.count("\n") == 1


def test_symbols_numbered_anew_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "far.jsonl").write_text("[1000000000, 3]\n[3, 5]\n")
    assert main(["messages", str(tmp_path / "far.jsonl")]) == 0
    assert "symbols are numbered anew: 3 are said, with ids up to 1000000000" in capsys.readouterr().out
    assert (tmp_path / "far.csv").read_text().splitlines()[1:] == ["0,1000000000 3,0 1,2", "1,3 5,0 1,2"]
