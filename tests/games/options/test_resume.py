"""Which options a run that goes on may change: every one of them is sorted, and those that may change do."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from games.build.agents import build_game
from games.build.optimizer import build_optimizer, with_rates_of
from games.options.command_line import parse
from games.options.config import Config
from games.options.config_file import load_config, run_of, save_config
from games.options.resume import kind_of
from patchgame_egg.training.muon import maps


@pytest.fixture
def run(tiny: list[str], tmp_path: Path) -> Path:
    """The options of a run; nothing else is read before the images."""
    (tmp_path / "run").mkdir()
    start = parse([*tiny, "--out", str(tmp_path), "--name", "run", "--root", "photos"])
    save_config(start.config, "small", tmp_path / "run" / "config.json")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--vocab", "64"], "--vocab is 16 in this run and shapes its networks: leave --vocab out"),
        (["--text-norm", "post"], "--text-norm is pre in this run and shapes its networks"),
        (["--image-size", "48"], "--image-size is 32 in this run and shapes its networks"),
        (["--channel", "reinforce"], "--channel is gumbel in this run and shapes its networks"),
        (["--root", "other"], "--root is photos in this run, whose images stay what they are"),
        (["--scenes", "64"], "--init-from RUN --scenes 64 starts a new run from it"),
        (["--batch-size", "16"], "--init-from RUN --batch-size 16 starts a new run from it"),
        (["--optimizer", "sgd"], "--optimizer is muon in this run and its checkpoint counts on that"),
        (["--seed", "1"], "--seed is 0 in this run"),
        (["--name", "other"], "--resume goes on in RUN: leave --name other out"),
        (["--out", "other"], "--resume goes on in RUN: leave --out other out"),
        (["--init-from", "other"], "--init-from starts a new run: leave --resume out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_run_was_built_on_stays(options: list[str], message: str, run: Path) -> None:
    with pytest.raises(ValueError, match=r"^--") as error:
        parse(["--resume", str(run), *options])
    assert message.replace("RUN", str(run)) in str(error.value) and "\n" not in str(error.value)


def test_every_other_option_may_change(run: Path) -> None:
    words = ["--lr", "5e-3", "--speaker-lr", "0.5", "--epochs", "9", "--rank-dropout", "0.1", "--speak-cost", "0.1",
             "--gate", "free", "--temperature", "0.2", "--blur", "0", "1", "--precision", "bf16", "--workers", "1",
             "--no-pictures", "--root", "./photos", "--candidates", "4", "--view-ramp", "0.5"]  # fmt: skip
    start = parse(["--resume", str(run / "checkpoint.pt"), *words])
    assert start.resume == run == run_of(run)
    assert (start.config.training.lr, start.config.images.blur) == (5e-3, (0.0, 1.0))


def test_options_of_networks_and_images_are_fixed_unless_they_are_said_to_be_free() -> None:
    kinds = {
        f"{s.name}.{name}": kind_of(s.name, name) for s in fields(Config) for name in vars(getattr(Config(), s.name))
    }
    assert {kind for name, kind in kinds.items() if name.startswith("listener.")} == {"networks"}
    assert {name for name, kind in kinds.items() if name.startswith("images.") and kind == "images"} >= {
        "images.data", "images.root", "images.val_root", "images.scenes",
    }  # fmt: skip
    assert {name for name, kind in kinds.items() if name.startswith("training.") and kind != "free"} == {
        "training.batch_size", "training.accumulate", "training.optimizer", "training.seed",
    }  # fmt: skip
    # A network built from the options without those that are free has the same weights.
    free = {name for name, kind in kinds.items() if kind == "free"}
    assert not free & {"channel.channel", "channel.code_dim", "channel.baseline", "loss.learn_temperature"}


def test_a_new_run_starts_from_the_options_of_another(run: Path) -> None:
    start = parse(["--init-from", str(run), "--root", "other", "--lr", "1e-3", "--batch-size", "4"])
    assert start.resume is None and start.config.run.name == "" and start.config.run.init_from == str(run)
    assert (start.config.speaker.vocab, start.config.images.root) == (16, "other")
    for words, message in (
        (["--vocab", "8"], f"--vocab is 16 in {run} and shapes its networks"),
        (["--frozen-speaker", "x"], "each name the run to start from"),
        (["--preset", "paper"], "--init-from takes up the run's own options: leave --preset out"),
    ):
        with pytest.raises(ValueError, match=r"^--") as error:
            parse(["--init-from", str(run), *words])
        assert message in str(error.value)


def stepped(options: list[str], steps: int, state: dict[str, Any] | None = None) -> tuple[Any, Any, Any]:
    """A game, its optimizer and its schedule after some steps with two steps an epoch."""
    config = parse(options).config
    game = build_game(config)
    optimizer, scheduler = build_optimizer(config, game, 2)
    if state is not None:
        taken = with_rates_of(state, game, optimizer, scheduler)
        optimizer.load_state_dict(taken["optimizer"])
        scheduler.load_state_dict(taken["scheduler"])
    for _ in range(steps):
        for number, parameter in enumerate(game.parameters()):
            parameter.grad = torch.full_like(parameter, 1.0 + number)
        optimizer.step()
        scheduler.step()
    return game, optimizer, scheduler


def saved(options: list[str], steps: int) -> dict[str, Any]:
    _, optimizer, scheduler = stepped(options, steps)
    return {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(), "position": {"step": steps}}


def test_the_first_step_after_a_resume_is_of_the_new_schedule(tiny: list[str]) -> None:
    # 2 steps an epoch, one of warm-up, 10 in all: step 8 is 6/9 of the way, where the cosine is at a quarter.
    new = [*tiny, "--warmup", "0.5", "--epochs", "5", "--lr", "5e-3"]
    _, optimizer, scheduler = stepped(new, 0, saved([*tiny, "--warmup", "0.5", "--epochs", "3"], 7))
    low = 1e-5 / 5e-3
    assert low + (1 - low) * 0.25 == pytest.approx(0.2515)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1.2575e-3] * 3)
    straight = stepped(new, 8)[1]
    optimizer.step()
    scheduler.step()
    assert [g["lr"] for g in optimizer.param_groups] == [g["lr"] for g in straight.param_groups]


@pytest.mark.parametrize("kind", ["muon", "adamw"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["--speaker-lr", "0.2"]),
        (["--speaker-lr", "0.5"], ["--weight-decay", "0.3"]),
        (["--weight-decay", "0"], ["--speaker-lr", "0.2", "--weight-decay", "0.3"]),
        (["--weight-decay", "0", "--weight-decay-end", "0.4"], ["--weight-decay", "0.3"]),
    ],
)
def test_moments_stay_with_their_weights_whatever_the_groups(
    before: list[str], after: list[str], kind: str, tiny: list[str]
) -> None:
    tiny = [*tiny, "--optimizer", kind]
    _, optimizer, _ = stepped([*tiny, *after], 0, saved([*tiny, *before], 3))
    game = build_game(parse([*tiny, *after]).config)
    matrices = {id(p) for p in maps(game)} if kind == "muon" else set()
    # Each parameter had a gradient of its own.
    expected: dict[str, set[float]] = {}
    for number, parameter in enumerate(game.parameters()):
        share = 1 - (0.95 if id(parameter) in matrices else 0.9) ** 3
        expected.setdefault(f"{parameter.shape}", set()).add(round((1 + number) * share, 4))
    found: dict[str, set[float]] = {}
    for parameter, state in optimizer.state.items():
        mean = state["exp_avg"] if "exp_avg" in state else state["momentum_buffer"]
        assert mean.shape == parameter.shape and state["step"] == 3
        values = mean.unique()
        assert values.max() - values.min() < 1e-3
        found.setdefault(f"{parameter.shape}", set()).add(round(float(values[0]), 4))
    assert {k: sorted(v) for k, v in found.items()} == {
        k: pytest.approx(sorted(v), abs=1e-3) for k, v in expected.items()
    }
    decays = {group["weight_decay"] for group in optimizer.param_groups}
    assert decays == {0.0, parse([*tiny, *after]).config.training.weight_decay}


@pytest.mark.parametrize(
    ("section", "name", "value", "message"),
    [
        ("speaker", "vocab", "many", "speaker.vocab is 'many', expected is a whole number"),
        ("speaker", "vocab", 1.5, "speaker.vocab is 1.5"),
        ("speaker", "vocab", True, "speaker.vocab is True"),
        ("training", "lr", None, "training.lr is None, expected is a number"),
        ("channel", "gate", "loud", "channel.gate is 'loud', expected is 'rank' or 'free' or 'released'"),
        ("images", "blur", [1, "a"], "images.blur is (1, 'a')"),
        ("channel", "keep", "x", "channel.keep is 'x', expected is a whole number or null"),
        ("run", "bogus", 1, "run has no option bogus"),
    ],
)
def test_wrong_types_in_a_runs_options_are_named(
    section: str, name: str, value: object, message: str, run: Path
) -> None:
    path = run / "config.json"
    options = json.loads(path.read_text())
    options[section][name] = value
    path.write_text(json.dumps(options))
    with pytest.raises(ValueError, match="does not hold the options of a run: ") as error:
        load_config(path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "text", ["words", "[]", "null", "3", '{"preset": 3}', '{"preset": "small"}', '{"preset": "small", "speaker": 5}']
)
def test_options_of_another_shape_are_no_options_of_a_run(text: str, run: Path) -> None:
    (run / "config.json").write_text(text)
    with pytest.raises(ValueError, match="does not hold the options of a run: "):
        load_config(run / "config.json")


def test_an_option_of_a_run_is_there_once(run: Path) -> None:
    path = run / "config.json"
    path.write_text(path.read_text().replace('"lr":', '"lr": 1.0, "lr":'))
    with pytest.raises(ValueError, match="does not hold the options of a run: 'lr' is there twice"):
        load_config(path)


def test_a_byte_order_mark_does_no_harm_and_a_file_is_no_run(run: Path) -> None:
    path = run / "config.json"
    config = load_config(path)
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert load_config(path) == config
    with pytest.raises(ValueError, match=r"is not a run: it has no config\.json"):
        parse(["--resume", str(path)])
