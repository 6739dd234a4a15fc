"""What two random views of an image cost: ours in batch, and the usual pipeline image by image.

    python tests/benchmarks/views.py --size 224

The naive form makes each view with Pillow and torchvision, as the authors' release does: resized crop, flip, colour
jitter, greyscale, Gaussian blur, solarisation, then a normalised tensor. Both start from decoded images of one size and
use one thread each. They take turns; medians over repeats, of processor time on a CPU, which other programs disturb
least. Compare numbers of one run only, machines differ and drift.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from beside import compared
from PIL import Image, ImageFilter
from torchvision.transforms import v2
from torchvision.transforms.functional import to_pil_image

from patchgame_egg.data.scenes import Scenes
from patchgame_egg.training.malloc import keep_freed_memory
from patchgame_egg.views.augment import FIRST_VIEW, SECOND_VIEW, ViewStrength
from patchgame_egg.views.transforms import IMAGENET_MEAN, IMAGENET_STD, RandomViews


class PillowBlur:
    """A blur of random radius by Pillow."""

    def __init__(self, sigma: tuple[float, float]) -> None:
        self.sigma = sigma

    def __call__(self, image: Image.Image) -> Image.Image:
        radius = float(torch.empty(()).uniform_(*self.sigma))
        return image.filter(ImageFilter.GaussianBlur(radius))


def naive_view(strength: ViewStrength, size: int) -> v2.Transform:
    """One random view by Pillow and torchvision."""
    s = strength
    sigma = (s.sigma[0] * size / 224, s.sigma[1] * size / 224)
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, (s.min_area, 1.0), s.ratio, v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(s.flip),
            v2.RandomApply([v2.ColorJitter(s.brightness, s.contrast, s.saturation, s.hue)], s.jitter),
            v2.RandomGrayscale(s.grey),
            v2.RandomApply([v2.Lambda(PillowBlur(sigma))], s.blur),
            v2.RandomSolarize(128, s.solarise),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """How long a call takes."""
    if device.type == "cpu":
        began = time.process_time()
        run()
        return time.process_time() - began
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    run()
    torch.cuda.synchronize(device)
    return time.perf_counter() - began


def main(argv: list[str]) -> None:
    """Measures and prints; ``--json FILE`` writes the numbers."""
    if compared(__file__, argv):
        return
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size", type=int, default=224, help="side of the views, pixels")
    options.add_argument("--batch-size", type=int, default=64)
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--device", default="cpu", help="where our views are made")
    options.add_argument("--json", type=Path, default=None)
    o = options.parse_args(argv)
    keep_freed_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    device = torch.device(o.device)
    source = Scenes(o.batch_size, round(o.size * 8 / 7))
    images = torch.stack([source[i][0] for i in range(o.batch_size)])
    pictures = [to_pil_image(image) for image in images]
    ours = RandomViews(o.size)
    first, second = naive_view(FIRST_VIEW, o.size), naive_view(SECOND_VIEW, o.size)
    there = images.to(device)

    def naive() -> None:
        for picture in pictures:
            first(picture)
            second(picture)

    runs = {"naive": (naive, torch.device("cpu")), "ours": (lambda: ours(there), device)}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(o.repeats + 1):
        for name, (run, where) in runs.items():
            took = seconds(run, where)
            if repeat:
                times[name].append(took)
    torch.set_num_threads(threads)
    rates = {name: o.batch_size / statistics.median(values) for name, values in times.items()}
    result = {
        "size": o.size, "batch_size": o.batch_size, "device": str(device), "torch": torch.__version__,
        "images_per_s": rates, "faster": rates["ours"] / rates["naive"],
    }  # fmt: skip
    print(f"two views of {o.size} px, batch {o.batch_size}, one thread, medians of {o.repeats}")
    for name, rate in rates.items():
        print(f"  {name:6s}{rate:9.1f} images/s")
    print(f"  ours is {result['faster']:.2f} times as fast")
    if o.json:
        o.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
