"""Section 2's remark: k-NN on continuous features against classifiers that see a bag of symbols, in one table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from analysis.corpus.recording import evaluating, one_pair, speak
from analysis.metrics.bag_of_symbols import held_out_classification
from analysis.transfer.features import extract_features
from analysis.transfer.knn import nearest_neighbour_accuracy
from analysis.transfer.linear import linear_probe
from games.build.data import labelled_loaders
from games.options.command_line import pick_device
from games.reproduce.runner.dry_run import classes_of
from games.reproduce.runner.results import measured_run
from games.reproduce.runner.setting import Setting, Training, ours
from games.reproduce.runner.tables import markdown, mean_and_spread, write_table
from games.reproduce.runner.training import train
from games.runs.load import load_game
from patchgame_egg.game import Game
from patchgame_egg.interaction import Batch


def trainings(setting: Setting) -> list[Training]:
    """One run of PatchGame for each seed.

    Raises:
        ValueError: the images are not there, or have no classes to tell apart.
    """
    classes_of(setting, ours(setting, 0))
    return [ours(setting, seed) for seed in setting.seeds]


def run(setting: Setting) -> None:
    """Classifies by symbols and by features, and writes the table."""
    rows = []
    for training in trainings(setting):
        found = measured_run(setting, training, evaluate)
        rows += [{"from": a, "by": b, "seed": training.seed, "top1": 100 * top1} for a, b, top1 in found["rows"]]
    frame = pd.DataFrame(rows)
    cells = [[str(a), str(b), mean_and_spread(part.top1)] for (a, b), part in frame.groupby(["from", "by"], sort=False)]
    write_table(setting, frame, markdown(["what is known of an image", "classifier", "top-1, %"], cells))


def evaluate(setting: Setting, training: Training) -> dict[str, Any]:
    """Shares of held-out images that are put into the right class, by symbols and by features."""
    run, device = train(setting, training), pick_device(setting.device)
    agents, config = load_game(run, device)
    game, loaders = one_pair(agents), labelled_loaders(config, device)
    (ids, said, labels), (held_ids, held_said, held_labels) = (messages(game, loader) for loader in loaders)
    bags = held_out_classification(
        np.concatenate([ids, held_ids]),
        np.concatenate([said, held_said]),
        np.concatenate([labels, held_labels]),
        np.arange(len(ids) + len(held_ids)) >= len(ids),
    )
    vision = game.receiver.vision
    assert isinstance(vision, nn.Module)
    seen, unseen = (extract_features(vision, loader, device) for loader in loaders)
    knn, probe = nearest_neighbour_accuracy(seen, unseen), linear_probe(seen, unseen)
    symbols, features = "bag of symbols, TF-IDF", "listener's features"
    return {
        "rows": [
            (symbols, "complement naive Bayes", bags.naive_bayes.value),
            (symbols, "k-NN", bags.nearest_neighbours.value),
            (symbols, "logistic regression", bags.logistic_regression.value),
            (features, "k-NN", knn.top1),
            (features, "logistic regression", probe.top1),
            ("nothing", "chance: the largest class", bags.chance),
        ],
        "knn": asdict(knn),
        "probe": asdict(probe),
    }


def messages(game: Game, batches: Iterable[Batch]) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """What a trained speaker says: symbols ``[N, T]``, which are said ``[N, T]``, and the classes ``[N]``."""
    ids, said, labels = [], [], []
    with evaluating(game) as device:
        for batch in batches:
            assert batch.labels is not None
            _, message = speak(game, batch.to(device))
            ids.append(message.symbols.cpu())
            said.append(message.mask.cpu())
            labels.append(batch.labels.cpu())
    return torch.cat(ids).numpy(), torch.cat(said).numpy(), torch.cat(labels).numpy()
