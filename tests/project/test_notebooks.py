"""The notebooks run as they are, on runs a little smaller still, and are stored without what running them leaves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="notebooks need nbformat")
nbclient = pytest.importorskip("nbclient", reason="notebooks need nbclient to run")
pytest.importorskip("ipykernel", reason="notebooks need ipykernel to run")
KernelManager = pytest.importorskip("jupyter_client").KernelManager

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "analysis" / "notebooks"
NAMES = ["reading_a_protocol", "comparing_channels", "compositionality", "your_own_metric"]
FIGURES = {"reading_a_protocol": 6, "comparing_channels": 4, "compositionality": 3, "your_own_metric": 2}


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
        shortened += cell.source.count("--epochs 3 ")
        cell.source = cell.source.replace("--epochs 3 ", "--epochs 1 ")
    assert shortened == 1
    # What an earlier notebook imported or made must not help this one.
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    nbclient.NotebookClient(notebook, km=kernel, timeout=180).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == FIGURES[name]
    assert not [text for output in outputs if "Warning" in (text := output.get("text", ""))]
