"""k-NN and the linear probe against scikit-learn and loops; features from one process and from two."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from analysis.transfer import knn
from analysis.transfer.controls import retrieval_controls
from analysis.transfer.features import Features, extract_features
from analysis.transfer.knn import Accuracy, nearest_neighbour_accuracy
from analysis.transfer.linear import STRENGTHS, linear_probe, stratified_tenth
from patchgame_egg.data.loader import EveryImage
from patchgame_egg.data.scenes import Scenes
from patchgame_egg.interaction import Batch
from patchgame_egg.views.loader import ViewLoader
from patchgame_egg.views.transforms import EvaluationView
from tests.support.processes import end_rank, free_port


def clouds(n: int, seed: int, classes: int = 7, spread: float = 2.0) -> Features:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 12, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(classes, (n,), generator=generator)
    return Features(centres[labels] + spread * torch.randn(n, 12, generator=generator), labels)


def oracle(train: Features, test: Features, k: int, temperature: float) -> np.ndarray:
    # Imported here, as the processes below load this file too.
    from sklearn.neighbors import KNeighborsClassifier

    def weights(distance: np.ndarray) -> np.ndarray:
        return np.exp((1 - distance) / temperature)

    model = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=weights)
    model.fit(train.values.double().numpy(), train.labels.numpy())
    return model.predict(test.values.double().numpy())


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (20, 1.0), (200, 0.1)])
def test_equals_scikit_learn(k: int, temperature: float) -> None:
    train, test = clouds(300, 0), clouds(150, 1)
    predicted = oracle(train, test, k, temperature)
    found = nearest_neighbour_accuracy(train, test, k=k, temperature=temperature)
    assert found.top1 == (predicted == test.labels.numpy()).mean()
    assert 0.2 < found.top1 < 0.9
    assert found.n == 150
    # Every single answer is the same: where scikit-learn's are called right, nothing is wrong.
    as_predicted = Features(test.values, torch.from_numpy(predicted))
    assert nearest_neighbour_accuracy(train, as_predicted, k=k, temperature=temperature).top1 == 1


def test_what_takes_long_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("patchgame_egg.counted.PATIENCE", 0.0)
    monkeypatch.setattr(knn, "_SEEN", 50)
    train, test = clouds(120, seed=0), clouds(30, seed=1)
    nearest_neighbour_accuracy(train, test, k=5)
    linear_probe(train, test)
    batches = [Batch(image, None, image) for image in torch.rand(3, 4, 3, 8, 8)]
    retrieval_controls(batches)
    extract_features(nn.Flatten(), batches, "cpu")
    said = [line.split(", about")[0] for line in capsys.readouterr().err.splitlines()]
    assert said == [
        *(f"compares images with 120 others, 50 at a time: {i} of 3" for i in (1, 2)),
        *(f"fits linear probes, one for each strength: {i} of 4" for i in (1, 2, 3)),
        *(f"looks at pixels, in batches: {i} of 3" for i in (1, 2)),
        *(f"computes features, in batches: {i} of 3" for i in (1, 2)),
    ]


def test_a_low_temperature_leaves_the_nearest() -> None:
    train, test = clouds(300, 0), clouds(150, 1)
    alone = nearest_neighbour_accuracy(train, test, k=1)
    assert nearest_neighbour_accuracy(train, test, temperature=1e-5).top1 == alone.top1


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


@pytest.mark.parametrize("chunk", [1, 3, 1024])
def test_equals_go_by_order_and_by_class(chunk: int) -> None:
    generator = torch.Generator().manual_seed(0)
    values, asked = torch.randn(40, 64, generator=generator), torch.randn(500, 64, generator=generator)
    twice = Features(torch.cat([values, values]), torch.arange(80).lt(40).long())
    smaller = Features(asked, torch.zeros(500, dtype=torch.int64))
    assert nearest_neighbour_accuracy(twice, smaller, k=2, chunk=chunk).top1 == 1
    assert nearest_neighbour_accuracy(twice, smaller, k=1, chunk=chunk).top1 == 0
    # A collapsed network: all are equally near, and the first three are asked.
    labels = torch.tensor([4, 2, 2, *[0] * 37])
    collapsed = Features(values[:1].repeat(40, 1), labels)
    assert nearest_neighbour_accuracy(collapsed, Features(asked, smaller.labels + 2), k=3, chunk=chunk).top1 == 1


def test_a_class_without_training_images_is_never_named() -> None:
    train = Features(torch.eye(6), torch.tensor([0, 2, 3, 4, 5, 6]))
    asked = torch.eye(6)[5:]
    assert nearest_neighbour_accuracy(train, Features(asked, torch.tensor([1])), k=1).top5 == 0
    # Without a vote, the smaller numbers follow: 6, 0, 2, 3, 4.
    assert nearest_neighbour_accuracy(train, Features(asked, torch.tensor([4])), k=1).top5 == 1
    assert nearest_neighbour_accuracy(train, Features(asked, torch.tensor([5])), k=1).top5 == 0


def test_features_that_are_no_numbers() -> None:
    train, test = clouds(80, 6), clouds(30, 7)
    test.values[4, 2] = math.nan
    for classifier in (nearest_neighbour_accuracy, linear_probe):
        with pytest.raises(ValueError, match="1 of 30 images have features that are not finite"):
            classifier(train, test)
    unlabelled = Features(test.values, torch.where(torch.arange(30) == 4, -1, test.labels))
    assert nearest_neighbour_accuracy(train, unlabelled).n == 29


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


@pytest.mark.slow
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
    with pytest.raises(ValueError, match="12 and 3 numbers"):
        linear_probe(train, Features(test.values[:, :3], test.labels))


@pytest.mark.slow
def test_the_probe_against_scikit_learn_s_own_pipeline() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = clouds(400, 8), clouds(200, 9)
    found, expected = linear_probe(train, test), []
    for strength in STRENGTHS:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength / 400, max_iter=1000, tol=1e-6))
        scores = model.fit(train.values.numpy(), train.labels.numpy()).predict_proba(test.values.numpy())
        right = (-scores).argsort(axis=1) == test.labels.numpy()[:, None]
        expected.append((right[:, 0].mean(), right[:, :5].any(axis=1).mean()))
    assert min(abs(found.top1 - top1) + abs(found.top5 - top5) for top1, top5 in expected) < 0.011


def test_the_probe_s_strength_is_chosen_on_images_of_every_class() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 3, 8], [500, 60, 40]))
    order, held = stratified_tenth(labels, 1)
    assert sorted(order) == list(range(600))
    assert np.bincount(labels[held]).tolist() == [50, 0, 0, 6, 0, 0, 0, 0, 4]
    assert not np.array_equal(held, stratified_tenth(labels, 2)[1])


@pytest.mark.parametrize("count", [2, 3, 9])
def test_the_probe_learns_from_a_handful(count: int) -> None:
    labels = torch.arange(count) % 2
    features = Features(torch.stack([labels * 4.0, torch.full((count,), 0.1)], dim=1), labels)
    assert linear_probe(features, features).top1 == 1


def test_a_class_that_nobody_taught_is_an_error_of_the_probe() -> None:
    train, test = clouds(40, 10, classes=6), clouds(10, 11, classes=6)
    strangers = linear_probe(train, Features(test.values, test.labels + 6))
    assert (strangers.top1, strangers.top5) == (0, 0)


class Trunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(3), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.norm(x)).mean(dim=(2, 3))


def features(count: int) -> Features:
    loader = ViewLoader(EveryImage(Scenes(count, 16, 0, "val"), 4), EvaluationView(16), "cpu")
    return extract_features(Trunk(), loader, "cpu")


def worker(rank: int, port: int, path: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    # One image leaves the second process without any.
    torch.save([(found.values, found.labels) for found in (features(21), features(1))], f"{path}/{rank}.pt")
    end_rank()


@pytest.mark.slow
@pytest.mark.process
def test_every_image_once_on_any_number_of_processes(tmp_path: Path) -> None:
    expected = [features(21), features(1)]
    assert expected[0].values.shape == (21, 3)
    mp.spawn(worker, (free_port(), str(tmp_path)), nprocs=2)
    for rank in range(2):
        for (values, labels), alone in zip(torch.load(tmp_path / f"{rank}.pt"), expected, strict=True):
            torch.testing.assert_close(values, alone.values)
            assert torch.equal(labels, alone.labels)


def test_what_a_loader_repeats_counts_once() -> None:
    images, places = torch.randn(5, 3, 8, 8), torch.tensor([3, 0, 4, 3, 0])
    batches = [
        Batch(images[rows], places[rows] * 10, aux_input={"index": places[rows]}) for rows in (slice(3), slice(3, 5))
    ]
    found = extract_features(Trunk(), batches, "cpu")
    assert found.labels.tolist() == [0, 30, 40]
    torch.testing.assert_close(found.values, Trunk().eval()(images[[1, 0, 2]]))


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


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30])
def test_cosines_do_not_depend_on_scale(scale: float) -> None:
    train, test = clouds(120, 1, spread=1.0), clouds(60, 2, spread=1.0)
    scaled = [Features((part.values.double() * scale).float(), part.labels) for part in (train, test)]
    assert nearest_neighbour_accuracy(*scaled).top1 == nearest_neighbour_accuracy(train, test).top1 > 0.8
    assert nearest_neighbour_accuracy(scaled[0], test).top1 == nearest_neighbour_accuracy(train, test).top1


@pytest.mark.parametrize("classify", [nearest_neighbour_accuracy, linear_probe])
def test_numbers_of_classes_are_names_and_no_sizes(classify: Callable[[Features, Features], Accuracy]) -> None:
    train, test = clouds(120, 1, spread=1.0), clouds(60, 2, spread=1.0)
    far = [Features(part.values, part.labels * 10**17 + 5) for part in (train, test)]
    assert classify(*far) == classify(train, test)


@pytest.mark.parametrize("width", [2, 12])
@pytest.mark.parametrize("blocks", [7, 64, 1000])
def test_single_precision_and_blocks_change_no_neighbour(
    blocks: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = (Features(part.values[:, :width], part.labels) for part in (clouds(700, 8), clouds(60, 9)))
    # Many are equal, and many closer to each other than single precision can tell.
    train.values[100:300] = train.values[0]
    train.values[300:400] = train.values[1] + 1e-7 * torch.randn(100, width, generator=torch.Generator().manual_seed(1))
    seen, asked = (torch.nn.functional.normalize(part.values.double(), dim=1) for part in (train, test))
    steps = (asked @ seen.T * knn.STEPS).round().long()
    expected = steps.sort(dim=1, descending=True, stable=True)
    monkeypatch.setattr(knn, "_SEEN", blocks)
    monkeypatch.setattr(knn, "_SPARE", 5)
    monkeypatch.setattr(knn, "_NUMBERS", 100)
    for k in (1, 20, 700):
        found = knn._nearest(train.values, asked, k)
        assert (found[0] - expected.values[:, :k]).abs().max() <= 1
        assert (found[1] == expected.indices[:, :k]).double().mean() > 0.99
