"""Trunks from runs and from other people's checkpoints: the very weights, and an error that names what is missing."""

from __future__ import annotations

import re
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from games.baselines import main as baselines
from games.build.data import labelled_loaders
from games.build.pretrained import load_external_trunk
from games.patchgame import main
from games.runs.load import load_game, load_trunk
from patchgame_egg.agents.trunks import vision_trunk
from patchgame_egg.data.images import ImageFiles
from patchgame_egg.data.loader import EveryImage
from patchgame_egg.data.sources import image_sets
from tests.support.tiny import TINY

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    assert main([*TINY, "--epochs", "1", "--out", str(out), "--name", "one", "--device", "cpu"]) == 0
    return out / "one"


@pytest.mark.slow
def test_the_trunk_of_a_run_is_the_listener_s(run: Path) -> None:
    trained = load_trunk(run, torch.device("cpu"))
    saved = torch.load(run / "checkpoint.pt", weights_only=True)["game"]
    for name, value in trained.trunk.state_dict().items():
        assert torch.equal(value, saved[f"receiver.vision.{name}"])
    assert trained.method == "patchgame"
    size = trained.config.images.image_size
    assert trained.trunk.eval()(torch.zeros(2, 3, size, size)).shape == (2, trained.dim)
    game, config = load_game(run, torch.device("cpu"))
    assert config == trained.config
    assert torch.equal(game.state_dict()["receiver.text.cls"], saved["receiver.text.cls"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["moco", "random"])
def test_the_trunk_of_a_baseline(method: str, run: Path) -> None:
    assert baselines([method, *TINY, "--epochs", "1", "--out", str(run.parent), "--name", method]) == 0
    trained = load_trunk(run.parent / method, torch.device("cpu"))
    saved = torch.load(run.parent / method / "checkpoint.pt", weights_only=True)["game"]
    for name, value in trained.trunk.state_dict().items():
        assert torch.equal(value, saved[f"trunk.{name}"])
    size = trained.config.images.image_size
    assert trained.method == method
    assert trained.trunk.eval()(torch.zeros(2, 3, size, size)).shape == (2, trained.dim)


def test_runs_that_are_none(tmp_path: Path, run: Path) -> None:
    with pytest.raises(ValueError, match="is not a run"):
        load_trunk(tmp_path, torch.device("cpu"))
    (tmp_path / "config.json").write_text((run / "config.json").read_text())
    with pytest.raises(ValueError, match="no checkpoint at"):
        load_trunk(tmp_path, torch.device("cpu"))


@pytest.mark.slow
def test_images_are_shown_as_the_usual_protocol_says(run: Path) -> None:
    config = load_trunk(run, torch.device("cpu")).config
    size = config.images.image_size
    loader = labelled_loaders(config, torch.device("cpu"), batch_size=7)[1]
    source = image_sets("scenes", "", round(size * 8 / 7), scenes=config.images.scenes)[1]
    shown = list(loader)
    assert sum(len(b.labels) for b in shown) == len(source)
    image, label = source[8]
    batch = shown[1]
    assert batch.labels[1] == label
    assert batch.aux_input["index"][1] == 8
    edge = (image.shape[1] - size) // 2
    pixels = image[:, edge : edge + size, edge : edge + size].float() / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(batch.sender_input[1], (pixels - mean) / std)


def test_unreadable_images_are_left_out(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        Image.new("RGB", (20, 20), (40 * i, 0, 0)).save(path)
    paths[2].write_bytes(b"not an image")
    source = ImageFiles(paths, list(range(6)), list("abcdef"), 16)
    loader = EveryImage(source, 4)
    batches = list(loader)
    assert loader.skipped == {2: str(paths[2])}
    assert torch.cat([batch.aux_input["index"] for batch in batches]).tolist() == [0, 1, 3, 4, 5]
    assert torch.cat([batch.sender_input[:, 0, 0, 0] for batch in batches]).tolist() == [0, 40, 120, 160, 200]


def resnet() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = torchvision.models.resnet18()
    return model


def prefixed(prefix: str, weights: Weights) -> Weights:
    return {prefix + name: value for name, value in weights.items()}


def headless(model: nn.Module) -> Weights:
    return {k: v for k, v in model.state_dict().items() if not k.startswith("fc.")}


def zeros(weights: Weights) -> Weights:
    return {k: v * 0 for k, v in weights.items()}


def layers(model: nn.Module) -> nn.Module:
    return nn.Sequential(*list(model.children())[:-1])


def lightly(model: nn.Module) -> Weights:
    """A list of layers without names, and a projection head after them."""
    return prefixed("backbone.", layers(model).state_dict()) | {"projection_head.0.weight": torch.zeros(3, 512)}


SAVED: dict[str, Callable[[nn.Module], Any]] = {
    "torchvision": lambda m: m.state_dict(),
    "MoCo": lambda m: {
        "epoch": 3,
        "state_dict": prefixed("module.encoder_k.", zeros(m.state_dict()))
        | prefixed("module.encoder_q.", m.state_dict())
        | {"module.queue": torch.zeros(4, 4)},
    },
    "solo-learn": lambda m: {
        "state_dict": prefixed("backbone.", headless(m)) | {"classifier.weight": torch.zeros(2, 2)}
    },
    "DINO": lambda m: {
        "student": prefixed("module.backbone.", zeros(headless(m))),
        "teacher": prefixed("backbone.", headless(m)) | {"head.mlp.0.weight": torch.zeros(3, 512)},
        "args": Namespace(arch="resnet18"),
    },
    "timm": lambda m: {"arch": "resnet18", "state_dict": zeros(m.state_dict()), "state_dict_ema": m.state_dict()},
    "lightly": lambda m: {"state_dict": lightly(m), "optimizer_states": [{}]},
    "lightly's backbone": lambda m: layers(m).state_dict(),
    "lightly, wrapped": lambda m: prefixed("model.backbone.", layers(m).state_dict()),
    "lightly's MoCo": lambda m: prefixed("backbone_momentum.", zeros(layers(m).state_dict())) | lightly(m),
    "solo-learn's BYOL": lambda m: {
        "state_dict": prefixed("momentum_backbone.", zeros(headless(m))) | prefixed("backbone.", headless(m))
    },
    "ordered": lambda m: OrderedDict(headless(m)),
}


@pytest.mark.slow
@pytest.mark.parametrize("convention", SAVED)
def test_checkpoints_of_others(convention: str, tmp_path: Path) -> None:
    model = resnet()
    torch.save(SAVED[convention](model), tmp_path / "weights.pt")
    trunk, dim = load_external_trunk("resnet18", tmp_path / "weights.pt", 64)
    model.fc = nn.Identity()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert dim == 512
    torch.testing.assert_close(trunk.eval()(images), model.eval()(images))


@pytest.mark.slow
def test_models_of_timm(tmp_path: Path) -> None:
    source, _ = vision_trunk("resnet10t", 64)
    weights = {k.removeprefix("0."): v for k, v in source.state_dict().items()}
    torch.save(prefixed("model.", weights), tmp_path / "w.pt")
    save_file(weights, tmp_path / "w.safetensors")
    for name in ("w.pt", "w.safetensors"):
        trunk, _ = load_external_trunk("resnet10t", tmp_path / name, 64)
        assert all(
            torch.equal(a, b) for a, b in zip(trunk.state_dict().values(), source.state_dict().values(), strict=True)
        )


def test_without_a_file_weights_are_random() -> None:
    assert load_external_trunk("resnet18", None, 64)[1] == 512


@pytest.mark.slow
def test_what_is_missing_is_named(tmp_path: Path) -> None:
    # Other layers end in the latter name too, with the same shape.
    for name in ("layer3.0.conv1.weight", "bn1.weight"):
        weights = headless(resnet())
        del weights[name]
        torch.save(prefixed("backbone.", weights), tmp_path / "weights.pt")
        with pytest.raises(ValueError, match=rf"1 of 100 are missing or of another shape, such as {re.escape(name)};"):
            load_external_trunk("resnet18", tmp_path / "weights.pt", 64)
    weights = layers(resnet()).state_dict()
    del weights["4.0.conv1.weight"]
    torch.save(weights, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"such as conv1\.weight.*it has 0\.weight"):
        load_external_trunk("resnet18", tmp_path / "weights.pt", 64)
    torch.save(resnet().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="has not all weights of resnet34"):
        load_external_trunk("resnet34", tmp_path / "weights.pt", 64)
    for content in (b"nothing", b""):
        (tmp_path / "weights.pt").write_bytes(content)
        with pytest.raises(ValueError, match=r"weights\.pt cannot be read as weights.*save the state_dict alone"):
            load_external_trunk("resnet18", tmp_path / "weights.pt", 64)
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"weights\.safetensors cannot be read as weights \(SafetensorError"):
        load_external_trunk("resnet18", tmp_path / "weights.safetensors", 64)
    torch.save(resnet(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"weights\.pt cannot be read as weights.*save the state_dict alone"):
        load_external_trunk("resnet18", tmp_path / "weights.pt", 64)
    with pytest.raises(ValueError, match="FileNotFoundError"):
        load_external_trunk("resnet18", tmp_path / "none.pt", 64)
    torch.save({"epoch": 3}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"100 of 100 are missing.*no tensor"):
        load_external_trunk("resnet18", tmp_path / "weights.pt", 64)
    torch.save([1, 2], tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="holds a list"):
        load_external_trunk("resnet18", tmp_path / "weights.pt", 64)
