"""Table 1: how well k-NN names the class of an image from the listener's features, beside other ways to learn them.

Pixels, thumbnails and colors stand beside them: a trunk that does not beat these has learnt nothing that shows here.
With ``--rates`` each method first chooses its learning rate, by the k-NN accuracy of features on a tenth of the
training images that it was not trained on: the table's own images are not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
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
from games.reproduce.runner.training import Diverged, train, train_all
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


# What is held out of the training images to choose rates.
_SPLIT = "0.1"


def methods(setting: Setting, seed: int, rates: Mapping[str, str] | None = None) -> dict[str, Training]:
    """The trainings of one seed, by their names in the table; at the given rates, or at those of the scale."""
    coarse, fine = (("--patch-size", str(setting.patch_size(s))) for s in (32, 16))
    found = {
        "MoCo-v2": Training("moco", seed, coarse, "moco"),
        "VQ-VAE-2": Training("vqvae", seed, coarse, "vqvae"),
        "PatchVAE, S=16": Training("patchvae-s16", seed, fine, "patchvae"),
        "PatchVAE, S=32": Training("patchvae-s32", seed, coarse, "patchvae"),
        "ours, S=16": ours(setting, seed, 16),
        "ours, S=32": ours(setting, seed, 32),
        "random weights": Training("random", seed, coarse, "random"),
    }
    for name, rate in (rates or {}).items():
        # At the rate of the scale it is the very network that other experiments look at.
        if setting.config(found[name]).training.lr != float(rate):
            found[name] = _at_rate(found[name], rate)
    return found


def _at_rate(training: Training, rate: str) -> Training:
    return replace(training, name=f"{training.name}-lr{rate}", words=(*training.words, "--lr", rate))


def choices(setting: Setting) -> dict[str, dict[str, Training]]:
    """Of each method that learns a training at each rate, on nine tenths of the training images; the first seed's."""
    first = setting.seeds[0]
    root = Path(setting.config(ours(setting, first)).images.root, "train")
    split = ("--root", str(root), "--val-share", _SPLIT, "--no-corpus")
    found: dict[str, dict[str, Training]] = {}
    for name, training in methods(setting, first).items():
        if training.method != "random":
            tried = {rate: _at_rate(training, rate) for rate in setting.rates}
            found[name] = {
                rate: replace(t, name=f"split-{t.name}", words=(*t.words, *split)) for rate, t in tried.items()
            }
    return found


def choose_rates(setting: Setting) -> tuple[dict[str, str], pd.DataFrame]:
    """The rate of each method with the best k-NN accuracy on what was held out of the training images.

    Raises:
        RuntimeError: all trainings of a method diverged.
    """
    rows, chosen = [], {}
    for name, tried in choices(setting).items():
        found: dict[str, float] = {}
        for rate, training in tried.items():
            try:
                found[rate] = columns(setting, training)["knn_top1"]
            except Diverged:
                continue
        if not found:
            raise RuntimeError(f"{name} diverged at every rate of --rates: give smaller ones")
        chosen[name] = max(found, key=lambda rate: found[rate])
        rows.append({"method": name, **{rate: found.get(rate, float("nan")) for rate in tried}})
    return chosen, pd.DataFrame(rows)


def train_at_chosen_rates(
    setting: Setting, methods: Callable[[Setting, int, Mapping[str, str]], dict[str, Training]]
) -> tuple[dict[str, str], str, list[Training]]:
    """With ``--rates`` chooses them and trains with them.

    Args:
        setting: of this table, or of another one that compares the same trunks: the choice is kept with this one.
        methods: the trainings of a seed at given rates, by name.

    Returns:
        Rate of each method, a note for under the table, and what was trained; all empty without ``--rates``.

    Raises:
        RuntimeError: all trainings of a method diverged.
    """
    if not setting.rates:
        return {}, "", []
    rates, tried = choose_rates(replace(setting, experiment="table1"))
    more = [training for seed in setting.seeds for training in methods(setting, seed, rates).values()]
    train_all(setting, more)
    return rates, _rates_tried(tried, rates), more


def trainings(setting: Setting) -> list[Training]:
    """Everything that has to be trained, seed by seed, so that every method has a first result early.

    Where rates are to be chosen, what that needs; `run` trains the rest, at the rates that are found.

    Raises:
        ValueError: the images are not there, or have no classes to tell apart, or no folder of them to split.
    """
    classes_of(setting, ours(setting, 0))
    if setting.rates:
        images = setting.config(ours(setting, 0)).images
        if images.data != "folder" or not Path(images.root, "train").is_dir():
            raise ValueError(
                f"--rates splits the images of a folder with train/ and val/, not {images.data} {images.root}".rstrip()
            )
        return [training for tried in choices(setting).values() for training in tried.values()]
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


def run(setting: Setting) -> list[Training]:
    """Evaluates all trainings and writes the table.

    Returns:
        Trainings beside those of `trainings`: those at the rates that were chosen.

    Raises:
        RuntimeError: all trainings diverged.
    """
    rates, note, more = train_at_chosen_rates(setting, methods)
    wanted = [({"method": name}, t) for seed in setting.seeds for name, t in methods(setting, seed, rates).items()]
    frame = table_rows(wanted, partial(columns, setting))
    controls = [
        {"method": name, "seed": seed, "diverged": False, **control(setting, name, ours(setting, seed))}
        for seed in setting.seeds
        for name in CONTROLS
    ]
    frame = pd.concat([frame, pd.DataFrame(controls)], ignore_index=True)
    write_table(setting, frame, tabulate(frame) + note)
    return more


def _rates_tried(tried: pd.DataFrame, rates: Mapping[str, str]) -> str:
    given = [str(rate) for rate in tried.columns[1:]]
    cells = [
        [str(row.method), *("" if pd.isna(row[rate]) else f"{row[rate]:.1f}" for rate in given), rates[row.method]]
        for _, row in tried.iterrows()
    ]
    table = markdown(["learning rate", *given, "chosen"], cells)
    return f"\nRates were chosen by k-NN top-1 on a tenth of the training images, percent:\n\n{table}\n"


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
