"""The site is built with every warning as an error, has an anchor for every promised name, and has no broken link."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sphinx.util.inventory import InventoryFile

import analysis
import patchgame_egg
from games.options.config import Config

pytestmark = [pytest.mark.docs, pytest.mark.process]

ROOT = Path(__file__).parents[2]
MODULES = [p for package in ("patchgame_egg", "games", "analysis") for p in sorted((ROOT / package).rglob("*.py"))]


def build(project: Path, builder: str) -> subprocess.CompletedProcess[str]:
    """The documented command, in a project; the builder ``dummy`` checks all and writes nothing."""
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-b", builder, "docs", "build/site"]
    return subprocess.run(
        words, cwd=project, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(project)}
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the site built."""
    root = tmp_path_factory.mktemp("project")
    # Not what a build that was stopped has left.
    unneeded = shutil.ignore_patterns("api", "__pycache__")
    for name in ("docs", "patchgame_egg", "analysis", "games", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=unneeded)
    for name in ("README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, root)
    done = build(root, "html")
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def anchors(project: Path) -> dict[str, str]:
    """Every name of the inventory and the address of its anchor."""
    with (project / "build/site/objects.inv").open("rb") as file:
        found = InventoryFile.load(file, "", lambda base, address: address)
    kinds = [kind for kind in found if kind.startswith("py:")]
    return {name: item.uri for kind in kinds for name, item in found[kind].items()}


@pytest.mark.parametrize("package", [patchgame_egg, analysis], ids=lambda package: package.__name__)
def test_every_promised_name_has_an_anchor_on_a_page(package: object, project: Path, anchors: dict[str, str]) -> None:
    names = package.__all__  # type: ignore[attr-defined]
    assert len(names) > 30
    for name in names:
        page, _, anchor = anchors[f"{package.__name__}.{name}"].partition("#")  # type: ignore[attr-defined]
        assert f'id="{anchor}"' in (project / "build/site" / page).read_text(), name


def test_every_public_module_has_a_page_and_nothing_else_has(anchors: dict[str, str]) -> None:
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in MODULES}
    assert {m for m in modules if not m.endswith("__main__")} <= set(anchors)
    parts = {part for name in anchors for part in name.split(".")}
    assert not [part for part in parts if part.startswith("_") and not part.endswith("__")]
    assert not [name for name in anchors if name.startswith("tests")]


def test_pages_hold_what_the_docstrings_say(project: Path) -> None:
    api = project / "build/site/api"
    ranks = (api / "patchgame_egg/channels/ranking/index.html").read_text()
    assert "regularisation e &gt; 0." in ranks and "strength not positive" in ranks
    # A colon in a sentence is no type.
    assert "The loss of each pair" in (api / "patchgame_egg/losses/index.html").read_text()
    options = (api / "games/options/config/index.html").read_text()
    assert Config().speaker.encoder in options and "Shards: the held-out ones" in options


def test_pages_lead_to_pages_and_to_modules(project: Path) -> None:
    start, journey = ((project / "build/site" / name).read_text() for name in ("start.html", "journey.html"))
    assert 'href="analysis.html"' in start and 'href="games.html#three-presets"' in journey
    assert 'href="api/patchgame_egg/game/index.html"' in journey


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    # With the project's own settings, but three modules and one page beside the index, which are built in seconds.
    for package in ("patchgame_egg", "analysis", "games"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text('"""A package."""\n')
    shutil.copy(ROOT / "patchgame_egg/lazy_names.py", tmp_path / "patchgame_egg")
    shutil.copytree(ROOT / "docs/templates", tmp_path / "docs/templates")
    shutil.copy(ROOT / "docs/conf.py", tmp_path / "docs")
    (tmp_path / "docs/index.md").write_text("# Index\n\n```{toctree}\n:hidden:\n:glob:\npage\napi/**\n```\n")
    links = ["[a page](index.md)", "[a heading](index.md#index)", "[a module](../patchgame_egg/lazy_names.py)"]
    (tmp_path / "docs/page.md").write_text("# Page\n\n" + "\n".join(links) + "\n")
    whole = build(tmp_path, "dummy")
    assert whole.returncode == 0, whole.stderr
    broken = {
        "no-such-page": "[a page](no-such-page.md)",
        "no-such-heading": "[a heading](index.md#no-such-heading)",
        "no_such_module": "[a module](../analysis/no_such_module.py)",
    }
    (tmp_path / "docs/page.md").write_text("# Page\n\n" + "\n".join([*links, *broken.values()]) + "\n")
    done = build(tmp_path, "dummy")
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if "WARNING" in line]
    assert len(said) == len(broken), done.stderr
    for what in broken:
        assert [line for line in said if "page.md" in line and what in line], done.stderr
