"""What somebody needs who takes the project up: a licence, how to cite it, and metadata that say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_licence_is_where_the_metadata_say() -> None:
    assert PROJECT["license"] == "MIT" and PROJECT["license-files"] == ["LICENSE"]
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n")


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0" and cited["message"] and cited["authors"]
    assert (cited["version"], cited["license"], cited["title"]) == (PROJECT["version"], "MIT", "patchgame_egg")
    assert cited["references"][0]["title"].startswith("PatchGame: Learning to Signal")
    assert len(cited["references"][0]["authors"]) == 6


def test_supported_versions_of_python_are_listed() -> None:
    low, high = (int(n) for n in re.findall(r"3\.(\d+)", PROJECT["requires-python"]))
    listed = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)}
    assert listed == {f"3.{minor}" for minor in range(low, high)}


def test_nobody_is_named_and_no_registry() -> None:
    for name in ("pyproject.toml", "CITATION.cff", "LICENSE", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text()
        assert not re.search(r"[\w.]+@[\w-]+\.\w", text), f"{name} has an address of mail"
        assert not re.search(r"pypi|pythonhosted|registry|index-url", text), f"{name} names a registry"
