"""The pictures and the table that compare ways of playing: the right points, from logs and frames made by hand."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from analysis.plots import ablations as comparison
from games import compare
from games.options.command_line import parse


def log(rate: float, entropy: bool) -> list[dict[str, object]]:
    records: list[dict[str, object]] = []
    for step in range(1, 5):
        records.append({"kind": "train", "step": step, "images": 64, "images_per_s": 10.0 * step})
        if entropy:
            records[-1]["entropy"] = 8.0 - step
        records.append({"kind": "validation", "step": step, "acc": rate * step, "candidates": 50})
    return records


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The figures that are saved, in their order."""
    kept: list[object] = []
    save = comparison.save
    monkeypatch.setattr(comparison, "save", lambda figure, path: (kept.append(figure), save(figure, path))[1])
    return kept


def test_learning_is_drawn_against_images(tmp_path: Path, drawn: list) -> None:
    logs = {"one": [log(0.1, False), log(0.2, False)], "two": [log(0.05, True)]}
    path = comparison.draw_learning(logs, tmp_path / "learning.png")
    assert plt.imread(path).std() > 0
    accuracy, entropy = drawn[0].axes
    lines = {line.get_label(): line for line in accuracy.lines}
    assert lines["one"].get_xdata().tolist() == [64, 128, 192, 256]
    assert lines["one"].get_ydata() == pytest.approx([15, 30, 45, 60])
    assert lines["chance (2.0 %)"].get_ydata()[0] == 2
    assert [line.get_label() for line in entropy.lines] == ["two"]
    assert len({line.get_color() for line in accuracy.lines}) == 3


def test_without_entropy_there_is_one_panel(tmp_path: Path, drawn: list) -> None:
    comparison.draw_learning({"one": [log(0.1, False)]}, tmp_path / "learning.png")
    assert len(drawn[0].axes) == 1
    with pytest.raises(ValueError, match="no validation in the logs of 1 variants"):
        comparison.draw_learning({"one": [[]]}, tmp_path / "no.png")


def test_panels_hold_one_line_for_each_variant_on_one_scale(tmp_path: Path, drawn: list) -> None:
    logs = {
        "vocabulary": {"16": [log(0.1, False), log(0.2, False)], "64": [log(0.05, False)]},
        "learning rate": {"0.1": [log(0.01, False)]},
    }
    path = comparison.draw_panels(logs, tmp_path / "panels.png")
    assert plt.imread(path).std() > 0
    first, second = drawn[0].axes
    lines = {line.get_label(): line for line in first.lines}
    assert list(lines) == ["16", "64", "chance (2.0 %)"]
    assert lines["16"].get_ydata() == pytest.approx([15, 30, 45, 60])
    assert first.get_ylim() == second.get_ylim()
    assert first.get_ylim()[1] > 60
    assert (first.get_title(), second.get_title()) == ("vocabulary", "learning rate")
    with pytest.raises(ValueError, match="no validation in the logs of 1 panels"):
        comparison.draw_panels({"one": {"a": [[]]}}, tmp_path / "no.png")


def frame() -> pd.DataFrame:
    rows = [
        ("keep 6%", 0, 2.0, 10.0), ("keep 6%", 1, 2.0, 14.0), ("keep 50%", 0, 16.0, 40.0), ("keep 50%", 1, 16.0, 44.0),
        ("cost 0.1", 0, 3.0, 20.0), ("cost 0.1", 1, 5.0, 24.0),
    ]  # fmt: skip
    made = pd.DataFrame(rows, columns=["variant", "seed", "length", "retrieval"]).assign(
        one_view=lambda f: f.retrieval + 10
    )
    return made.assign(chance=2.0, symbols=7, message_entropy=3.25, images_per_s=99.6, images=640, diverged=False)


def test_accuracy_is_drawn_against_length(tmp_path: Path, drawn: list) -> None:
    path = comparison.draw_accuracy_against_length(frame(), tmp_path / "lengths.png")
    assert plt.imread(path).std() > 0
    (ax,) = drawn[0].axes
    ways = {container.get_label(): container.lines[0] for container in ax.containers}
    assert list(ways) == ["keep (6%, 50%)", "cost (0.1)"]
    assert ways["keep (6%, 50%)"].get_xydata().tolist() == [[2, 12], [16, 42]]
    assert ways["cost (0.1)"].get_xydata().tolist() == [[4, 22]]


def test_the_table_has_means_and_the_spread_of_the_accuracy() -> None:
    lines = compare.tabulate(frame()).splitlines()
    assert lines[2] == "| keep 6% | 12.0 ± 2.8 | 22.0 ± 2.8 | 7 | 3.2 | 2.0 | 100 |"
    continuous = frame().iloc[:1].assign(symbols=None, message_entropy=None, length=None)
    assert compare.tabulate(continuous).splitlines()[2] == "| keep 6% | 10.0 | 20.0 |  |  |  | 100 |"


@pytest.mark.parametrize("variants", [compare.CHANNELS, compare.LENGTHS])
def test_every_variant_is_one_that_can_be_played(variants: dict[str, list[str]]) -> None:
    for options in variants.values():
        parse(options)
    assert len({compare.run_name(name) for name in variants}) == len(variants)


@pytest.mark.slow
def test_a_comparison_runs_and_goes_on_where_it_stopped(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {"ranks": [], "keep 25%": ["--keep-fraction", "0.25"]}
    monkeypatch.setattr(compare, "LENGTHS", few)
    ask = ["lengths", "--folder", str(tmp_path / "out"), "--epochs", "1", "--no-tensorboard", *tiny]
    assert compare.main(ask) == 0
    assert capsys.readouterr().out.count("== ") == 2
    (tmp_path / "out" / "ranks-0" / "metrics.json").unlink()
    assert compare.main(ask) == 0
    said = capsys.readouterr().out
    assert said.count("== ") == 1 and "== ranks-0" in said
    table = pd.read_csv(tmp_path / "out" / "table.csv")
    assert table.variant.tolist() == ["ranks", "keep 25%"] and table.length[1] == 4 and table.images[0] == 32
    for name in ("table.md", "learning.png", "lengths.png"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    # Of other options the table would be a lie.
    with pytest.raises(SystemExit):
        compare.main([*ask, "--vocab", "4"])
    assert "ranks-0 was trained otherwise: vocab is 16, asked for is 4" in capsys.readouterr().err


def test_no_seeds_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare.main(["channels", "--seeds", "0"])
    assert "--seeds 0: must be at least 1" in capsys.readouterr().err
