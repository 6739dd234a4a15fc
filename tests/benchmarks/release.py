"""A step of `paper` beside one of the authors' release: forward, backward and optimizer, the same batch of images.

    git clone https://github.com/kampta/PatchGame
    python tests/benchmarks/release.py PatchGame

The release is built with the defaults of its `train.py` (224 px, patches of 32, heads of 65,536, AdamW), with its ViT
as PatchSymbol and without context, in 32 bits: its half precision is for GPUs alone. Its torchsort is replaced by our
ranking, which is exact too, so that nothing has to be compiled; it takes a thousandth of the step. The forms take
turns, each turn in a process of its own; medians of steps and of turns. Views are not counted. The two do not compute
the same: the release attends to all patches, ours to those that speak.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from beside import compared
from step import Step, median_seconds, peak_memory

from games.options.command_line import parse
from patchgame_egg.channels.ranking import soft_rank
from patchgame_egg.training.malloc import keep_freed_memory

RELEASE = {"release, its default": True, "release, without context": False}
OURS = {"paper, float32": "fp32", "paper, --precision auto": "auto"}


def release_step(path: Path, context: bool, batch: int) -> Callable[[], None]:
    """A step of the release as its `train.py` takes it, in one process."""
    shim = ModuleType("torchsort")
    shim.__dict__["soft_rank"] = lambda scores, regularization_strength: soft_rank(scores, regularization_strength)
    sys.modules["torchsort"] = shim
    sys.path.insert(0, str(path))
    builder, utils = importlib.import_module("patch_game.builder"), importlib.import_module("utils")
    # It asks for its rank.
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    game = builder.PatchGame(
        sender_hidden_size=768, use_context=context, vocab_size=128, hard=True, receiver_dim=65536,
        receiver_hidden_size=192, num_heads=3,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(utils.get_params_groups(game), lr=1e-4, weight_decay=0.04)
    first, second = torch.randn(2, batch, 3, 224, 224, generator=torch.Generator().manual_seed(0))

    def step() -> None:
        F.cross_entropy(*game(first, second, temperature=5.0)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def our_step(precision: str, batch: int) -> Callable[[], None]:
    """A step of the preset with the release's optimizer."""
    words = ["--preset", "paper", "--optimizer", "adamw", "--precision", precision, "--batch-size", str(batch)]
    step = Step(parse([*words, "--device", "cpu"]).config, torch.device("cpu"))
    first, second = step.views(step.images)
    return lambda: step.learn(first, second)


def main(argv: list[str]) -> None:
    """Measures and prints a table; ``--json FILE`` writes the numbers."""
    if compared(__file__, argv):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path, help="folder of the release")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3, help="steps of a turn, after one that does not count")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each form")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--form", choices=[*RELEASE, *OURS], default=None, help="one turn of this form alone")
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args(argv)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    if asked.form:
        if asked.form in OURS:
            keep_freed_memory()
            step = our_step(OURS[asked.form], asked.batch_size)
        else:
            step = release_step(asked.release.resolve(), RELEASE[asked.form], asked.batch_size)
        seconds = median_seconds(step, asked.repeats, torch.device("cpu"))
        print(json.dumps({"seconds": seconds, "gib": peak_memory(torch.device("cpu"))}))
        return
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in (*RELEASE, *OURS)}
    for _ in range(asked.rounds):
        for name, found in turns.items():
            command = [sys.executable, "-W", "ignore", __file__, *argv, "--form", name]
            found.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout))
    seconds_of = {name: statistics.median(turn["seconds"] for turn in found) for name, found in turns.items()}
    print("| | step, ms (fastest to slowest) | images/s | peak, GiB | of its default | without context |")
    print("|" + " --- |" * 6)
    for name, found in turns.items():
        every, seconds = [1000 * turn["seconds"] for turn in found], seconds_of[name]
        cells = [
            f"{1000 * seconds:,.0f} ({min(every):,.0f} to {max(every):,.0f})", f"{asked.batch_size / seconds:.2f}",
            f"{max(turn['gib'] for turn in found):.2f}", *(f"{seconds_of[other] / seconds:.2f}" for other in RELEASE),
        ]  # fmt: skip
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(turns, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
