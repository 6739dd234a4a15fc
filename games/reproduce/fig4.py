"""Figure 4: how well a Vision Transformer names images from the k patches that PatchRank puts first, and how fast.

PatchRank is shown before its training (the same weights, as its seed draws them) and after, beside orders that know
nothing of it. Without ``--vit`` the two ViTs of the paper are asked at the scale imagenet, and a small one that is
trained here elsewhere. Only the held-out images of the first seed are classified.

One file, because the figure is one measurement: rankings, subsets, times and their table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from analysis.corpus.csv_export import csv_text
from analysis.corpus.recording import one_pair
from analysis.plots.patch_curves import VitPanel, draw_patch_curves
from analysis.vit.patch_subset import Ranking, SubsetCurve, best_patches, classify_patches, vit_grid, vit_input
from analysis.vit.rankings import (
    attention_ranking,
    centre_ranking,
    grad_cam_ranking,
    network_ranking,
    occlusion_ranking,
    random_ranking,
    reversed_ranking,
    saliency_ranking,
)
from analysis.vit.throughput import images_per_second
from games.build.agents import build_game
from games.reproduce.runner.results import measured
from games.reproduce.runner.setting import Setting, Training, made_of, ours
from games.reproduce.runner.tables import markdown, mean_and_spread, write_table
from games.reproduce.runner.training import train
from games.reproduce.vit.distillation import distil, rank_correlation
from games.reproduce.vit.setup import Eye, Vit, check_eye, open_eye, untrained_vit, vits
from games.runs.files import CHECKPOINT
from games.runs.folder import check_speaks
from games.runs.load import load_game
from games.runs.lock import output_lock
from patchgame_egg.atomic_write import write_text
from patchgame_egg.game import Game
from patchgame_egg.population import Population
from patchgame_egg.training import checkpoint

START, END, FAST = "PatchRank, untrained", "PatchRank, trained", "PatchRank, distilled"
RANDOM_SEEDS = (0, 1, 2)
# Orders that a ViT makes itself, and by how many standard errors one has to beat random ones for it to be a judge.
OWN_ORDERS, JUDGE_ERRORS = ("CLS attention", "gradient saliency", "Grad-CAM", "occlusion"), 3
# Of 20 epochs of a few thousand photos and of one of ImageNet, the latter has more steps.
DISTILLED_EPOCHS = {"toy": 1, "photos": 20, "cifar10": 5, "imagenet": 1}


def trainings(setting: Setting) -> list[Training]:
    """One PatchGame for each seed and patch size, unless a run is given.

    Raises:
        ValueError: its speaker ranks no patches, or a ViT cannot be had: better now than after the trainings.
    """
    if setting.run is not None:
        if not setting.run.is_dir():
            raise ValueError(f"--run {setting.run} is not the folder of a run, and fig4 needs its PatchRank")
        check_speaks(setting.run)
    found = [ours(setting, seed, vit.paper) for seed in setting.seeds for vit in vits(setting)]
    speaker = setting.config(found[0]).speaker.speaker
    if speaker != "patch":
        raise ValueError(f"--speaker {speaker} has no PatchRank, and fig4 is about its order of patches")
    for which in vits(setting):
        check_eye(setting, which)
    return found if setting.run is None else []


def run(setting: Setting) -> None:
    """Measures what is missing, draws the figure and writes the table."""
    rows, panels, notes = [], [], []
    parts, fast = setting.folder / "parts", "-fast" if setting.fast else ""
    for which in vits(setting):
        eye = open_eye(setting, which)
        kind = f"{which.name}-s{which.paper}"
        curves: dict[str, list[SubsetCurve]] = {name: [] for name in (START, END, FAST)}
        correlations = []
        for seed in setting.seeds:
            measure = partial(measure_ours, eye, setting, which, seed)
            found = measured(parts / f"{kind}-{seed}{fast}.json", measure, _depends_on(eye, setting, which, seed))
            for name, curve in read_curves(found).items():
                curves.setdefault(name, []).append(curve)
            correlations.append(found["rank_correlation"])
        rivals = measured(parts / f"{which.name}-rivals.json", partial(measure_rivals, eye), eye.made_with)
        found = read_curves(rivals)
        if which.name == "small":
            # A pass for every patch: hours with a ViT of the paper.
            order = partial(measure_occlusion, eye)
            found |= read_curves(measured(parts / f"{which.name}-occlusion.json", order, eye.made_with))
        for name, curve in found.items():
            curves.setdefault(re.sub(r" \d+$", "", name), []).append(curve)
        curves = {name: found for name, found in curves.items() if found}
        first = setting.seeds[0]
        measure = partial(measure_speed, eye, setting, which, first)
        speed = measured(parts / f"{kind}-speed{fast}.json", measure, _depends_on(eye, setting, which, first))
        rows += tabulate_curves(which, curves)
        panels.append(
            VitPanel(
                title=f"{which.name} ViT, {eye.vit.patch_embed.patch_size[0]} px patches of {eye.size} px images",
                kept=np.array([0, *eye.kept]),
                curves={name: np.stack([c.accuracy for c in found]) for name, found in curves.items()},
                speeds={name: np.array(values) for name, values in speed["images_per_second"].items()},
                full_speed=speed["whole"],
            )
        )
        notes += [f"\n{which.name}: {note}\n" for note in remarks(panels[-1], speed, correlations)]
    frame = pd.DataFrame(rows)
    write_table(setting, frame, tabulate(frame) + "".join(notes))
    write_curves(setting, panels)
    print(f"wrote {draw_patch_curves(panels, setting.folder / 'fig4.png')}")


def _depends_on(eye: Eye, setting: Setting, which: Vit, seed: int) -> dict[str, Any]:
    # The options of a run say not how far it has come.
    run = {} if setting.run is None else {"position": checkpoint.load(setting.run / CHECKPOINT)["position"]}
    return {**eye.made_with, **made_of(setting, ours(setting, seed, which.paper)), **run}


def read_curves(part: Mapping[str, Any]) -> dict[str, SubsetCurve]:
    """The curves of a part, by ranking."""
    return {
        name: SubsetCurve(np.array(part["kept"]), np.array(one["accuracy"]), np.array(one["area_of_image"]))
        for name, one in part["curves"].items()
    }


def _written(eye: Eye, curves: Mapping[str, SubsetCurve]) -> dict[str, Any]:
    return {
        "kept": [0, *eye.kept],
        "curves": {
            name: {"accuracy": c.accuracy.tolist(), "area_of_image": c.area_of_image.round(4).tolist()}
            for name, c in curves.items()
        },
    }


def patch_ranks(setting: Setting, which: Vit, seed: int, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """PatchRank of a seed before and after its training, in evaluation mode; of a population, the first speaker's."""
    run = train(setting, ours(setting, seed, which.paper)) if setting.run is None else setting.run
    game, config = load_game(run, device)
    return _rank_of(build_game(config).to(device)), _rank_of(game)


def _rank_of(game: Game | Population) -> nn.Module:
    sender: Any = one_pair(game).sender
    rank: nn.Module = sender.rank
    return rank.eval()


def measure_ours(eye: Eye, setting: Setting, which: Vit, seed: int) -> dict[str, Any]:
    """Curves of PatchRank before and after training, upside down and, if wanted, distilled."""
    grid = vit_grid(eye.vit)
    start, end = (network_ranking(rank, grid) for rank in patch_ranks(setting, which, seed, eye.device))
    rankings = {START: start, END: end, "PatchRank, reversed": reversed_ranking(end)}
    correlation = None
    if setting.fast:
        rankings[FAST] = distilled(eye, setting, which, seed, end)
        pairs = [(end(images), rankings[FAST](images)) for images, _ in eye.batches()]
        correlation = rank_correlation(*(torch.cat(scores) for scores in zip(*pairs, strict=True)))
    return {**_written(eye, eye.curves(rankings)), "rank_correlation": correlation}


def distilled(eye: Eye, setting: Setting, which: Vit, seed: int, teacher: Ranking) -> Ranking:
    """The small network that has learnt a PatchRank's order, as a ranking."""
    path = setting.folder / f"fast-{which.name}-s{which.paper}-{seed}.pt"
    grid, epochs = vit_grid(eye.vit), DISTILLED_EPOCHS[setting.scale]
    depends_on = _depends_on(eye, setting, which, seed)
    with output_lock(path):
        student = distil(
            teacher, eye.train, eye.size, grid, path, eye.device, epochs=epochs, seed=seed, made_with=depends_on
        )
    return network_ranking(student, grid)


def measure_rivals(eye: Eye) -> dict[str, Any]:
    """Curves of the orders that know nothing of PatchRank."""
    grid = vit_grid(eye.vit)
    rankings = {f"random {seed}": random_ranking(grid, seed) for seed in RANDOM_SEEDS}
    rankings |= {"centre": centre_ranking(grid), "gradient saliency": saliency_ranking(eye.vit)}
    if eye.vit.cls_token is not None:
        rankings["CLS attention"] = attention_ranking(eye.vit)
    rankings["Grad-CAM"] = grad_cam_ranking(eye.vit)
    return _written(eye, eye.curves(rankings))


def measure_occlusion(eye: Eye) -> dict[str, Any]:
    """The curve of the order in which the ViT itself misses patches."""
    return _written(eye, eye.curves({"occlusion": occlusion_ranking(eye.vit)}))


def measure_speed(eye: Eye, setting: Setting, which: Vit, seed: int) -> dict[str, Any]:
    """Images a second of the ViT with all patches, and with k after ranking them; a random order costs nothing."""
    vit = eye.vit
    images, _ = next(eye.batches())
    grid = vit_grid(vit)
    end = network_ranking(patch_ranks(setting, which, seed, eye.device)[1], grid)
    rankings = {"random": random_ranking(grid, RANDOM_SEEDS[0]), END: end}
    if setting.fast:
        rankings[FAST] = distilled(eye, setting, which, seed, end)

    def shortened(ranking: Ranking, k: int) -> Tensor:
        return classify_patches(vit, vit_input(vit, images), best_patches(ranking(images), k))

    ways = {f"{name}: {k}": partial(shortened, r, k) for name, r in rankings.items() for k in eye.kept}
    alone = {f"{name}: alone": partial(r, images) for name, r in rankings.items()}
    whole = {"whole": lambda: vit(vit_input(vit, images))}
    rounds, seconds = (1, 0.0) if setting.scale == "toy" else (7, 0.1)
    found = images_per_second({**ways, **alone, **whole}, len(images), eye.device, rounds, seconds)
    return {
        "batch": len(images),
        "whole": found["whole"],
        "ranking_alone": {name: found[f"{name}: alone"] for name in rankings},
        "images_per_second": {name: [found[f"{name}: {k}"] for k in eye.kept] for name in rankings},
    }


def tabulate_curves(which: Vit, curves: Mapping[str, Sequence[SubsetCurve]]) -> list[dict[str, Any]]:
    """A row for each ranking and seed; areas minus that of the random orders, image by image, have standard errors."""
    chance = np.mean([curve.area_of_image for curve in curves["random"]], axis=0)
    rows = []
    for name, seeds in curves.items():
        for number, curve in enumerate(seeds):
            gain = curve.area_of_image - chance
            rows.append(
                {
                    "vit": which.name,
                    "ranking": name,
                    "seed": number,
                    "area": curve.area,
                    "normalised_area": curve.normalised_area,
                    "k90": curve.k90,
                    "half": 100 * float(np.interp(curve.kept[-1] / 2, curve.kept, curve.accuracy)),
                    "gain": gain.mean(),
                    "gain_se": gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else float("nan"),
                    "full": 100 * curve.accuracy[-1],
                    "chance": 100 * curve.accuracy[0],
                    "patches": int(curve.kept[-1]),
                    "images": len(gain),
                }
            )
    return rows


def remarks(panel: VitPanel, speed: Mapping[str, Any], correlations: Sequence[float | None]) -> list[str]:
    """What time is saved at a loss of at most one point of accuracy, and how good the distilled PatchRank is."""
    found = []
    for name, speeds in panel.speeds.items():
        accuracy = panel.curves[name].mean(axis=0)
        fine = [i for i in range(1, len(panel.kept)) if accuracy[i] >= accuracy[-1] - 0.01]
        best = max(fine, key=lambda i: speeds[i - 1])
        found.append(
            f"{name}: {speeds[best - 1] / panel.full_speed:.2f} x the images a second of the whole ViT "
            f"({speeds[best - 1]:.4g} against {panel.full_speed:.4g}, batches of {speed['batch']}) with "
            f"{panel.kept[best]} patches, at {100 * accuracy[best]:.1f} % instead of {100 * accuracy[-1]:.1f} %; "
            f"the ranking alone makes {speed['ranking_alone'][name]:.4g} images a second."
        )
    known = [c for c in correlations if c is not None]
    if known:
        found.append(f"{FAST}: rank correlation with its teacher {np.mean(known):.3f} on held-out images.")
    return found


def tabulate(frame: pd.DataFrame) -> str:
    """Markdown: areas under the curves, k for 90 % and accuracy at half the patches, means over seeds."""
    cells = []
    for (vit, name), part in frame.groupby(["vit", "ranking"], sort=False):
        gain = f"{100 * part.gain.mean():+z.1f} ± {100 * part.gain_se.mean():.1f}"
        columns = [
            mean_and_spread(part.normalised_area, 3),
            gain,
            mean_and_spread(part.k90),
            mean_and_spread(part.half),
        ]
        cells.append([str(vit), str(name), *columns])
    head = [
        "ViT",
        "patches kept first by",
        "area / full accuracy",
        "area over random, points",
        "k for 90 %",
        "at K/2, %",
    ]
    lines = [markdown(head, cells)]
    for vit, part in frame.groupby("vit", sort=False):
        first = part.iloc[0]
        lines.append(
            f"\n{vit}: {first.full:.1f} % with all {first.patches} patches, chance {first.chance:.2g} %, "
            f"{first.images} held-out images. Spreads are over seeds, but of the area over random the standard error "
            "over images.\n"
        )
        lines.append(f"\n{vit}: {judge_remark(part)}\n")
    return "".join(lines)


def judge_remark(part: pd.DataFrame) -> str:
    """Whether a ViT can judge orders at all: one of its own, which knows what it looks at, should beat random ones."""
    own = part[part.ranking.isin(OWN_ORDERS)].groupby("ranking")[["gain", "gain_se"]].mean()
    best = own.assign(errors=own.gain / own.gain_se).sort_values("errors").iloc[-1]
    gain = f"{100 * best.gain:+z.1f} ± {100 * best.gain_se:.1f} points"
    if best.errors >= JUDGE_ERRORS:
        return f"it can judge orders of patches: its own {best.name} is {gain} over random."
    return (
        f"it cannot judge orders of patches: the best of its own, {best.name}, is {gain} over random, and not by "
        f"{JUDGE_ERRORS} standard errors. What it says of PatchRank tells nothing."
    )


def write_curves(setting: Setting, panels: Sequence[VitPanel]) -> None:
    """Writes every point of the curves as CSV."""
    rows = [
        {"vit": panel.title, "ranking": name, "seed": seed, "k": int(k), "top1": 100 * float(value)}
        for panel in panels
        for name, values in panel.curves.items()
        for seed, curve in enumerate(values)
        for k, value in zip(panel.kept, curve, strict=True)
    ]
    write_text(csv_text(pd.DataFrame(rows)), setting.folder / "curves.csv")


def rehearse(setting: Setting) -> None:
    """Classifies a generated image from five of its patches, by an untrained ViT of each kind.

    Raises:
        ValueError: an option is wrong.
    """
    for which in vits(setting):
        vit = untrained_vit(setting, which)
        rank = _rank_of(build_game(setting.config(ours(setting, setting.seeds[0], which.paper))))
        images = torch.rand(1, 3, *vit.patch_embed.img_size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            scores = network_ranking(rank, vit_grid(vit))(images)
            logits = classify_patches(vit, vit_input(vit, images), best_patches(scores, 5))
        print(f"{which.name}: {logits.shape[1]} classes from 5 of {vit.patch_embed.num_patches} patches", flush=True)
