"""k-NN and the linear probe against scikit-learn and loops; features from one process and from two."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sklearn.neighbors import KNeighborsClassifier
from test_distributed import free_port
from torch import nn

from analysis.features import Features, extract_features
from analysis.linear_classifier import linear_probe
from analysis.neighbours import nearest_neighbour_accuracy
from games.trained import EveryImage
from patchgame_egg.distributed import leave_process_group
from patchgame_egg.interaction import Batch
from patchgame_egg.scenes import Scenes
from patchgame_egg.views import EvaluationView, ViewLoader


def clouds(n: int, seed: int, classes: int = 7, spread: float = 2.0) -> Features:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 12, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(classes, (n,), generator=generator)
    return Features(centres[labels] + spread * torch.randn(n, 12, generator=generator), labels)


def oracle(train: Features, test: Features, k: int, temperature: float) -> KNeighborsClassifier:
    def weights(distance: np.ndarray) -> np.ndarray:
        return np.exp((1 - distance - (1 - distance).max()) / temperature)

    model = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=weights)
    return model.fit(train.values.double().numpy(), train.labels.numpy())


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (20, 1.0), (200, 0.1)])
def test_equals_scikit_learn(k: int, temperature: float) -> None:
    train, test = clouds(300, 0), clouds(150, 1)
    model = oracle(train, test, k, temperature)
    found = nearest_neighbour_accuracy(train, test, k=k, temperature=temperature)
    predicted = model.predict(test.values.double().numpy())
    assert found.top1 == pytest.approx((predicted == test.labels.numpy()).mean(), abs=0)
    assert 0.2 < found.top1 < 0.9
    assert found.n == 150


def test_top_5_against_a_loop() -> None:
    train, test = clouds(60, 2, classes=9), clouds(40, 3, classes=9)
    right = 0
    for x, label in zip(test.values, test.labels, strict=True):
        cosine = torch.cosine_similarity(x[None].double(), train.values.double())
        votes = torch.zeros(9, dtype=torch.float64)
        for i in cosine.argsort(descending=True)[:10]:
            votes[train.labels[i]] += math.exp(cosine[i] / 0.5)
        right += int(label in votes.argsort(descending=True)[:5])
    found = nearest_neighbour_accuracy(train, test, k=10, temperature=0.5)
    assert found.top5 == pytest.approx(right / 40)
    assert found.top5 > found.top1


@pytest.mark.parametrize("size", [1, 7, 99])
def test_any_set_size_and_chunk(size: int) -> None:
    train, test = clouds(15, 4), clouds(size, 5)
    whole = nearest_neighbour_accuracy(train, test, k=500)
    assert whole == nearest_neighbour_accuracy(train, test, k=15, chunk=3)
    assert whole.n == size


def test_few_classes_unknown_classes_and_none() -> None:
    train, test = clouds(80, 6, classes=3), clouds(30, 7, classes=3)
    found = nearest_neighbour_accuracy(train, test)
    assert math.isnan(found.top5)
    assert math.isnan(found.chance_top5)
    strangers = Features(test.values, torch.full((30,), 8))
    assert nearest_neighbour_accuracy(train, strangers).top1 == 0
    half = Features(test.values, torch.where(torch.arange(30) < 15, test.labels, -1))
    assert nearest_neighbour_accuracy(train, half).n == 15
    with pytest.raises(ValueError, match="none of 30 images has a class: give a folder"):
        nearest_neighbour_accuracy(train, Features(test.values, torch.full((30,), -1)))
    with pytest.raises(ValueError, match="k 0"):
        nearest_neighbour_accuracy(train, test, k=0)
    with pytest.raises(ValueError, match="12 and 3 numbers"):
        nearest_neighbour_accuracy(train, Features(test.values[:, :3], test.labels))


def test_chance_is_the_most_frequent_class() -> None:
    train = Features(torch.randn(100, 4), torch.arange(100) % 10 * (torch.arange(100) > 40))
    test = Features(torch.randn(50, 4), torch.arange(50) % 10)
    found = nearest_neighbour_accuracy(train, test)
    assert found.chance_top1 == pytest.approx(0.1)
    assert found.chance_top5 == pytest.approx(0.5)


def test_linear_probe_learns_what_is_linear() -> None:
    train, test = clouds(400, 8, spread=0.5), clouds(200, 9, spread=0.5)
    assert linear_probe(train, test).top1 > 0.95
    scaled = [Features(f.values * torch.logspace(-3, 3, 12) + 100, f.labels) for f in (train, test)]
    assert linear_probe(*scaled).top1 > 0.95, "features are not standardised"
    assert linear_probe(train, test) == linear_probe(train, test)
    nothing = linear_probe(Features(train.values, train.labels[torch.randperm(400)]), test)
    assert nothing.top1 < 0.4
    with pytest.raises(ValueError, match="one class"):
        linear_probe(Features(train.values, train.labels * 0), test)


def test_a_class_that_nobody_taught_is_an_error_of_the_probe() -> None:
    train, test = clouds(40, 10, classes=6), clouds(10, 11, classes=6)
    assert linear_probe(train, Features(test.values, test.labels + 6)).top1 == 0


class Trunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(3), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.norm(x)).mean(dim=(2, 3))


def features() -> Features:
    loader = ViewLoader(EveryImage(Scenes(21, 16, 0, "val"), 4), EvaluationView(16), "cpu")
    return extract_features(Trunk(), loader, "cpu")


def worker(rank: int, port: int, path: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    found = features()
    torch.save((found.values, found.labels), f"{path}/{rank}.pt")
    leave_process_group()


def test_every_image_once_on_any_number_of_processes(tmp_path: Path) -> None:
    alone = features()
    assert alone.values.shape == (21, 3)
    mp.spawn(worker, (free_port(), str(tmp_path)), nprocs=2)
    for rank in range(2):
        values, labels = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(values, alone.values)
        assert torch.equal(labels, alone.labels)


def test_the_trunk_is_left_in_its_mode_and_features_are_pooled() -> None:
    trunk = Trunk().train()
    trunk.drop.eval()
    batch = Batch(torch.randn(5, 3, 8, 8), labels=None)
    found = extract_features(trunk, [batch, batch], "cpu")
    assert torch.equal(found.values[:5], found.values[5:])
    assert trunk.training
    assert not trunk.drop.training
    assert trunk.norm.num_batches_tracked == 0
    with pytest.raises(ValueError, match="pool them"):
        extract_features(nn.Identity(), [batch], "cpu")
    with pytest.raises(ValueError, match="no image"):
        extract_features(trunk, [], "cpu")
