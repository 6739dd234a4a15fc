"""A search: which trials are stopped early, that one goes on as if it had not been stopped, and what is refused."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import pytest

from games.compare import Comparison
from games.options.command_line import parse
from games.reproduce.runner.processes import ChildProcesses
from games.reproduce.runner.setting import Setting, Training
from games.reproduce.runner.training import Diverged, Stopped, train
from games.runs.files import CHECKPOINT, LOG, METRICS
from games.sweep import main
from games.sweep.grid import range_of, read_grid
from games.sweep.space import read_search
from patchgame_egg.training.log_file import read_log
from tests.support.played import accuracy, play_at_once
from tests.support.tiny import TINY

TRAIN = "games.reproduce.runner.training.train"
AT = TINY.index("--vocab")
SPACE = ["--lr", "1e-5..1e-1:log", "--vocab", "8", "64", "--max-len", "2..9", "--epochs", "4"]
SAME = [*TINY[:AT], *TINY[AT + 2 :], "--seed", "3"]


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that take no time, and no picture."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TRAIN, play_at_once)
    monkeypatch.setattr("analysis.plots.ablations.draw_learning", lambda logs, path: path)


def searched(trials: int, *words: str, folder: str = "runs/sweep") -> pd.DataFrame:
    pytest.importorskip("optuna", reason="optuna, of the extra search, is not installed")
    assert main([*SAME, *SPACE, "--search", str(trials), "--folder", folder, *words]) == 0
    return pd.read_csv(Path(folder) / "table.csv")


@pytest.mark.slow
def test_trials_below_the_median_are_stopped_and_the_best_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    table = searched(14)
    out = capsys.readouterr().out
    assert len(table) == 14 and set(table.outcome) == {"finished", "stopped early"}
    # The median pruner's rule, by hand: at the first epoch after which it held, the best so far is below the median
    # of the finished trials before, of which there must be five.
    finished: list[list[float]] = []
    for row in table.itertuples():
        config = parse([*SAME, "--lr", str(row.lr), "--vocab", str(row.vocab), "--epochs", "4"]).config
        curve = [100 * accuracy(config, epoch) for epoch in (1, 2, 3, 4)]
        below = [e for e in (1, 2, 3) if len(finished) >= 5 and curve[e - 1] < median(f[e - 1] for f in finished)]
        assert row.outcome == ("stopped early" if below else "finished")
        assert row.epochs == (below[0] if below else 4)
        assert row.retrieval == pytest.approx(curve[int(row.epochs) - 1])
        if not below:
            finished.append(curve)
    best = table[table.outcome == "finished"].sort_values("retrieval").iloc[-1]
    assert f"best: lr {best.lr:g}, vocab {best.vocab}, max-len {best['max-len']}, {best.retrieval:.1f} %" in out
    assert out.count("stopped after epoch") == (table.outcome == "stopped early").sum()
    # What to type to report it is what was found, with other seeds.
    again = out.splitlines()[-1].split()
    assert f"--lr {best.lr:g}" in " ".join(again) and again[again.index("--seed") + 1 :][:3] == ["4", "5", "6"]
    assert table.lr.between(1e-5, 1e-1).all() and table["max-len"].between(2, 9).all()
    # Drawn by their logarithm, half of all are below the middle of that.
    assert 3 <= (table.lr[:10] < 1e-3).sum() <= 7
    # Nothing is played twice, and the same command says the same.
    assert searched(14).equals(table)


@pytest.mark.slow
def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = searched(12, folder="whole")
    played: list[str] = []

    def stopped_at_the_eighth(
        setting: Setting, training: Training, children: ChildProcesses | None = None, stops: Any = None
    ) -> Path:
        if children is not None:
            played.append(training.name)
            if len(played) == 8:
                children.caught.append(signal.SIGINT)
                raise Stopped("by Ctrl-C")
        return play_at_once(setting, training, children, stops)

    monkeypatch.setattr(TRAIN, stopped_at_the_eighth)
    with pytest.raises(SystemExit):
        searched(12, folder="cut")
    # As a full disk leaves it.
    with Path("cut/search.journal").open("a") as journal:
        journal.write('{"op_code":')
    assert searched(12, folder="cut").equals(whole)
    assert played[7] == played[8] and len(played) == 13
    # More trials are added to those there are.
    assert searched(15, folder="cut")[:12].equals(whole)


@pytest.mark.slow
def test_trials_that_fail_or_diverge_are_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna", reason="optuna, of the extra search, is not installed")

    def broken(error: Callable[[Path], Exception], name: str) -> Callable[..., Path]:
        def play(setting: Setting, training: Training, *rest: Any) -> Path:
            if training.name.endswith(name):
                raise error(setting.folder_of(training))
            return play_at_once(setting, training, *rest)

        return play

    words = [*SAME, "--vocab", "8", "16", "32", "64", "--max-len", "4", "5", "--epochs", "2", "--search", "7"]
    monkeypatch.setattr(TRAIN, broken(lambda run: RuntimeError(f"{run}: no memory left"), "max-len-4"))
    with pytest.raises(SystemExit) as stop:
        main(words)
    said = capsys.readouterr().err
    assert stop.value.code == 2 and "trials failed: vocab" in said and "no memory left" in said
    table = pd.read_csv("runs/sweep/table.csv")
    failed = table[table.outcome == "failed"]
    assert len(failed) and (failed["max-len"] == 4).all() and failed.retrieval.isna().all()
    # Given again, they are played again; what diverges stays as it is and is as good as played.
    monkeypatch.setattr(TRAIN, broken(lambda run: Diverged(f"{run} diverged"), "max-len-4"))
    assert main(words) == 0
    table = pd.read_csv("runs/sweep/table.csv")
    assert len(table) == 7 and set(table.outcome) == {"finished", "diverged"}
    assert (table["max-len"][table.outcome == "diverged"] == 4).all()
    assert main(words) == 0 and "==" not in capsys.readouterr().out


def test_a_search_of_something_else_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    searched(2)
    for other, what in (
        (["--lr", "1e-5..1e-1"], "searched was"),
        (["--batch-size", "16"], "training.batch_size was 8, asked for is 16"),
    ):
        same = [*SAME, *SPACE]
        at = same.index(other[0])
        with pytest.raises(SystemExit) as stop:
            main([*same[:at], *other, *same[at + 2 :], "--search", "2"])
        said = capsys.readouterr().err
        assert stop.value.code == 2 and "is a search of something else" in said and what in said
        assert said.count("\n") == 1


def test_several_trials_at_a_time() -> None:
    table = searched(6, "--jobs", "3")
    assert table.trial.tolist() == [1, 2, 3, 4, 5, 6] and len(list(Path("runs/sweep").glob("lr-*"))) == 6


@pytest.mark.slow
@pytest.mark.process
def test_a_run_that_is_stopped_early_can_go_on(tmp_path: Path, photo_folder: Path) -> None:
    setting = Comparison("sweep", "", tmp_path)
    # Of scenes another process would hold out a thousand.
    images = ("--data", "folder", "--root", str(photo_folder))
    training = Training("one", 0, (*TINY, *images, "--epochs", "500", "--no-tensorboard"))
    log = tmp_path / "one-0" / LOG

    def enough() -> bool:
        return log.exists() and any(record["kind"] == "validation" for record in read_log(log))

    with ChildProcesses() as children, pytest.raises(Stopped):
        train(setting, training, children, enough)
    assert (tmp_path / "one-0" / CHECKPOINT).exists() and not (tmp_path / "one-0" / METRICS).exists()
    assert "stopped at step" in (tmp_path / "one-0.txt").read_text()


def test_ranges_are_read() -> None:
    assert str(range_of("lr", [("1e-5..1e-2:log",)])) == "1e-5..1e-2:log"
    assert str(range_of("vocab", [("8..64",)])) == "8..64"
    # Of options that are texts, dots mean nothing.
    assert range_of("root", [("../photos",)]) is range_of("root", [("shards-{0..9}.tar",)]) is None
    assert range_of("lr", [("1e-4",), ("1e-3",)]) is None
    lr = range_of("lr", [("0.00012345..0.6",)])
    assert lr is not None
    # Three digits, and never beyond an end.
    assert [lr.word(x) for x in (0.00012345, 0.0123456, 0.59999)] == ["0.00012345", "0.0123", "0.6"]


def test_a_file_holds_ranges_as_texts() -> None:
    Path("grid.json").write_text('{"lr": "1e-5..1e-2:log", "vocab_size": [8, 16], "random_seed": 2, "n_epochs": 3}')
    wanted = read_search(read_grid(Path("grid.json")), 5)
    assert {name: str(part) for name, part in wanted.space.items()} == {
        "lr": "1e-5..1e-2:log", "vocab": "[('8',), ('16',)]",
    }  # fmt: skip
    assert (wanted.seed, wanted.trials, wanted.fixed) == (2, 5, {"epochs": ("3",)})
    names, training = wanted.training({"lr": 0.000123456, "vocab": "16"})
    assert names == {"variant": "lr 0.000123, vocab 16", "lr": "0.000123", "vocab": "16"}
    assert training == Training("lr-0.000123_vocab-16", 2, ("--epochs", "3", "--lr", "0.000123", "--vocab", "16"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lr", "1e-4..1e-2"], "--lr 1e-4..1e-2 is a range, from which --search N picks"),
        (["--search", "3", "--lr", "1e-4"], "--search has nothing to search"),
        (["--search", "0", "--lr", "1e-4..1e-2"], "--search 0: must be at least 1 trial"),
        (["--search", "9", "--lr", "1e-4", "1e-3", "--vocab", "8", "9"], "--search 9: there are only 4 combinations"),
        (["--search", "3", "--lr", "1e-2..1e-4"], "--lr 1e-2..1e-4: a range is LOW..HIGH"),
        (["--search", "3", "--lr", "1e-4..1e-2:ln"], "--lr 1e-4..1e-2:ln: a range is LOW..HIGH"),
        (["--search", "3", "--lr", "nan..1"], "--lr nan..1: a range is LOW..HIGH"),
        (["--search", "3", "--lr", "0..1e-2:log"], "--lr 0..1e-2:log: with :log a range begins above 0"),
        (["--search", "3", "--vocab", "8.5..20"], "--vocab 8.5..20: a range is LOW..HIGH or LOW..HIGH:log, two whole"),
        (["--search", "3", "--lr", "1e-4..1e-2", "0.1"], "--lr 1e-4..1e-2 0.1: a range stands alone"),
        (["--search", "3", "--speaker", "a..b"], "--speaker a..b: only an option that is one number"),
        (["--search", "3", "--vocab", "0..20"], "--vocab 0: must be at least 2"),
        (["--search", "3", "--lr", "1..2", "--seed", "0", "1"], "--search plays one seed"),
        (["--search", "3", "--lr", "1..2", "--task", "0/2"], "--search picks each trial by those before"),
        (
            ["--search", "3", "--lr", "1..2", "--slurm", "time=5"],
            "--search picks each trial by those before",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_searched_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.startswith(f"error: {message}") and said.count("\n") == 1
    assert not Path("runs").exists()


def test_without_optuna_a_line_says_which_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "optuna" else found(name, *a))
    with pytest.raises(SystemExit) as stop:
        main(["--lr", "1e-4..1e-3", "--search", "2"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: --search needs optuna: pip install 'patchgame-egg[search]'\n"
