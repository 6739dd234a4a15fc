"""How the cost of a training step grows, one axis at a time, beside the least that it could be.

    python tests/benchmarks/scaling.py --json scaling.json --plot scaling.png
    python tests/benchmarks/scaling.py --preset paper --device cuda --precision bf16

Takes every option of the game for the step that all rows start from (by default the small preset with 7 x 7 patches),
and ``--axis NAME=VALUE,VALUE`` for some of the axes, or other values:

    batch     images of a step, over all processes
    patches   patches of an image, by smaller patches
    image     patches of an image, by a larger image
    vocab     symbols
    symbols   symbols of a patch
    ranks     processes on this machine, which share the batch and the threads

Each row is measured in a process of its own, and so are the device's rates: the median of several steps, the peak of
memory of a process (on a GPU, of tensors), the floors of `floor.py`, and what each of several processes would send in
a step (of two, where the row has one).

    python tests/benchmarks/scaling.py --corpus [options of `report.py`]

shows instead what the analysis of a language costs, by messages, slots, symbols and classes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import report
import torch
from beside import compared
from floor import bandwidth, exchanged, matrix_rate, memory_traffic, operations
from scaling_figure import plot
from step import Step, median_seconds, peak_memory

from games.build.trainer import chosen_precision
from games.options.command_line import fail, parse, pick_device
from games.options.config import Config
from patchgame_egg.distributed.gather import gather_rows
from patchgame_egg.distributed.processes import is_rank_zero, process_group, world_size
from patchgame_egg.training.malloc import keep_freed_memory

Row = dict[str, Any]

SMALL = ["--image-size", "56", "--batch-size", "32"]


def axis_values(config: Config, device: torch.device) -> dict[str, list[int]]:
    """The values of each axis, unless others are asked for."""
    b, side, grids = config.training.batch_size, config.images.image_size, (7, 14, 28)
    most = torch.cuda.device_count() if device.type == "cuda" else 2
    return {
        "batch": [max(2, b // 4), max(2, b // 2), b, 2 * b, 4 * b],
        "patches": [g**2 for g in grids if side % g == 0],
        "image": [g**2 for g in grids if g >= config.grid],
        "vocab": [32, 128, 512, 2048, 8192],
        "symbols": [1, 2, 4, 8],
        "ranks": [n for n in (1, 2, 4, 8) if n <= most],
    }


def options_of(axis: str, value: int, config: Config) -> list[str]:
    """What a value of an axis is called on the command line.

    Raises:
        ValueError: there is no such axis, or no image of so many patches.
    """
    grid = round(value**0.5)
    if axis in ("patches", "image") and (grid**2 != value or config.images.image_size % grid):
        raise ValueError(f"--axis {axis}={value}: patches of an image are a square number whose root divides its side")
    found = {
        "batch": ["--batch-size", str(value)],
        "patches": ["--patch-size", str(config.images.image_size // grid)],
        "image": ["--image-size", str(config.speaker.patch_size * grid)],
        "vocab": ["--vocab", str(value)],
        "symbols": ["--symbols-per-patch", str(value)],
        "ranks": [],
    }
    if axis not in found:
        raise ValueError(f"--axis {axis}: one of {', '.join(found)}")
    return found[axis]


def measure(config: Config, device: torch.device, repeats: int, seconds: float) -> Row:
    """What one row says, of the step that this process takes part in."""
    ranks, batch = world_size(), config.training.batch_size
    step = Step(replace(config, training=replace(config.training, batch_size=batch // ranks)), device)
    once = torch.tensor([median_seconds(step, 1, device)], device=device)
    # Steps wait for all processes, so that all must take as many.
    count = max(3, min(repeats, int(seconds / gather_rows(once).max())))
    took = median_seconds(step, count, device)
    memory = peak_memory(device)
    work, moved = operations(step), memory_traffic(step)
    rate, width = matrix_rate(device, step.dtype), bandwidth(device)
    floors = {"operations": work / rate, "memory": sum(moved.values()) / width}
    # The seconds are those of one process, the batch is everybody's.
    return {
        "patches": config.grid**2,
        "repeats": count,
        "step_ms": 1000 * took,
        "images_per_s": batch / took,
        "peak_memory_gib": memory,
        "operations": work,
        "matrix_operations_per_s": rate,
        "moved_bytes": moved,
        "memory_bytes_per_s": width,
        "floor_ms": {name: 1000 * t for name, t in floors.items()},
        "of_floor": took / max(floors.values()),
        "sent_bytes": exchanged(step, max(ranks, 2)),
    }


def measure_alone(argv: list[str], ranks: int, threads: int, limits: list[str]) -> Row:
    """A row, measured in a process of its own, or in several.

    Raises:
        ValueError: the step cannot be taken, for want of memory say.
    """
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    command = [sys.executable, *launch, __file__, *argv, "--row", *limits, "--threads", str(max(1, threads // ranks))]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        said = [x for x in done.stderr.splitlines() if re.match(r"(\[rank0\]: )?(error|[\w.]*Error)", x)]
        raise ValueError(said[0] if said else f"the process ended with status {done.returncode}")
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def table_line(row: Row) -> str:
    """A row of a Markdown table."""
    if "error" in row:
        return f"| {row['axis']} | {row['value']:,} | {row['error']} |"
    floors, sent = row["floor_ms"], row["sent_bytes"]
    cells = [
        f"{row['step_ms']:,.0f}", f"{row['images_per_s']:,.1f}", f"{row['peak_memory_gib']:.2f}",
        f"{row['operations'] / 1e9:,.1f}", f"{floors['operations']:,.0f}",
        f"{sum(row['moved_bytes'].values()) / 1e9:,.2f}", f"{floors['memory']:,.0f}", f"{row['of_floor']:.1f}",
        f"{sum(sent.values()) / 1e6:,.1f}",
    ]  # fmt: skip
    return f"| {row['axis']} | {row['value']:,} | {' | '.join(cells)} |"


COLUMNS = [
    "axis", "value", "step, ms", "images/s", "peak GiB", "GFLOP", "floor: operations, ms", "GB moved",
    "floor: memory, ms", "times the floor", "MB sent",
]  # fmt: skip
HEADER = f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}"


def asked_axes(texts: list[str], config: Config, device: torch.device) -> dict[str, list[int]]:
    """The axes to measure, from ``NAME`` or ``NAME=VALUE,VALUE``; all without any.

    Raises:
        ValueError: a name or a value that is none.
    """
    known = axis_values(config, device)
    asked = {}
    for text in texts or known:
        name, _, values = text.partition("=")
        if name not in known or not re.fullmatch(r"[\d,]*", values):
            raise ValueError(f"--axis {text}: give NAME or NAME=VALUE,VALUE with one of {', '.join(known)}")
        asked[name] = [int(v) for v in values.split(",") if v] or known[name]
    return asked


def main(argv: list[str]) -> None:
    """Measures and prints a table; ``--json FILE`` writes the numbers, ``--plot FILE`` draws them."""
    if argv[:1] == ["--corpus"]:
        report.main(argv[1:])
        return
    if compared(__file__, argv):
        return
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--axis", action="append", default=[])
    own.add_argument("--repeats", type=int, default=15)
    own.add_argument("--seconds", type=float, default=4.0)
    own.add_argument("--threads", type=int, default=torch.get_num_threads())
    own.add_argument("--json", type=Path, default=None)
    own.add_argument("--plot", type=Path, default=None)
    own.add_argument("--row", action="store_true")
    own.add_argument("--help", "-h", action="store_true")
    o, rest = own.parse_known_args(argv)
    if o.help:
        print(__doc__)
        return
    if "--preset" not in rest and not o.row:
        rest = [*SMALL, *rest]
    limits = ["--repeats", str(o.repeats), "--seconds", str(o.seconds)]
    try:
        start = parse(rest)
        asked = pick_device(start.config.training.device)
        if o.row:
            torch.set_num_threads(o.threads)
            keep_freed_memory()
            with process_group(asked) as device:
                row = measure(start.config, device, o.repeats, o.seconds)
                if is_rank_zero():
                    print(json.dumps(row))
            return
        axes = asked_axes(o.axis, start.config, asked)
        tried = {axis: [(v, options_of(axis, v, start.config)) for v in values] for axis, values in axes.items()}
    except ValueError as error:
        fail(error)
    about = {
        "preset": start.preset, "options": rest, "precision": chosen_precision(start.config, asked),
        "device": torch.cuda.get_device_name(asked) if asked.type == "cuda" else "cpu", "threads": o.threads,
        "torch": torch.__version__,
    }  # fmt: skip
    title = f"{about['preset']}, batch {start.config.training.batch_size}, {about['precision']}, {about['device']}"
    print(f"{' '.join(rest)}; {about['device']}, {o.threads} threads, torch {torch.__version__}\n{HEADER}")
    rows: list[Row] = []
    known: dict[tuple[object, ...], Row] = {}
    for axis, values in tried.items():
        for value, options in values:
            ranks = value if axis == "ranks" else 1
            key = (parse([*rest, *options]).config, ranks)
            try:
                if key not in known:
                    known[key] = measure_alone([*rest, *options], ranks, o.threads, limits)
                row = known[key]
            except ValueError as error:
                row = {"error": str(error)}
            rows.append({"axis": axis, "value": value, **row})
            print(table_line(rows[-1]), flush=True)
    if o.json:
        o.json.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n")
    if o.plot:
        print(f"wrote {plot(rows, title, o.plot)}")


if __name__ == "__main__":
    main(sys.argv[1:])
