"""All that only a GPU can tell, in one run of under ten minutes: rates first, then code that no CPU runs.

    python tests/benchmarks/gpu.py --json gpu.json
    python tests/benchmarks/gpu.py --device cpu --small

The second is its rehearsal, of toy sizes. Each part is a process of its own: one that fails or takes too long says so
in its row, and the others are measured all the same. What is left when the minutes are used up is named and left out.
Exit status 1 if any part failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
TOY = [
    *["--image-size", "32", "--patch-size", "8", "--batch-size", "8", "--rank-width", "4", "--text-dim", "12"],
    *["--text-depth", "2", "--vision-width", "4", "--head-hidden", "16", "--head-bottleneck", "8"],
]


def parts(device: str, small: bool) -> dict[str, list[str]]:
    """The scripts and their options, the most wanted first; none has a path of its own to write to."""
    paper = TOY if small else ["--preset", "paper"]
    few = ["--repeats", "1"] if small else ["--repeats", "10"]
    half = [] if device == "cpu" else ["fp16"]
    batches = "2,4" if small else "128,512,1024"
    found = {}
    for precision in ["bf16", *half, "fp32"]:
        size = [] if small else ["--batch-size", "512" if precision != "fp32" else "256"]
        found[f"step, {precision}"] = ["step.py", *paper, *size, "--precision", precision, "--device", device, *few]
    views = ["--size", "32" if small else "224", "--batch-size", "8" if small else "256", "--repeats", "2"]
    found["views"] = ["views.py", *views, "--device", device]
    for trial in TRIALS:
        found[trial] = ["gpu.py", "--trial", trial, "--device", device, *(["--small"] if small else [])]
    options = [*paper, "--precision", "bf16", "--device", device, "--seconds", "1"]
    found["scaling"] = ["scaling.py", *options, "--axis", f"batch={batches}"]
    photos = ["--photos", "16", "--size", "32", "--batch", "8", "--repeats", "1"] if small else ["--repeats", "2"]
    found["input, decoded by the processor"] = ["input.py", *photos]
    return found


def jpeg(device: torch.device, small: bool) -> dict[str, Any]:
    """Photos a second out of the GPU's decoder, by workers that read, and how far its pixels are from the CPU's."""
    from input import write_photos

    from patchgame_egg.data import loader as loading
    from patchgame_egg.data.folders import folder_sets
    from patchgame_egg.data.gpu_jpeg import GpuJpegLoader
    from patchgame_egg.data.loader import ImageLoader

    loading._MEMORY_BYTES = 0  # so that every epoch decodes
    count, side, batch = (16, 32, 8) if small else (4096, 256, 512)
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder), count)
        files, _ = folder_sets(folder, side)
        found: dict[str, Any] = {}
        for workers in (0,) if small else (0, 4, 8):
            loader = GpuJpegLoader(files, batch, workers=workers, device=device)
            for _ in range(2):
                began = time.perf_counter()
                done = sum(len(b.sender_input) for b in loader)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
            found[f"images_per_s, {workers} workers"] = done / (time.perf_counter() - began)
        theirs, ours = next(iter(loader)), next(iter(ImageLoader(files, batch)))
        gap = (theirs.sender_input.cpu().float() - ours.sender_input.float()).abs()
        return {**found, "levels apart, mean": float(gap.mean()), "levels apart, most": float(gap.max())}


def crops(device: torch.device, small: bool) -> dict[str, Any]:
    """Crops by matrices against the CPU's 8-bit kernel, in levels of 255."""
    from patchgame_egg.data.scenes import Scenes
    from patchgame_egg.views.augment import FIRST_VIEW, NUMBERS_PER_VIEW, crop_by_matrices, crop_resize, draw_parameters

    count, side, size = (4, 40, 32) if small else (64, 256, 224)
    images = torch.stack([Scenes(count, side)[i][0] for i in range(count)])
    numbers = torch.rand(count, NUMBERS_PER_VIEW, generator=torch.Generator().manual_seed(0))
    p = draw_parameters(numbers, FIRST_VIEW, side, side, size)
    gap = (
        255
        * (
            crop_by_matrices(images.to(device), p.box, p.flip, size).cpu() - crop_resize(images, p.box, p.flip, size)
        ).abs()
    )
    assert float(gap.mean()) < 1, f"crops are {float(gap.mean()):.2f} levels apart"
    return {"levels apart, mean": float(gap.mean()), "levels apart, most": float(gap.max())}


def gates(device: torch.device, small: bool) -> dict[str, Any]:
    """Gated attention there against the CPU, forward and backward; the largest difference."""
    from patchgame_egg.agents.gated_attention import gated_attention

    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(8, 3, 50, 64, generator=generator) for _ in range(3))
    gate = (torch.rand(8, 50, generator=generator) < 0.5).float().index_fill_(1, torch.tensor([0]), 1.0)

    def play(where: torch.device) -> list[torch.Tensor]:
        leaves = [x.to(where, copy=True).requires_grad_() for x in (q, k, v, gate)]
        y = gated_attention(*leaves)
        return [x.cpu() for x in (y.detach(), *torch.autograd.grad(y.square().sum(), leaves))]

    gap = max(
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(play(device), play(torch.device("cpu")), strict=True)
    )
    assert gap < 1e-2, f"{gap} of the largest number apart"
    return {"apart, of the largest number": gap}


def scaler(device: torch.device, small: bool) -> dict[str, Any]:
    """A run in fp16, whose losses are finite and whose resumed half goes on with the scale it had."""
    from games.patchgame import main as play
    from patchgame_egg.training import checkpoint

    with tempfile.TemporaryDirectory() as folder:
        words = [*TOY, "--scenes", "64", "--candidates", "8", "--no-pictures", "--no-corpus", "--out", folder]
        words += ["--precision", "fp16" if device.type == "cuda" else "bf16", "--device", str(device), "--name", "run"]
        play([*words, "--epochs", "1"])
        before = checkpoint.load(Path(folder) / "run" / "checkpoint.pt", device)["scaler"]
        play(["--resume", f"{folder}/run", "--epochs", "2"])
        after = checkpoint.load(Path(folder) / "run" / "checkpoint.pt", device)["scaler"]
    assert device.type != "cuda" or after["scale"] > 0
    return {"scale after an epoch": before.get("scale"), "after two": after.get("scale")}


def processes(device: torch.device, small: bool) -> dict[str, Any]:
    """A run under torchrun on all GPUs (nccl), or on two processes (gloo)."""
    count = torch.cuda.device_count() if device.type == "cuda" else 2
    with tempfile.TemporaryDirectory() as folder:
        words = [*TOY, "--batch-size", str(8 * count), "--scenes", "64", "--candidates", "8", "--epochs", "1"]
        words += ["--no-pictures", "--no-corpus", "--out", folder, "--device", device.type]
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m", "games.patchgame"]
        done = subprocess.run([sys.executable, *start, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-1000:]
    return {"processes": count}


def waiting(device: torch.device, small: bool) -> dict[str, Any]:
    """How often a step waits for the GPU, by what the text encoder does with silence; a CPU has nothing to wait for."""
    from step import Step

    from games.options.command_line import parse

    found = {}
    for silence in ("skip", "gate", "attend"):
        step = Step(
            parse([*(TOY if small else ["--preset", "paper", "--batch-size", "64"]), "--silence", silence]).config,
            device,
        )
        step()
        if device.type != "cuda":
            continue
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
        torch.cuda.set_sync_debug_mode("default")
        waits = [f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchroniz" in str(w.message)]
        found[silence] = {"waits": len(waits), "at": sorted(set(waits))}
    return found


TRIALS: dict[str, Callable[[torch.device, bool], dict[str, Any]]] = {
    "crops by matrices": crops,
    "gated attention": gates,
    "fp16 and its scaler": scaler,
    "processes": processes,
    "waiting for the GPU": waiting,
    "JPEG decoding": jpeg,
}


def run(words: list[str], seconds: float) -> dict[str, Any]:
    """What a part writes, or why it does not."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "found.json"
        command = [sys.executable, str(HERE / words[0]), *words[1:], "--json", str(written)]
        path = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, env={**os.environ, "PYTHONPATH": path}
            )
        except subprocess.TimeoutExpired:
            return {"error": f"not done after {seconds:.0f} s"}
        if done.returncode:
            return {"error": (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]}
        found: dict[str, Any] = json.loads(written.read_text())
        return found


def main(argv: list[str]) -> int:
    """Measures and prints a row a part; ``--json FILE`` writes the numbers, after every part anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="toy sizes, to see that it runs")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which no part is begun")
    parser.add_argument("--trial", choices=TRIALS, default=None, help="this one, in this process")
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args(argv)
    if asked.trial:
        found = TRIALS[asked.trial](torch.device(asked.device), asked.small)
        (asked.json or Path("/dev/stdout")).write_text(json.dumps(found) + "\n")
        return 0
    name = torch.cuda.get_device_name() if asked.device == "cuda" else asked.device
    result: dict[str, Any] = {"device": name, "torch": torch.__version__, "parts": {}}
    print(f"{name}, torch {torch.__version__}", flush=True)
    ends = time.perf_counter() + 60 * asked.minutes
    for part, words in parts(asked.device, asked.small).items():
        began = time.perf_counter()
        found = run(words, ends - began) if began < ends else {"error": "left out: the minutes are used up"}
        result["parts"][part] = found
        print(f"{part} ({time.perf_counter() - began:.0f} s): {json.dumps(found)[:1500]}", flush=True)
        if asked.json:
            asked.json.write_text(json.dumps(result, indent=2) + "\n")
    return int(any("error" in found for found in result["parts"].values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
