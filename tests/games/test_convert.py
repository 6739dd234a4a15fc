"""Checkpoints of the authors' release become runs: their networks, in our words with their names, are the oracle."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models.resnet import BasicBlock, ResNet

from analysis import load
from analysis.transfer.features import extract_features
from analysis.transfer.knn import nearest_neighbour_accuracy
from games import convert, record
from games.build.data import labelled_loaders
from games.build.pretrained import load_external_trunk, read_weights
from games.options.command_line import parse
from games.options.config_file import load_config
from games.patchgame import build
from games.reproduce import __main__ as reproduce
from games.runs.load import load_game, load_trunk
from patchgame_egg.channels.ranking import soft_rank

CPU = torch.device("cpu")
SIDE, PATCH, GRID, V, L, D, HIDDEN = 64, 32, 2, 7, 2, 12, 10
P = GRID**2


class Released(nn.Module):
    """The release's three agents, as its builder names them; in evaluation and without its noise.

    Args:
        context: PatchSymbol is a ViT with a class token; else one convolution and a vector for each place.
    """

    def __init__(self, context: bool = True) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(2.0))
        self.sender, self.gumbel, self.receiver = nn.Module(), nn.Module(), nn.Module()
        s, r = self.sender, self.receiver
        s.patch_rank = ResNet(BasicBlock, [1, 1, 1, 1])
        del s.patch_rank.avgpool, s.patch_rank.fc
        s.ranker = nn.Sequential(nn.Dropout(0.1), nn.Linear(512, 1))
        s.pe_symbol = nn.Parameter(torch.zeros(1, P, HIDDEN) if context else torch.randn(1, P, HIDDEN))
        if context:
            s.patch_symbol = VisionTransformer(
                SIDE, PATCH, embed_dim=192, depth=12, num_heads=3, num_classes=0, global_pool=""
            )
            s.lin_symbol = nn.Sequential(nn.Linear(192, HIDDEN), nn.ReLU())
        else:
            s.patch_symbol = nn.Conv2d(3, HIDDEN, PATCH, PATCH)
        self.gumbel.logits = nn.Linear(HIDDEN, V * L)
        r.vision = resnet18()
        r.vision.fc = nn.Identity()
        r.embedding = nn.Embedding(V, D)
        r.position_encoding = nn.Parameter(torch.randn(1, P * L + 1, D))
        r.cls_token = nn.Parameter(torch.randn(1, 1, D))
        layer = nn.TransformerEncoderLayer(D, 3, 4 * D, dropout=0.0)
        r.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        for name, width in (("text_fc", D), ("vision_fc", 512)):
            head = nn.Module()
            head.mlp = nn.Sequential(nn.Linear(width, 9), nn.GELU(), nn.Linear(9, 9), nn.GELU(), nn.Linear(9, 6))
            head.last_layer = nn.Module()
            head.last_layer.weight_g = nn.Parameter(torch.rand(11, 1) + 0.5)
            head.last_layer.weight_v = nn.Parameter(torch.randn(11, 6))
            setattr(r, name, head)
        with torch.no_grad():
            for tensor in [*self.parameters(), *(b for b in self.buffers() if b.is_floating_point())]:
                tensor += 0.1 * torch.rand_like(tensor)

    def speak(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[B, P, L, V]`` and how loud each patch is, ``[B, P]``."""
        s = self.sender
        if isinstance(s.patch_symbol, VisionTransformer):
            hidden = s.lin_symbol(s.patch_symbol.forward_features(images)[:, 1:])
        else:
            hidden = s.patch_symbol(images).flatten(2).mT + s.pe_symbol
        net = s.patch_rank
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        x = net.layer4(net.layer3(net.layer2(net.layer1(x)))).flatten(2).mT
        ranks = soft_rank(s.ranker(x).squeeze(2), 1.0) / P
        return self.gumbel.logits(hidden).unflatten(2, (L, V)), torch.stack([ranks, 1 - ranks]).softmax(dim=0)[0]

    def listen(self, vectors: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        r = self.receiver
        x = torch.cat([r.cls_token.expand(len(vectors), -1, -1), vectors @ r.embedding.weight], dim=1)
        said = r.encoder((x + r.position_encoding).transpose(0, 1))[0]
        outputs = []
        for head, x in ((r.text_fc, said), (r.vision_fc, r.vision(images))):
            g, v = head.last_layer.weight_g, head.last_layer.weight_v
            outputs.append(F.normalize(head.mlp(x), dim=1) @ (g * v / v.norm(dim=1, keepdim=True)).T)
        return outputs[0], outputs[1]


def options(context: bool = True, **other: Any) -> Namespace:
    """What its command line has, as far as it matters, and some of what does not."""
    return Namespace(**{
        "patch_size": PATCH, "sender_arch": "resnet", "sender_norm": "sort", "hard": True, "use_context": context,
        "max_len": L, "vocab_size": V, "topk": None, "sender_dropout": 0.1, "start_temperature": 5.0,
        "temperature": 1.0, "receiver_arch": "resnet18", "receiver_num_heads": 3, "epochs": 4, "batch_size_per_gpu": 8,
        "world_size": 2, "lr": 1e-4, "min_lr": 1e-5, "warmup_epochs": 30, "weight_decay": 0.04, "weight_decay_end": 0.4,
        "freeze_last_layer": 1, "seed": 3, "data_path": "/path/to/imagenet/train/", "use_fp16": True, **other,
    })  # fmt: skip


def save(model: nn.Module, path: Path, args: Namespace | None = None) -> Path:
    weights = {f"module.{name}": value for name, value in model.state_dict().items()}
    # Its learning rates come from NumPy.
    optimizer = {"state": {}, "param_groups": [{"lr": np.linspace(0, 1, 3)[1], "weight_decay": np.float64(0.1)}]}
    torch.save({"model": weights, "optimizer": optimizer, "epoch": 4, "args": args or options()}, path)
    return path


@pytest.fixture(scope="module")
def released() -> Released:
    torch.manual_seed(0)
    return Released().eval()


@pytest.fixture(scope="module")
def file(released: Released, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(released, tmp_path_factory.mktemp("released") / "checkpoint.pth")


@pytest.mark.slow
@pytest.mark.parametrize(("context", "topk"), [(True, None), (False, None), (True, 3)])
def test_all_agents_give_the_same_as_there(
    released: Released, context: bool, topk: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = released if context else Released(context=False).eval()
    path = save(theirs, tmp_path / "checkpoint.pth", options(context, topk=topk))
    assert convert.main([str(path), "--to", str(tmp_path / "run")]) == 0
    assert "64 px images, 4 patches of 32 px, 7 symbols, resnet18" in capsys.readouterr().out
    game, config = load_game(tmp_path / "run", CPU)
    images = torch.randn(5, 3, SIDE, SIDE), torch.randn(5, 3, SIDE, SIDE)
    with torch.no_grad():
        logits, loud = theirs.speak(images[0])
        if topk is not None:
            loud = torch.zeros_like(loud).scatter(1, loud.topk(topk, dim=1).indices, 1.0)
        vectors = F.one_hot(logits.argmax(dim=3), V) * loud[:, :, None, None]
        expected = theirs.listen(vectors.flatten(1, 2), images[1])
        features = game.eval().sender(images[0])
        message = game.channel(features)
        output = game.receiver(message, images[1])
        loss, _ = game(images[0], None, images[1])
    torch.testing.assert_close(features.logits, logits, rtol=0, atol=1e-5)
    assert logits.std() > 0.05 and len(message.symbols.unique()) > 1
    torch.testing.assert_close(message.vectors, vectors.flatten(1, 2), rtol=0, atol=1e-5)
    for ours, other in zip(output, expected, strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=1e-5)
    scores = theirs.logit_scale.exp() * F.normalize(expected[0], dim=1) @ F.normalize(expected[1], dim=1).T
    right = torch.arange(5)
    both = (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2
    torch.testing.assert_close(loss, both, rtol=0, atol=1e-5)
    assert config.training.batch_size == 16 and config.training.seed == 3 and config.training.warmup == 4
    assert config.images.data == "folder" and config.images.root == "/path/to/imagenet"


@pytest.mark.slow
def test_its_trunk_is_found_in_the_file(file: Path, released: Released) -> None:
    trunk, _ = load_external_trunk("resnet18", file, SIDE)
    images = torch.randn(2, 3, SIDE, SIDE)
    torch.testing.assert_close(trunk.eval()(images), released.receiver.vision(images))


@pytest.mark.slow
def test_a_converted_run_is_recorded_drawn_and_evaluated(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 8)):
        for name in ("cat", "dog"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for n in range(count):
                pixels = noise.integers(256, size=(8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).resize((80, 80)).save(tmp_path / "photos" / part / name / f"{n}.png")
    run = tmp_path / "run"
    convert.convert(file, run, str(tmp_path / "photos"))
    assert record.main([str(run), "--device", "cpu"]) == 0
    corpus = load(run)
    assert len(corpus) == 16 and corpus.vocab_size == V and corpus.grid == (GRID, GRID) and corpus.mask.all()
    assert reproduce.main(["fig3", "--run", str(run), "--device", "cpu"]) == 0
    assert reproduce.main(["fig4", "--run", str(run), "--device", "cpu"]) == 0
    assert (run / "fig3" / "fig3.png").is_file() and (run / "fig4" / "fig4.png").is_file()
    trained = load_trunk(run, CPU)
    parts = [extract_features(trained.trunk, part, CPU) for part in labelled_loaders(trained.config, CPU, 8)]
    assert 0 <= nearest_neighbour_accuracy(*parts, k=3, temperature=0.07).top1 <= 100


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        convert.main(words)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"sender_arch": "vit_tiny"}, "it was trained with --sender_arch vit_tiny: PatchRank is a ResNet-9 here"),
        ({"sender_norm": "l2"}, "--sender_norm l2: patches are ranked here"),
        ({"hard": False}, "--hard False: symbols are discrete here"),
        ({"receiver_arch": "vit_tiny"}, "--receiver_arch vit_tiny, a network of the release's own"),
        ({"receiver_arch": "resnet50"}, "size mismatch|Missing key"),
        ({"receiver_arch": "no_such"}, "unknown vision trunk 'no_such'"),
        ({"max_len": 3}, "size mismatch|does not"),
        ({"lr": "fast"}, "cannot be converted"),
        ({"topk": 9}, "--keep 9: an image of 64 px has 4 patches"),
    ],
)
def test_networks_that_are_not_ours_are_refused(
    other: dict[str, Any],
    what: str,
    released: Released,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved = {"model": released.state_dict(), "args": options(**other)}
    monkeypatch.setattr("games.build.pretrained.read_weights", lambda path: saved)
    assert re.search(what, refused(["checkpoint.pth", "--to", str(tmp_path / "run")], capsys))
    assert not list(tmp_path.iterdir())


def test_other_weights_are_refused(
    released: Released, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    args = options()
    del args.topk
    more = {**released.state_dict(), "sender.extra": torch.zeros(1)}
    less = {name: value for name, value in released.state_dict().items() if "ranker" not in name}
    for saved, what in (
        ({"state_dict": {}, "epoch": 3}, "it holds epoch, state_dict"),
        ({"model": {"fc.weight": torch.zeros(1)}, "args": options()}, "its model has fc.weight, and no three agents"),
        (torch.zeros(3), "it holds a Tensor"),
        ({"model": released.state_dict(), "args": args}, "it has no 'topk'"),
        ({"model": more, "args": options()}, "weights that ours have not, such as sender.extra"),
        ({"model": less, "args": options()}, "sender.rank.score"),
    ):
        monkeypatch.setattr("games.build.pretrained.read_weights", lambda path, saved=saved: saved)
        assert what in refused(["other.pth", "--to", str(tmp_path / "run")], capsys)
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, module = tmp_path / "text.pth", tmp_path / "module.pth"
    text.write_text("version https://git-lfs")
    torch.save({"model": nn.Linear(1, 1), "args": options()}, module)
    for path in (text, module, tmp_path, tmp_path / "no.pth"):
        assert f"{path} cannot be read as weights" in refused([str(path), "--to", str(tmp_path / "run")], capsys)
    (tmp_path / "taken").mkdir()
    assert f"--to {tmp_path / 'taken'} exists" in refused([str(text), "--to", str(tmp_path / "taken")], capsys)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["module.pth", "taken", "text.pth"]


def test_a_folder_that_cannot_be_made(
    released: Released, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "games.build.pretrained.read_weights", lambda path: {"model": released.state_dict(), "args": options()}
    )
    (tmp_path / "a_file").write_text("")
    assert "cannot be written" in refused(["x.pth", "--to", str(tmp_path / "a_file" / "run")], capsys)


def test_numbers_of_numpy_in_a_checkpoint_need_no_trust(tmp_path: Path) -> None:
    torch.save({"param_groups": [{"lr": np.linspace(0, 1, 3)[1]}], "args": options()}, tmp_path / "a.pth")
    assert read_weights(tmp_path / "a.pth")["param_groups"][0]["lr"] == 0.5


def test_a_converted_run_has_nothing_to_resume(
    released: Released, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "games.build.pretrained.read_weights", lambda path: {"model": released.state_dict(), "args": options()}
    )
    convert.convert(tmp_path / "x.pth", tmp_path / "run")
    small = ["--data", "scenes", "--scenes", "16", "--batch-size", "8", "--epochs", "5", "--device", "cpu"]
    with pytest.raises(ValueError, match=r"holds agents alone.*--init-from"):
        build(replace(parse(small), resume=tmp_path / "run"), CPU, tmp_path / "run")


def test_a_run_of_before_has_no_class_token(tmp_path: Path) -> None:
    """Options saved without the new one build the networks of then."""
    config = json.loads((Path(__file__).parent / "runs" / "run_of_0_1_0" / "config.json").read_text())
    assert "released_symbol" not in config["speaker"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert not load_config(tmp_path / "config.json")[0].speaker.released_symbol
