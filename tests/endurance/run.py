"""Endurance: runs are killed, stopped, starved of disk and fed broken files for an hour, and have to lose nothing.

    python tests/endurance/run.py --minutes 60 --seed 0

Each try plays a tiny game and does something to it at a random moment, again and again until the run is whole. It has
survived if it ends with exactly what an uninterrupted run of the same options has: every number of the log, the final
metrics, the language, the list of skipped images, bit for bit; and if whatever ended early said so in one line. At the
end, a table; what was lost is named, its folder is kept, and the exit status is 1. Linux only.

Most processes are forks of this one, which has imported everything and computed nothing, so that a kill costs a second
and not ten; every twelfth try starts the real command. Both are held against the same uninterrupted run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from broken_files import broken_photos
from disks import full_disk, read_only_disk
from kills import killed, signalled
from play import ROOT, Lost, Stage, import_everything
from together import many_on_one_run, rank_killed

# A process with threads cannot be forked, and sums depend on their number. All processes play this checkout.
SETTING = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
}

# What is tried, and how often in a round.
TRIALS = {
    killed: 10,
    signalled: 3,
    full_disk: 2,
    read_only_disk: 1,
    broken_photos: 2,
    rank_killed: 1,
    many_on_one_run: 2,
}


def main(argv: list[str]) -> int:
    """Tries until the time is up, at least one round's first try; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long")
    parser.add_argument("--seed", type=int, default=0, help="of what is tried, and when")
    parser.add_argument("--only", nargs="+", choices=[t.__name__ for t in TRIALS], help="these alone")
    asked = parser.parse_args(argv)
    chosen = [t for t, times in TRIALS.items() for _ in range(times) if not asked.only or t.__name__ in asked.only]
    end = time.monotonic() + 60 * asked.minutes
    import_everything()
    scratch = Path(tempfile.mkdtemp(prefix="endurance-"))
    stage, rng = Stage(scratch), np.random.default_rng(asked.seed)
    tries, blows, lost = Counter[str](), Counter[str](), Counter[str]()
    order: list[int] = []
    number = 0
    while number == 0 or time.monotonic() < end:
        order = order or rng.permutation(len(chosen)).tolist()
        trial = chosen[order.pop()]
        name = trial.__name__.replace("_", " ")
        folder = scratch / f"{number:05d}"
        stage.begin(folder, real=number % 12 == 11)
        tries[name] += 1
        try:
            trial(stage, np.random.default_rng((asked.seed, number)))
            shutil.rmtree(folder)
        except Lost as error:
            lost[name] += 1
            print(f"LOST, try {number}, {name}, {stage.about}, in {folder}: {error}", flush=True)
        finally:
            stage.end()
        blows[name] += stage.blows
        number += 1
        if number % 25 == 0:
            print(f"{number} tries, {blows.total()} blows, {lost.total()} lost", flush=True)
    print(f"\n{table(tries, blows, lost)}\n")
    for what, counted in stage.counted.items():
        print(f"{what}: {', '.join(f'{name} {n}' for name, n in sorted(counted.items()))}")
    if not lost:
        shutil.rmtree(scratch)
    return 1 if lost else 0


def table(tries: Counter[str], blows: Counter[str], lost: Counter[str]) -> str:
    """What was tried, how often something was done to a run in it, and how it ended."""
    rows = [(name, n, blows[name], n - lost[name], lost[name]) for name, n in tries.items()]
    rows.append(("all", tries.total(), blows.total(), tries.total() - lost.total(), lost.total()))
    lines = ["| | tries | blows | survived | lost |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


if __name__ == "__main__":
    if os.environ.get("OMP_NUM_THREADS") != "1" or str(ROOT) not in sys.path:
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **SETTING})
    sys.exit(main(sys.argv[1:]))
