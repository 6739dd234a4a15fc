"""Who speaks, and why: a screening of causes by a fractional factorial, scored by how well patches that speak lie on
objects.

    python -m games.reproduce.who_speaks --root photos --voc voc_small --out who

Six causes with two levels each, in 16 runs of three epochs (resolution IV: no main effect is mixed up with one of two
causes together). Photos of 48 px teach; two thirds of VOC's are kept as images to learn from for one of the causes, and
the boxes of the last third judge. Runs that are finished are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.corpus.recording import record
from analysis.metrics.patch_importance import importance_scores, place_share
from games.build.agents import build_game
from games.build.data import build_loader, build_loaders, build_views, load_images
from games.build.trainer import make_trainer
from games.options.command_line import fail, failures, parse
from games.reproduce.runner.tables import markdown
from games.runs.corpus import annotate
from games.runs.files import LOG
from patchgame_egg.agents.patch_speaker import PatchSymbol
from patchgame_egg.atomic_write import write_json
from patchgame_egg.data.loader import ImageLoader
from patchgame_egg.game import Game
from patchgame_egg.training.log_file import read_log
from patchgame_egg.views.loader import RepeatedViews, ViewLoader
from patchgame_egg.views.transforms import EvaluationView

CAUSES = {
    "views": "the paper's views, not those of small",
    "ground": "rivals of like ground",
    "conv": "patches named by convolutions",
    "contrast": "patches without their mean color",
    "coarse": "patches of 16 px, not 8",
    "domain": "photos of the judge's kind to learn from",
}
"""Each cause with what its upper level is."""

# What every run has in common: the small preset, with a narrower listener, which takes half of the time.
_WORDS = (
    *("--data", "folder", "--image-size", "48", "--batch-size", "64", "--epochs", "3", "--vision-width", "16"),
    *("--text-depth", "2", "--device", "cpu", "--workers", "0", "--cache", "auto", "--no-tensorboard"),
    *("--optimizer", "adamw", "--view-ramp", "0"),
)
_VIEWS = (*("--min-area", "0.14", "--jitter", "0.8", "--grey", "0.2", "--blur", "1", "0.1", "--solarise", "0", "0.2"),)
_GROUNDS = 25


def design() -> Iterator[dict[str, bool]]:
    """The 16 runs: four causes in all combinations, the other two made of them."""
    for views, ground, conv, contrast in product((False, True), repeat=4):
        coarse, domain = (views + ground + conv) % 2 == 1, (ground + conv + contrast) % 2 == 1
        yield {
            "views": views,
            "ground": ground,
            "conv": conv,
            "contrast": contrast,
            "coarse": coarse,
            "domain": domain,
        }


class Patches(nn.Module):
    """Names patches as `PatchSymbol` does, if asked by convolutions, or without their mean color.

    Args:
        symbol: whose place it takes.
        conv: two convolutions, averaged over the patch, instead of the MLP.
        contrast: each patch's mean color is taken off.
    """

    def __init__(self, symbol: PatchSymbol, conv: bool, contrast: bool) -> None:
        super().__init__()
        self.contrast, self.side, self.scale = contrast, symbol.patch_size, symbol.logit_scale
        self.network: nn.Module = symbol.mlp
        self.standardise = symbol.standardise
        if conv:
            self.network = nn.Sequential(
                *(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 128, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
                *(nn.Flatten(), nn.Linear(128, symbol.vocab_size)),
            )
        self.conv = conv

    def forward(self, images: Tensor) -> Tensor:
        """Float images ``[B, 3, H, W]`` to logits ``[B, P, 1, V]``."""
        b, c, h, w = images.shape
        s = self.side
        patches = images.reshape(b, c, h // s, s, w // s, s).permute(0, 2, 4, 1, 3, 5)
        if self.contrast:
            patches = patches - patches.mean((-1, -2), keepdim=True)
        flat = patches.reshape(-1, c, s, s) if self.conv else patches.reshape(-1, c * s * s)
        logits = self.network(flat)
        assert self.standardise is not None
        logits = self.standardise(logits.float()) * self.scale
        return logits.view(b, (h // s) * (w // s), 1, -1)


class OfLikeGround:
    """Batches of images whose borders have like colors, in the place of a loader's own order.

    Args:
        order: the loader's, whose seed, epoch and size of a batch count.
        kinds: of ground, ``[N]``.
    """

    def __init__(self, order: Any, kinds: NDArray[np.int64]) -> None:
        self.order, self.kinds = order, kinds
        self.count, self.batch_size, self.distractors = order.count, order.batch_size, order.distractors

    def __setattr__(self, name: str, value: object) -> None:
        # The loader sets the epoch of its order.
        target = self.order if name in ("epoch", "start") else super()
        target.__setattr__(name, value)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[list[int]]:
        rng, batches, rest = np.random.default_rng((self.order.seed, self.order.epoch)), [], []
        for kind in np.unique(self.kinds):
            images = rng.permutation(np.flatnonzero(self.kinds == kind))
            whole = len(images) // self.batch_size * self.batch_size
            batches += list(images[:whole].reshape(-1, self.batch_size))
            rest.append(images[whole:])
        left = np.concatenate(rest)
        batches += list(left[: len(left) // self.batch_size * self.batch_size].reshape(-1, self.batch_size))
        for batch in rng.permutation(len(batches))[self.order.start :]:
            yield batches[batch].tolist()


def grounds(loader: ImageLoader) -> NDArray[np.int64]:
    """The kind of ground of each image, by the colors of the twelve outer of 4 x 4 cells."""
    from sklearn.cluster import KMeans

    images = (loader.images[i][0].float() / 255 for i in range(len(loader.images)))
    small = torch.stack([F.adaptive_avg_pool2d(image, 4) for image in images])
    ring = torch.ones(4, 4, dtype=torch.bool)
    ring[1:3, 1:3] = False
    cells = small[:, :, ring].flatten(1).numpy()
    found: NDArray[np.int64] = KMeans(_GROUNDS, n_init=2, random_state=0).fit_predict(cells)
    return found


def play(causes: dict[str, bool], seed: int, root: Path, judge: Path, voc: Path, folder: Path) -> dict[str, Any]:
    """Trains a run in a folder and judges who speaks in it."""
    words = [*_WORDS, "--root", str(root), "--seed", str(seed), "--out", str(folder.parent), "--name", folder.name]
    words += [*(_VIEWS if causes["views"] else ()), *(("--patch-size", "16") if causes["coarse"] else ())]
    start, device = parse(words), torch.device("cpu")
    config = start.config
    train, val = build_loaders(config, device)
    if causes["ground"]:
        train.order = OfLikeGround(train.order, grounds(train))  # type: ignore[assignment]
        train.loader = train._make_loader(0, False)
    game = build_game(config)
    assert isinstance(game, Game)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed + 7)
        if causes["conv"] or causes["contrast"]:
            sender: Any = game.sender
            sender.symbol = Patches(sender.symbol, causes["conv"], causes["contrast"])
    game.to(memory_format=torch.channels_last)
    folder.mkdir(parents=True, exist_ok=True)
    size = config.images.image_size
    make_trainer(
        start,
        game,
        ViewLoader(train, build_views(config), device),
        ViewLoader(val, EvaluationView(size), device),
        folder,
        lambda _: {},
        also_validate={"two_views": RepeatedViews(val, build_views(config, held_out=True), device)},
    ).train(config.training.epochs)
    last = read_log(folder / LOG)[-1]
    return {"two_views": last["two_views_acc"], "one_view": last["acc"], **judged(game, config, judge, voc)}


def judged(game: Game, config: Any, judge: Path, voc: Path) -> dict[str, Any]:
    """How well the patches that speak find the objects of photos with boxes, and how much is a matter of place."""
    images = replace(config.images, root=str(judge), annotations=str(voc / "Annotations"), cache="")
    config = replace(config, images=images, training=replace(config.training, candidates=100))
    size, device = config.images.image_size, torch.device("cpu")
    source = load_images(config, round(size * 8 / 7))[1]
    loader = ViewLoader(build_loader(config, source, device, training=False), EvaluationView(size), device)
    corpus = annotate(record(game.eval(), loader, vocab_size=config.speaker.vocab), config, source)
    assert corpus.keep_prob is not None and corpus.object_area is not None and corpus.grid is not None
    found = importance_scores(corpus.keep_prob, corpus.object_area, corpus.grid, images=corpus.images)
    return {
        "place_share": place_share(corpus.keep_prob).value,
        "images": int(found.n["speaker"]),
        **{method: [float(row.roc_auc), float(row.roc_auc_se)] for method, row in found.iterrows()},
    }


def split(root: Path, voc: Path, out: Path) -> tuple[Path, Path]:
    """Folders of links: photos with two thirds of VOC's in the place of as many others, and the last third alone.

    Raises:
        ValueError: there are no such images.
    """
    photos, boxed = sorted(root.glob("train/*/*")), sorted((voc / "JPEGImages").glob("*.jpg"))
    if not photos or not boxed:
        raise ValueError(f"{root}/train/CLASS/ or {voc}/JPEGImages/ holds no images: give --root and --voc")
    mixed, judge = out / "mixed", out / "judge"
    learnt, kept = [p for i, p in enumerate(boxed) if i % 3], boxed[::3]
    random.Random(0).shuffle(photos)
    links = [(p, mixed / "train" / p.parent.name) for p in photos[len(learnt) :]]
    links += [(p, mixed / "train" / "voc") for p in learnt]
    links += [(p, mixed / "val" / p.parent.name) for p in root.glob("val/*/*")]
    links += [(p, judge / part / "voc") for part, some in (("train", learnt), ("val", kept)) for p in some]
    for path, folder in links:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / path.name).exists():
            os.link(path, folder / path.name)
    return mixed, judge


def effects(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """What each cause does: upper level minus lower, with twice the standard error, by least squares over the runs."""
    levels = np.array([[1, *(2 * row[cause] - 1 for cause in CAUSES)] for row in rows], dtype=float)
    table = {}
    for response, values in {
        "AUC on objects": [row["speaker"][0] for row in rows],
        "AUC above place alone": [row["speaker"][0] - row["place alone"][0] for row in rows],
        "retrieval, two views": [row["two_views"] for row in rows],
    }.items():
        found = np.linalg.lstsq(levels, np.array(values), rcond=None)[0]
        left = len(rows) - levels.shape[1]
        error = float(np.sqrt(np.square(values - levels @ found).sum() / left * 4 / len(rows))) if left > 0 else np.nan
        table[response] = [f"{2 * value:+.3f} ± {2 * error:.3f}" for value in found[1:]]
    return pd.DataFrame(table, index=list(CAUSES.values()))


def read_words(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m games.reproduce.who_speaks", description=__doc__.split("\n\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="photos: a folder with train/CLASS/ and val/CLASS/")
    parser.add_argument("--voc", type=Path, required=True, help="photos with boxes: JPEGImages/ and Annotations/")
    parser.add_argument("--out", type=Path, default=Path("who"), help="folder of the runs (default: who)")
    parser.add_argument("--arm", nargs="*", choices=list(CAUSES), help="one run with these causes, not the 16")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the views and the order (default: 0)")
    return parser.parse_args(argv)


@failures()
def main(argv: Sequence[str] | None = None) -> int:
    """Plays the runs that are missing, and prints the table of effects."""
    args = read_words(argv)
    try:
        mixed, judge = split(args.root, args.voc, args.out)
    except ValueError as error:
        fail(error)
    rows = []
    for causes in design() if args.arm is None else [{cause: cause in args.arm for cause in CAUSES}]:
        name = "+".join(cause for cause, is_up in causes.items() if is_up) or "none"
        folder = args.out / f"{name}-{args.seed}"
        kept = folder / "judged.json"
        if not kept.exists():
            root = mixed if causes["domain"] else args.root
            found = play(causes, args.seed, root, judge, args.voc, folder)
            write_json({**causes, "seed": args.seed, **found}, kept)
        rows.append(json.loads(kept.read_text()))
        print(name, json.dumps(rows[-1]), flush=True)
    if args.arm is None:
        table = effects(rows)
        cells = [[str(name), *map(str, values)] for name, values in zip(table.index, table.to_numpy(), strict=True)]
        print(markdown(["cause", *table.columns], cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
