"""The lists of docs/development.md, followed to the letter in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# File -> the line below which a listed line belongs.
BELOW = {
    "analysis/__init__.py": "if TYPE_CHECKING:",
    "docs/journey.md": "  metrics/ ",
    "tests/analysis/metrics/test_common.py": "METRICS: ",
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, with the list of "A metric" followed."""
    root = tmp_path_factory.mktemp("copy")
    for folder in ("patchgame_egg", "analysis", "games", "docs", "tests"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "images", "*.pt"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, root)
    section = (ROOT / "docs" / "development.md").read_text().split("### A metric\n")[1].split("\n## ")[0]
    blocks = [textwrap.dedent(block) for block in re.findall(r" *```\w+\n(.*?)```", section, re.DOTALL)]
    assert len(blocks) == 4
    for block in blocks:
        first, rest = block.split("\n", 1)
        path = root / first.removeprefix("# ")
        if not path.exists():
            path.write_text(rest)
            continue
        (above,) = [line for line in path.read_text().splitlines() if line.startswith(BELOW[first.removeprefix("# ")])]
        path.write_text(path.read_text().replace(f"{above}\n", f"{above}\n{rest}", 1))
    return root


def run(copy: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=copy, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(copy)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.process
def test_the_metric_is_in_the_table_the_glossary_and_the_report(copy: Path) -> None:
    code = """
from pathlib import Path

import analysis
from analysis import GLOSSARY, measure, most_said
from tests.support.synthetic_corpus import sequence_corpus

assert Path(analysis.__file__).is_relative_to(Path.cwd())
corpus = sequence_corpus()
(row,) = measure(corpus, permutations=2).query("metric == 'most_said'").itertuples()
assert row.value == most_said(corpus.symbols, corpus.mask).value and row.group == "usage"
assert GLOSSARY["most_said"].meaning
from analysis.report.page import render
assert "share of one symbol" in render(corpus, measure(corpus, permutations=2))
"""
    run(copy, "-c", code)


@pytest.mark.process
def test_the_metric_is_on_the_site(copy: Path) -> None:
    # Whatever is in this table has an anchor: test_site.py.
    code = "import runpy; print(runpy.run_path('docs/conf.py')['FACES']['analysis']['most_said'])"
    assert run(copy, "-c", code).split() == ["analysis.metrics.most_said.most_said"]


@pytest.mark.process
def test_the_tests_of_the_copy_know_it(copy: Path) -> None:
    tests = ["tests/analysis/metrics/test_common.py", "tests/project/test_layering.py"]
    tests += ["tests/project/test_docs.py", "tests/project/test_names.py"]
    chosen = "most_said or no_metric_escapes or every_module_has_a_level or picture_of_the_repository"
    said = run(copy, "-m", "pytest", "-q", "-n", "0", *tests, "-k", chosen)
    assert re.search(r"(\d+) passed", said) and "failed" not in said
