"""A benchmark run in two checkouts, in turns: this one, the other, this one, the other.

    python tests/benchmarks/start_up.py --beside ../other --turns 3

Every script here that has ``--json`` takes these two options. Each turn is a process of its own, with the package of
its checkout and the script of its checkout, or this one where that has none. Of every number that both write, the
medians over the turns are printed, and their ratio: machines drift, ratios of turns that lie close together less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]


def numbers(found: Any, name: str = "") -> dict[str, float]:
    """The numbers in what was read from JSON, by the path to each."""
    if isinstance(found, bool) or not isinstance(found, int | float | dict | list):
        return {}
    if isinstance(found, int | float):
        return {name: float(found)}
    inside = found.items() if isinstance(found, dict) else enumerate(found)
    return {k: v for key, value in inside for k, v in numbers(value, f"{name} {key}".strip()).items()}


def turn(script: Path, checkout: Path, words: Sequence[str]) -> dict[str, float]:
    """What the script finds in a checkout.

    Raises:
        SystemExit: it fails there.
    """
    own = checkout / script.relative_to(HERE)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "found.json"
        command = [sys.executable, str(own if own.exists() else script), *words, "--json", str(written)]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if ended.returncode:
            print(f"error: {own.name} fails with {checkout}:\n{ended.stderr[-2000:]}", file=sys.stderr)
            raise SystemExit(1)
        return numbers(json.loads(written.read_text()))


def compared(script: str, argv: Sequence[str]) -> bool:
    """Runs a script in two checkouts and prints a table, if ``--beside`` asks for that.

    Args:
        script: the file that asks, of this checkout.
        argv: its command line.

    Returns:
        Whether that was asked for, and nothing is left to do.

    Raises:
        SystemExit: there is no such checkout, or the script fails in one.
    """
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--beside", type=Path, default=None)
    own.add_argument("--turns", type=int, default=3)
    asked, words = own.parse_known_args(argv)
    if asked.beside is None:
        return False
    other = asked.beside.resolve()
    if not (other / "patchgame_egg").is_dir() or asked.turns < 1:
        print(f"error: --beside {asked.beside}, --turns {asked.turns}: a checkout and at least 1", file=sys.stderr)
        raise SystemExit(2)
    found = [(turn(Path(script).resolve(), HERE, words), turn(Path(script).resolve(), other, words))
             for _ in range(asked.turns)]  # fmt: skip
    print(
        f"{HERE} beside {other}: medians of {asked.turns} turns\n| | here | beside | here / beside |\n{'| --- ' * 4}|"
    )
    for name in found[0][0]:
        if all(name in both for pair in found for both in pair):
            here, there = (statistics.median(pair[side][name] for pair in found) for side in (0, 1))
            print(f"| {name} | {here:.4g} | {there:.4g} | {f'{here / there:.3f}' if there else ''} |")
    return True
