"""What one training step costs, and which part of it.

    python tests/benchmarks/step.py --preset paper --batch-size 16

Takes every option of the game, so any preset, size and device can be measured, and three of its own. The parts are
timed alone, forward and backward, on the tensors that reach them in a real step; their sum differs from the whole step
by what the step does not repeat. Medians over repeats; compare numbers of one run only, machines differ and drift.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from games.agents import build_game
from games.command_line import Start, fail, parse
from games.patchgame import build_optimizer, build_views, pick_device
from patchgame_egg.agents import PatchSpeaker
from patchgame_egg.game import Game
from patchgame_egg.interaction import Message


def median_seconds(run: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """The median time of ``repeats`` calls after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def backward(*outputs: Tensor) -> None:
    """Sends a gradient of ones into the outputs."""
    torch.autograd.backward(outputs, [torch.ones_like(o) for o in outputs])


def leaf(x: Tensor) -> Tensor:
    """The same values as a point where gradients end."""
    return x.detach().requires_grad_()


def peak_memory(device: torch.device) -> float:
    """The most memory used so far, GiB: of the process on a CPU, of tensors on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    # Linux counts KiB, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def measure(start: Start, repeats: int) -> dict[str, Any]:
    """Times the step and its parts under the options of ``start``."""
    config, device = start.config, pick_device(start.config.training.device)
    game = build_game(config)
    if not isinstance(game, Game):
        raise ValueError("the parts of one speaker and one listener are timed: leave out --speakers and --listeners")
    game.to(memory_format=torch.channels_last).to(device)
    views = build_views(config)
    optimizer, _ = build_optimizer(config, game, 1)
    b, side = config.training.batch_size, config.load_size
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (b, 3, side, side), generator=generator, dtype=torch.uint8).to(device)
    dtypes = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = dtypes[config.training.precision]

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, dtype, enabled=dtype is not None)

    def step() -> None:
        first, second = views(images)
        with autocast():
            loss, _ = game(first, None, second)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    seconds = median_seconds(step, repeats, device)
    memory = peak_memory(device)

    first, second = views(images)
    sender, channel, receiver = game.sender, game.channel, game.receiver
    with autocast():
        features = sender(first)
        features = replace(features, **{k: leaf(v) for k, v in vars(features).items() if isinstance(v, Tensor)})
        message: Message = channel(features)
        heard = replace(
            message, vectors=leaf(message.vectors), gate=None if message.gate is None else leaf(message.gate)
        )
        said, seen = leaf(receiver.text(heard)), leaf(receiver.vision(second))
        output = [leaf(receiver.text_head(said)), leaf(receiver.vision_head(seen))]
    step_gradients = [torch.zeros_like(p) for p in game.parameters()]

    def under_autocast(run: Callable[[], None]) -> Callable[[], None]:
        def timed() -> None:
            with autocast():
                run()

        return timed

    def optimise() -> None:
        for p, g in zip(game.parameters(), step_gradients, strict=True):
            p.grad = g
        optimizer.step()

    def speak() -> None:
        said = channel(features)
        per_sample = said.vectors.sum(dim=(1, 2))
        backward(per_sample.mean() + channel.surrogate(said, per_sample))

    if isinstance(sender, PatchSpeaker):
        speaker: dict[str, Callable[[], None]] = {
            "speaker: PatchSymbol": under_autocast(lambda: backward(sender.symbol(first))),
            "ranking: PatchRank": under_autocast(lambda: backward(sender.rank(first))),
        }
    else:
        speaker = {"speaker: encoder": under_autocast(lambda: backward(sender(first).summary))}
    parts: dict[str, Callable[[], None]] = {
        "views": lambda: views(images),
        **speaker,
        "channel": under_autocast(speak),
        "listener: text": under_autocast(lambda: backward(receiver.text(heard))),
        "listener: vision": under_autocast(lambda: backward(receiver.vision(second))),
        "heads": under_autocast(lambda: backward(receiver.text_head(said), receiver.vision_head(seen))),
        "loss": lambda: backward(game.loss(first, message, second, output, None, None)[0]),
        "optimizer": optimise,
    }
    found = {name: median_seconds(run, repeats, device) for name, run in parts.items()}
    return {
        "preset": start.preset,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "batch_size": b,
        "precision": config.training.precision,
        "parameters": sum(p.numel() for p in game.parameters()),
        "step_ms": 1000 * seconds,
        "images_per_s": b / seconds,
        "peak_memory_gib": memory,
        "parts_ms": {name: 1000 * t for name, t in found.items()},
    }


def main(argv: list[str]) -> None:
    """Measures and prints a table; ``--json FILE`` writes the numbers."""
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--repeats", type=int, default=5)
    own.add_argument("--threads", type=int, default=None)
    own.add_argument("--json", type=Path, default=None)
    options, rest = own.parse_known_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        result = measure(parse(rest), options.repeats)
    except ValueError as error:
        fail(error)
    total = sum(result["parts_ms"].values())
    print(
        f"{result['preset']}, batch {result['batch_size']}, {result['precision']}, {result['device']}, "
        f"{result['threads']} threads, {result['parameters'] / 1e6:.1f} M parameters"
    )
    print(
        f"step {result['step_ms']:.0f} ms, {result['images_per_s']:.2f} images/s, "
        f"peak memory {result['peak_memory_gib']:.2f} GiB (medians of {options.repeats})"
    )
    for name, ms in result["parts_ms"].items():
        print(f"  {name:32s}{ms:9.1f} ms {100 * ms / total:5.1f} %")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
