"""All pictures together: they leave nothing behind and ignore the reader's settings."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

from analysis.plots.curves import learning_curves
from tests.analysis.plots.test_curves import train, validation
from tests.analysis.plots.test_patch_maps import gallery, maps


@pytest.mark.slow
def test_pictures_leave_no_trace_and_ignore_the_readers_settings(tmp_path: Path) -> None:
    def draw(folder: Path) -> list[bytes]:
        learning_curves([train(1, 2.0), validation(2)], folder / "curves.png")
        maps(folder / "maps.png")
        gallery(folder / "gallery.png")
        return [path.read_bytes() for path in sorted(folder.iterdir())]

    plain = draw(tmp_path / "plain")
    with mpl.rc_context({"savefig.bbox": "tight", "font.size": 30, "lines.linewidth": 9, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        assert draw(tmp_path / "loud") == plain
        assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []
