"""Table 1: how well k-NN names the class of an image from the listener's features, beside other ways to learn them.

Pixels, thumbnails and colors stand beside them: a trunk that does not beat these has learnt nothing that shows here.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import nn

from analysis.transfer.controls import CONTROLS, Control
from analysis.transfer.features import extract_features
from analysis.transfer.knn import nearest_neighbour_accuracy
from analysis.transfer.linear import linear_probe
from games.build.data import labelled_loaders
from games.options.command_line import pick_device
from games.options.config import Config
from games.reproduce.runner.dry_run import classes_of
from games.reproduce.runner.results import images_seen, measured, measured_run
from games.reproduce.runner.setting import Setting, Training, made_of, ours
from games.reproduce.runner.tables import fate, markdown, mean_and_spread, table_rows, write_table
from games.reproduce.runner.training import train
from games.runs.load import load_trunk

# Name -> top-1 and top-5 in the paper, percent.
PAPER = {
    "MoCo-v2": (36.8, 60.3),
    "VQ-VAE-2": (17.2, 30.5),
    "PatchVAE, S=16": (16.4, 28.5),
    "PatchVAE, S=32": (21.3, 36.2),
    "ours, S=16": (27.6, 46.2),
    "ours, S=32": (30.3, 49.9),
}


def methods(setting: Setting, seed: int) -> dict[str, Training]:
    """The trainings of one seed, by their names in the table."""
    coarse, fine = (("--patch-size", str(setting.patch_size(s))) for s in (32, 16))
    return {
        "MoCo-v2": Training("moco", seed, coarse, "moco"),
        "VQ-VAE-2": Training("vqvae", seed, coarse, "vqvae"),
        "PatchVAE, S=16": Training("patchvae-s16", seed, fine, "patchvae"),
        "PatchVAE, S=32": Training("patchvae-s32", seed, coarse, "patchvae"),
        "ours, S=16": ours(setting, seed, 16),
        "ours, S=32": ours(setting, seed, 32),
        "random weights": Training("random", seed, coarse, "random"),
    }


def trainings(setting: Setting) -> list[Training]:
    """Everything that has to be trained, seed by seed, so that every method has a first result early.

    Raises:
        ValueError: the images are not there, or have no classes to tell apart.
    """
    classes_of(setting, ours(setting, 0))
    return [training for seed in setting.seeds for training in methods(setting, seed).values()]


def evaluate(setting: Setting, training: Training) -> dict[str, Any]:
    """k-NN and linear probe on the frozen trunk of a training, as shares."""
    run, device = train(setting, training), pick_device(setting.device)
    trained = load_trunk(run, device)
    return {**judge(trained.trunk, trained.config, device), "images_seen": images_seen(run)}


def judge(trunk: nn.Module, config: Config, device: torch.device) -> dict[str, Any]:
    """k-NN and linear probe on features of the images that the options name, as shares."""
    seen, unseen = (extract_features(trunk, loader, device) for loader in labelled_loaders(config, device))
    return {
        "knn": asdict(nearest_neighbour_accuracy(seen, unseen)),
        "probe": asdict(linear_probe(seen, unseen)),
        "features": seen.values.shape[1],
    }


def control(setting: Setting, name: str, training: Training) -> dict[str, Any]:
    """The row of a control on the images of a training, which need not be finished."""
    config = setting.config(training)
    path = setting.folder / "parts" / f"{name.replace(' ', '-')}-{training.seed}.json"
    images = {k: v for k, v in made_of(setting, training).items() if k.startswith("images.") or k == "training.seed"}
    found = measured(
        path, lambda: judge(Control(name), config, pick_device(setting.device)), {"control": name, **images}
    )
    return in_percent({**found, "images_seen": 0})


def run(setting: Setting) -> None:
    """Evaluates all trainings and writes the table.

    Raises:
        RuntimeError: all trainings diverged.
    """
    wanted = [({"method": name}, t) for seed in setting.seeds for name, t in methods(setting, seed).items()]
    frame = table_rows(wanted, partial(columns, setting))
    controls = [
        {"method": name, "seed": seed, "diverged": False, **control(setting, name, ours(setting, seed))}
        for seed in setting.seeds
        for name in CONTROLS
    ]
    frame = pd.concat([frame, pd.DataFrame(controls)], ignore_index=True)
    write_table(setting, frame, tabulate(frame))


def columns(setting: Setting, training: Training) -> dict[str, Any]:
    """A training's row, in percent."""
    return in_percent(measured_run(setting, training, evaluate))


def in_percent(found: dict[str, Any]) -> dict[str, Any]:
    """The columns of what `evaluate` found."""
    return {
        "knn_top1": 100 * found["knn"]["top1"],
        "knn_top5": 100 * found["knn"]["top5"],
        "probe_top1": 100 * found["probe"]["top1"],
        "images": found["knn"]["n"],
        "chance_top1": 100 * found["knn"]["chance_top1"],
        "chance_top5": 100 * found["knn"]["chance_top5"],
        "images_seen": found["images_seen"],
        "features": found["features"],
    }


def tabulate(frame: pd.DataFrame) -> str:
    """Markdown: means over seeds, their standard deviations, chance, and what the paper found on ImageNet."""
    cells = []
    for name, runs in frame.groupby("method", sort=False):
        top1, top5 = PAPER.get(str(name), ("", ""))
        measures = [mean_and_spread(runs[column]) for column in ("knn_top1", "knn_top5", "probe_top1")]
        cells.append([f"{name}{fate(runs)}", *measures, f"{runs.images_seen.max():,.0f}", str(top1), str(top5)])
    first = frame[~frame.diverged].iloc[0]
    cells.append(
        ["chance", f"{first.chance_top1:.1f}", f"{first.chance_top5:.1f}", f"{first.chance_top1:.1f}", *[""] * 3]
    )
    head = [
        "",
        "k-NN top-1, %",
        "k-NN top-5, %",
        "linear probe top-1, %",
        "images seen",
        "paper: top-1",
        "paper: top-5",
    ]
    seeds = frame.seed.nunique()
    note = (
        f"{int(first.images)} held-out images; mean{' and standard deviation' if seeds > 1 else ''} of {seeds} seed(s)."
    )
    return markdown(head, cells) + f"\n{note}\n"
