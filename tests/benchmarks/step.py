"""What one training step costs, and which part of it.

    python tests/benchmarks/step.py --preset paper --batch-size 16

Takes every option of the game, so any preset, size and device can be measured, and three of its own. The parts are
timed alone, forward and backward, on the tensors that reach them in a real step; their sum differs from the whole step
by what the step does not repeat. Medians over repeats; compare numbers of one run only, machines differ and drift.

``--naive`` times, in turns with ours, a step that computes the same without our care: every slot of a message is
encoded, silent or not, the heads' wide vectors are always made, images and weights lie in torch's default order, the
optimizer is not fused, nothing is compiled, numbers have 32 bits, and memory is given back to the system as soon as it
is free. Each turn is a process of its own, whose peak memory is measured too.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from beside import compared
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from games.build.agents import build_game, compile_networks
from games.build.data import build_views
from games.build.optimizer import build_optimizer
from games.build.trainer import chosen_precision
from games.options.command_line import Start, fail, parse, pick_device
from games.options.config import Config
from patchgame_egg.agents.listener import TextEncoder
from patchgame_egg.agents.patch_speaker import PatchSpeaker
from patchgame_egg.distributed.batch_norm import sync_batch_norm
from patchgame_egg.distributed.processes import is_distributed
from patchgame_egg.game import Game
from patchgame_egg.interaction import Message
from patchgame_egg.training.malloc import keep_freed_memory


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
    status = Path("/proc/self/status")
    if status.exists():
        # Linux's getrusage also counts the process that this one was started by.
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


def encode_all_slots(text: TextEncoder, message: Message) -> Tensor:
    """What a text encoder gives, with every slot computed; silent ones are masked."""
    x = message.vectors @ text.symbols.to(message.vectors.dtype) + text.positions
    x = torch.cat([text.cls.expand(len(x), -1, -1).to(x.dtype), x], dim=1)
    present = F.pad(message.mask, (1, 0), value=True)
    for block in text.blocks:
        x = block(x, present)
    return text.norm(x[:, 0])


class Step:
    """A training step on random images, ours or the naive one."""

    def __init__(self, config: Config, device: torch.device, naive: bool = False) -> None:
        game = build_game(config)
        if not isinstance(game, Game):
            raise ValueError("one speaker and one listener are timed: leave out --speakers and --listeners")
        self.game, self.device, self.naive, self.views = game.to(device), device, naive, build_views(config)
        sync_batch_norm(game, device)
        b, side = config.training.batch_size, config.load_size
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(256, (b, 3, side, side), generator=generator, dtype=torch.uint8).to(device)
        dtypes = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
        self.dtype = None if naive else dtypes[chosen_precision(config, device)]
        self.optimizer, _ = build_optimizer(config, game, 1, chosen_precision(config, device))
        if naive:
            game.receiver.narrow = False
            game.receiver.text.forward = partial(encode_all_slots, game.receiver.text)
            for group in self.optimizer.param_groups:
                group["fused"] = False
        else:
            game.to(memory_format=torch.channels_last)
            if config.training.compile:
                compile_networks(game)
        self.played = DistributedDataParallel(game) if is_distributed() else game

    def autocast(self) -> torch.autocast:
        """The precision that the options ask for."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def __call__(self) -> None:
        """Makes two views, plays, and learns."""
        first, second = (v.contiguous() if self.naive else v for v in self.views(self.images))
        self.learn(first, second)

    def learn(self, first: Tensor, second: Tensor) -> None:
        """Plays with two views, and learns."""
        with self.autocast():
            loss, _ = self.played(first, None, second)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def take_turn(argv: list[str], form: str) -> dict[str, float]:
    """The median seconds of a few steps, and their peak memory in GiB, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, *argv, "--turn", form], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def compare_with_naive(start: Start, repeats: int, argv: list[str]) -> dict[str, Any]:
    """Times our step and the naive one in turns."""
    turns: dict[str, list[dict[str, float]]] = {"naive": [], "ours": []}
    for _ in range(repeats):
        for name, found in turns.items():
            found.append(take_turn(argv, name))
    medians = {name: statistics.median(turn["seconds"] for turn in found) for name, found in turns.items()}
    return {
        "step_ms": {name: 1000 * seconds for name, seconds in medians.items()},
        "images_per_s": {name: start.config.training.batch_size / seconds for name, seconds in medians.items()},
        "peak_memory_gib": {name: max(turn["memory"] for turn in found) for name, found in turns.items()},
        "faster": medians["naive"] / medians["ours"],
    }


def measure(start: Start, repeats: int) -> dict[str, Any]:
    """Times the step and its parts under the options of ``start``."""
    config, device = start.config, pick_device(start.config.training.device)
    step = Step(config, device)
    game, views, optimizer, autocast = step.game, step.views, step.optimizer, step.autocast
    seconds = median_seconds(step, repeats, device)
    memory = peak_memory(device)

    first, second = views(step.images)
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
        "views": lambda: views(step.images),
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
        "batch_size": config.training.batch_size,
        "precision": chosen_precision(config, device),
        "parameters": sum(p.numel() for p in game.parameters()),
        "step_ms": 1000 * seconds,
        "images_per_s": config.training.batch_size / seconds,
        "peak_memory_gib": memory,
        "parts_ms": {name: 1000 * t for name, t in found.items()},
    }


def main(argv: list[str]) -> None:
    """Measures and prints a table; ``--json FILE`` writes the numbers."""
    if compared(__file__, argv):
        return
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--repeats", type=int, default=5)
    own.add_argument("--threads", type=int, default=None)
    own.add_argument("--json", type=Path, default=None)
    own.add_argument("--naive", action="store_true")
    own.add_argument("--turn", choices=["ours", "naive"], default=None)
    options, rest = own.parse_known_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        start = parse(rest)
        if options.turn != "naive":
            keep_freed_memory()
        if options.turn:
            step = Step(start.config, pick_device(start.config.training.device), options.turn == "naive")
            seconds = median_seconds(step, 3, step.device)
            print(json.dumps({"seconds": seconds, "memory": peak_memory(step.device)}))
            return
        result = measure(start, options.repeats)
        if options.naive:
            threads = ["--threads", str(options.threads)] if options.threads else []
            result["beside_naive"] = compare_with_naive(start, options.repeats, [*rest, *threads])
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
    if options.naive:
        beside = result["beside_naive"]
        print("in turns with the naive form:")
        for name in ("naive", "ours"):
            print(
                f"  {name:8s}{beside['step_ms'][name]:9.1f} ms, {beside['images_per_s'][name]:8.2f} images/s, "
                f"peak memory {beside['peak_memory_gib'][name]:.2f} GiB"
            )
        print(f"  ours is {beside['faster']:.2f} times as fast")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
