"""What a command costs before it computes: help, a mistake, a run of a single step, beside Python and torch alone.

    python tests/benchmarks/start_up.py --beside ../other

Each row is a process of its own, in turns, medians over repeats: seconds of processor time and of wall time. Imports
take processor time, so that other work on the machine disturbs the first number little.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from beside import compared

GAME = ["-m", "games.patchgame"]
STEP = [
    *GAME,
    *["--scenes", "128", "--epochs", "1", "--batch-size", "128", "--no-pictures", "--device", "cpu", "--out"],
]
ROWS = {
    "Python": (["-c", ""], 0),
    "import torch": (["-c", "import torch"], 0),
    "help": ([*GAME, "--help"], 0),
    "a wrong option": ([*GAME, "--vocab", "1"], 2),
    "an unknown option": ([*GAME, "--no-such-option"], 2),
    "help of the analysis": (["-m", "analysis", "--help"], 0),
    "a run of one step": (STEP, 0),
}


def seconds(words: list[str], status: int) -> tuple[float, float]:
    """Processor time and wall time of a Python process.

    Raises:
        SystemExit: it ends with another status.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode != status:
        print(f"error: {' '.join(words)} ended with {ended.returncode}:\n{ended.stderr[-2000:]}", file=sys.stderr)
        raise SystemExit(1)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main(argv: list[str]) -> None:
    """Measures and prints a table; ``--json FILE`` writes the numbers."""
    if compared(__file__, argv):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args(argv)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in asked.rows}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(asked.repeats):
            for name in asked.rows:
                words, status = ROWS[name]
                times[name].append(seconds([*words, folder] if words is STEP else words, status))
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    print(f"medians of {asked.repeats}\n| | processor time, s | wall time, s |\n| --- | --- | --- |")
    for name, (processor, wall) in medians.items():
        print(f"| {name} | {processor:.2f} | {wall:.2f} |")
    if asked.json:
        result = {
            kind: {name: row[i] for name, row in medians.items()} for i, kind in enumerate(("processor_s", "wall_s"))
        }
        asked.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
