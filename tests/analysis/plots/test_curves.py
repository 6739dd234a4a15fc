"""The learning curves: what is drawn, against the records that it is drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots import curves
from analysis.plots.curves import learning_curves, running_mean
from tests.analysis.plots.test_patch_maps import size

Record = dict[str, object]


def validation(step: int, **changes: object) -> Record:
    return {
        "kind": "validation",
        "step": step,
        "epoch": step // 100,
        "loss": 3.0,
        "acc": 0.25,
        "two_views_acc": 0.15,
        "two_views_thumbnail": 0.3,
        "acc_top5": 0.5,
        "acc_image_to_message": 0.2,
        "acc_image_to_message_top5": 0.4,
        "candidates": 64,
        "active_symbols": 20,
        "vocab_size": 32,
        "perplexity": 12.5,
        "mean_length": 8.5,
        "slots": 16,
    } | changes


def train(step: int, loss: float) -> Record:
    return {"kind": "train", "step": step, "epoch": (step - 1) // 100 + 1, "loss": loss, "lr": 0.1}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[list[Record]], list[Axes]]:
    """Draws records and hands back the four panels."""
    seen: list[Figure] = []

    class Kept(Figure):
        def __init__(self, **settings: object) -> None:
            super().__init__(**settings)  # type: ignore[arg-type]
            seen.append(self)

    monkeypatch.setattr(curves, "Figure", Kept)

    def draw(records: list[Record]) -> list[Axes]:
        path = tmp_path / "curves.png"
        assert learning_curves(records, path) == path
        assert size(path) == (1650, 1200)
        return seen[-1].axes[:4]

    return draw


def lines(ax: Axes) -> dict[str, list[tuple[float, float]]]:
    """Each line by the words before its value; marks of the axes' width (chance levels) have x 0 and 1."""
    return {
        str(line.get_label()).split(" (")[0]: [(x, y) for x, y in np.asarray(line.get_xydata()).tolist()]
        for line in ax.get_lines()
    }


def test_curves_show_the_records(drawn: Callable[[list[Record]], list[Axes]]) -> None:
    records = [train(s, 4 - s / 100) for s in range(10, 201, 10)]
    records += [validation(100), validation(200, acc=0.5, loss=2.5), {"kind": "other"}]
    loss, accuracy, vocabulary, length = drawn(records)
    assert lines(loss)["validation"] == [(100, 3.0), (200, 2.5)]
    smooth = lines(loss)["train, mean of 3 records"]
    assert [x for x, _ in smooth] == list(range(10, 201, 10))
    np.testing.assert_allclose([y for _, y in smooth[1:-1]], [4 - s / 100 for s in range(20, 200, 10)])
    assert lines(loss)["chance in validation, ln 64 = 4.16"] == [(0, math.log(64)), (1, math.log(64))]
    assert lines(accuracy)["message to image, two views"] == [(100, 15), (200, 15)]
    assert lines(accuracy)["message to image, one view"] == [(100, 25), (200, 50)]
    assert lines(accuracy)["two views by a thumbnail alone"][0][1] == 30
    assert lines(accuracy)["chance, one of 64"][0][1] == 100 / 64
    assert lines(vocabulary)["symbols in use"] == [(100, 20), (200, 20)]
    assert lines(vocabulary)["perplexity"] == [(100, 12.5), (200, 12.5)]
    assert lines(vocabulary)["vocabulary"][0][1] == 32
    assert lines(length)["mean length"] == [(100, 8.5), (200, 8.5)]
    assert lines(length)["every slot speaks"][0][1] == 16
    (top,) = loss.child_axes
    assert [label.get_text() for label in top.get_xticklabels()] == ["1", "2"]
    assert list(top.get_xticks()) == [100, 200]


def test_curves_of_one_validation(drawn: Callable[[list[Record]], list[Axes]]) -> None:
    loss, accuracy, *_ = drawn([validation(100)])
    assert lines(loss)["validation"] == [(100, 3.0)]
    assert accuracy.get_lines()[0].get_marker() == "o"  # a line through one point cannot be seen


def test_curves_of_training_alone(drawn: Callable[[list[Record]], list[Axes]]) -> None:
    loss, *others = drawn([train(s, 2.0) for s in (50, 100, 150)])
    assert lines(loss)["train"] == [(50, 2), (100, 2), (150, 2)]
    assert [label.get_text() for label in loss.child_axes[0].get_xticklabels()] == ["1"]  # epoch 2 is under way
    assert all(ax.texts[0].get_text() == "no values yet" for ax in others)


def test_curves_leave_out_what_is_missing(drawn: Callable[[list[Record]], list[Axes]]) -> None:
    bare = [{"kind": "validation", "step": 100, "acc": 0.1}, {"kind": "validation", "step": 200, "acc": math.nan}]
    loss, accuracy, *_ = drawn([*bare, {"kind": "validation", "step": 300, "acc": None}])
    assert not loss.get_lines() and not loss.child_axes
    assert list(lines(accuracy)) == ["message to image, one view"]
    assert lines(accuracy)["message to image, one view"] == [(100, 10)]


def test_curves_of_a_resumed_run_take_the_later_line(drawn: Callable[[list[Record]], list[Axes]]) -> None:
    loss, *_ = drawn([validation(100), validation(200, loss=9.0), validation(100, loss=2.0), validation(200, loss=1.0)])
    assert lines(loss)["validation"] == [(100, 2.0), (200, 1.0)]


def test_one_spike_does_not_set_the_scale(drawn: Callable[[list[Record]], list[Axes]]) -> None:
    loss, *_ = drawn([train(s, 1000.0 if s == 500 else 2.0) for s in range(1, 1001)])
    assert loss.get_ylim()[1] < 50


@pytest.mark.parametrize("records", [[], [{"kind": "other", "step": 1}]])
def test_curves_need_records(records: list[Record], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"none of the {len(records)} records"):
        learning_curves(records, tmp_path / "x.png")


@pytest.mark.parametrize("step", [None, "ten", math.nan])
def test_curves_need_steps(step: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'train' has step"):
        learning_curves([{"kind": "train", "step": step, "loss": 1.0}], tmp_path / "x.png")


def test_running_mean_is_a_slow_loop() -> None:
    values = np.random.default_rng(0).normal(size=20)
    expected = [values[max(0, i - 3) : i + 4].mean() for i in range(20)]
    np.testing.assert_allclose(running_mean(values, 7), expected)
