"""What large inputs cost: nearest neighbors of many features, a long log taken up again, a folder of many files.

    python tests/benchmarks/large.py --beside ../other --turns 1
    python tests/benchmarks/large.py --rows "k-NN" --train 1280000 --test 50000

Each row is a process of its own: seconds of processor time, and the peak of its memory above what it had after imports
and before the work; of the k-NN, above the features too. The k-NN is measured beside one large matrix product.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from beside import compared

# Names that both a checkout of today and one of version 0.1.0 answer to.
warnings.simplefilter("ignore", DeprecationWarning)


def peak() -> float:
    """The most memory that the process has had, GiB; Linux alone."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


def spent(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds of processor time, and GiB that the peak of memory grew by."""
    before, began = peak(), time.process_time()
    run()
    return time.process_time() - began, peak() - before


def neighbors(o: argparse.Namespace) -> dict[str, float]:
    """k-NN of features of 512 numbers in 100 classes."""
    from analysis.features import Features
    from analysis.neighbours import nearest_neighbour_accuracy

    generator = torch.Generator().manual_seed(0)
    train, test = (
        Features(torch.randn(n, 512, generator=generator), torch.randint(100, (n,), generator=generator))
        for n in (o.train, o.test)
    )
    side = 2048
    a = torch.randn(side, side, generator=generator)
    product = min(spent(lambda: a @ a)[0] for _ in range(3)) / (2 * side**3)
    seconds, memory = spent(lambda: nearest_neighbour_accuracy(train, test))
    floor = product * 2 * 512 * o.train * o.test
    return {"processor_s": seconds, "gib": memory, "of_matrix_product": seconds / floor}


def log(o: argparse.Namespace) -> dict[str, float]:
    """A log of so many steps is taken up at its end."""
    from patchgame_egg.callbacks import JsonLines
    from patchgame_egg.trainer import Trainer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        record = {"kind": "train", "epoch": 0, "acc": 0.5, "images_per_s": 300.0, "loss": 3.0}
        with path.open("w") as file:
            file.writelines(json.dumps({**record, "step": step, "batch": step}) + "\n" for step in range(o.lines))
        logger, trainer = JsonLines(path), object.__new__(Trainer)
        trainer.step, trainer.epoch, trainer.n_epochs = o.lines, 1, 1
        seconds, memory = spent(lambda: logger.on_train_begin(trainer))
        assert sum(1 for _ in path.open()) == o.lines
    return {"processor_s": seconds, "gib": memory}


def folder(o: argparse.Namespace) -> dict[str, float]:
    """A folder of so many files in 100 classes is looked through; none is opened."""
    from patchgame_egg.sources import folder_sets

    with tempfile.TemporaryDirectory() as root:
        for number in range(100):
            (Path(root) / f"class{number:02d}").mkdir()
        for number in range(o.files):
            (Path(root) / f"class{number % 100:02d}" / f"{number:06d}.jpg").touch()
        seconds, memory = spent(lambda: folder_sets(root, 32))
    return {"processor_s": seconds, "gib": memory}


ROWS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {"k-NN": neighbors, "log": log, "folder": folder}


def main(argv: list[str]) -> None:
    """Measures and prints a table; ``--json FILE`` writes the numbers."""
    if compared(__file__, argv):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    for option, value in (("train", 128_000), ("test", 5_000), ("lines", 1_000_000), ("files", 200_000)):
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--here", action="store_true", help="the row is measured in this process")
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args(argv)
    if asked.here:
        print(json.dumps(ROWS[asked.rows[0]](asked)))
        return
    sizes = [word for name in ("train", "test", "lines", "files") for word in (f"--{name}", str(getattr(asked, name)))]
    result = {}
    print(" ".join(sizes))
    for row in asked.rows:
        command = [sys.executable, __file__, "--here", "--rows", row, *sizes]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        result[row] = json.loads(done.stdout.splitlines()[-1])
        print(f"{row:8s}", "  ".join(f"{name} {value:.3g}" for name, value in result[row].items()), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
