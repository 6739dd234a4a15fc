"""The picture of cross-play: every number in its place, legible, and nothing cut off, whatever the population."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.plots import cross_play
from analysis.plots.cross_play import SCALE, draw_cross_play
from tests.analysis.plots.test_patch_maps import pixels, size

Draw = Callable[[np.ndarray, float], Figure]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Draw:
    """Draws a matrix and hands back the figure."""
    seen: list[Figure] = []

    class Kept(Figure):
        def __init__(self, **settings: object) -> None:
            super().__init__(**settings)  # type: ignore[arg-type]
            seen.append(self)

    monkeypatch.setattr(cross_play, "Figure", Kept)

    def draw(accuracy: np.ndarray, chance: float) -> Figure:
        path = tmp_path / "new" / "cross_play.png"
        assert draw_cross_play(accuracy, chance, path) == path
        assert size(path) == tuple((150 * seen[-1].get_size_inches()).astype(int))
        return seen[-1]

    return draw


def luminance(colors: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB colours ``[..., 3]``, as WCAG 2.2 defines it, written out."""
    linear = np.empty_like(colors)
    for at, value in np.ndenumerate(colors):
        linear[at] = value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
    return 0.2126 * linear[..., 0] + 0.7152 * linear[..., 1] + 0.0722 * linear[..., 2]


def numbers(ax: Axes) -> dict[tuple[int, int], Text]:
    return {(round(t.get_position()[1]), round(t.get_position()[0])): t for t in ax.texts}


SHAPES = [(1, 2), (2, 1), (2, 2), (3, 10), (10, 3), (12, 12), (1, 12)]


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_pair_has_its_number_in_its_cell(shape: tuple[int, int], drawn: Draw) -> None:
    accuracy = np.linspace(0, 1, shape[0] * shape[1], dtype=np.float32).reshape(shape)
    figure = drawn(accuracy, 1 / 128)
    matrix, scale = figure.axes
    found = numbers(matrix)
    assert {at: t.get_text() for at, t in found.items()} == {
        at: f"{100 * value:.1f}" for at, value in np.ndenumerate(accuracy.astype(float))
    }
    assert (matrix.get_xlabel(), matrix.get_ylabel()) == ("listener", "speaker")
    assert [t.get_text() for t in matrix.get_xticklabels()] == [str(i) for i in range(shape[1])]
    assert [t.get_text() for t in matrix.get_yticklabels()] == [str(i) for i in range(shape[0])]
    assert scale.get_xlabel() == "top-1 accuracy (%)" and figure.get_suptitle() == "Who understands whom"
    for (speaker, listener), text in found.items():
        (x0, x1), (y1, y0) = matrix.transData.transform(
            [(listener - 0.5, speaker - 0.5), (listener + 0.5, speaker + 0.5)]
        ).T
        box = text.get_window_extent()
        assert x0 < box.x0 < box.x1 < x1 and y0 < box.y0 < box.y1 < y1
    # The tight box holds everything that is drawn; the page holds the tight box.
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 > 0 and box.y0 > 0 and box.x1 < width and box.y1 < height
    above, below = (ax.get_tightbbox() for ax in (matrix, scale))
    assert above.y0 > below.y1, "the scale lies over the matrix"


def test_rows_are_speakers_and_cells_have_the_color_of_the_scale(tmp_path: Path) -> None:
    accuracy = np.array([[0.1, 0.21, 0.31], [0.41, 0.0, 0.8]])
    picture = pixels(draw_cross_play(accuracy, 0.01, tmp_path / "x.png")) / 255
    middles = {}
    for at, value in np.ndenumerate(accuracy):
        color = np.array(SCALE(value / 0.8)[:3])
        rows, columns = np.nonzero((np.abs(picture[:-160] - color) < 1.5 / 255).all(-1))
        assert len(rows) > 1000, f"no cell of {value}"
        middles[at] = (np.median(rows), np.median(columns))
    for (speaker, listener), (row, column) in middles.items():
        assert row == pytest.approx(middles[0, 0][0] + speaker * 82.5, abs=4)  # 0.55 inches at 150 dots
        assert column == pytest.approx(middles[0, 0][1] + listener * 82.5, abs=4)


@pytest.mark.slow
def test_numbers_stand_out_from_every_color(drawn: Draw) -> None:
    accuracy = np.linspace(0, 1, 144).reshape(12, 12)
    matrix = drawn(accuracy, 0.5).axes[0]
    below = luminance(SCALE(accuracy)[..., :3])
    for at, text in numbers(matrix).items():
        ink = float(luminance(np.array(mpl.colors.to_rgb(text.get_color()))))
        dark, light = sorted([ink, below[at]])
        assert (light + 0.05) / (dark + 0.05) > 4.5  # what WCAG asks for


def test_the_scale_is_ordered_by_lightness_alone() -> None:
    assert (np.diff(luminance(SCALE(np.linspace(0, 1, 100))[:, :3])) < 0).all()


@pytest.mark.parametrize(
    ("highest", "chance", "top"), [(0.3, 1 / 128, 30), (0.0, 1 / 8, 25), (0.01, 1 / 8, 25), (0.0, 0.7, 100)]
)
def test_the_scale_marks_chance_and_begins_at_zero(highest: float, chance: float, top: float, drawn: Draw) -> None:
    scale = drawn(np.array([[highest, highest / 2]]), chance).axes[1]
    assert scale.get_xlim() == (0, pytest.approx(top))
    assert [line.get_xdata()[0] for line in scale.lines if line.get_linestyle() == "-"][-1] == 100 * chance
    (mark,) = scale.child_axes
    assert list(mark.get_xticks()) == [100 * chance]
    assert [t.get_text() for t in mark.get_xticklabels()] == [f"chance, {100 * chance:.3g} %"]


def test_the_readers_settings_do_not_matter(tmp_path: Path) -> None:
    accuracy = np.array([[0.1, 0.5]])
    plain = draw_cross_play(accuracy, 0.1, tmp_path / "plain.png").read_bytes()
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "image.cmap": "jet", "savefig.bbox": "tight"}):
        assert draw_cross_play(accuracy, 0.1, tmp_path / "loud.png").read_bytes() == plain


@pytest.mark.parametrize(
    ("accuracy", "chance", "message"),
    [
        (np.zeros(3), 0.1, r"shape \(3,\): expected \[speakers, listeners\]"),
        (np.zeros((0, 3)), 0.1, r"shape \(0, 3\).*at least one of each"),
        (np.zeros((2, 2, 2)), 0.1, r"shape \(2, 2, 2\)"),
        (np.zeros((2, 2), int), 0.1, "type int64: expected floats"),
        (np.array([[0.1, 1.5]]), 0.1, r"\[0.1, 1.5\]: expected \[0, 1\], not percent"),
        (np.array([[-0.1, 0.5]]), 0.1, r"\[-0.1, 0.5\]"),
        (np.array([[np.nan, 0.5]]), 0.1, "nan"),
        (np.zeros((1, 1)), 0.0, "chance is 0.0: expected a share above 0"),
        (np.zeros((1, 1)), 12.5, "chance is 12.5"),
        (np.zeros((1, 1)), float("nan"), "chance is nan"),
    ],
)
def test_errors_say_what_is_wrong(accuracy: np.ndarray, chance: float, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        draw_cross_play(accuracy, chance, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
