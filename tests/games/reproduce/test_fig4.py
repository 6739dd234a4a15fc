"""Figure 4 end to end at the toy scale, and what it is made of: small ViTs, their rivals' speed, distilled rankings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from scipy.stats import spearmanr
from torch import Tensor

from analysis.plots.patch_curves import VitPanel, draw_patch_curves
from analysis.vit.patch_subset import classify_patches, subset_curve, vit_input
from games.build.agents import build_game
from games.reproduce import __main__ as reproduce, fig4
from games.reproduce.runner.setting import Setting, Training, ours
from games.reproduce.runner.training import train
from games.reproduce.vit import models as vits, setup as eyes
from games.reproduce.vit.distillation import FastRank, distil, rank_correlation
from games.reproduce.vit.models import VitRecipe, make_vit, open_vit, train_vit
from games.runs.load import load_game
from tests.support.tiny import FEW_HELD_OUT

pytestmark = pytest.mark.docs

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The figure at the toy scale, of one seed."""
    out = tmp_path_factory.mktemp("fig4")
    # Its language takes longer to record than it takes to train.
    train(Setting("fig4", "toy", out, device="cpu"), Training("ours-s32", 0, ("--patch-size", "8", "--no-corpus")))
    assert reproduce.main(["fig4", "--out", str(out), "--device", "cpu", "--fast"]) == 0
    return out / "toy" / "fig4"


def test_figure_and_tables(folder: Path) -> None:
    frame = pd.read_csv(folder / "table.csv")
    assert frame.ranking.value_counts().to_dict() == {
        **dict.fromkeys((fig4.START, fig4.END, fig4.FAST, "PatchRank, reversed"), 1),
        **dict.fromkeys(("centre", "gradient saliency", "CLS attention", "Grad-CAM", "occlusion"), 1),
        "random": 3,
    }
    assert frame.full.nunique() == 1, "with all patches, every order is the untouched ViT"
    assert frame.images.unique().tolist() == [FEW_HELD_OUT]
    curves = pd.read_csv(folder / "curves.csv")
    assert curves.k.min() == 0
    assert curves.k.max() == 16
    assert curves[curves.k == 0].top1.to_numpy() == pytest.approx(10)
    assert curves.groupby("ranking").k.nunique().nunique() == 1
    assert (folder / "fig4.png").stat().st_size > 30_000
    table = (folder / "table.md").read_text()
    assert "the images a second of the whole ViT" in table
    assert "judge orders of patches" in table
    assert "rank correlation with its teacher" in table


def test_full_accuracy_is_that_of_the_untouched_vit(folder: Path) -> None:
    eye = eyes.open_eye(Setting("fig4", "toy", folder.parents[1], device="cpu"), eyes.Vit("small", 32))
    right = [eye.vit(vit_input(eye.vit, images)).argmax(1) == labels for images, labels in eye.batches()]
    assert pd.read_csv(folder / "table.csv").full[0] == pytest.approx(100 * torch.cat(right).float().mean().item())


def test_finished_parts_are_not_repeated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in (folder / "parts").iterdir()}
    (folder / "fig4.png").unlink()
    for name in ("measure_ours", "measure_rivals", "measure_occlusion", "measure_speed"):
        monkeypatch.setattr(fig4, name, lambda *words: pytest.fail("a finished part was measured again"))
    words = ["--out", str(folder.parents[1]), "--device", "cpu"]
    assert reproduce.main(["fig4", *words, "--fast"]) == 0
    assert (folder / "fig4.png").exists()
    assert {path: path.read_bytes() for path in (folder / "parts").iterdir()} == before


def test_parts_of_another_vit_are_not_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting("fig4", "toy", folder.parents[1], device="cpu", fast=True)
    eye = eyes.open_eye(setting, eyes.Vit("small", 32))
    eye.made_with["vit"] = "another"
    monkeypatch.setattr(fig4, "open_eye", lambda *words: eye)
    with pytest.raises(ValueError, match=r"\.json was measured otherwise: vit was small, asked for is another"):
        fig4.run(setting)


def test_patch_rank_before_and_after_its_training(folder: Path) -> None:
    setting = Setting("fig4", "toy", folder.parents[1], device="cpu")
    start, end = fig4.patch_ranks(setting, eyes.Vit("small", 32), 0, CPU)
    trained: Any = load_game(setting.folder_of(ours(setting, 0)), CPU)[0]
    fresh: Any = build_game(setting.config(ours(setting, 0)))
    for rank, same in ((start, fresh.sender.rank), (end, trained.sender.rank)):
        assert not rank.training
        assert all(
            torch.equal(a, b) for a, b in zip(rank.state_dict().values(), same.state_dict().values(), strict=True)
        )
    assert not torch.equal(start.score.weight, end.score.weight)


def test_which_vits(tmp_path: Path) -> None:
    assert eyes.vits(Setting("fig4", "imagenet", tmp_path)) == [
        eyes.Vit("vit_base_patch32_384", 32),
        eyes.Vit("vit_base_patch16_224", 16),
    ]
    assert eyes.vits(Setting("fig4", "photos", tmp_path, vit="vit_small_patch14_dinov2")) == [
        eyes.Vit("vit_small_patch14_dinov2", 16)
    ]
    wanted = fig4.trainings(Setting("fig4", "imagenet", tmp_path, seeds=(0, 1), dry_run=True))
    assert [(t.name, t.seed) for t in wanted] == [("ours-s32", 0), ("ours-s16", 0), ("ours-s32", 1), ("ours-s16", 1)]


def test_dry_run_with_a_vit_of_timm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fig4.rehearse(Setting("fig4", "toy", tmp_path, device="cpu", vit="test_vit"))
    assert "test_vit: 1000 classes from 5 of 100 patches" in capsys.readouterr().out


class Colours:
    """Images of one colour each, whose class it is, with a little noise."""

    classes = ("red", "green", "blue")
    size = 20

    def __len__(self) -> int:
        return 96

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(90, (3, 20, 20), generator=generator, dtype=torch.uint8)
        # A label of -1: the class is not known.
        image[index % 3] += 120
        return image, index % 3 if index != 50 else -1


RECIPE = VitRecipe(patch_size=4, width=16, depth=1, heads=2, epochs=20, batch_size=32, lr=3e-3)


@pytest.mark.parametrize("drop", [True, False])
def test_a_small_vit_learns_and_is_kept(drop: bool, tmp_path: Path) -> None:
    source: Any = Colours()
    recipe = VitRecipe(**{**vars(RECIPE), "drop_patches": drop, "mix": 0.2})
    before = torch.random.get_rng_state()
    # Its views change colours; their channel stays the strongest.
    vit = train_vit(source, recipe, 16, tmp_path / "vit.pt", CPU)
    assert torch.equal(torch.random.get_rng_state(), before)
    images = torch.stack([source[i][0][:, 2:18, 2:18] for i in range(48)]).float() / 255
    images = (images - torch.tensor(vits.IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(vits.IMAGENET_STD).view(3, 1, 1)
    assert (vit(images).argmax(dim=1) == torch.arange(48) % 3).float().mean() > 0.8
    assert not vit.training
    again = train_vit(source, recipe, 16, tmp_path / "vit.pt", CPU, report=lambda line: pytest.fail(line))
    assert torch.equal(again(images), vit(images))
    with pytest.raises(ValueError, match=r"was trained with .*'width': 16"):
        train_vit(source, VitRecipe(**{**vars(recipe), "width": 32}), 16, tmp_path / "vit.pt", CPU)


def test_a_vit_learns_on_as_many_patches_as_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def watch(vit: Any, images: Tensor, keep: Tensor | None = None) -> Tensor:
        seen.append(16 if keep is None else keep.shape[1])
        return classify_patches(vit, images, keep)

    monkeypatch.setattr(vits, "classify_patches", watch)
    source: Any = Colours()
    train_vit(source, RECIPE, 16, tmp_path / "vit.pt", CPU)
    assert len(seen) == 60
    assert min(seen) == 4
    assert max(seen) == 16
    assert len(set(seen)) > 8


def test_a_vit_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    source: Any = Colours()
    recipe = VitRecipe(**{**vars(RECIPE), "depth": 2, "epochs": 10, "mix": 0.5, "drop_path": 0.5})

    def stop(line: str) -> None:
        if "epoch 7 " in line:
            raise KeyboardInterrupt

    whole = train_vit(source, recipe, 16, tmp_path / "whole.pt", CPU)
    with pytest.raises(KeyboardInterrupt):
        train_vit(source, recipe, 16, tmp_path / "stopped.pt", CPU, report=stop)
    lines: list[str] = []
    resumed = train_vit(source, recipe, 16, tmp_path / "stopped.pt", CPU, report=lines.append)
    assert [line.split(":")[1].split(",")[0] for line in lines] == [f" epoch {n} of 10" for n in (7, 8, 9, 10)]
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_a_vit_needs_classes(tmp_path: Path) -> None:
    source: Any = Colours()
    source.classes = ("image",)
    with pytest.raises(ValueError, match="at least 2 to tell apart"):
        train_vit(source, RECIPE, 16, tmp_path / "vit.pt", CPU)


def test_weights_from_a_file(tmp_path: Path) -> None:
    vit = timm.create_model("test_vit", num_classes=7).eval()
    torch.save(vit.state_dict(), tmp_path / "vit.pth")
    images = torch.randn(1, 3, 160, 160)
    assert torch.equal(open_vit("test_vit", str(tmp_path / "vit.pth"), 7)(images), vit(images))


@pytest.mark.parametrize(
    ("name", "weights", "classes", "message"),
    [
        ("vit_nonsense", "", 1000, "no such model"),
        ("test_vit", "missing.pth", 7, "missing.pth: no such file"),
        ("test_vit", "", 100, "knows 1000 classes and the images have 100: give --vit-checkpoint"),
        ("test_vit", "other.pth", 7, "weights of test_vit cannot be had from .*other.pth"),
        ("test_vit", "", 1000, "cannot be had from timm's hub; --vit-checkpoint FILE .*no network"),
        ("test_resnet", "resnet.pth", 1000, "not timm's plain VisionTransformer"),
    ],
)
def test_weights_that_cannot_be_had(
    name: str, weights: str, classes: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "resnet.pth")
    make: Callable[..., Any] = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            raise OSError("no network")
        return make(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ValueError, match=message):
        open_vit(name, str(tmp_path / weights) if weights else "", classes)


def test_untrained_vits_are_checked() -> None:
    with pytest.raises(ValueError, match="not timm's plain VisionTransformer"):
        make_vit("test_resnet")


def test_an_order_is_distilled(tmp_path: Path) -> None:
    source: Any = Bright()

    def brightness(images: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(images.mean(dim=1, keepdim=True), 4).flatten(1)

    student = distil(brightness, source, 16, (4, 4), tmp_path / "fast.pt", CPU, epochs=80, width=8)
    images = torch.stack([source[1000 + i][0][:, :16, :16] for i in range(32)]).float() / 255
    with torch.no_grad():
        found = student(images)
    assert rank_correlation(found, brightness(images)) > 0.9
    nobody: Any = None
    again = distil(nobody, source, 16, (4, 4), tmp_path / "fast.pt", CPU, epochs=80, width=8)
    with torch.no_grad():
        assert torch.equal(again(images), found)
    other = {"teacher": "another"}
    with pytest.raises(ValueError, match=r"fast\.pt was distilled from another PatchRank"):
        distil(nobody, source, 16, (4, 4), tmp_path / "fast.pt", CPU, epochs=80, width=8, made_with=other)


def test_a_pupil_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    source: Any = Bright()
    lessons = 0

    def brightness(images: Tensor) -> Tensor:
        nonlocal lessons
        lessons += 1
        if lessons == stop:
            raise KeyboardInterrupt
        return torch.nn.functional.avg_pool2d(images.mean(dim=1, keepdim=True), 4).flatten(1)

    stop = 0
    whole = distil(brightness, source, 16, (4, 4), tmp_path / "whole.pt", CPU, epochs=5, width=8)
    a_fifth, lessons = lessons // 5, 0
    stop = 3 * a_fifth + 1  # in the fourth epoch
    with pytest.raises(KeyboardInterrupt):
        distil(brightness, source, 16, (4, 4), tmp_path / "stopped.pt", CPU, epochs=5, width=8)
    lessons, stop = 0, 0
    resumed = distil(brightness, source, 16, (4, 4), tmp_path / "stopped.pt", CPU, epochs=5, width=8)
    assert lessons == 2 * a_fifth
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--speaker", "lstm"], "--speaker lstm has no PatchRank"),
        (["--vit", "vit_bse_patch16_224"], "--vit vit_bse_patch16_224: timm has no such model"),
        (["--vit", "vit_tiny_patch16_224"], "knows 1000 classes and the images have"),
        (["--vit", "vit_tiny_patch16_224", "--vit-checkpoint", "/none"], "--vit-checkpoint /none: no such file"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        reproduce.main(["fig4", "--out", str(tmp_path), "--device", "cpu", *words])
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_population_is_rehearsed_too(tmp_path: Path) -> None:
    words = ["--speakers", "2", "--dry-run", "--out", str(tmp_path), "--device", "cpu"]
    assert reproduce.main(["fig4", *words]) == 0


class Bright(Colours):
    """Patches of random brightness."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        generator = torch.Generator().manual_seed(index)
        patches = torch.randint(250, (1, 5, 5), generator=generator, dtype=torch.uint8)
        return patches.repeat_interleave(4, 1).repeat_interleave(4, 2).expand(3, -1, -1).contiguous(), 0


def test_a_distilled_network_sees_four_pixels_a_patch() -> None:
    network = FastRank((3, 5), 4).eval()
    assert network(torch.rand(2, 3, 96, 160)).shape == (2, 15)
    sizes: list[torch.Size] = []
    network.layers.register_forward_hook(lambda module, args, out: sizes.append(args[0].shape))
    network(torch.rand(1, 3, 96, 160))
    assert tuple(sizes[0][-2:]) == (12, 20)


def test_rank_correlation_is_spearman_s() -> None:
    first, second = torch.rand(4, 9), torch.rand(4, 9)
    wanted = np.mean([spearmanr(a, b).statistic for a, b in zip(first, second, strict=True)])
    assert rank_correlation(first, second) == pytest.approx(wanted, abs=1e-5)
    assert rank_correlation(first, first.exp()) == pytest.approx(1, abs=1e-4)


def test_best_speed_at_a_loss_of_one_point() -> None:
    curve = np.array([[0.1, 0.3, 0.595, 0.6], [0.1, 0.3, 0.59, 0.6]])
    panel = VitPanel("a", np.array([0, 5, 10, 20]), {"x": curve}, {"x": np.array([90.0, 60.0, 30.0])}, 40.0)
    said = fig4.remarks(panel, {"batch": 8, "ranking_alone": {"x": 500.0}}, [None])
    assert len(said) == 1
    assert said[0].startswith("x: 1.50 x the images a second of the whole ViT (60 against 40, batches of 8) with 10 ")
    assert "59.2 % instead of 60.0 %" in said[0]
    slow = VitPanel("a", panel.kept, {"x": curve - [0, 0.2, 0.2, 0]}, panel.speeds, 40.0)
    assert fig4.remarks(slow, {"batch": 8, "ranking_alone": {"x": 500.0}}, [0.5, 0.7])[0].startswith("x: 0.75 x")
    assert fig4.remarks(slow, {"batch": 8, "ranking_alone": {"x": 500.0}}, [0.5, 0.7])[1].endswith(
        "0.600 on held-out images."
    )


def test_gain_over_random_is_measured_image_by_image() -> None:
    rng = np.random.default_rng(0)
    random = [subset_curve(rng.random((2, 50)) < 0.5, [2, 4], 10) for _ in range(3)]
    better = subset_curve(np.ones((2, 50), dtype=bool), [2, 4], 10)
    rows = pd.DataFrame(fig4.tabulate_curves(eyes.Vit("small", 32), {"x": [better], "random": random}))
    each = better.area_of_image - np.mean([c.area_of_image for c in random], axis=0)
    assert rows.gain[0] == pytest.approx(better.area - np.mean([c.area for c in random]))
    assert rows.gain_se[0] == pytest.approx(each.std(ddof=1) / 50**0.5)
    assert rows.gain[1:].mean() == pytest.approx(0, abs=1e-12)


def test_figure_without_speeds(tmp_path: Path) -> None:
    curve = np.array([[0.1, 0.3, 0.6], [0.1, 0.4, 0.6]])
    path = draw_patch_curves([VitPanel("a", np.array([0, 5, 10]), {"x": curve})], tmp_path / "a" / "b.png")
    assert path.stat().st_size > 5_000


def test_parts_are_json(folder: Path) -> None:
    part = json.loads((folder / "parts" / "small-s32-0-fast.json").read_text())
    assert len(part["curves"][fig4.END]["area_of_image"]) == FEW_HELD_OUT
    assert -1 <= part["rank_correlation"] <= 1


def test_the_judge_is_judged_first() -> None:
    def vit(gain: float, error: float) -> pd.DataFrame:
        own = [("Grad-CAM", -0.05, 0.005), ("CLS attention", gain, error), ("centre", 0.5, 0.001)]
        return pd.DataFrame([{"ranking": name, "gain": g, "gain_se": e} for name, g, e in own])

    assert fig4.judge_remark(vit(0.031, 0.01)) == (
        "it can judge orders of patches: its own CLS attention is +3.1 ± 1.0 points over random."
    )
    # The centre is no order of its own, and less than three standard errors are luck.
    for gain in (0.029, -0.01):
        assert "cannot judge" in fig4.judge_remark(vit(gain, 0.01))
    # Without errors nothing is known.
    assert "cannot judge" in fig4.judge_remark(vit(0.031, float("nan")))
