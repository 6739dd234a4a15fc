"""Data sets and loaders that users have: torchvision's, torch's, EGG's, Hugging Face's; their own mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.datasets import FakeData, ImageFolder
from torchvision.transforms import PILToTensor, ToTensor

from patchgame_egg.data.cache import CachedImages
from patchgame_egg.data.loader import ImageLoader, NothingReadable
from patchgame_egg.data.map_style import MapImages, rgb_of
from patchgame_egg.data.pixels import UnreadableImage
from patchgame_egg.interaction import Batch
from patchgame_egg.views.loader import ViewLoader
from patchgame_egg.views.transforms import EvaluationView, RandomViews

RED = Image.new("RGB", (20, 12), (200, 0, 0))


class Own(Dataset[Any]):
    """A user's data set: what ``item(index)`` gives or raises."""

    classes = ("cat", "dog")

    def __init__(self, item: Any, length: int = 8) -> None:
        self.item, self.length = item, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.item(index)


def square_of(index: int) -> torch.Tensor:
    return torch.full((3, 16, 16), index, dtype=torch.uint8)


def raising(error: BaseException, every: int = 1) -> Any:
    def item(index: int) -> Any:
        if index % every == 0:
            raise error
        return square_of(index), 0

    return item


@pytest.mark.parametrize(
    "error", [ValueError("bad row"), KeyError("x"), RuntimeError("no"), TypeError("t"), IndexError("i")]
)
@pytest.mark.parametrize("every", [1, 2])
def test_a_users_own_error_is_raised_and_no_image_is_played_twice(error: Exception, every: int) -> None:
    with pytest.raises(type(error)) as caught:
        list(ImageLoader(Own(raising(error, every)), 4))  # type: ignore[arg-type]
    assert caught.value is error


def test_a_users_own_error_keeps_its_cause_in_workers_and_in_a_cache(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad row"):
        list(ImageLoader(Own(raising(ValueError("bad row"), 2)), 4, workers=1))  # type: ignore[arg-type]
    source = Own(raising(ValueError("bad row"), 2))
    source.image_size, source.made_of = 16, lambda: ("mine", [])  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="bad row"):
        CachedImages(source, tmp_path)  # type: ignore[arg-type]


def test_unreadable_images_are_skipped_and_the_first_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (
        UnreadableImage("torn"),
        OSError("image file is truncated"),
        SyntaxError("broken PNG file"),
        EOFError("e"),
    ):
        loader = ImageLoader(Own(raising(error, 4)), 4)  # type: ignore[arg-type]
        batches = iter(loader)
        next(batches)
        next(batches)
        said = capsys.readouterr().err
        assert said.count("note: skipped image ") == 1 and str(error) in said
        assert sorted(loader.skipped) == [0, 4]


def test_nothing_readable_says_why() -> None:
    with pytest.raises(NothingReadable, match=r"none of 8 images in a row can be read.*torn") as caught:
        next(iter(ImageLoader(Own(raising(UnreadableImage("torn"))), 4)))  # type: ignore[arg-type]
    assert isinstance(caught.value.__cause__, UnreadableImage)


def test_a_machine_at_its_limits_skips_nothing() -> None:
    with pytest.raises(OSError, match="Too many open files"):
        list(ImageLoader(Own(raising(OSError(24, "Too many open files"), 2)), 4))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "item",
    [square_of, lambda i: (RED, 0), lambda i: (square_of(i).float(), 0), lambda i: (square_of(i)[:1], 0),
     lambda i: (square_of(i), 0, 0), lambda i: {"image": RED}, lambda i: (square_of(i),)],
    ids=["no label", "PIL", "float", "grey", "three", "dict", "alone"],
)  # fmt: skip
def test_items_that_are_no_images_with_a_label_name_the_adapter(item: Any) -> None:
    with pytest.raises(ValueError, match=r"item \d of Own is .*class number\) is needed; MapImages"):
        next(iter(ImageLoader(Own(item), 4)))  # type: ignore[arg-type]


PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "picture",
    [Image.fromarray(PIXELS), PIXELS, torch.from_numpy(PIXELS).permute(2, 0, 1), PIXELS.transpose(2, 0, 1),
     torch.from_numpy(PIXELS).permute(2, 0, 1) / 255, PIXELS / 255.0, PIXELS.astype(np.uint16) * 257,
     (PIXELS / 255.0).astype(np.float16)],
    ids=["PIL", "array", "tensor", "array first", "floats", "float array", "16 bits", "half"],
)  # fmt: skip
def test_the_same_pixels_from_every_kind_of_picture(picture: Any) -> None:
    assert np.array_equal(rgb_of(picture).permute(1, 2, 0).numpy(), PIXELS)


def test_grey_clear_and_stored_pictures(tmp_path: Path) -> None:
    RED.save(tmp_path / "x.png")
    for picture in (
        tmp_path / "x.png",
        str(tmp_path / "x.png"),
        (tmp_path / "x.png").read_bytes(),
        {"bytes": (tmp_path / "x.png").read_bytes(), "path": None},
        {"bytes": None, "path": str(tmp_path / "x.png")},
    ):
        assert rgb_of(picture).flatten(1).float().mean(1).tolist() == [200, 0, 0]
    assert rgb_of(torch.full((9, 7), 5, dtype=torch.uint8)).unique().tolist() == [5]
    assert rgb_of(torch.full((1, 9, 7), 5, dtype=torch.uint8)).shape == (3, 9, 7)
    assert rgb_of(np.ones((4, 4), dtype=bool)).unique().tolist() == [255]
    clear = torch.zeros(4, 5, 5, dtype=torch.uint8)
    assert rgb_of(clear).unique().tolist() == [255], "transparent black is the white behind it"


@pytest.mark.parametrize(
    "picture", [torch.randn(3, 8, 8), np.full((8, 8, 3), 300), torch.zeros(2, 8, 8), torch.zeros(8), None, 3,
                np.full((4, 4, 3), np.nan)],
    ids=["normalised", "int64", "two channels", "vector", "None", "number", "nan"],
)  # fmt: skip
def test_what_is_no_picture_is_an_error_and_not_skipped(picture: Any) -> None:
    with pytest.raises(ValueError, match=r"is no picture|pixels are bytes"):
        list(ImageLoader(MapImages([(picture, 0)] * 4, 8), 4))


def test_labels_of_all_kinds() -> None:
    def labels(items: list[Any], **options: Any) -> list[int]:
        source = MapImages(items, 8, **options)
        return [source[i][1] for i in range(len(items))]

    assert labels([(RED, 1), (RED, np.int64(2)), (RED, torch.tensor(3)), (RED, torch.tensor([4])), (RED, 5.0)]) == [
        1, 2, 3, 4, 5]  # fmt: skip
    assert labels([RED, (RED,), {"image": RED}, (RED, None)]) == [-1] * 4
    assert labels([(RED, "dog"), (RED, "cat")], classes=["cat", "dog"]) == [1, 0]
    assert labels([{"pic": RED, "y": 3}], image="pic", label="y") == [3]
    assert labels([(7, RED, 2)], image=1, label=2) == [2]
    assert labels([(RED, [1, 2])], label=False) == [-1]
    for wrong in ("dog", [1, 2], 1.5, {"a": 1}):
        with pytest.raises(ValueError, match="is no class number: label=KEY"):
            labels([(RED, wrong)])
    with pytest.raises(ValueError, match="an item has pic, y: image=KEY"):
        labels([{"pic": RED, "y": 3}])


class Names:
    names = ("cat", "dog")


def test_a_data_set_like_hugging_faces() -> None:
    base = Own(lambda i: {"image": RED, "label": i % 2})
    base.classes, base.features = None, {"image": object(), "label": Names()}  # type: ignore[assignment, attr-defined]
    source = MapImages(base, 8)
    assert source.classes == ["cat", "dog"]
    (batch,) = ImageLoader(source, 8)
    assert batch.sender_input.shape == (8, 3, 8, 8) and sorted(batch.labels.tolist()) == [0] * 4 + [1] * 4
    assert len(source.part([1, 3])) == 2 and source.part([1, 3])[0][1] == 1


def test_a_torchvision_set_of_pil_images(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        RED.save(tmp_path / name / "1.png")
    source = MapImages(ImageFolder(str(tmp_path)), 8)
    assert source.classes == ["cat", "dog"] and [source[i][1] for i in range(2)] == [0, 1]
    (batch,) = ViewLoader(ImageLoader(source, 2), RandomViews(8), "cpu")
    assert batch.sender_input.shape == batch.receiver_input.shape == (2, 3, 8, 8)


@pytest.mark.parametrize("transform", [ToTensor(), PILToTensor()])
def test_torchs_loader_of_a_torchvision_set(transform: Any) -> None:
    base = FakeData(8, (3, 20, 20), num_classes=3, transform=transform)
    found = list(ViewLoader(DataLoader(base, 4), EvaluationView(16), "cpu"))
    expected = EvaluationView(16)(torch.stack([PILToTensor()(FakeData(8, (3, 20, 20))[i][0]) for i in range(4)]))
    assert len(found) == 2 and torch.equal(found[0].sender_input, expected)
    assert found[0].labels is not None and found[0].labels.tolist() == [int(base[i][1]) for i in range(4)]


def test_batches_of_other_loaders() -> None:
    images, numbers = torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.arange(4)
    view = EvaluationView(8)

    def only(given: Any) -> Batch:
        (batch,) = ViewLoader([given], view, "cpu")
        return batch

    for given in ([images, numbers], (images, numbers), (images, numbers, None),
                  (images, numbers, None, {"index": numbers}),
                  {"image": images, "label": numbers}, {"pixel_values": images, "labels": numbers},
                  Batch(images, numbers), next(iter(DataLoader(TensorDataset(images, numbers), 4)))):  # fmt: skip
        batch = only(given)
        assert batch.sender_input.shape == (4, 3, 8, 8) and batch.labels is not None
        assert torch.equal(batch.labels, numbers)
    assert only((images, numbers, None, {"index": numbers})).aux_input["index"].tolist() == [0, 1, 2, 3]
    assert only(images).labels is None
    assert only((images[:, :1].float(), numbers)).sender_input.shape == (4, 3, 8, 8)
    for wrong in (images[0], "x", [numbers], {"a": images}, (torch.randn(4, 3, 8, 8), numbers), [images] * 5):
        with pytest.raises(ValueError, match=r"the loader gives|pixels are bytes|image=KEY"):
            only(wrong)
