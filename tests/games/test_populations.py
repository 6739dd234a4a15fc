"""Several speakers and listeners, who understands whom, and a speaker that is taken over from another run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from games.options.command_line import parse
from games.options.config_file import load_config, save_config
from games.patchgame import build, main
from games.runs.results import write_cross_play
from patchgame_egg.training import checkpoint
from patchgame_egg.training.evaluation import cross_play
from tests.support.processes import free_port
from tests.support.runs import losses, stop_at


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
