"""Table 2: how well objects are found by a detector that starts from the listener's trunk, beside other trunks.

With ``--rates`` the trunks are trained at the learning rates that Table 1 chooses with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from analysis.corpus.voc_xml import VocObject
from analysis.detection.backbone import trunk_blocks
from analysis.detection.boxes import BoxedImage, Objects
from analysis.detection.detector import DetectorShape, build_detector
from analysis.detection.fine_tuning import Recipe, detect, fine_tune
from analysis.detection.scores import average_precision
from analysis.detection.voc import check_voc_images, voc_sets, write_voc
from games.build.data import decoders
from games.options.command_line import pick_device
from games.reproduce import table1
from games.reproduce.runner.results import measured_run
from games.reproduce.runner.setting import Setting, Training, made_of
from games.reproduce.runner.tables import fate, markdown, mean_and_spread, table_rows, write_table
from games.reproduce.runner.training import train
from games.runs.lock import output_lock
from patchgame_egg.agents.trunks import vision_trunk
from patchgame_egg.atomic_write import making
from patchgame_egg.data.scenes import CONCEPTS, Scenes

# Name -> mAP-50 in the paper, percent.
PAPER = {
    "MoCo-v2": 65.8,
    "PatchVAE, S=16": 52.2,
    "PatchVAE, S=32": 54.2,
    "ours, S=16": 58.9,
    "ours, S=32": 61.3,
}


@dataclass(frozen=True)
class Transfer:
    """A detector and how it is trained."""

    shape: DetectorShape
    recipe: Recipe


TRANSFERS = {
    "toy": Transfer(
        DetectorShape(short_side=64, long_side=96, width=8, head=16, anchors=32, regions=16, proposals=(64, 32)),
        Recipe(steps=4, optimizer="adamw", batch_size=4, lr=2e-3, warmup=2, batch_norm="fixed", calibration=8),
    ),
    # About four minutes on a core.
    "photos": Transfer(
        DetectorShape(short_side=192, long_side=384, width=64, head=256, anchors=64, regions=64, proposals=(300, 150)),
        Recipe(
            steps=800,
            optimizer="adamw",
            batch_size=4,
            lr=5e-4,
            warmup=50,
            weight_decay=1e-2,
            grad_norm=10,
            batch_norm="fixed",
        ),
    ),
    # As MoCo is transferred to VOC, but from a ResNet-18 and without a batch norm of the detector's own.
    "imagenet": Transfer(
        DetectorShape(form="c4", train_sides=tuple(range(480, 800, 32))),
        Recipe(),
    ),
}
# Trunks of small images are no larger than those of photos.
TRANSFERS["cifar10"] = TRANSFERS["photos"]


def methods(setting: Setting, seed: int, rates: Mapping[str, str] | None = None) -> dict[str, Training]:
    """The trainings of one seed, by their names in the table: those of Table 1, without VQ-VAE-2."""
    return {name: t for name, t in table1.methods(setting, seed, rates).items() if name != "VQ-VAE-2"}


def trainings(setting: Setting) -> list[Training]:
    """Everything that has to be trained, seed by seed.

    Where rates are to be chosen, what that needs; `run` trains the rest, at the rates that are found.

    Raises:
        ValueError: the images with boxes are not there or broken, or the trunk gives a detector no maps: better now
            than after the trainings; or there is no folder of images to choose rates on.
    """
    if not setting.dry_run and (setting.voc or setting.scale != "toy"):
        print(check_voc_images(*voc_sets(voc_folder(setting))), flush=True)
    wanted = [training for seed in setting.seeds for training in methods(setting, seed).values()]
    trunk_blocks(_fresh_trunk(setting, wanted[-1]))
    return table1.trainings(setting) if setting.rates else wanted


def _fresh_trunk(setting: Setting, training: Training) -> nn.Module:
    config = setting.config(training)
    return vision_trunk(config.listener.vision, config.images.image_size, config.listener.vision_width)[0]


def voc_folder(setting: Setting) -> Path:
    """The images with boxes; at the toy scale, unless others are given, scenes that are drawn here first.

    Raises:
        ValueError: the scale needs a folder and none is given.
    """
    if setting.voc:
        return Path(setting.voc)
    if setting.scale != "toy":
        raise ValueError(f"--scale {setting.scale} needs --voc DIR, a folder in VOC's format (VOCdevkit/VOC2007, ...)")
    folder = setting.folder / "voc"
    with output_lock(folder):
        if not folder.exists():
            with making(folder, folder.with_suffix(".tmp")) as draft:
                write_voc(draft, {part: drawn(part, count) for part, count in (("train", 32), ("val", 16))})
    return folder


def drawn(part: str, count: int, size: int = 48) -> Iterator[tuple[np.ndarray, list[VocObject]]]:
    """Built-in scenes with their objects, which are of the class of their shape.

    Args:
        part: train or val.
        count: how many scenes.
        size: of their sides, pixels.
    """
    scenes = Scenes(count, size, split=part)
    for index in range(count):
        scene = scenes.scene(index)
        yield scene.image, [VocObject(CONCEPTS["shape"][o.shape], o.box) for o in scene.objects]


def made_with(setting: Setting) -> dict[str, Any]:
    """What a result depends on beside its training."""
    return {"voc": str(voc_folder(setting).resolve()), **asdict(TRANSFERS[setting.scale])}


def _kept(setting: Setting, training: Training) -> Path:
    """Where a detector is kept while it trains."""
    return setting.folder / "parts" / f"{setting.folder_of(training).name}-detector.pt"


def evaluate(setting: Setting, training: Training) -> dict[str, Any]:
    """Fine-tunes a detector on the trunk of a training and scores it on held-out images."""
    # Reading a run imports the games; a dry run does without.
    from games.runs.load import load_trunk

    device, transfer = pick_device(setting.device), TRANSFERS[setting.scale]
    trained = load_trunk(train(setting, training), device)
    train_set, held_out = voc_sets(voc_folder(setting))
    recipe = replace(transfer.recipe, workers=decoders(trained.config.images, device))
    detector = build_detector(trained.trunk, len(train_set.classes), transfer.shape, training.seed)
    losses = fine_tune(
        detector, train_set, recipe, seed=training.seed, device=device, path=_kept(setting, training),
        made_with={**made_of(setting, training), **made_with(setting)},
    )  # fmt: skip
    found, there = detect(detector, held_out, device=device, workers=recipe.workers)
    scores = asdict(average_precision(found, there))
    per_class = {train_set.classes[number - 1]: value for number, value in scores.pop("per_class").items()}
    last = losses[-max(1, recipe.steps // 10) :]
    loss = sum(last) / len(last)
    print(f"{setting.folder_of(training).name}: detector, {recipe.steps} steps, loss {loss:.3f} at the end", flush=True)
    return {**scores, "per_class": per_class, "loss": loss}


def run(setting: Setting) -> list[Training]:
    """Evaluates all trainings and writes the table.

    Returns:
        Trainings beside those of `trainings`: those at the rates that were chosen.

    Raises:
        ValueError: a part was measured with other images or another recipe, or the images are not there.
        RuntimeError: all trainings diverged.
    """
    rates, note, more = table1.train_at_chosen_rates(setting, methods)
    wanted = [({"method": name}, t) for seed in setting.seeds for name, t in methods(setting, seed, rates).items()]
    frame = table_rows(wanted, partial(columns, setting))
    write_table(setting, frame, tabulate(frame) + note)
    return more


def columns(setting: Setting, training: Training) -> dict[str, Any]:
    """A training's row, in percent."""
    found = measured_run(setting, training, evaluate, made_with(setting))
    # Only now: its scores are written.
    _kept(setting, training).unlink(missing_ok=True)
    return {
        "voc2007": 100 * found["voc2007"],
        "coco": 100 * found["coco"],
        "loss": found["loss"],
        "images": found["images"],
        "objects": found["objects"],
        "classes": len(found["per_class"]),
    }


def tabulate(frame: pd.DataFrame) -> str:
    """Markdown: means over seeds, their standard deviations, and what the paper found on VOC."""
    cells = [
        [
            f"{name}{fate(part)}",
            mean_and_spread(part.voc2007),
            mean_and_spread(part.coco),
            str(PAPER.get(str(name), "")),
        ]
        for name, part in frame.groupby("method", sort=False)
    ]
    first, seeds = frame[~frame.diverged].iloc[0], frame.seed.nunique()
    spread = " and standard deviation" if seeds > 1 else ""
    return (
        markdown(["", "mAP-50 (VOC 2007: 11 recalls), %", "AP50 (COCO: 101 recalls), %", "paper: mAP-50"], cells)
        + f"\n{int(first.images)} held-out images with {int(first.objects)} objects of {int(first.classes)} classes; "
        + f"mean{spread} of {seeds} seed(s).\n"
    )


def rehearse(setting: Setting) -> None:
    """Takes one step of the scale's detector on generated images, a quarter as large, and looks for the real ones.

    Raises:
        ValueError: an option is wrong, or the real images are there and broken.
        RuntimeError: the loss is not finite.
    """
    last, transfer = trainings(setting)[-1], TRANSFERS[setting.scale]
    small = replace(
        transfer.shape,
        short_side=max(64, transfer.shape.short_side // 4),
        train_sides=tuple(max(64, side // 4) for side in transfer.shape.train_sides),
        regions=8,
    )
    recipe = replace(transfer.recipe, steps=1, batch_size=2, calibration=2)
    detector = build_detector(_fresh_trunk(setting, last), 20, small)
    losses = fine_tune(detector, _Generated(), recipe, device=pick_device(setting.device))
    print(f"detector on {setting.config(last).listener.vision}: loss {losses[0]:.3f} on generated images", flush=True)
    try:
        folder = voc_folder(setting)
    except ValueError as error:
        print(f"the images with boxes are not there yet: {error}")
        return
    if folder.exists():
        print(check_voc_images(*voc_sets(folder)))
    else:
        print(f"the images with boxes are not there yet: no folder {folder}")


class _Generated(torch.utils.data.Dataset[BoxedImage]):
    """Two images of noise, each with an object."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> BoxedImage:
        generator = torch.Generator().manual_seed(index)
        image: Tensor = torch.randint(256, (3, 120, 160), generator=generator, dtype=torch.uint8)
        box = torch.tensor([[20.0, 30.0, 80.0, 90.0]])
        return BoxedImage(image, Objects(box, torch.tensor([index + 1]), torch.tensor([False])))
