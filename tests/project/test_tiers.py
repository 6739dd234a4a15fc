"""The tiers of the tests: there are three markers, and what starts a process carries the one that says so."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "tests").rglob("test_*.py"))
TIERS = {"slow", "process", "docs"}
PYTESTS_OWN = {"parametrize", "skip", "skipif", "xfail", "usefixtures", "filterwarnings"}
STARTERS = {"subprocess", "multiprocessing", "torch.multiprocessing", "tests.support.browser"}


def marks(nodes: list[ast.expr]) -> set[str]:
    return set(re.findall(r"pytest\.mark\.(\w+)", " ".join(ast.unparse(node) for node in nodes)))


def unmarked(source: str) -> set[str]:
    """The tests that start a process, by themselves, a helper or a fixture of their file, and do not say so."""
    tree = ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    starting = {
        (alias.asname or alias.name).split(".")[0]
        for node in imports
        for alias in node.names
        if (node.module if isinstance(node, ast.ImportFrom) else alias.name) in STARTERS
    }
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    used = {
        name: {n.id if isinstance(n, ast.Name) else n.arg for n in ast.walk(f) if isinstance(n, ast.Name | ast.arg)}
        for name, f in functions.items()
    }
    while more := {name for name, names in used.items() if name not in starting and names & starting}:
        starting |= more
    whole = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "pytestmark"]
    tests = {name for name in starting & functions.keys() if name.startswith("test_")}
    return {name for name in tests if "process" not in marks(functions[name].decorator_list + whole)}


def test_there_are_three_tiers_and_all_are_used() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert {line.split(":")[0] for line in options["markers"]} == TIERS
    used = {name for path in FILES for name in re.findall(r"pytest\.mark\.(\w+)", path.read_text())}
    assert TIERS <= used <= TIERS | PYTESTS_OWN
    assert 'uv run pytest -m "not slow and not process and not docs"' in (ROOT / "docs/development.md").read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_starts_a_process_says_so(path: Path) -> None:
    assert not unmarked(path.read_text()), f"mark these in {path} with pytest.mark.process"


def test_a_process_does_not_hide_behind_a_helper_or_a_fixture() -> None:
    source = """
import subprocess as sp
def helper(): sp.run([])
@pytest.fixture
def started(): helper()
def test_one(started): ...
def test_two(): helper()
@pytest.mark.process
def test_three(): helper()
def test_four(): other()
"""
    assert unmarked(source) == {"test_one", "test_two"}
    assert not unmarked(source + "\npytestmark = [pytest.mark.docs, pytest.mark.process]")
    assert unmarked("def test_five():\n from torch.multiprocessing import spawn\n spawn(1)") == {"test_five"}
