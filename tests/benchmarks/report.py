"""What `python -m analysis` costs, one size of the corpus at a time, and beside another checkout.

    python tests/benchmarks/report.py
    python tests/benchmarks/report.py --axis vocab=128,8192 --messages 20000 --classes 1000
    python tests/benchmarks/report.py --axis messages=5000 --beside path/to/another/checkout

The corpus that all rows start from has ``--messages`` of ``--slots`` places, half of which are silent, ``--vocab``
symbols, ``--classes`` and ``--attributes`` of eight values each: of the symbols a third say an attribute, a tenth the
class. ``--axis`` names what is changed, and to what. Each row is a process of its own, which reads a corpus and writes
its page: processor time and peak memory of that process, the start included, and the size of the page. With
``--beside`` the two checkouts take turns. The parts of a step are in `step.py` and `scaling.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from analysis.corpus.corpus import Corpus

AXES = {
    "messages": [1000, 5000, 20_000, 50_000],
    "slots": [9, 49, 196],
    "vocab": [32, 128, 1024, 8192],
    "classes": [10, 100, 1000],
}
SIZES = {"messages": 5000, "slots": 49, "vocab": 128, "classes": 100, "attributes": 10}
_VALUES = 8


def corpus(messages: int, slots: int, vocab: int, classes: int, attributes: int) -> Corpus:
    """A language that tells something, always the same."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, messages)
    values = rng.integers(0, _VALUES, (messages, attributes))
    symbols, told = rng.integers(0, vocab, (messages, slots)), rng.random((messages, slots))
    if attributes:
        about = np.arange(slots) % attributes
        symbols = np.where(told < 0.3, (values[:, about] + _VALUES * about) % vocab, symbols)
    symbols = np.where(told > 0.9, labels[:, None] * 7919 % vocab, symbols)
    return Corpus(
        symbols,
        rng.random((messages, slots)).argsort(axis=1) < (slots + 1) // 2,
        vocab_size=vocab,
        labels=labels,
        label_names=tuple(f"class {i}" for i in range(classes)),
        attributes=values if attributes else None,
        attribute_names=tuple(f"attribute {i}" for i in range(attributes)),
        value_names=(tuple(map(str, range(_VALUES))),) * attributes,
    )


def analyse(file: Path, checkout: Path, permutations: int, limit: float) -> dict[str, Any]:
    """Processor seconds, peak GiB and megabytes of the page of one analysis; ``error`` if there is none in time."""
    page = file.with_suffix(".html")
    command = [sys.executable, "-W", "ignore", "-m", "analysis", str(file), "--out", str(page)]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    started = subprocess.Popen(
        [*command, "--permutations", str(permutations)], env=environment, cwd=file.parent, stdout=subprocess.DEVNULL
    )
    peak = 0.0
    while started.poll() is None:
        peak = max(peak, _resident(started.pid))
        if time.perf_counter() - began > limit:
            started.kill()
            started.wait()
            return {"error": f"not done after {limit:.0f} s"}
        time.sleep(0.05)
    if started.returncode:
        return {"error": f"status {started.returncode}"}
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": seconds, "wall": time.perf_counter() - began, "peak_gib": peak,
        "page_mb": page.stat().st_size / 1e6,
    }  # fmt: skip


def _resident(process: int) -> float:
    """The largest memory that a process has had, in GiB; 0 where the system does not tell."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return next((int(x.split()[1]) / 2**20 for x in text.splitlines() if x.startswith("VmHWM")), 0.0)


def middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each number, or the first error."""
    wrong = [run for run in runs if "error" in run]
    return wrong[0] if wrong else {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def line(axis: str, value: int, name: str, row: dict[str, Any]) -> str:
    """A row of a Markdown table."""
    cells = (
        [row["error"], "", "", ""] if "error" in row
        else [f"{row['seconds']:.1f}", f"{row['wall']:.1f}", f"{row['peak_gib']:.2f}", f"{row['page_mb']:.2f}"]
    )  # fmt: skip
    return f"| {axis} | {value:,} | {name} | {' | '.join(cells)} |"


def main(argv: list[str]) -> None:
    """Measures and prints a table; ``--json FILE`` writes the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, size in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--axis", action="append", default=[], help="NAME or NAME=VALUE,VALUE")
    parser.add_argument("--beside", type=Path, default=None, help="another checkout, in turns")
    parser.add_argument("--permutations", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which an analysis is given up")
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args(argv)
    builds = {"here": Path(__file__).resolve().parents[2]}
    if asked.beside:
        builds["beside"] = asked.beside.resolve()
    print("| axis | value | build | processor, s | wall, s | peak, GiB | page, MB |\n|" + " --- |" * 7)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for text in asked.axis or AXES:
            axis, _, values = text.partition("=")
            if axis not in SIZES:
                parser.error(f"--axis {axis}: one of {', '.join(SIZES)}")
            for value in [int(v) for v in values.split(",") if v] or AXES[axis]:
                file = Path(folder) / f"{axis}-{value}.npz"
                corpus(**{name: getattr(asked, name) for name in SIZES} | {axis: value}).save(file)
                runs: dict[str, list[dict[str, Any]]] = {name: [] for name in builds}
                for _ in range(asked.repeats):
                    for name, checkout in builds.items():
                        runs[name].append(analyse(file, checkout, asked.permutations, asked.limit))
                for name in builds:
                    rows.append({"axis": axis, "value": value, "build": name, **middle(runs[name])})
                    print(line(axis, value, name, rows[-1]), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
