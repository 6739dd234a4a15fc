"""The same game in many ways: every channel, or one channel at many message lengths, over several seeds.

    python -m games.compare channels --seeds 3 --data folder --root photos
    python -m games.compare lengths --data folder --root photos

Whatever follows is passed on to `games.patchgame` for every run. Runs that are finished are not repeated, and one that
was interrupted goes on, so the command can be stopped and given again. It leaves ``table.csv``, ``table.md`` and
pictures in its folder.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pandas as pd

from games import patchgame
from games.command_line import fail, load_config
from patchgame_egg.callbacks import read_log

CHANNELS = {
    "patch, Gumbel": [],
    "patch, REINFORCE": ["--channel", "reinforce"],
    "patch, quantised": ["--channel", "quantised"],
    "patch, continuous": ["--channel", "continuous"],
    "LSTM, Gumbel": ["--speaker", "lstm"],
    "LSTM, REINFORCE": ["--speaker", "lstm", "--channel", "reinforce"],
    "LSTM, continuous": ["--speaker", "lstm", "--channel", "continuous"],
    "transformer, Gumbel": ["--speaker", "transformer"],
    "transformer, REINFORCE": ["--speaker", "transformer", "--channel", "reinforce"],
}
LENGTHS = {
    **{f"keep {share:.0%}": ["--keep-fraction", str(share)] for share in (0.0625, 0.125, 0.25, 0.5, 1.0)},
    **{f"cost {cost}": ["--gate", "free", "--speak-cost", str(cost)] for cost in (0.0, 0.003, 0.01, 0.03)},
    "ranks": [],
}


def play_all(variants: dict[str, list[str]], seeds: int, folder: Path, options: Sequence[str]) -> None:
    """Plays what is not finished yet, seed by seed, so that every variant has a first result early."""
    for seed in range(seeds):
        for name, own in variants.items():
            run = run_folder(folder, name, seed)
            if (run / "metrics.json").exists():
                continue
            print(f"== {name}, seed {seed}", flush=True)
            if (run / "config.json").exists():
                patchgame.main(["--resume", str(run)])
            else:
                given = ["--out", str(folder), "--name", run.name, "--seed", str(seed), "--no-pictures"]
                patchgame.main([*options, *own, *given])


def run_folder(folder: Path, name: str, seed: int) -> Path:
    """Where a run lies."""
    return folder / f"{name.replace(', ', '-').replace(' ', '-').replace('%', '')}-{seed}"


def measure(variants: dict[str, list[str]], seeds: int, folder: Path) -> pd.DataFrame:
    """One row per run: what its last validation found, and its median rate."""
    rows = []
    for name in variants:
        for seed in range(seeds):
            run = run_folder(folder, name, seed)
            last = json.loads((run / "metrics.json").read_text())
            train = [r for r in read_log(run / "log.jsonl") if r["kind"] == "train"]
            discrete = load_config(run / "config.json")[0].channel.channel != "continuous"
            rows.append(
                {
                    "variant": name,
                    "seed": seed,
                    "top1": 100 * last["acc"],
                    "symbols": last["active_symbols"] if discrete else None,
                    "message_bits": last["message_bits"] if discrete else None,
                    "length": last["mean_length"] if discrete else None,
                    "images_per_s": median(r["images_per_s"] for r in train),
                    "images": sum(r["images"] for r in train),
                    "chance": 100 / last["candidates"],
                }
            )
    return pd.DataFrame(rows)


def tabulate(frame: pd.DataFrame) -> str:
    """Markdown: the mean over seeds, and the standard deviation of the accuracy."""
    head = ["", "top-1, %", "symbols used", "message entropy, bits", "mean length", "images/s"]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for name, runs in frame.groupby("variant", sort=False):
        spread = f" ± {runs.top1.std():.1f}" if len(runs) > 1 else ""
        cells = [str(name), f"{runs.top1.mean():.1f}{spread}"]
        for column, digits in (("symbols", 0), ("message_bits", 1), ("length", 1), ("images_per_s", 0)):
            mean = runs[column].astype(float).mean()
            cells.append("" if pd.isna(mean) else f"{mean:.{digits}f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the comparison; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m games.compare", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("what", choices=["channels", "lengths"])
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, with seeds 0, 1, ...")
    parser.add_argument("--folder", type=Path, default=None, help="where the runs go; runs/WHAT if not given")
    asked, options = parser.parse_known_args(argv)
    if asked.seeds < 1:
        fail(f"--seeds {asked.seeds}: must be at least 1")
    folder = asked.folder or Path("runs") / asked.what
    variants = CHANNELS if asked.what == "channels" else LENGTHS
    play_all(variants, asked.seeds, folder, options)
    frame = measure(variants, asked.seeds, folder)
    frame.to_csv(folder / "table.csv", index=False)
    (folder / "table.md").write_text(tabulate(frame))
    print(tabulate(frame))
    # Plotting packages take seconds to import.
    from analysis.comparison import draw_accuracy_against_length, draw_learning

    logs = {
        name: [read_log(run_folder(folder, name, s) / "log.jsonl") for s in range(asked.seeds)] for name in variants
    }
    print(f"wrote {draw_learning(logs, folder / 'learning.png')}")
    if asked.what == "lengths":
        print(f"wrote {draw_accuracy_against_length(frame, folder / 'lengths.png')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
