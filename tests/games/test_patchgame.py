"""The command itself: presets, speakers and channels, populations, a frozen speaker, resume after kill -9 and signals,
errors in one line, pictures, corrupt images."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.corpus.loading import load as load_corpus
from analysis.corpus.recording import confidence_of
from games.build.agents import build_game
from games.options.command_line import parse
from games.options.config_file import load_config, save_config
from games.options.presets import PRESETS
from games.patchgame import build, main
from games.runs.files import LOCK
from games.runs.lock import is_being_trained
from games.runs.results import write_cross_play
from patchgame_egg.agents.patch_speaker import PatchFeatures
from patchgame_egg.channels.patch import PatchChannel
from patchgame_egg.channels.quantised import Quantised
from patchgame_egg.training import checkpoint
from patchgame_egg.training.callback import Callback
from patchgame_egg.training.evaluation import cross_play
from patchgame_egg.training.log_file import read_log
from patchgame_egg.training.trainer import Trainer
from tests.support.processes import free_port
from tests.support.tiny import FEW_HELD_OUT

ROOT = Path(__file__).parents[2]

SPEAKERS, CHANNELS = ("patch", "lstm", "gru", "rnn", "transformer"), ("gumbel", "reinforce", "quantised", "continuous")
ALLOWED = [(s, c) for s in SPEAKERS for c in CHANNELS if s == "patch" or c != "quantised"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 pictures of noise to train on and 8 held out: the built-in scenes hold out a thousand."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for part, count in (("train", 32), ("val", 8)):
        (folder / part).mkdir()
        for i in range(count):
            coarse = Image.fromarray(rng.integers(256, size=(4, 4, 3), dtype=np.uint8))
            coarse.resize((40, 40)).save(folder / part / f"{i:02d}.png")
    return folder


@pytest.fixture
def quick(tiny: list[str], photos: Path, tmp_path: Path) -> list[str]:
    """Four steps an epoch, agents of every kind tiny, nothing written that is not asked for."""
    return [
        *tiny, "--max-len", "4", "--encoder-width", "4", "--decoder-dim", "12", "--code-dim", "4", "--epochs", "1",
        "--data", "folder", "--root", str(photos), "--out", str(tmp_path), "--no-tensorboard", "--no-pictures",
    ]  # fmt: skip


def metrics(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text())


def losses(run: Path) -> list[tuple[int, float]]:
    return [(r["step"], r["loss"]) for r in read_log(run / "log.jsonl") if r["kind"] == "train"]


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_two_steps_of_every_preset_at_toy_size(preset: str, tiny: list[str], tmp_path: Path) -> None:
    options = [*tiny, "--scenes", "16", "--epochs", "1", "--out", str(tmp_path), "--name", "run"]
    if preset == "released":
        options += ["--head-wide", "32", "--freeze-epochs", "1", "--text-heads", "3"]
    assert main(["--preset", preset, *options]) == 0
    run = tmp_path / "run"
    assert {p.name for p in run.iterdir()} >= {
        "config.json", "log.jsonl", "tensorboard", "checkpoint.pt", "metrics.json", "curves.png", "importance.png",
        "gallery.png",
    }  # fmt: skip
    assert [step for step, _ in losses(run)] == [1, 2]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["candidates"] == 8 and 0 <= metrics["acc"] <= metrics["acc_top5"] <= 1
    assert metrics["images"] == FEW_HELD_OUT
    config, saved = load_config(run / "config.json")
    assert saved == preset and config.speaker.vocab == 16


@pytest.mark.parametrize("preset", PRESETS)
def test_options_count_over_the_preset(preset: str) -> None:
    assert parse(["--preset", preset]).config == PRESETS[preset]
    other = replace(PRESETS[preset], speaker=replace(PRESETS[preset].speaker, vocab=64))
    assert parse(["--vocab", "64", "--preset", preset]).config == other


@pytest.mark.parametrize("preset", PRESETS)
def test_every_parameter_gets_a_gradient(preset: str, tiny: list[str], tmp_path: Path) -> None:
    trainer, _, _ = build(parse(["--preset", preset, *tiny, "--head-wide", "16"]), torch.device("cpu"), tmp_path)
    batch = next(iter(trainer.train_data))
    loss, _ = trainer.game(*batch)
    loss.backward()
    # Ranks do not change with what all scores share: its gradient is 0 but for rounding, and on some processors 0.
    shared = {"sender.rank.score.bias"}
    gradients = {n: p.grad for n, p in trainer.game.named_parameters()}
    missing = [n for n, g in gradients.items() if g is None or not (n in shared or g.abs().max() > 0)]
    assert not missing


@pytest.mark.slow
@pytest.mark.parametrize(("speaker", "channel"), ALLOWED)
def test_every_speaker_goes_with_every_channel(speaker: str, channel: str, quick: list[str], tmp_path: Path) -> None:
    options = [*quick, "--speaker", speaker, "--channel", channel, "--name", "run"]
    draws = (speaker, channel) in (("patch", "quantised"), ("patch", "continuous"), ("lstm", "gumbel"))
    assert main([*options, "--pictures" if draws else "--no-pictures"]) == 0
    run = tmp_path / "run"
    pictures = {"curves.png", "importance.png", "gallery.png"} if speaker == "patch" else {"curves.png"}
    # Where no symbol is ever sent there is none to show.
    pictures -= {"gallery.png"} if channel == "continuous" else set()
    files = {"config.json", "log.jsonl", "checkpoint.pt", "metrics.json", "images.json"}
    files |= pictures if draws else set()
    assert {p.name for p in run.iterdir()} == files
    assert [step for step, _ in losses(run)] == [1, 2, 3, 4]
    found, slots = metrics(run), 16 if speaker == "patch" else 4
    assert (found["slots"], found["vocab_size"], found["candidates"]) == (slots, 16, 8)
    assert 0 <= found["mean_length"] <= slots
    assert channel != "continuous" or found["mean_length"] == slots
    assert (load_config(run / "config.json")[0].speaker.speaker, channel) == (speaker, channel)

    game = build_game(parse(options).config)
    seen = torch.randn(8, 3, 32, 32)
    game(seen, None, torch.randn(8, 3, 32, 32))[0].backward()
    gradients = {n: p.grad for n, p in game.named_parameters()}
    # A rank does not change where all scores grow alike.
    assert gradients.pop("sender.rank.score.bias", torch.zeros(1)) is not None
    # A learnt baseline starts at the mean of the first batch: at first only its last weights have much to learn.
    waiting = {n for n in gradients if "baseline.mlp." in n and not n.endswith("mlp.3.weight")}
    assert not [n for n, g in gradients.items() if g is None or not (g.abs().max() > 0 or n in waiting)]


@pytest.mark.slow
def test_a_language_names_its_files_and_says_what_was_left_out(
    quick: list[str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*quick, "--candidates", "3", "--corpus", "--name", "run"]) == 0
    said = "note: the language is that of 6 images, not of 8: messages are matched in whole groups of 3 (--candidates)"
    assert said in capsys.readouterr().out.splitlines()
    corpus = load_corpus(tmp_path / "run")
    files = sorted(path.relative_to(photos) for path in (photos / "val").iterdir())
    assert corpus.files == tuple(str(files[i]) for i in corpus.info["index"])
    for name, pixels in zip(corpus.files, corpus.images, strict=True):
        shown = np.asarray(Image.open(photos / name).resize((32, 32)), dtype=float)
        assert np.abs(shown - pixels.transpose(1, 2, 0)).mean() < 12


def test_sequences_have_no_patches_to_fit_in(quick: list[str]) -> None:
    config = parse([*quick, "--speaker", "gru", "--fixed-len", "--image-size", "30"]).config
    message = (game := build_game(config).eval()).channel(game.sender(torch.randn(2, 3, 30, 30)))
    assert message.symbols.shape == (2, 4) and message.mask.all()


@pytest.mark.slow
def test_the_length_of_a_message_can_be_chosen(quick: list[str], tmp_path: Path) -> None:
    for name, options in {
        "three": ["--keep", "3"],
        "quarter": ["--keep-fraction", "0.25"],
        "scored": ["--keep", "3", "--channel", "reinforce"],
        "two each": ["--keep", "3", "--symbols-per-patch", "2"],
        "fixed": ["--speaker", "lstm", "--fixed-len"],
    }.items():
        assert main([*quick, *options, "--name", name]) == 0
    lengths = {p.name: metrics(p)["mean_length"] for p in tmp_path.iterdir()}
    assert lengths == {"three": 3, "quarter": 4, "scored": 3, "two each": 6, "fixed": 4}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [["--gate", "free", "--lr", "0.03"], ["--speaker", "gru", "--logit-scale", "1", "--lr", "0.2"]],
    ids=lambda o: o[1],
)  # fmt: skip
def test_a_price_shortens_messages(options: list[str], quick: list[str], tmp_path: Path) -> None:
    steps = [*quick, *options, "--optimizer", "adamw", "--epochs", "5"]
    assert main([*steps, "--name", "free"]) == 0
    assert main([*steps, "--name", "dear", "--speak-cost", "10"]) == 0
    free, dear = tmp_path / "free", tmp_path / "dear"
    assert metrics(dear)["mean_length"] < 0.5 * metrics(free)["mean_length"]
    paid = [loss for _, loss in losses(dear)]
    assert paid[-1] < max(paid) - 5, "nobody paid, or nobody learnt not to"


def stop_at(step: int, options: list[str]) -> Path:
    """A run that was stopped after some step."""
    start = parse(options)
    run = Path(start.config.run.out) / start.config.run.name
    # Dropout draws from here, as the command has it.
    torch.manual_seed(start.config.training.seed)
    trainer, _, _ = build(start, torch.device("cpu"), run)

    class Stop(Callback):
        def on_batch_end(self, logs: object, loss: object, batch_id: int, is_training: bool = True) -> None:
            self.trainer.should_stop = self.trainer.step == step

    trainer.callbacks.append(Stop())
    run.mkdir()
    save_config(start.config, start.preset, run / "config.json")
    trainer.train(start.config.training.epochs)
    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--channel", "reinforce"],
        ["--speaker", "lstm", "--channel", "reinforce", "--baseline", "mean"],
        ["--channel", "quantised", "--speakers", "2", "--listeners", "2"],
        ["--rank-dropout", "0.3"],
    ],
    ids=" ".join,
)
def test_stopped_runs_resume_with_identical_losses(options: list[str], quick: list[str], tmp_path: Path) -> None:
    options = [*quick, *options, "--epochs", "2"]
    assert main([*options, "--name", "whole"]) == 0
    stopped = stop_at(6, [*options, "--name", "stopped"])
    assert len(losses(stopped)) == 6
    assert main(["--resume", str(stopped)]) == 0
    assert losses(stopped) == losses(tmp_path / "whole")
    assert metrics(stopped) == metrics(tmp_path / "whole")


class Shares(Callback):
    """How strong the views of each step to learn from were, and those of the two-view validation after it."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_batch_end(self, logs: Any, loss: Any, batch_id: int, is_training: bool = True) -> None:
        self.seen.append(self.trainer.train_data.views.share)
        assert self.trainer.also_validate["two_views"].views.share == 1.0


@pytest.mark.parametrize(
    ("ramp", "shares"), [("0.5", [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]), ("0", [1.0] * 8), ("1", np.arange(8) / 8)]
)
def test_views_grow_over_a_share_of_the_training(ramp: str, shares: Any, quick: list[str], tmp_path: Path) -> None:
    start = parse([*quick, "--epochs", "2", "--view-ramp", ramp])
    trainer, _, _ = build(start, torch.device("cpu"), tmp_path / "run")
    trainer.callbacks.insert(0, shared := Shares())
    trainer.train(2)
    assert shared.seen == pytest.approx(shares)


@pytest.mark.slow
def test_a_population_says_who_understands_whom(
    quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main([*quick, "--speakers", "3", "--listeners", "2", "--name", "run", "--pictures"]) == 0
    out = capsys.readouterr().out
    table = [line.split(",") for line in (run / "cross_play.csv").read_text().splitlines()]
    assert table[0] == ["", "listener 0", "listener 1"]
    assert [row[0] for row in table[1:]] == ["speaker 0", "speaker 1", "speaker 2"]
    trainer, _, _ = build(parse(["--resume", str(run)]), torch.device("cpu"), run)
    expected = cross_play(trainer).tolist()
    assert [[float(x) for x in row[1:]] for row in table[1:]] == [pytest.approx(row, abs=1e-4) for row in expected]
    printed = out[out.index("a row is a speaker, a column a listener:\n") :].splitlines()[1:4]
    assert [[float(x) for x in row.split()] for row in printed] == [
        pytest.approx([100 * x for x in row], abs=0.06) for row in expected
    ]
    with Image.open(run / "cross_play.png") as picture:
        picture.load()
    assert f"wrote {run / 'cross_play.png'}\n" in out and f"wrote {run / 'gallery.png'}\n" in out


def test_the_table_of_cross_play_has_a_row_for_each_speaker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cross_play(torch.tensor([[0.125, 0.25, 1.0], [0.0, 0.5, 0.03125]]), 8, tmp_path, picture=False)
    assert (tmp_path / "cross_play.csv").read_text() == (
        ",listener 0,listener 1,listener 2\nspeaker 0,0.1250,0.2500,1.0000\nspeaker 1,0.0000,0.5000,0.0312\n"
    )
    assert capsys.readouterr().out.splitlines()[1:] == ["   12.5   25.0  100.0", "    0.0   50.0    3.1"]


def test_a_population_without_pictures_leaves_its_table(quick: list[str], tmp_path: Path) -> None:
    assert main([*quick, "--listeners", "2", "--name", "run"]) == 0
    assert (tmp_path / "run" / "cross_play.csv").exists() and not list((tmp_path / "run").glob("*.png"))


def part(run: Path, *names: str) -> dict[str, Any]:
    """The part of a run's game whose names begin so."""
    state = checkpoint.load(run / "checkpoint.pt")["game"]
    return {k.removeprefix(n): v for n in names for k, v in state.items() if k.startswith(n)}


def equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(v, b[k]) if isinstance(v, torch.Tensor) else v == b[k] for k, v in a.items()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "source", [["--speakers", "2"], ["--channel", "quantised"], ["--speaker", "lstm", "--channel", "reinforce"]],
    ids=" ".join,
)  # fmt: skip
def test_a_frozen_speaker_is_taken_over_and_outlives_its_run(
    source: list[str], quick: list[str], tmp_path: Path
) -> None:
    taught, frozen = tmp_path / "taught", tmp_path / "frozen"
    assert main([*quick, *source, "--logit-scale", "2", "--name", "taught"]) == 0
    # Another seed: nothing of the speaker may come from this run's own weights. Its options come along.
    other = [*quick, "--seed", "5", "--vocab", "99", "--epochs", "2", "--frozen-speaker", str(taught)]
    assert main([*other, "--name", "frozen"]) == 0
    config, before = load_config(frozen / "config.json")[0], load_config(taught / "config.json")[0]
    assert config.channel == before.channel and (config.speaker.vocab, config.speaker.logit_scale) == (16, 2)
    speaker = part(taught, "sender.", "senders.0."), part(taught, "channel.", "channels.0.")
    assert len(speaker[0]) > 10 and equal(part(frozen, "sender."), speaker[0])
    assert equal(part(frozen, "channel."), speaker[1])
    assert not equal(part(frozen, "receiver."), part(taught, "receiver.", "receivers.0."))

    stopped = stop_at(6, [*other, "--name", "stopped"])
    shutil.rmtree(taught)
    assert main(["--resume", str(stopped)]) == 0
    assert losses(stopped) == losses(frozen) and len(losses(frozen)) == 8
    assert equal(part(stopped, "sender."), speaker[0]) and equal(part(stopped, "receiver."), part(frozen, "receiver."))


@pytest.mark.slow
def test_a_frozen_speaker_stays_frozen_where_batch_normalisation_is_replaced(
    quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*quick, "--name", "taught"]) == 0
    # A group of one replaces it as a larger one does.
    group = {"WORLD_SIZE": "1", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for name, value in group.items():
        monkeypatch.setenv(name, value)
    assert main([*quick, "--frozen-speaker", str(tmp_path / "taught"), "--name", "frozen"]) == 0
    before, after = tmp_path / "taught", tmp_path / "frozen"
    assert equal(part(before, "sender."), part(after, "sender."))
    assert equal(part(before, "channel."), part(after, "channel."))


@pytest.mark.slow
def test_a_frozen_speaker_that_cannot_be_had_is_one_line(
    quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*options: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main([*options])
        assert stop.value.code == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ")
        return error

    assert main([*quick, "--name", "run"]) == 0
    run = tmp_path / "run"
    capsys.readouterr()
    asked = [*quick, "--frozen-speaker", str(run)]
    for option in ("--speakers", "--listeners"):
        assert "--frozen-speaker teaches one listener" in said(*asked, option, "2")
    assert "--frozen-speaker starts a new run: leave --resume out" in said(
        "--resume", str(run), "--frozen-speaker", str(run)
    )
    options = run / "config.json"
    options.write_text(options.read_text().replace('"vocab": 16', '"vocab": 17'))
    assert f"--frozen-speaker {run}: its checkpoint does not fit its options: Error" in said(*asked)
    options.write_text("{}")
    assert "config.json does not hold the options of a run" in said(*asked)
    save_config(parse(quick).config, "small", options)
    (run / "checkpoint.pt").unlink()
    assert f"no checkpoint at {run / 'checkpoint.pt'}" in said(*asked)
    assert {p.name for p in tmp_path.iterdir()} == {"run"}


def test_a_gallery_shows_what_lies_near_its_code() -> None:
    channel = PatchChannel(Quantised(2, 3)).eval()
    channel.estimator.quantiser.codebook = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    codes = torch.tensor([[[[9.0, 0.0]], [[0.0, 10.0]], [[3.0, 0.0]]]])  # [B, P, L, D]
    symbols = torch.tensor([[[1], [2], [0]]])
    sure = confidence_of(PatchFeatures(codes, torch.zeros(1, 3)), symbols, channel)
    assert sure.flatten().tolist() == [-1, 0, -9]
    likely = confidence_of(PatchFeatures(codes, torch.zeros(1, 3)), symbols, PatchChannel())
    torch.testing.assert_close(likely.flatten(), codes.softmax(-1).max(-1).values.flatten())


@pytest.mark.slow
def test_released_freezes_the_wide_map_for_an_epoch(tiny: list[str], tmp_path: Path) -> None:
    options = [*tiny, "--head-wide", "16", "--freeze-epochs", "1", "--epochs", "2", "--warmup", "1"]
    trainer, _, _ = build(parse(["--preset", "released", *options]), torch.device("cpu"), tmp_path)
    wide = [p for n, p in trainer.game.named_parameters() if "_head.wide." in n]
    rest = trainer.game.receiver.text.cls
    before = [p.detach().clone() for p in [*wide, rest]]
    trainer.callbacks = [c for c in trainer.callbacks if type(c).__name__ == "Schedule"]
    decay = trainer.optimizer.param_groups[0]["weight_decay"]
    trainer.train(1)
    assert all(torch.equal(a, b) for a, b in zip(wide, before, strict=False))
    assert not torch.equal(rest, before[-1])
    trainer.train(2)
    assert not any(torch.equal(a, b) for a, b in zip(wide, before, strict=False))
    assert decay == pytest.approx(0.04) and trainer.optimizer.param_groups[0]["weight_decay"] == pytest.approx(0.4)
    assert trainer.game.channel.estimator.temperature == pytest.approx(1.0)


def run_command(options: list[str], **kwargs: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "games.patchgame", *options],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs,
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_is_trained_by_one_process_at_a_time(
    quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, tried = tmp_path / "run", []

    def meanwhile(self: Trainer, epochs: int) -> None:
        tried.append(is_being_trained(run))
        if len(tried) == 1:
            assert main([*quick, "--name", "other", "--no-pictures"]) == 0  # another run goes on beside it
            before = {p: p.read_bytes() for p in run.iterdir()}
            with pytest.raises(SystemExit):
                main(["--resume", str(run)])
            assert {p: p.read_bytes() for p in run.iterdir()} == before
        train(self, epochs)

    train = Trainer.train
    stop_at(2, [*quick, "--name", "run"])
    monkeypatch.setattr(Trainer, "train", meanwhile)
    assert main(["--resume", str(run)]) == 0
    assert "run is being trained by another process: wait" in capsys.readouterr().err
    assert tried == [True, True] and not is_being_trained(run) and not (run / LOCK).exists()
    # A process that was killed leaves the file behind, but no lock.
    (run / LOCK).touch()
    assert not is_being_trained(run)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_killed_runs_resume_with_identical_losses(
    how: signal.Signals, tiny: list[str], photos: Path, tmp_path: Path
) -> None:
    # One thread in every process: a sum over threads would round differently. Few images are held out, or the killed
    # process would do little else.
    options = [*tiny, "--data", "folder", "--root", str(photos), "--epochs", "400", "--checkpoint-every", "3"]
    options += ["--no-pictures", "--no-tensorboard"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with run_command([*options, "--out", str(tmp_path), "--name", "killed"]) as process:
        began = time.monotonic()
        while time.monotonic() - began < 600 and not (
            (killed / "log.jsonl").exists() and (killed / "log.jsonl").read_text().count("train") > 20
        ):
            time.sleep(0.02)
        process.send_signal(how)
        out, err = process.communicate(timeout=120)
    before = losses(killed)
    reached = checkpoint.load(killed / "checkpoint.pt")["position"]["step"]
    assert 20 <= len(before) < 1600
    assert process.returncode == (-9 if how is signal.SIGKILL else 128 + how), err
    if how is signal.SIGKILL:
        assert before[-1][0] - 3 <= reached <= before[-1][0] + 1
    else:
        assert reached == before[-1][0]
        assert f"go on with: python -m games.patchgame --resume {killed}" in out
    epochs = str(reached // 4 + 3)
    # The schedule of the learning rate reaches over all epochs, so both runs are cut the same way: by a stop.
    assert main_until(["--resume", str(killed)], int(epochs)) == 0
    assert main_until([*options, "--out", str(tmp_path), "--name", "whole"], int(epochs)) == 0
    resumed, straight = losses(killed), losses(whole)
    assert resumed == straight
    assert resumed[-1][0] == int(epochs) * 4 > reached


def main_until(options: list[str], epochs: int) -> int:
    """Plays in this process up to an epoch, keeping the schedule of all epochs that were asked for."""
    start = parse(options)
    folder = start.resume or Path(start.config.run.out) / start.config.run.name
    trainer, _, _ = build(start, torch.device("cpu"), folder)

    class Stop(type(trainer.callbacks[0]).__mro__[1]):  # type: ignore[misc]
        def on_validation_end(self, loss: float, logs: object, epoch: int) -> None:
            trainer.should_stop = epoch == epochs

    trainer.callbacks.append(Stop())
    trainer.train(start.config.training.epochs)
    return 0


@pytest.mark.slow
def test_corrupt_images_are_named_at_the_end(
    photo_folder: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*tiny, "--data", "folder", "--root", str(photo_folder), "--epochs", "2", "--no-tensorboard"]
    assert main([*options, "--out", str(tmp_path), "--name", "run"]) == 0
    out = capsys.readouterr().out
    assert "skipped 2 unreadable images: " in out and "003.jpg" in out
    assert len((tmp_path / "run" / "skipped.txt").read_text().splitlines()) == 2
    assert "24 images to train on, 12 held out" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--vocab", "1"], "--vocab 1: must be at least 2"),
        (["--vocab", "many"], "--vocab"),
        (["--vocb", "12"], "--vocb, 12; did you mean --vocab?"),
        (["--patch-size", "7"], "patch size 7 does not divide image size"),
        (["--keep", "5000"], "--keep 5000: an image of"),
        (["--keep", "0"], "--keep 0: an image of"),
        (["--keep-fraction", "0"], "--keep-fraction 0.0: must be above 0"),
        (["--keep", "3", "--keep-fraction", "0.5"], "--keep and --keep-fraction say the same thing twice"),
        *(
            (["--speaker", s, "--channel", "quantised"], f"--channel quantised goes with --speaker patch, not {s}")
            for s in SPEAKERS[1:]
        ),
        (["--speaker", "gru", "--keep", "3"], "--keep chooses among patches; the length of --speaker gru is --max-len"),
        (["--speaker", "gru", "--keep-fraction", "0.5"], "the length of --speaker gru is --max-len"),
        (["--speaker", "gru", "--fixed-len", "--speak-cost", "1"], "--speak-cost needs messages that can be shorter"),
        (["--speaker", "parrot"], "--speaker"),
        (["--channel", "telepathy"], "--channel"),
        (["--channel", "continuous", "--keep", "3"], "--channel continuous always says everything: leave out"),
        (["--channel", "continuous", "--gate", "free", "--speak-cost", "1"], "leave out --speak-cost and --keep"),
        (["--channel", "reinforce", "--gate", "released"], "--gate released goes with --channel gumbel, not reinforce"),
        (["--channel", "quantised", "--gate", "released"], "--gate released goes with --channel gumbel, not quantised"),
        (["--channel", "continuous", "--gate", "released"], "--gate released goes with --channel gumbel, not cont"),
        (["--gate", "released", "--keep", "3"], "--gate released lets every patch speak: leave out --keep"),
        (["--speak-cost", "0.1"], "--speak-cost needs --gate free and no --keep"),
        (["--speak-cost", "0.1", "--gate", "free", "--keep", "3"], "--speak-cost needs --gate free and no --keep"),
        (["--speak-cost", "-1", "--gate", "free"], "--speak-cost -1.0: must be at least 0"),
        (["--entropy-end", "-1"], "--entropy-end -1.0: must be at least 0"),
        (["--code-dim", "1"], "--code-dim 1: must be at least 2"),
        (["--max-len", "0"], "--max-len 0: must be at least 1"),
        (["--speaker", "transformer", "--decoder-heads", "5"], "5 attention heads do not divide a width of 192"),
        (["--speaker", "lstm", "--encoder", "resnet19"], "unknown vision trunk 'resnet19'"),
        (["--speakers", "0"], "--speakers 0: must be at least 1"),
        (["--listeners", "0"], "--listeners 0: must be at least 1"),
        (["--frozen-speaker", "nowhere"], "nowhere is not a run"),
        (["--speaker-lr", "0"], "--speaker-lr 0.0: must be above 0"),
        (["--preset", "huge"], "unknown preset 'huge': one of small, paper, released"),
        (["--data", "moons"], "unknown data 'moons'"),
        (["--data", "folder"], "--data folder needs --root DIR, a folder of images"),
        (["--data", "folder", "--root", "nowhere"], "no folder --root nowhere: give a folder of images"),
        (["--data", "cifar10", "--root", "nowhere"], "cifar10 is not in --root nowhere: --download fetches it"),
        (["--resume", "nowhere"], "nowhere is not a run"),
        (["--resume", "nowhere", "--preset", "paper"], "leave --preset out"),
        (["--preset"], "expected one argument"),
        (["--gate", "loud"], "loud"),
        (["--lr", "-1"], "--lr -1.0: must be above 0"),
        (["--timeout", "0"], "--timeout 0.0: must be above 0"),
        (["--epochs", "0"], "--epochs 0: must be at least 1"),
        (["--warmup", "1000"], "--warmup 1000.0: must be between 0 and"),
        (["--min-area", "2"], "min_area must be between"),
        (["--blur", "2", "0"], "blur must be between"),
        (["--load-size", "8"], "--load-size 8 is smaller than --image-size"),
        (["--device", "toaster"], "--device toaster"),
        (["--precision", "fp16", "--device", "cpu"], "fp16 needs a CUDA GPU"),
        (["--vision", "resnet19"], "unknown vision trunk 'resnet19'"),
        (["--rank-strength", "0"], "ranking strength must be above 0"),
        (["--text-heads", "5"], "5 attention heads do not divide a width of"),
        (["--batch-size", "999999"], "are less than --batch-size 999999"),
        (["--freeze-epochs", "1"], "--head-wide is 0"),
        (["--accumulate", "0"], "--accumulate 0: must be at least 1"),
        (["--text-heads", "0"], "--text-heads 0: must be at least 1"),
        (["--rank-width", "0"], "--rank-width 0: must be at least 1"),
        (["--text-dim", "0"], "--text-dim 0: must be at least 1"),
        (["--load-size", "0"], "--load-size 0 is smaller"),
        (["--seed", "-1"], "--seed -1: must be at least 0"),
        pytest.param(
            ["--rank-op", "torchsort"],
            "pip install torchsort",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("torchsort") is not None, reason="torchsort is installed"
            ),
        ),
        pytest.param(
            ["--wandb", "project"],
            "pip install wandb",
            marks=pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed"),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_end_with_one_clear_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*options, "--out", str(tmp_path)] if "--resume" not in options else options)
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ") and message in said and "\n" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_mismatched_checkpoint_is_one_line(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*tiny, "--scenes", "8", "--epochs", "1", "--out", str(tmp_path), "--name", "run", "--no-pictures"]
    assert main(options) == 0
    with pytest.raises(SystemExit):
        main(["--resume", str(tmp_path / "run"), "--vocab", "32"])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: --vocab is 16 in this run and shapes its networks")
    state = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    state["game"]["receiver.vision_head.mlp.0.weight"] = torch.zeros(2, 2)
    checkpoint.save(state, tmp_path / "run" / "checkpoint.pt")
    with pytest.raises(SystemExit):
        main(["--resume", str(tmp_path / "run"), "--epochs", "2"])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: the checkpoint does not fit this game")
    with pytest.raises(SystemExit):
        main(options)
    assert "exists: --resume" in capsys.readouterr().err
    assert load_config(tmp_path / "run" / "config.json")[0].speaker.vocab == 16


def test_a_nan_loss_ends_the_command_and_keeps_the_checkpoint(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*tiny, "--lr", "1e30", "--grad-norm", "None", "--epochs", "3", "--out", str(tmp_path), "--name", "run"])
    assert stop.value.code == 2
    assert "at step" in capsys.readouterr().err
    state = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    assert all(v.isfinite().all() for v in state["game"].values() if isinstance(v, torch.Tensor))


def test_help_reads_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--preset", "paper", "--help"])
    assert not stop.value.code
    out = capsys.readouterr().out
    for text in ("--preset small|paper|released", "--resume RUN", "--vocab", "speaker options", "training options"):
        assert text in out
    assert "(default: 224)" in out


@pytest.mark.slow
def test_tensorboard_and_weights_and_biases_get_every_number(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, dict[str, float]]] = []

    class Run:
        def log(self, values: dict[str, float], step: int) -> None:
            sent.append((step, values))

        def finish(self) -> None:
            sent.append((-1, {}))

    asked: dict[str, Any] = {}
    wandb = types.ModuleType("wandb")
    wandb.init = lambda **options: asked.update(options) or Run()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    options = [*tiny, "--scenes", "16", "--epochs", "2", "--wandb", "games", "--no-pictures"]
    assert main([*options, "--out", str(tmp_path), "--name", "run"]) == 0
    records = read_log(tmp_path / "run" / "log.jsonl")

    assert asked["project"] == "games" and asked["config"]["speaker"]["vocab"] == 16
    assert [step for step, _ in sent] == [*(r["step"] for r in records), -1]
    assert [r["kind"] for r in records[-2:]] == ["validation", "analysis"]
    assert sent[-3][1]["validation/acc"] == records[-2]["acc"]
    assert sent[-2][1]["analysis/symbol_entropy"] == records[-1]["symbol_entropy"]

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    logged = [(e.step, e.value) for e in events.Scalars("train/loss")]
    assert logged == [(r["step"], pytest.approx(r["loss"])) for r in records if r["kind"] == "train"]
    assert [e.value for e in events.Scalars("validation/active_symbols")] == [
        r["active_symbols"] for r in records if r["kind"] == "validation"
    ]
