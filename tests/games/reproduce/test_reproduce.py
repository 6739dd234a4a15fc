"""Every experiment at the toy scale, end to end, and what keeps trainings apart and finished parts finished."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from PIL import Image
from torch import nn

from analysis.corpus.corpus import Corpus
from analysis.plots.ablations import draw_panels
from analysis.transfer.controls import CONTROLS
from games import patchgame
from games.build.agents import build_speaker
from games.options.command_line import fail
from games.options.config_file import save_config
from games.record import main as record_run
from games.reproduce import __main__ as reproduce, bag, fig3, fig4, fig5, fig6, order, table1, table2
from games.reproduce.runner.dry_run import rehearse
from games.reproduce.runner.results import measured
from games.reproduce.runner.scales import SCALES
from games.reproduce.runner.setting import Setting, Training, lasting, made_of, ours
from games.reproduce.runner.tables import table_rows
from games.reproduce.runner.training import Diverged, Stopped, is_finished, train, train_all
from games.runs.files import LOCK
from patchgame_egg import Batch, Game, Message, PatchChannel, SymmetricInfoNCE
from patchgame_egg.agents import PatchFeatures

pytestmark = pytest.mark.docs

Run = Callable[..., Path]


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs an experiment at the toy scale in a folder that all tests share, so that trainings are made once."""
    out = tmp_path_factory.mktemp("reproduce")

    def run(experiment: str, *words: str) -> Path:
        assert reproduce.main([experiment, "--out", str(out), "--device", "cpu", *words]) == 0
        return out / "toy" / experiment

    return run


def test_table_1(play: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = play("table1")
    frame = pd.read_csv(folder / "table.csv")
    assert list(frame.method) == [*table1.PAPER, "random weights", *CONTROLS]
    assert frame.knn_top1.between(0, 100).all()
    assert (frame.knn_top5.isna() | (frame.knn_top5 >= frame.knn_top1)).all()
    trained = frame[frame.method.isin(table1.PAPER)].images_seen
    assert trained.nunique() == 1
    assert trained.iloc[0] > 0
    assert (folder / "table.md").read_text().count("\n| ") == len(frame) + 2
    about = json.loads((folder / "experiment.json").read_text())
    assert len(about["trainings"]) == len(frame) - len(CONTROLS)
    assert about["command"].startswith("python -m games.reproduce table1 --out")
    assert about["machine"]["torch"]
    capsys.readouterr()
    play("table1")
    assert "epoch" not in capsys.readouterr().out, "a finished training was repeated"


def test_heat_maps_and_their_scores(play: Run) -> None:
    folder = play("fig3")
    assert (folder / "fig3.png").stat().st_size > 10_000
    rivals = {"random", "centre", "edge density", "place alone", "reversed"}
    assert set(pd.read_csv(folder / "table.csv").method) == {"speaker", *rivals}


def test_gallery(play: Run) -> None:
    assert (play("fig5") / "fig5.png").stat().st_size > 5_000


def test_figures_of_a_given_run(play: Run) -> None:
    folder = play("fig3")
    run = folder.parent / "runs" / "ours-s32-0"
    own, drawn = (run / "corpus.npz").read_bytes(), (folder / "fig3.png").read_bytes()
    assert reproduce.main(["fig5", "--run", str(run)]) == 0
    assert (run / "fig5" / "fig5.png").exists()
    assert json.loads((run / "fig5" / "experiment.json").read_text())["run"] == str(run)
    assert record_run([str(run), "--data", "scenes", "--images", "32", "--to", str(run / "others.npz")]) == 0
    assert (run / "corpus.npz").read_bytes() == own
    assert reproduce.main(["fig3", "--run", str(run / "others.npz")]) == 0
    assert (run / "others" / "fig3" / "table.csv").exists()
    assert (folder / "fig3.png").read_bytes() == drawn
    replace(Corpus.load(run / "others.npz"), object_area=None).save(run / "others.npz")
    assert reproduce.main(["fig3", "--run", str(run / "others.npz")]) == 0
    assert not list((run / "others" / "fig3").glob("table.*")), "scores of what was there before"


def test_a_baseline_s_run_has_no_language_to_draw(
    play: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = Training("random", 0, ("--patch-size", "8"), "random")
    run = train(Setting("table1", "toy", tmp_path, device="cpu"), baseline)
    for ask in (
        lambda: reproduce.main(["fig5", "--run", str(run)]),
        lambda: record_run([str(run)]),
        lambda: patchgame.main(["--resume", str(run)]),
    ):
        with pytest.raises(SystemExit):
            ask()
        assert "is a run of random: only runs of games.patchgame have a language" in capsys.readouterr().err


@pytest.mark.parametrize("module", [table1, fig4, bag])
def test_images_without_classes_are_told_before_anything_is_trained(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = module.__name__.split(".")[-1]
    for i in range(3):
        Image.new("RGB", (64, 64), (80 * i, 0, 0)).save(tmp_path / f"{i}.png")
    monkeypatch.setattr(
        "games.reproduce.runner.training.train", lambda *words: pytest.fail("trained before it was told")
    )
    words = [experiment, "--scale", "photos", "--root", str(tmp_path), "--out", str(tmp_path / "out")]
    for more in ([], ["--dry-run"]):
        with pytest.raises(SystemExit):
            reproduce.main([*words, *more])
        assert f"{experiment} tells classes apart and the images in {tmp_path} have none" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        reproduce.main(["fig5", *words[1:], "--dry-run", "--batch-size", "4"])
    assert "2 images to train on are less than --batch-size 4" in capsys.readouterr().err


def test_a_dry_run_compares_the_classes_with_the_vit_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        reproduce.main(["fig4", "--vit", "vit_base_patch16_224", "--dry-run", "--out", str(tmp_path)])
    assert "knows 1000 classes and the images have 10" in capsys.readouterr().err


def test_bag_of_symbols(play: Run) -> None:
    frame = pd.read_csv(play("bag") / "table.csv")
    assert len(frame) == 6
    assert frame.top1.between(0, 100).all()


def test_orders_and_listeners(play: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.read_csv(play("order") / "table.csv")
    assert list(zip(frame.trained_on, frame.order, strict=True)) == list(product(order.LISTENERS, order.ORDERS))
    assert (frame.spoken == 9).all()  # of 16 patches
    assert frame.top1.between(0, 100).all()
    with pytest.raises(ValueError, match="--gate free: order needs"):
        order.trainings(Setting("order", "toy", tmp_path, options=("--gate", "free")))
    with pytest.raises(ValueError, match="--speaker lstm has no PatchRank"):
        order.trainings(Setting("order", "toy", tmp_path, options=("--speaker", "lstm")))


def test_patches_at_random_are_as_likely_as_each_other_and_as_many_as_in_the_game(tmp_path: Path) -> None:
    config = Setting("order", "toy", tmp_path).config(order.at_random(Setting("order", "toy", tmp_path), 0))
    channel = build_speaker(config, 0)[1]
    scores = 100 * torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(channel.keep_probability(scores), torch.tensor(17 / 32), atol=1e-3)


def test_a_listener_of_one_order_is_asked_about_others() -> None:
    """An oracle that counts which patches it hears: the order decides, and as many speak as did."""
    heard: list[list[int]] = []

    class Counts(nn.Module):
        def forward(
            self, message: Message, images: torch.Tensor, aux: object = None
        ) -> tuple[torch.Tensor, torch.Tensor]:
            heard.append(message.mask[0].nonzero()[:, 0].tolist())
            return torch.eye(2), torch.eye(2)

    class Scores(nn.Module):
        def forward(self, images: torch.Tensor, aux: object = None) -> PatchFeatures:
            return PatchFeatures(torch.zeros(2, 4, 1, 3), torch.tensor([[1.0, 4.0, 2.0, 3.0]] * 2))

    game = Game(Scores(), PatchChannel(), Counts(), SymmetricInfoNCE())
    pictures = torch.zeros(2, 3, 4, 4)
    rows = order.ask(game, game, [Batch(pictures, receiver_input=pictures)])
    assert [row["top1"] for row in rows] == [100.0] * 6
    assert rows[0]["order"] == "PatchRank"
    assert (rows[0]["candidates"], rows[0]["spoken"], rows[0]["patches"]) == (2, 3, 4)
    assert [heard[i] for i in (0, 2, 3, 5)] == [[1, 2, 3], [0, 2, 3], [1, 2, 3], [0, 2, 3]]
    assert len(heard[1]) == len(heard[4]) == 3


def test_ablations(play: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fig6.panels

    def two_panels(setting: Setting) -> dict[str, dict[str, tuple[str, ...]]]:
        return {name: whole(setting)[name] for name in ("learning rate", "patch size S")}

    monkeypatch.setattr(fig6, "panels", two_panels)
    folder = play("fig6")
    frame = pd.read_csv(folder / "table.csv")
    assert len(frame) == 6
    same = frame[frame.variant.isin(["0.0005", "8 px"])]
    assert same.retrieval.nunique() == 1, "what two panels have in common was trained twice"
    assert (folder / "fig6.png").stat().st_size > 10_000


def test_a_variant_that_diverges_is_a_result(
    play: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = ("--lr", "1e12", "--optimizer", "sgd", "--grad-norm", "None")
    variants = {"1e+12": wild, "0.0005": ("--lr", "0.0005")}
    monkeypatch.setattr(fig6, "panels", lambda setting: {"learning rate": variants})
    drawn: list[dict[str, Any]] = []

    def draw(logs: dict[str, Any], path: Path) -> Path:
        drawn.append(logs)
        return draw_panels(logs, path)

    monkeypatch.setattr(fig6, "draw_panels", draw)
    folder = play("fig6", "--seeds", "2")
    frame = pd.read_csv(folder / "table.csv", dtype={"variant": str}).set_index(["variant", "seed"])
    assert frame.diverged.to_dict() == {(v, s): v == "1e+12" for v in variants for s in (0, 1)}
    assert frame.retrieval.notna().to_dict() == (~frame.diverged).to_dict()
    assert "| learning rate | 1e+12 (diverged) |  |  |  |" in (folder / "table.md").read_text()
    assert list(drawn[0]["learning rate"]) == ["1e+12 (diverged)", "0.0005"]
    assert "learning-rate-1e+12-1 diverged: its loss is not finite at step 2" in capsys.readouterr().out
    play("fig6", "--seeds", "2")
    assert "images to train on" not in capsys.readouterr().out, "it was trained again, to diverge again"
    part = frame.reset_index().assign(diverged=[True, False, False, False])
    assert "1e+12 (1 of 2 diverged)" in fig6.tabulate(part)


def test_a_training_that_fails_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def pretend(words: list[str]) -> int:
        begun.append(words[words.index("--name") + 1])
        if begun[-1].startswith("bad"):
            fail("no luck")
        return 0 if begun[-1].startswith("good") else 130

    monkeypatch.setattr("games.reproduce.runner.training.patchgame.main", pretend)
    setting = Setting("bag", "toy", tmp_path, device="cpu")
    with pytest.raises(RuntimeError, match=r"^2 of 4 trainings failed: bad-0, bad2-0: .* status 2: no luck$"):
        train_all(setting, [Training(name, 0) for name in ("good", "bad", "good2", "bad2")])
    assert begun == ["good-0", "bad-0", "good2-0", "bad2-0"]
    with pytest.raises(Stopped, match="the same command goes on with it"):
        train_all(setting, [Training(name, 0) for name in ("stopped", "good3")])
    assert begun[4:] == ["stopped-0"]


def test_a_diverged_row_leaves_the_table_standing(tmp_path: Path) -> None:
    setting = Setting("table1", "toy", tmp_path, seeds=(0, 1))
    row = {"knn_top1": 20.0, "knn_top5": 50.0, "probe_top1": 30.0, "images": 9, "images_seen": 7, "features": 3}

    def measure(training: Training) -> dict[str, float]:
        if (training.method == "moco" and training.seed == 0) or training.method == "vqvae":
            raise Diverged
        return {**row, "chance_top1": 10.0, "chance_top5": 50.0}

    wanted = [({"method": n}, t) for seed in setting.seeds for n, t in table1.methods(setting, seed).items()]
    text = table1.tabulate(table_rows(wanted, measure))
    assert "| MoCo-v2 (1 of 2 diverged) | 20.0 | 50.0 | 30.0 | 7 |" in text
    assert "| VQ-VAE-2 (diverged) |  |  |  |" in text
    assert "| ours, S=32 | 20.0 ± 0.0 |" in text

    def nothing(training: Training) -> dict[str, float]:
        raise Diverged

    with pytest.raises(RuntimeError, match="all trainings diverged"):
        table_rows(wanted, nothing)


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_trainings_in_processes_of_their_own(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, told = tmp_path / "ready", tmp_path / "told"
    script = f"""
import pathlib, signal, sys, time
def stop(number, frame):
    pathlib.Path({str(told)!r}).write_text(str(number))
    sys.exit(128 + number)
signal.signal({int(number)}, stop)
pathlib.Path({str(ready)!r}).touch()
time.sleep(60)
"""
    monkeypatch.setattr("games.reproduce.runner.training.command_of", lambda *words: ["python", "-c", script])

    def send() -> None:
        while not ready.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    threading.Thread(target=send).start()
    with pytest.raises(Stopped, match=f"stopped by {number.name}: the same command goes on"):
        train_all(Setting("bag", "toy", tmp_path, device="cpu", jobs=1, launcher="x"), [Training(c, 0) for c in "abc"])
    assert told.read_text() == str(int(number))
    assert len(list((tmp_path / "toy" / "runs").glob("*.txt"))) == 1, "another one was begun"
    assert signal.getsignal(number) == before


def test_every_variant_of_the_ablations_is_an_option_of_the_game(tmp_path: Path) -> None:
    setting = Setting("fig6", "toy", tmp_path, device="cpu")
    wanted = fig6.trainings(setting)
    assert len(wanted) == len({t.name for t in wanted}) == 18
    rehearse(setting, wanted)


@pytest.mark.parametrize(
    ("experiment", "kept", "says"),
    [
        ("table1", slice(0, 6, 5), "moco, seed 0: loss"),
        ("table2", slice(-1, None), "detector on resnet18: loss"),
        ("fig4", slice(0, 1), "vit_base_patch32_384: 1000 classes from 5 of 144 patches"),
        ("fig6", slice(0, 1), "learning-rate-1e-05, seed 0: loss"),
    ],
)
def test_the_paper_s_recipe_takes_a_step(
    experiment: str,
    kept: slice,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # All of them take minutes on two cores; the options of each are read all the same.
    module = {"table1": table1, "table2": table2, "fig4": fig4, "fig6": fig6}[experiment]
    whole = module.trainings
    monkeypatch.setattr(module, "trainings", lambda setting: whole(setting)[kept])
    words = ["--scale", "imagenet", "--dry-run", "--out", str(tmp_path), "--root", str(tmp_path), "--device", "cpu"]
    assert reproduce.main([experiment, *words]) == 0
    said = capsys.readouterr().out
    assert "on generated images" in said
    assert says in said
    assert "the images are not there yet: imagenet is not in" in said
    assert not any(tmp_path.iterdir())


def test_a_training_with_other_options_is_not_taken_for_ours(
    play: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = play("fig5").parents[1]
    with pytest.raises(SystemExit):
        reproduce.main(["fig5", "--out", str(out), "--device", "cpu", "--vocab", "32"])
    assert "vocab is 16, asked for is 32" in capsys.readouterr().err
    monkeypatch.setattr(
        "games.reproduce.runner.training.train", lambda *words: pytest.fail("trained before it was told")
    )
    with pytest.raises(SystemExit):
        reproduce.main(["fig6", "--out", str(out), "--device", "cpu", "--vocab", "32"])
    assert "was trained otherwise: vocab is 16, asked for is 32" in capsys.readouterr().err


def test_a_training_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    setting = Setting("fig5", "toy", tmp_path, device="cpu", options=("--epochs", "2"))
    training = ours(setting, 0)
    folder = setting.folder_of(training)
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text("half a line")
    assert not is_finished(setting, training)
    train(setting, training)
    (folder / "metrics.json").unlink()
    assert not is_finished(setting, training)
    before = (folder / "log.jsonl").read_text()
    train(setting, training)
    assert (folder / "log.jsonl").read_text().startswith(before)
    assert is_finished(setting, training)


def test_a_run_is_finished_when_its_language_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting("fig5", "toy", tmp_path, device="cpu")
    training = ours(setting, 0)
    folder = setting.folder_of(training)

    def full(corpus: Corpus, path: Path) -> None:
        path.write_text("half a file")
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(Corpus, "save", full)
        with pytest.raises(RuntimeError, match="no space"):
            train(setting, training)
    assert not is_finished(setting, training)
    train(setting, training)
    assert is_finished(setting, training)
    assert Corpus.load(folder / "corpus.npz").images is not None


def test_a_training_of_another_process_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting("bag", "toy", tmp_path)
    training = ours(setting, 0)
    folder = setting.folder_of(training)
    folder.mkdir(parents=True)
    (folder / "begun").touch()
    lock = FileLock(folder / LOCK)
    lock.acquire(timeout=0)

    def finish(_: float) -> None:
        save_config(setting.config(training), "small", folder / "config.json")
        (folder / "metrics.json").write_text("{}")
        lock.release()

    monkeypatch.setattr("games.reproduce.runner.training.time.sleep", finish)
    assert train(setting, training) == folder and (folder / "begun").exists()


def test_methods_have_learning_rates_of_their_own_unless_one_is_given(tmp_path: Path) -> None:
    def rates(scale: str, *options: str) -> list[float]:
        setting = Setting("table1", scale, tmp_path, options=options)
        return [setting.config(training).training.lr for training in table1.methods(setting, 0).values()]

    assert rates("photos") == [5e-4, 2e-3, 2e-3, 2e-3, 5e-4, 5e-4, 5e-4]
    assert rates("imagenet") == [0.06, 3e-4, 2e-4, 2e-4, 1e-4, 1e-4, 1e-4]
    assert set(rates("photos", "--lr", "0.01")) == {0.01}


def test_rates_are_chosen_on_a_part_of_the_training_images(
    tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every method the rate whose features name most of what was held out of the training images."""
    best = {"moco": "0.002", "vqvae": "0.0005", "patchvae": "0.0005", "patchgame": "0.002"}
    setting = reproduce.parse_setting(
        [
            "table1",
            "--root",
            str(photo_folder),
            "--data",
            "folder",
            "--out",
            str(tmp_path),
            "--rates",
            "0.0005",
            "0.002",
        ]
    )
    asked: list[Training] = []

    def knn(setting: Setting, training: Training) -> dict[str, float]:
        assert setting.experiment == "table1"
        asked.append(training)
        rate = training.words[training.words.index("--lr") + 1]
        if (training.method, rate) == ("moco", "0.0005"):
            raise Diverged("it diverged")
        return {"knn_top1": 50.0 + 10 * (rate == best[training.method])}

    monkeypatch.setattr(table1, "columns", knn)
    first = table1.trainings(setting)
    assert len(first) == 12 and {t.seed for t in first} == {0}
    for training in first:
        images = setting.config(training).images
        assert Path(images.root) == photo_folder / "train" and images.val_share == 0.1
    chosen, _ = table1.choose_rates(setting)
    assert asked == first
    assert chosen == {name: best[t.method] for name, t in table1.methods(setting, 0).items() if t.method != "random"}
    for seed in (0, 1):
        for name, training in table1.methods(setting, seed, chosen).items():
            config = setting.config(training)
            assert config.images.root == str(photo_folder) and config.training.seed == seed
            if name in chosen:
                assert config.training.lr == float(chosen[name])
    at_scale = replace(setting, scale="photos")
    plain = table1.methods(at_scale, 0)
    found = table1.methods(at_scale, 0, chosen | {"VQ-VAE-2": "2e-3"})
    # At the rate that the scale has for it, a method's network is the one of every other experiment.
    assert {name for name, training in found.items() if training == plain[name]} == {"VQ-VAE-2", "random weights"}
    trained: list[Training] = []
    monkeypatch.setattr(table1, "train_all", lambda setting, wanted: trained.extend(wanted))
    detection = replace(setting, experiment="table2", seeds=(0, 1))
    rates, note, more = table1.train_at_chosen_rates(detection, table2.methods)
    assert rates == chosen and "| MoCo-v2 |  | 60.0 | 0.002 |" in note
    assert more == trained and set(more) == {t for s in (0, 1) for t in table2.methods(setting, s, chosen).values()}
    assert table1.train_at_chosen_rates(replace(detection, rates=()), table2.methods) == ({}, "", [])


def test_tasks_share_the_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []
    monkeypatch.setattr(
        "games.reproduce.runner.training.train", lambda setting, training, children: done.append(training.name)
    )
    wanted = [Training(str(i), 0) for i in range(7)]
    for i in range(3):
        train_all(Setting("fig6", "toy", tmp_path, task=(i, 3)), wanted)
    assert sorted(done) == sorted(t.name for t in wanted)
    train_all(Setting("fig6", "toy", tmp_path, task=(25, 40)), wanted)
    assert "task 1 of 3: 2 of 7 trainings" in (said := capsys.readouterr().out)
    assert "task 25 of 40: 0 of 7 trainings" in said


def test_what_was_measured_is_kept(tmp_path: Path) -> None:
    path, setting = tmp_path / "a" / "part.json", Setting("bag", "toy", tmp_path)
    of = made_of(setting, ours(setting, 0))
    assert measured(path, lambda: {"x": 1}, of)["x"] == 1
    assert measured(path, lambda: {"x": 2}, of)["x"] == 1
    longer = replace(setting, options=("--epochs", "2"))
    with pytest.raises(ValueError, match=r"measured otherwise: training\.epochs was 1, asked for is 2\. Delete"):
        measured(path, lambda: {"x": 2}, made_of(longer, ours(longer, 0)))


def test_what_makes_a_run_another_one(tmp_path: Path) -> None:
    setting = Setting("bag", "toy", tmp_path)
    plain = setting.config(ours(setting, 0))
    idle = replace(setting, options=("--workers", "2", "--cache", "auto", "--download"))
    frozen = replace(plain, run=replace(plain.run, frozen_speaker="runs/first"))
    assert lasting(idle.config(ours(idle, 0))) == lasting(plain) != lasting(frozen)


def test_every_row_of_the_ablations_is_its_own_at_every_scale(tmp_path: Path) -> None:
    for scale in SCALES:
        found = fig6.grid(Setting("fig6", scale, tmp_path))
        for panel in {panel for panel, _, _ in found}:
            rows = [training for where, _, training in found if where == panel]
            assert len(rows) == len(set(rows)), (scale, panel)


def test_a_wrong_option_is_told_before_processes_are_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", str(tmp_path), "--device", "cpu", "--jobs", "2", "--vocab", "1"]
    with pytest.raises(SystemExit):
        reproduce.main(["bag", *words])
    assert "--vocab 1: must be at least 2" in capsys.readouterr().err


@pytest.mark.process
def test_a_failure_of_another_process_names_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting("bag", "toy", tmp_path, device="cpu", jobs=2)
    monkeypatch.setattr(
        "games.reproduce.runner.training.command_of",
        lambda *words: ["python", "-c", "print('error: no luck'); exit(3)"],
    )
    with pytest.raises(RuntimeError, match=r"status 3: no luck \(its output is in .*\.\.\.\.txt\)$"):
        train_all(setting, [ours(setting, 0)])


def test_experiments_take_turns_at_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting, at_it, most = Setting("bag", "toy", tmp_path), [0], []
    training = ours(setting, 0)

    def pretend(words: list[str]) -> int:
        at_it[0] += 1
        most.append(at_it[0])
        folder = setting.folder_of(training)
        folder.mkdir()
        time.sleep(0.2)
        save_config(setting.config(training), "small", folder / "config.json")
        (folder / "metrics.json").write_text("{}")
        at_it[0] -= 1
        return 0

    monkeypatch.setattr("games.reproduce.runner.training.patchgame.main", pretend)
    with ThreadPoolExecutor(3) as pool:
        folders = list(pool.map(lambda _: train(setting, training), range(3)))
    assert set(folders) == {setting.folder_of(training)}
    assert most == [1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table1", "--seeds", "0"], "--seeds 0"),
        (["table1", "--scale", "photos"], "needs --root"),
        (["table1", "--rates", "0.1", "--lr", "0.1"], "--lr and --rates both set the learning rate"),
        (["fig6", "--rates", "0.1"], "--rates is for table1 and table2, not for fig6"),
        (["table1", "--rates", "fast"], "--rates splits the images of a folder"),
        (["table1", "--task", "3/3"], "--task '3/3'"),
        (["table1", "--seed", "3"], "--seed is set by --seeds N here"),
        (["table1", "--patch-size=4"], "--patch-size is set by the experiment itself here"),
        (["fig5", "--launcher", "torchrn --nproc-per-node 4"], "there is no command torchrn"),
        (["bag", "--run", "runs/first"], "--run is for fig3 and fig4 and fig5, not for bag"),
        (["bag", "--fast"], "--fast is for fig4, not for bag"),
        (
            ["fig3", "--run", "runs/first", "--root", "x", "--lr", "7"],
            "--run draws what there is, without --root --lr 7",
        ),
        (["table1", "--patch_size", "4"], "--patch-size is set by the experiment itself here"),
        (["fig5", "--run", "nowhere"], "there is no file nowhere"),
        (["table9"], "table9"),
        (["fig5", "--no-such-option"], "no-such-option"),
    ],
)
def test_mistakes_end_in_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        reproduce.main(words)
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_heat_maps_show_failures_last() -> None:
    rng = np.random.default_rng(0)
    area = np.zeros((40, 4), dtype=np.float32)
    area[:, 0] = 1
    importance = rng.random((40, 4)).astype(np.float32)
    corpus = Corpus(
        symbols=np.zeros((40, 4), dtype=np.int64), mask=np.ones((40, 4), dtype=bool), vocab_size=2, grid=(2, 2),
        keep_prob=importance, images=np.zeros((40, 3, 8, 8), dtype=np.uint8), object_area=area,
        labels=np.arange(40) % 3, label_names=("a", "b", "c"),
    )  # fmt: skip
    chosen, titles, note = fig3.choose(corpus)
    won = importance[chosen][:, [0]] > importance[chosen][:, 1:]
    share = won.mean(axis=1)
    assert (share[:12] > 0.5).all()
    assert (share[12:] <= 0.5).all()
    assert len(set(chosen)) == len(chosen) == 16
    assert [t[0] for t in titles[:3]] != ["a", "a", "a"]
    every = np.array([np.mean(one[0] > one[1:]) for one in importance])
    assert f"{100 * np.mean(every > 0.5):.0f} % of 40 images with objects" in note
    assert f"(mean {every.mean():.2f}): 12 of these" in note
    nothing = replace(corpus, object_area=np.full((40, 4), np.nan, dtype=np.float32))
    assert len(fig3.choose(nothing)[0]) == 12, "without any object, what was understood is shown"
    one_class = replace(nothing, labels=np.zeros(40, dtype=np.int64), label_names=("image",))
    assert set(fig3.choose(one_class)[1]) == {""}


def test_symbols_are_named_only_where_it_is_sure() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    symbols = np.stack([labels, rng.integers(4, 8, 400)], axis=1)
    corpus = Corpus(
        symbols=symbols, mask=np.ones_like(symbols, dtype=bool), vocab_size=8, labels=labels,
        label_names=("ant", "bee", "cat", "dog"),
    )  # fmt: skip
    assert fig5.meanings(corpus) == {0: "ant", 1: "bee", 2: "cat", 3: "dog"}
    numbers = replace(corpus, label_names=("0", "1", "no", "yes"))
    assert fig5.meanings(numbers) == {0: "class: 0", 1: "class: 1", 2: "class: no", 3: "class"}


def test_table_2(play: Run) -> None:
    frame = pd.read_csv(play("table2") / "table.csv")
    assert len(frame) == 6
    assert frame.voc2007.between(0, 100).all()
    assert frame.objects.min() > 16
