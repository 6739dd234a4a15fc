"""Every metric can be imported from `analysis`, whatever else was imported before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import analysis

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", analysis.__all__)
def test_names_are_what_they_say(name: str) -> None:
    found = getattr(analysis, name)
    assert type(found).__name__ in ("function", "type", "dict")
    assert getattr(found, "__name__", name) == name


def test_no_module_hides_a_name() -> None:
    modules = {path.stem for path in (ROOT / "analysis").glob("*.py")}
    assert not modules & set(analysis.__all__)


def test_the_package_itself_loads_nothing_heavy() -> None:
    code = "import sys, analysis; print([m for m in ('scipy', 'pandas', 'torch', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"no 'topsim_score'; it has .*topographic_similarity"):
        _ = analysis.topsim_score
