"""The command itself: presets, speakers and channels, views that grow, errors in one line, pictures, corrupt images."""

from __future__ import annotations

import importlib.util
import json
import sys
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
from games.options.config_file import load_config
from games.options.presets import PRESETS
from games.patchgame import build, main
from patchgame_egg.agents.patch_speaker import PatchFeatures
from patchgame_egg.channels.patch import PatchChannel
from patchgame_egg.channels.quantised import Quantised
from patchgame_egg.training import checkpoint
from patchgame_egg.training.callback import Callback
from patchgame_egg.training.log_file import read_log
from tests.support.runs import losses, metrics
from tests.support.tiny import FEW_HELD_OUT

SPEAKERS, CHANNELS = ("patch", "lstm", "gru", "rnn", "transformer"), ("gumbel", "reinforce", "quantised", "continuous")
ALLOWED = [(s, c) for s in SPEAKERS for c in CHANNELS if s == "patch" or c != "quantised"]


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


@pytest.mark.parametrize(
    ("words", "ramp"),
    [("", 0.6), ("--data folder --root photos", 0), ("--view-ramp 0", 0), ("--preset paper", 0),
     ("--data folder --root photos --view-ramp 0.3", 0.3)],
)  # fmt: skip
def test_views_of_scenes_alone_grow_by_themselves(words: str, ramp: float) -> None:
    assert parse(words.split()).config.view_ramp == ramp


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
