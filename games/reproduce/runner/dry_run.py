"""``--dry-run``: images are looked at and one step of every training is taken, before any is made."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from games.build.agents import build_game
from games.build.baselines import build_baseline
from games.build.data import build_views, load_images
from games.build.optimizer import build_optimizer
from games.build.trainer import chosen_precision
from games.options.command_line import pick_device
from games.reproduce.runner.setting import Setting, Training
from patchgame_egg.interaction import Batch
from patchgame_egg.training.trainer import Trainer
from patchgame_egg.views.loader import ViewLoader


def check_images(setting: Setting, trainings: Sequence[Training]) -> None:
    """Looks for the images of trainings, and whether they are enough, and says how many there are.

    Raises:
        ValueError: they are not there, which is only said in a dry run, or too few.
    """
    # Seeds have the same images, but for the built-in scenes, of which there is never a lack.
    for config in {config.images: config for config in map(setting.config, trainings)}.values():
        try:
            train_set, held_out = load_images(config, config.load_size)
        except ValueError as error:
            if not setting.dry_run:
                raise
            print(f"the images are not there yet: {error}")
            continue
        least = config.training.batch_size
        if len(train_set) < least:
            raise ValueError(f"{len(train_set)} images to train on are less than --batch-size {least}")
        if setting.dry_run:
            print(f"{config.images.data}: {len(train_set)} images to train on, {len(held_out)} held out")


def rehearse(setting: Setting, trainings: Sequence[Training]) -> None:
    """Checks the options of trainings and the images, and takes one step of each on four generated images.

    Raises:
        ValueError: an option is wrong.
        RuntimeError: a loss is not finite.
    """
    device = pick_device(setting.device)
    for training in dict.fromkeys(trainings):
        config = setting.config(training)
        ours = training.method == "patchgame"
        game = build_game(config) if ours else build_baseline(training.method, config)
        side = config.load_size
        images = torch.randint(256, (4, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        batch = Batch(images, torch.zeros(4, dtype=torch.int64), aux_input={"index": torch.arange(4)})
        views = ViewLoader([batch], build_views(config), device)
        trainer = Trainer(
            game.to(device),
            build_optimizer(config, game, 1, chosen_precision(config, device))[0],
            views,
            device=device,
            grad_norm=config.training.grad_norm,
            precision=chosen_precision(config, device),
        )
        # Random weights stay as they are.
        trainer.train(0 if training.method == "random" else 1)
        trainer.validation_data = views
        print(f"{training.name}, seed {training.seed}: loss {trainer.eval()[0]:.3f} on generated images", flush=True)
    check_images(setting, trainings)


def classes_of(setting: Setting, training: Training) -> int | None:
    """How many classes a training's images have; None where a dry run does not find the images.

    Raises:
        ValueError: the images are not there, or have no classes to tell apart: better known before the trainings.
    """
    config = setting.config(training)
    try:
        classes = len(load_images(config, config.load_size)[1].classes)
    except ValueError:
        if setting.dry_run:
            return None
        raise
    if classes < 2:
        raise ValueError(
            f"{setting.experiment} tells classes apart and the images in {config.images.root} have none: --root takes "
            "a folder with one folder for each class, or train/ and val/ with these"
        )
    return classes
