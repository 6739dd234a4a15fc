"""Detectors on trained trunks: whose weights they start from, what learns, what they find, and how that is scored."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import Dataset

from analysis.detection.backbone import trunk_blocks
from analysis.detection.boxes import BoxedImage, Detections, Objects
from analysis.detection.detector import DetectorShape, build_detector
from analysis.detection.fine_tuning import Recipe, detect, fine_tune, measure_batch_norm, train_mode
from analysis.detection.scores import average_precision
from analysis.detection.voc import voc_sets
from games.options.config import Config
from games.reproduce import table2
from games.reproduce.runner.setting import Setting, Training
from games.runs.load import Trained
from patchgame_egg.agents.trunks import vision_trunk
from patchgame_egg.baselines.patch_vae import cell_trunk

SMALL = DetectorShape(short_side=64, long_side=64, width=16, head=32, anchors=32, regions=16, proposals=(60, 30))
QUICK = Recipe(steps=2, batch_size=2, lr=0.01, warmup=1, batch_norm="fixed", calibration=4)


class Squares(Dataset[BoxedImage]):
    """A white square, of class 1, on dark noise."""

    def __init__(self, count: int, seed: int = 0, side: int = 64) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randint(60, (count, 3, side, side), generator=generator, dtype=torch.uint8)
        sizes = torch.randint(14, 28, (count, 1), generator=generator)
        corners = (torch.rand(count, 2, generator=generator) * (side - sizes)).long()
        self.boxes = torch.cat([corners, corners + sizes], dim=1)
        for image, (x0, y0, x1, y1) in zip(self.images, self.boxes.tolist(), strict=True):
            image[:, y0:y1, x0:x1] = 230

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> BoxedImage:
        there = Objects(self.boxes[index : index + 1].float(), torch.tensor([1]), torch.tensor([False]))
        return BoxedImage(self.images[index], there)


def tiny_trunk(image_size: int = 48, width: int = 8) -> nn.Module:
    return vision_trunk("resnet9", image_size, width)[0]


def resnet18() -> nn.Module:
    return vision_trunk("resnet18", 64)[0]


# --- scores, against a loop written from the definition


def loop_average_precision(found: list[Detections], there: list[Objects], label: int, recalls: list[float]) -> float:
    """Everingham et al., 2010, section 4.2, with their rule for difficult objects; NaN for a class without objects."""
    total = sum(int(((o.labels == label) & ~o.difficult).sum()) for o in there)
    if total == 0:
        return math.nan
    claims = sorted(
        (-score, image, box)
        for image, d in enumerate(found)
        for box, kind, score in zip(d.boxes.tolist(), d.labels.tolist(), d.scores.tolist(), strict=True)
        if kind == label
    )
    taken: set[tuple[int, int]] = set()
    hits, points = 0, []
    false_alarms = 0
    for _, image, box in claims:
        objects = there[image]
        best, which = 0.0, -1
        for number, (other, kind) in enumerate(zip(objects.boxes.tolist(), objects.labels.tolist(), strict=True)):
            width = min(box[2], other[2]) - max(box[0], other[0])
            height = min(box[3], other[3]) - max(box[1], other[1])
            if kind == label and width > 0 and height > 0:
                both = width * height
                areas = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1])
                if both / (areas - both) > best:
                    best, which = both / (areas - both), number
        if best >= 0.5 and objects.difficult[which]:
            continue
        if best >= 0.5 and (image, which) not in taken:
            taken.add((image, which))
            hits += 1
        else:
            false_alarms += 1
        points.append((hits / total, hits / (hits + false_alarms)))
    return sum(max((p for r, p in points if r >= level), default=0.0) for level in recalls) / len(recalls)


def random_scene(rng: np.random.Generator, difficult: float) -> tuple[Detections, Objects]:
    """One to three objects of three classes, one in each third of the image, and detections near them or anywhere."""
    count = int(rng.integers(1, 4))
    corners = np.stack([40 * np.arange(count) + rng.uniform(0, 8, count), rng.uniform(0, 80, count)], axis=1)
    boxes = np.concatenate([corners, corners + rng.uniform(12, 30, (count, 2))], axis=1)
    labels = rng.integers(1, 4, count)
    near = np.repeat(boxes, 3, axis=0) + rng.normal(0, 3, (3 * count, 4))
    kinds = np.where(rng.random(3 * count) < 0.8, np.repeat(labels, 3), rng.integers(1, 4, 3 * count))
    stray = rng.uniform(0, 90, (2, 2))
    near = np.concatenate([near, np.concatenate([stray, stray + 20], axis=1)])
    kinds = np.concatenate([kinds, rng.integers(1, 4, 2)])
    scores = rng.permutation(len(near)) / 100 + rng.random() / 200
    found = Detections(torch.tensor(near).float(), torch.tensor(kinds), torch.tensor(scores).float())
    excused = torch.tensor(rng.random(count) < difficult)
    return found, Objects(torch.tensor(boxes).float(), torch.tensor(labels), excused)


@pytest.mark.slow
@pytest.mark.parametrize("difficult", [0.0, 0.4])
@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_that_of_a_loop(seed: int, difficult: float) -> None:
    rng = np.random.default_rng(seed)
    found, there = map(list, zip(*(random_scene(rng, difficult) for _ in range(12)), strict=True))
    scores = average_precision(found, there)
    for number, recalls in ((11, [i / 10 for i in range(11)]), (101, [i / 100 for i in range(101)])):
        expected = [loop_average_precision(found, there, label, recalls) for label in (1, 2, 3)]
        assert 0.05 < np.nanmean(expected) < 0.95
        ours = scores.voc2007 if number == 11 else scores.coco
        assert ours == pytest.approx(np.nanmean(expected), abs=1e-9)
        if number == 11:
            assert [scores.per_class[label] for label in (1, 2, 3)] == pytest.approx(expected, abs=1e-9)


def objects(*boxes: list[float], difficult: tuple[bool, ...] = ()) -> Objects:
    flags = difficult or (False,) * len(boxes)
    return Objects(
        torch.tensor(boxes).reshape(-1, 4), torch.ones(len(boxes), dtype=torch.int64), torch.tensor(flags).bool()
    )


def detections(*boxes: list[float]) -> Detections:
    """The surest first."""
    scores = 1 - torch.arange(len(boxes)) / 10
    return Detections(torch.tensor(boxes).reshape(-1, 4), torch.ones(len(boxes), dtype=torch.int64), scores)


A, B, FAR = [0.0, 0, 10, 10], [20.0, 0, 30, 10], [50.0, 50, 60, 60]


@pytest.mark.parametrize(
    ("found", "there", "expected"),
    [
        (detections(A, B), objects(A, B), 1.0),
        (detections(FAR), objects(A), 0.0),
        (detections(), objects(A), 0.0),
        # Recalls 0 to 0.5 at full precision, none beyond.
        (detections(A), objects(A, B), 6 / 11),
        # The second claim to an object is a false alarm, before the other is found.
        (detections(A, A, B), objects(A, B), (6 + 5 * 2 / 3) / 11),
        # A difficult object excuses every claim to it, and need not be found.
        (detections(B, B, A), objects(A, B, difficult=(False, True)), 1.0),
        (detections(A), objects(A, B, difficult=(False, True)), 1.0),
    ],
)
def test_cases_worked_out_by_hand(found: Detections, there: Objects, expected: float) -> None:
    assert average_precision([found], [there]).voc2007 == pytest.approx(expected)


def test_a_class_without_objects_does_not_count_and_none_at_all_is_undefined() -> None:
    found = Detections(torch.tensor([A, FAR]), torch.tensor([1, 2]), torch.tensor([0.5, 0.9]))
    scores = average_precision([found], [objects(A)])
    assert scores.voc2007 == pytest.approx(1)
    assert list(scores.per_class) == [1]
    assert scores.objects == 1
    nothing = average_precision([detections(A)], [objects(A, difficult=(True,))])
    assert math.isnan(nothing.voc2007)
    assert nothing.objects == 0
    with pytest.raises(ValueError, match="detections of 1 images, but objects of 0"):
        average_precision([found], [])


def test_nothing_found_scores_nothing() -> None:
    none = Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    for found, there in (([none], [objects(A)]), ([none, none], [objects(A), objects()])):
        scores = average_precision(found, there)
        assert (scores.voc2007, scores.coco, scores.per_class, scores.objects) == (0, 0, {1: 0}, 1)
    assert math.isnan(average_precision([], []).coco)


@pytest.mark.parametrize("broken", ["scores", "boxes"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_no_detection(broken: str, value: float) -> None:
    found = detections(A, B)
    getattr(found, broken).view(-1)[-1] = value
    with pytest.raises(ValueError, match="image 1: 1 of 2 detections have a score or a box that is not"):
        average_precision([detections(A), found], [objects(A), objects(A, B)])


def test_of_equal_scores_the_earlier_image_counts_first() -> None:
    right, wrong = (detections(A), objects(A)), (detections(FAR), objects())
    for pairs, expected in (((right, wrong), 1.0), ((wrong, right), 0.5)):
        assert average_precision(*zip(*pairs, strict=True)).voc2007 == pytest.approx(expected)


# --- detectors


TRUNKS = {
    "resnet9, stride 16": tiny_trunk,
    "resnet9, stride 8": lambda: tiny_trunk(32),
    "resnet9, stride 4": lambda: cell_trunk("resnet9", 4, 8)[0],
    "resnet18": resnet18,
    "resnet18 up to its third layer": lambda: cell_trunk("resnet18", 16)[0],
}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["fpn", "c4"])
@pytest.mark.parametrize("name", TRUNKS)
def test_the_trunk_s_weights_are_taken_over_and_all_of_them_learn(name: str, form: str) -> None:
    trunk = TRUNKS[name]()
    # Residual blocks that start at zero hide their first weights from the first gradient; no two weights are equal.
    for parameter in trunk.parameters():
        nn.init.normal_(parameter, 1.0 if parameter.dim() == 1 else 0.0, 0.05)
    before = {key: value.clone() for key, value in trunk.state_dict().items()}
    detector = build_detector(trunk, 1, replace(SMALL, form=form))
    taken = {p.detach().numpy().tobytes(): p for p in detector.parameters()}
    for key, parameter in trunk.named_parameters():
        assert parameter.detach().numpy().tobytes() in taken, f"{key} is not in the detector"
    measure_batch_norm(detector, Squares(4), QUICK, torch.Generator())
    train_mode(detector, "fixed")
    item = Squares(2)[1]
    targets = [{"boxes": item.objects.boxes, "labels": item.objects.labels}]
    sum(detector([item.image / 255], targets).values()).backward()
    for key, parameter in trunk.named_parameters():
        gradient = taken[parameter.detach().numpy().tobytes()].grad
        assert gradient is not None and gradient.abs().sum() > 0, f"{key} does not learn"
    assert all(torch.equal(before[key], value) for key, value in trunk.state_dict().items()), "the trunk was changed"


@pytest.mark.parametrize("name", TRUNKS)
def test_blocks_compose_to_the_trunk(name: str) -> None:
    trunk = TRUNKS[name]().eval()
    image = torch.rand(1, 3, 64, 64)
    blocks = trunk_blocks(trunk)
    out = image
    for block in blocks:
        out = block.module(out)
        assert out.shape[1:] == (block.channels, 64 // block.stride, 64 // block.stride)
    assert torch.allclose(out.mean(dim=(2, 3)), trunk(image), atol=1e-6)


def test_other_trunks() -> None:
    model = torchvision.models.mobilenet_v3_small(weights=None)
    assert [block.stride for block in trunk_blocks(model)][::4] == [2, 16, 16, 32]
    chain = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1))
    assert [(block.channels, block.stride) for block in trunk_blocks(chain)] == [(4, 2), (8, 4)]
    with pytest.raises(ValueError, match="needs a trunk with maps"):
        trunk_blocks(nn.Linear(3, 3))
    with pytest.raises(ValueError, match="needs a trunk with maps"):
        build_detector(vision_trunk("vit_tiny_patch16_224", 224)[0], 2, DetectorShape())
    with pytest.raises(ValueError, match="detector 'yolo'"):
        build_detector(chain, 1, replace(SMALL, form="yolo"))


def norms(detector: nn.Module) -> list[_BatchNorm]:
    return [module for module in detector.modules() if isinstance(module, _BatchNorm)]


@pytest.mark.parametrize("form", ["fpn", "c4"])
def test_fixed_batch_norm_is_measured_once_and_then_stays(form: str) -> None:
    images = Squares(4)
    first, second = (build_detector(tiny_trunk(), 1, replace(SMALL, form=form)) for _ in range(2))
    second.load_state_dict(first.state_dict())
    measure_batch_norm(first, images, replace(QUICK, batch_size=4), torch.Generator())
    assert all(norm.num_batches_tracked == 1 and norm.momentum == 0.1 for norm in norms(first))
    # The stem's convolution sees the images only, so that its statistics can be worked out.
    stem = first.backbone.blocks[0][0]
    seen = first.transform([image / 255 for image in images.images])[0].tensors
    assert torch.allclose(stem[1].running_mean, stem[0](seen).mean(dim=(0, 2, 3)), atol=1e-5)
    fine_tune(second, images, replace(QUICK, batch_size=4))
    for measured, kept in zip(norms(first), norms(second), strict=True):
        assert measured.running_mean is not None and kept.running_mean is not None
        assert torch.allclose(measured.running_mean, kept.running_mean, atol=1e-5)
        assert not torch.equal(measured.weight, kept.weight), "scale and shift do not learn"


def test_batch_norm_of_each_batch() -> None:
    detector = build_detector(tiny_trunk(), 1, SMALL)
    fine_tune(detector, Squares(4), replace(QUICK, batch_norm="batch"))
    assert all(norm.num_batches_tracked == QUICK.steps for norm in norms(detector))
    with pytest.raises(ValueError, match="batch_norm is 'none'"):
        fine_tune(detector, Squares(4), replace(QUICK, batch_norm="none"))
    with pytest.raises(ValueError, match="optimizer is 'lion'"):
        fine_tune(detector, Squares(4), replace(QUICK, optimizer="lion"))


def test_what_takes_long_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("patchgame_egg.counted.PATIENCE", 0.0)
    detector = build_detector(tiny_trunk(), 1, SMALL)
    fine_tune(detector, Squares(4), replace(QUICK, steps=3, batch_size=2))
    detect(detector, Squares(4), batch_size=2)
    said = [line.split(", about")[0] for line in capsys.readouterr().err.splitlines()]
    assert said == [
        "measures batch norms, in batches: 1 of 2",
        "trains the detector, in steps: 1 of 3",
        "trains the detector, in steps: 2 of 3",
        "detects objects, in batches: 1 of 2",
    ]


def test_training_depends_on_its_seed_alone_and_draws_from_no_one_else() -> None:
    def losses(seed: int) -> list[float]:
        detector = build_detector(trunk, 1, SMALL, seed)
        return fine_tune(detector, Squares(8), QUICK, seed=seed)

    trunk = tiny_trunk()
    state = torch.get_rng_state()
    first = losses(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert losses(0) == first != losses(1)


@pytest.mark.parametrize("recipe", [QUICK, replace(QUICK, optimizer="adamw", batch_norm="batch")], ids=["sgd", "adamw"])
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recipe: Recipe
) -> None:
    monkeypatch.setattr("analysis.detection.fine_tuning._STEPS_KEPT", 2)
    recipe = replace(recipe, steps=5, batch_size=2, calibration=4)
    trunk, file = tiny_trunk(), tmp_path / "detector.pt"
    whole = build_detector(trunk, 1, SMALL)
    losses = fine_tune(whole, Squares(8), recipe, made_with={"trunk": "tiny"})

    class Pulled(Squares):
        reads = 0

        def __getitem__(self, index: int) -> BoxedImage:
            self.reads += 1
            if self.reads > stop:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    # In the fourth step; the second one is kept.
    stop = 2 * 3 + (4 if recipe.batch_norm == "fixed" else 0)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(build_detector(trunk, 1, SMALL), Pulled(8), recipe, path=file, made_with={"trunk": "tiny"})
    resumed, images = build_detector(trunk, 1, SMALL), Pulled(8)
    assert fine_tune(resumed, images, recipe, path=file, made_with={"trunk": "tiny"}) == losses and images.reads == 6
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert (
        fine_tune(build_detector(trunk, 1, SMALL), Pulled(8), recipe, path=file, made_with={"trunk": "tiny"}) == losses
    )
    with pytest.raises(ValueError, match=r"detector\.pt holds a detector that was trained otherwise: delete it"):
        fine_tune(build_detector(trunk, 1, SMALL), Squares(8), recipe, seed=1, path=file, made_with={"trunk": "tiny"})


def test_every_image_is_seen_before_any_comes_again_and_half_are_mirrored() -> None:
    class Watched(Squares):
        seen: list[int] = []  # noqa: RUF012

        def __getitem__(self, index: int) -> BoxedImage:
            self.seen.append(index)
            return super().__getitem__(index)

    given: list[tuple[Tensor, Tensor]] = []

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
            given.extend((image, target["boxes"][0]) for image, target in zip(images, targets, strict=True))
            return {"loss": self.weight.sum()}

    images = Watched(20)
    fine_tune(Detector(), images, replace(QUICK, steps=20, batch_size=2, batch_norm="batch"))  # type: ignore[arg-type]
    assert sorted(images.seen[:20]) == sorted(images.seen[20:]) == list(range(20))
    mirrored = 0
    for index, (image, (x0, y0, x1, y1)) in zip(images.seen, ((i, b.int().tolist()) for i, b in given), strict=True):
        assert (image[:, y0:y1, x0:x1] * 255 == 230).all(), "the box is not where the square is"
        mirrored += not torch.equal(image, images.images[index] / 255)
    assert 8 <= mirrored <= 32


@pytest.mark.slow
def test_a_detector_learns_to_find_a_square() -> None:
    detector = build_detector(tiny_trunk(), 1, SMALL)
    held_out = Squares(24, seed=1)
    before = average_precision(*detect(detector, held_out)).voc2007
    recipe = replace(QUICK, steps=160, optimizer="adamw", batch_size=4, lr=3e-3, warmup=10, grad_norm=10)
    fine_tune(detector, Squares(64), recipe)
    after = average_precision(*detect(detector, held_out)).voc2007
    assert before < 0.1
    assert after > 0.6


def test_a_loss_that_is_not_finite_stops(tmp_path: Path) -> None:
    detector = build_detector(tiny_trunk(), 1, SMALL)
    nn.init.constant_(detector.roi_heads.box_predictor.scores.bias, math.nan)
    with pytest.raises(RuntimeError, match="loss is nan at step 1"):
        fine_tune(detector, Squares(4), QUICK)


# --- Table 2


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    """The toy scale with two methods, whose runs are not trained: untrained trunks stand for them."""
    words = ("--vision-width", "4")
    both = {"ours, S=32": Training("ours-s32", 0, words), "random weights": Training("random", 0, words, "random")}
    monkeypatch.setattr(table2, "methods", lambda setting, seed, rates=None: both)
    monkeypatch.setattr(table2, "train", lambda setting, training: setting.folder_of(training))
    monkeypatch.setattr("games.runs.load.load_trunk", lambda run, device: Trained(tiny_trunk(), 64, Config(), run.name))
    return Setting("table2", "toy", tmp_path, device="cpu")


@pytest.mark.slow
def test_table_2_keeps_what_is_finished(
    toy: Setting, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as stopped:
        stopped.setattr(table2, "detect", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            table2.run(toy)
    kept = toy.folder / "parts/ours-s32-0-detector.pt"
    assert kept.exists()
    with monkeypatch.context() as full:
        full.setattr("games.reproduce.runner.results.write_json", Mock(side_effect=OSError("no room")))
        with pytest.raises(OSError, match="no room"):
            table2.run(toy)
    assert kept.exists(), "its scores are not written yet"
    capsys.readouterr()
    # Its training is not begun anew.
    begun = Mock(wraps=measure_batch_norm)
    monkeypatch.setattr("analysis.detection.fine_tuning.measure_batch_norm", begun)
    table2.run(toy)
    assert begun.call_count == 1
    assert not list(kept.parent.glob("*.pt"))
    assert capsys.readouterr().out.count("detector, 4 steps, loss") == 2
    parts = sorted((toy.folder / "parts").glob("*.json"))
    assert [path.name for path in parts] == ["ours-s32-0.json", "random-0.json"]
    rows = json.loads((toy.folder / "table.json").read_text())
    assert [row["method"] for row in rows] == ["ours, S=32", "random weights"]
    assert all(row["images"] == 16 and 0 <= row["voc2007"] <= 100 for row in rows)
    assert "| 61.3 |" in (toy.folder / "table.md").read_text()
    # One part was interrupted.
    parts[1].unlink()
    before = parts[0].read_text()
    table2.run(toy)
    assert capsys.readouterr().out.count("detector, 4 steps, loss") == 1
    assert parts[0].read_text() == before
    with pytest.raises(ValueError, match=r"ours-s32-0.json was measured otherwise: voc was "):
        table2.run(replace(toy, voc=str(table2.voc_folder(toy).parent)))


def test_the_toy_s_boxes_are_where_objects_are_drawn(toy: Setting) -> None:
    train_set, _ = voc_sets(table2.voc_folder(toy))
    item, scene = train_set[3], table2.Scenes(4, 48).scene(3)
    assert item.objects.boxes.tolist() == [list(map(float, thing.box)) for thing in scene.objects]
    names = [train_set.classes[label - 1] for label in item.objects.labels.tolist()]
    assert names == [table2.CONCEPTS["shape"][thing.shape] for thing in scene.objects]


def test_images_with_boxes_are_asked_for_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--scale photos needs --voc DIR"):
        table2.trainings(Setting("table2", "photos", tmp_path))


def test_images_with_boxes_are_read_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voc, setting = tmp_path / "voc", Setting("table2", "toy", tmp_path, voc=str(tmp_path / "voc"))
    table2.write_voc(voc, {part: table2.drawn(part, 2) for part in ("train", "val")})
    assert table2.trainings(setting)
    assert capsys.readouterr().out.startswith("2 images with boxes to train on, 2 held out, ")
    image = voc / "JPEGImages/val-000001.jpg"
    image.write_bytes(image.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"val-000001.jpg cannot be read as an image"):
        table2.trainings(setting)


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["photos", "imagenet"])
def test_the_recipes_take_a_step(scale: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table2.rehearse(Setting("table2", scale, tmp_path, device="cpu", dry_run=True))
    said = capsys.readouterr().out
    assert "on generated images" in said
    assert "not there yet: --scale" in said
