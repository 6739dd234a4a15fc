"""The built-in images: the same bytes everywhere, clean statistics, and pixels that show what the attributes say."""

from __future__ import annotations

import colorsys
import hashlib
import pickle
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
import torch

from patchgame_egg.data.scenes import CONCEPTS, Scene, Scenes

SAMPLE = 1200
HUES = {"red": 0, "yellow": 50, "green": 130, "cyan": 182, "blue": 226, "purple": 275, "pink": 330}

DIGEST = """
import hashlib
from patchgame_egg.scenes import Scenes
digest = hashlib.sha256()
for size in (37, 64):
    for index in range(40):
        digest.update(Scenes(40, size, seed=5, split="val").scene(index).image.tobytes())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def sample() -> list[Scene]:
    scenes = Scenes(SAMPLE)
    return [scenes.scene(index) for index in range(SAMPLE)]


def _digests(scenes: Scenes) -> set[str]:
    return {hashlib.sha256(scenes.scene(index).image.tobytes()).hexdigest() for index in range(len(scenes))}


def _inner(mask: np.ndarray) -> np.ndarray:
    """The mask without its outermost pixels, which share their colour with the surroundings."""
    inner = mask.copy()
    for axis in (0, 1):
        for step in (1, -1):
            inner &= np.roll(mask, step, axis)
    return inner


def _pixels(scene: Scene, mask: np.ndarray) -> np.ndarray:
    return scene.image[:, mask].T / 255  # [pixels, 3]


@pytest.mark.slow
@pytest.mark.process
def test_a_fresh_process_draws_the_same_bytes() -> None:
    fresh = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True)
    digest = hashlib.sha256()
    for size in (37, 64):
        scenes = Scenes(40, size, seed=5, split="val")
        for index in reversed(range(40)):  # drawn in another order, so nothing may leak from scene to scene
            scenes.scene(index)
        for index in range(40):
            digest.update(scenes.scene(index).image.tobytes())
    assert fresh.stdout.strip() == digest.hexdigest()


def test_the_images_are_those_that_results_were_reported_on() -> None:
    # A change here makes old and new results incomparable: change it only on purpose.
    digest = hashlib.sha256(b"".join(Scenes(40).scene(index).image.tobytes() for index in range(40)))
    assert digest.hexdigest() == "5ccc428b069ad8f72ba910b52d5db252d4ad634dec5f200636440a325b06111d"


@pytest.mark.slow
def test_splits_seeds_and_indices_share_no_scene() -> None:
    sets = [_digests(Scenes(300)), _digests(Scenes(300, split="val")), _digests(Scenes(300, seed=1))]
    assert [len(digests) for digests in sets] == [300, 300, 300]
    assert len(set.union(*sets)) == 900


def test_a_longer_dataset_begins_with_the_shorter_one() -> None:
    short, long = Scenes(5), Scenes(500)
    assert all(torch.equal(short[index][0], long[index][0]) for index in range(5))
    assert torch.equal(short[-1][0], short[4][0])
    assert torch.equal(short.attributes(-5), short.attributes(0))


def test_image_size_scales_the_same_scene() -> None:
    small, large = Scenes(30, 64), Scenes(30, 192)
    for index in range(30):
        a, b = small.scene(index), large.scene(index)
        shrunk = b.image.reshape(3, 64, 3, 64, 3).mean((2, 4))
        assert np.abs(shrunk - a.image).mean() < 6
        assert np.abs(shrunk - small.scene(index - 1).image).mean() > 12
        # Objects of nearly equal visible area may change places in the order, the main one never.
        assert np.abs(np.array(b.objects[0].box) / 3 - a.objects[0].box).max() < 1.5
        assert len(a.objects) == len(b.objects) and a.background == b.background


def test_items_are_images_with_the_shape_as_label() -> None:
    scenes = Scenes(20, image_size=32)
    for index in range(20):
        image, label = scenes[index]
        assert image.dtype == torch.uint8 and image.shape == (3, 32, 32)
        assert np.array_equal(image.numpy(), scenes.scene(index).image)
        assert label == int(scenes.attributes(index)[0])
    assert scenes.classes == list(CONCEPTS["shape"]) and len(scenes) == 20
    assert torch.equal(pickle.loads(pickle.dumps(scenes))[3][0], scenes[3][0])  # loader workers may start afresh


@pytest.mark.slow
@pytest.mark.parametrize("image_size", [16, 64])
def test_attributes_agree_with_the_scene(image_size: int) -> None:
    scenes = Scenes(300, image_size)
    assert scenes.attribute_names == tuple(CONCEPTS)
    for index in range(300):
        scene, main = scenes.scene(index), scenes.scene(index).objects[0]
        expected = [main.shape, main.colour, main.texture, main.size, main.position, scene.background]
        attributes = scenes.attributes(index)
        assert attributes.dtype == torch.int64 and attributes.tolist() == expected


def test_global_random_state_is_left_alone() -> None:
    torch_before, numpy_before = torch.get_rng_state(), pickle.dumps(np.random.get_state())
    Scenes(3)[1]
    assert torch.equal(torch_before, torch.get_rng_state())
    assert pickle.dumps(np.random.get_state()) == numpy_before


@pytest.mark.slow
def test_concepts_are_uniform_and_independent() -> None:
    scenes = Scenes(6000)
    table = torch.stack([scenes.attributes(index) for index in range(len(scenes))]).numpy()
    sizes = [len(values) for values in CONCEPTS.values()]

    def excess(counts: np.ndarray, freedom: int) -> float:
        """Standard deviations by which chi-square exceeds its mean under equal, independent odds."""
        expected = len(table) / counts.size
        return (((counts - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom)

    for column, size in enumerate(sizes):
        assert excess(np.bincount(table[:, column], minlength=size), size - 1) < 4
    for a, b in combinations(range(len(sizes)), 2):
        joint = np.bincount(table[:, a] * sizes[b] + table[:, b], minlength=sizes[a] * sizes[b])
        assert excess(joint, joint.size - 1) < 4


def test_concepts_have_enough_named_values() -> None:
    least = {"shape": 8, "colour": 8, "texture": 6, "size": 3, "position": 9, "background": 8}
    assert list(CONCEPTS) == list(least)
    for name, values in CONCEPTS.items():
        assert len(set(values)) == len(values) >= least[name]


def test_masks_are_disjoint_and_boxes_tight(sample: list[Scene]) -> None:
    for scene in sample:
        assert np.sum([seen.mask for seen in scene.objects], axis=0).max() == 1
        for seen in scene.objects:
            ys, xs = np.nonzero(seen.mask)
            assert seen.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


def test_one_to_three_objects_stay_visible_and_some_are_partly_hidden(sample: list[Scene]) -> None:
    counts = np.bincount([len(scene.objects) for scene in sample], minlength=4)
    assert counts[0] == 0 and len(counts) == 4 and counts[1:].min() > 0.25 * SAMPLE
    assert min(seen.mask.sum() for scene in sample for seen in scene.objects) > 40
    touching = 0
    for scene in sample:
        main = scene.objects[0].mask
        grown = main | np.roll(main, 1, 0) | np.roll(main, -1, 0) | np.roll(main, 1, 1) | np.roll(main, -1, 1)
        touching += any((grown & other.mask).any() for other in scene.objects[1:])
    assert touching > 0.02 * SAMPLE


def test_the_main_object_is_the_largest_and_whole(sample: list[Scene]) -> None:
    areas_of: dict[int, list[int]] = {size: [] for size in range(len(CONCEPTS["size"]))}
    for scene in sample:
        areas = [int(seen.mask.sum()) for seen in scene.objects]
        assert areas == sorted(areas, reverse=True)
        assert all(area < 0.8 * areas[0] for area in areas[1:])
        areas_of[scene.objects[0].size].append(areas[0])
    # Area tells the size whatever the shape, and hardly varies within one: nothing hides the object or cuts it off.
    assert all(max(areas) < 1.35 * min(areas) for areas in areas_of.values())
    assert max(areas_of[0]) < min(areas_of[1]) and max(areas_of[1]) < min(areas_of[2])


def test_the_main_object_is_at_its_position(sample: list[Scene]) -> None:
    slack = 0.09  # a triangle's box is not centred where the triangle is
    rows, columns = ("top", "middle", "bottom"), ("left", "centre", "right")
    for scene in sample:
        x0, y0, x1, y1 = scene.objects[0].box
        row, column = CONCEPTS["position"][scene.objects[0].position].split()
        assert abs((x0 + x1) / 128 - (columns.index(column) + 0.5) / 3) < 1 / 6 + slack
        assert abs((y0 + y1) / 128 - (rows.index(row) + 0.5) / 3) < 1 / 6 + slack


def test_objects_are_painted_with_their_colour(sample: list[Scene]) -> None:
    for scene in sample:
        main = scene.objects[0]
        name = CONCEPTS["colour"][main.colour]
        hue, saturation, value = colorsys.rgb_to_hsv(*_pixels(scene, _inner(main.mask)).mean(0))
        if name in HUES:
            assert saturation > 0.3
            assert abs((360 * hue - HUES[name] + 180) % 360 - 180) < 20, name
        else:
            assert saturation < 0.15
            assert value > 0.55 if name == "white" else value < 0.45


def test_masks_say_what_was_painted_on_top(sample: list[Scene]) -> None:
    right, seen = 0, 0
    for scene in sample:
        main = scene.objects[0]
        for other in scene.objects[1:]:
            x0, y0, x1, y1 = other.box
            near = np.zeros_like(main.mask)
            near[y0:y1, x0:x1] = _inner(main.mask)[y0:y1, x0:x1]  # where the other one would be if it were in front
            name = CONCEPTS["colour"][main.colour]
            if near.sum() >= 3 and name in HUES and main.colour != other.colour:
                hue = 360 * colorsys.rgb_to_hsv(*_pixels(scene, near).mean(0))[0]
                right += abs((hue - HUES[name] + 180) % 360 - 180) < 25
                seen += 1
    assert seen >= 15 and right > 0.9 * seen


def test_texture_is_what_varies_inside_an_object(sample: list[Scene]) -> None:
    spread: dict[str, list[float]] = {name: [] for name in CONCEPTS["texture"]}
    for scene in sample:
        main = scene.objects[0]
        if CONCEPTS["shape"][main.shape] == "square":  # the same outline, so that only the texture differs
            spread[CONCEPTS["texture"][main.texture]].append(_pixels(scene, _inner(_inner(main.mask))).std(0).mean())
    plain = np.mean(spread.pop("plain"))
    assert all(np.mean(values) > 1.5 * plain for values in spread.values())


def _nearest_mean_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Share of the second half that lies nearest to its own class's mean over the first half."""
    half = len(labels) // 2
    means = np.stack([features[:half][labels[:half] == label].mean(0) for label in range(labels.max() + 1)])
    nearest = ((features[half:, None] - means) ** 2).sum(-1).argmin(1)
    return float((nearest == labels[half:]).mean())


def test_the_outline_tells_the_shape(sample: list[Scene]) -> None:
    def outline(scene: Scene) -> np.ndarray:
        x0, y0, x1, y1 = scene.objects[0].box
        crop = torch.from_numpy(scene.objects[0].mask[y0:y1, x0:x1]).float()
        return torch.nn.functional.interpolate(crop[None, None], (16, 16), mode="area").flatten().numpy()

    features = np.stack([outline(scene) for scene in sample])
    labels = np.array([scene.objects[0].shape for scene in sample])
    assert _nearest_mean_accuracy(features, labels) > 0.85  # chance is 0.1


def test_the_surroundings_tell_the_background(sample: list[Scene]) -> None:
    def surroundings(scene: Scene) -> np.ndarray:
        outside = ~np.any([seen.mask for seen in scene.objects], axis=0)
        pixels = _pixels(scene, outside)
        return np.concatenate([pixels.mean(0), pixels.std(0)])

    features = np.stack([surroundings(scene) for scene in sample])
    labels = np.array([scene.background for scene in sample])
    assert _nearest_mean_accuracy(features, labels) > 0.85  # chance is 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "length is 0"),
        ({"length": 3, "image_size": 15}, "image_size is 15"),
        ({"length": 3, "seed": -1}, "seed is -1"),
        ({"length": 3, "split": "test"}, "split is 'test'.*'train', 'val'"),
    ],
)
def test_bad_arguments_say_what_to_do(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scenes(**arguments)


@pytest.mark.parametrize("index", [3, -4])
def test_an_index_out_of_range_is_an_index_error(index: int) -> None:
    scenes = Scenes(3)
    for look in (scenes.__getitem__, scenes.scene, scenes.attributes):
        with pytest.raises(IndexError, match=f"index {index}"):
            look(index)
