"""The notebooks run as they are, on runs a little smaller still, and are stored without what running them leaves."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.corpus.corpus import Corpus
from tests.support.synthetic_corpus import only_messages, scene_corpus

nbformat = pytest.importorskip("nbformat", reason="notebooks need nbformat")
nbclient = pytest.importorskip("nbclient", reason="notebooks need nbclient to run")
pytest.importorskip("ipykernel", reason="notebooks need ipykernel to run")
KernelManager = pytest.importorskip("jupyter_client").KernelManager

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "analysis" / "notebooks"
NAMES = ["reading_a_protocol", "comparing_channels", "compositionality", "words", "your_own_metric"]
HELD_OUT = 96
FIGURES = {"reading_a_protocol": 6, "comparing_channels": 4, "compositionality": 3, "words": 2, "your_own_metric": 2}


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def test_there_are_these_notebooks() -> None:
    assert sorted(NAMES) == sorted(path.stem for path in FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_short_and_holds_no_outputs(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    assert 8 <= len(notebook.cells) <= 15 and notebook.cells[0].cell_type == "markdown"
    assert notebook.metadata.kernelspec.name == "python3"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    for cell in notebook.cells:
        assert not cell.metadata
        assert len(cell.source.splitlines()) <= 40
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None
    text = (FOLDER / f"{name}.ipynb").read_text()
    assert not re.search(r"/(?:work|tmp|root|home)/", text)


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_names_a_run_in_the_first_code_cell(name: str) -> None:
    first = next(cell for cell in read(name).cells if cell.cell_type == "code")
    assert first.source in ('RUN = ""', "RUNS = []")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One kernel for all, since its imports take longer than a notebook; started in an empty folder."""
    folder = tmp_path_factory.mktemp("notebooks")
    work = folder / "work"
    work.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("TMPDIR", str(folder))
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(cwd=str(work))
        yield manager
        manager.shutdown_kernel(now=True)
    assert not list(work.iterdir()), "a notebook leaves nothing where it runs"


@pytest.mark.docs
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name: str, kernel: Any) -> None:
    notebook = read(name)
    shortened = 0
    for cell in notebook.cells:
        shortened += cell.source.count("--scenes 1024 --epochs 3 ")
        cell.source = cell.source.replace("--scenes 1024 --epochs 3 ", "--scenes 256 --epochs 1 ")
    assert shortened == 1
    # Most of the time would go into held-out scenes; and what an earlier notebook made must not help this one.
    few = f"from patchgame_egg.data import sources\nsources.LEAST_HELD_OUT = {HELD_OUT}\n%reset -f"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(few))
    nbclient.NotebookClient(notebook, km=kernel, timeout=180).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == FIGURES[name]
    assert not [text for output in outputs if "Warning" in (text := output.get("text", ""))]


def photos(kind: str) -> Corpus:
    """Languages as other people's runs have them."""
    scenes = scene_corpus(80)
    bare = replace(scenes, labels=np.zeros(80, np.int64), label_names=("image",), object_area=None)
    if kind == "without classes":
        return replace(
            bare, attributes=None, attribute_names=(), value_names=(), patch_attributes=None, patch_attribute_names=(),
            patch_value_names=(),
        )  # fmt: skip
    # Names of scenes' concepts are nowhere, some images are not described, and one attribute never varies.
    attributes = np.column_stack([np.zeros(80, np.int64), scenes.attributes])  # type: ignore[list-item]
    attributes[:9] = -1
    names = ("source", "beak", "habitat", *(f"has {i}" for i in range(attributes.shape[1] - 3)))
    values = (("camera",), *scenes.value_names)
    return replace(bare, attributes=attributes, attribute_names=names, value_names=values, labels=None)


@pytest.mark.docs
@pytest.mark.parametrize("kind", ["without classes", "annotated"])
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_on_ones_own_run(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.setattr(pyplot, "show", lambda: [pyplot.gcf().canvas.draw(), pyplot.close("all")])
    run = tmp_path / "run"
    photos(kind).save(run / "corpus.npz")
    (run / "log.jsonl").write_text('{"kind": "validation", "epoch": 1, "acc": 0.5}\n')
    cells = [cell.source for cell in read(name).cells if cell.cell_type == "code"]
    if name == "your_own_metric":  # what is between trains a run of its own
        cells = [*cells[:3], cells[-1]]
    given = f"RUNS = [{str(run)!r}]" if cells[0] == "RUNS = []" else f"RUN = {str(run)!r}"
    space: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if (name, kind) == ("compositionality", "without classes"):
            with pytest.raises(ValueError, match=r"two attributes that vary must be known .*--annotations"):
                for cell in [given, *cells[1:]]:
                    exec(cell, space)
            return
        for cell in [given, *cells[1:]]:
            exec(cell, space)
    said = capsys.readouterr().out
    assert ("nothing" in said) == (kind == "without classes" and name == "reading_a_protocol")


@pytest.mark.docs
def test_a_notebook_says_what_it_needs(tmp_path: Path) -> None:
    only_messages().save(tmp_path / "corpus.npz")
    with pytest.raises(ValueError, match="needs a run whose speaker names patches"):
        space: dict[str, Any] = {}
        cells = [cell.source for cell in read(NAMES[0]).cells if cell.cell_type == "code"]
        for cell in [f"RUN = {str(tmp_path)!r}", *cells[1:]]:
            exec(cell, space)
