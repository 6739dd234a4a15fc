"""Figures of a report: all that is written below one lies within it."""

from __future__ import annotations

import pytest
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.report import figures

RECORDS = [
    {"kind": "train", "step": 1, "epoch": 1, "loss": 1.0},
    {
        "kind": "validation", "step": 2, "epoch": 1, "loss": 0.5, "acc": 0.929, "two_views_acc": 0.77,
        "two_views_thumbnail": 0.755, "candidates": 128, "active_symbols": 113, "perplexity": 46.4, "vocab_size": 128,
        "mean_length": 19.0, "slots": 36,
    },
]  # fmt: skip


def test_legends_lie_within_their_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(figures, "svg", lambda figure, description: drawn.append(figure) or Markup())
    figures.draw_learning(RECORDS)
    legends = []
    for figure in drawn:
        figure.draw_without_rendering()
        legends += [(figure.bbox, ax.get_legend().get_window_extent()) for ax in figure.axes if ax.get_legend()]
    assert len(legends) == 4
    for page, legend in legends:
        # A browser draws the letters of the same font a twenty-fifth wider.
        beside = 0.02 * page.width
        assert page.x0 + beside <= legend.x0 and legend.x1 <= page.x1 - beside and page.y0 <= legend.y0
