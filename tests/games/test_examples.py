"""The short games: each learns, says what it promises, and stays short enough to be read at a glance."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

from games import custom_speaker, lewis, lstm_baseline
from games.custom_speaker import ColourSpeaker

pytestmark = pytest.mark.docs

SIX_EPOCHS = ["--scenes", "512", "--epochs", "6"]
CHANCE = 1 / 128


def play(game: ModuleType, options: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[list[float], list[str]]:
    """Plays; gives the accuracies of all epochs, and the lines printed after them."""
    game.main(options)
    lines = capsys.readouterr().out.splitlines()
    found = [re.match(r"epoch \d+/\d+: .*accuracy ([\d.]+) %", line) for line in lines]
    accuracy = [float(match[1]) / 100 for match in found if match]
    return accuracy, lines[len(accuracy) :]


@pytest.mark.parametrize("game", [lewis, lstm_baseline, custom_speaker], ids=lambda game: game.__name__)
def test_an_example_is_short_and_explains_itself(game: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert game.__file__ and game.__doc__
    if game is not lewis:
        assert len(Path(game.__file__).read_text().splitlines()) <= 60
    with pytest.raises(SystemExit) as stop:
        game.main(["--help"])
    said = capsys.readouterr().out
    assert not stop.value.code
    assert said.startswith(f"usage: python -m {game.__name__} ")
    assert game.__doc__.split(".")[0][:60] in said and "of weights" in said


def test_the_lstm_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    accuracy, lines = play(lstm_baseline, [*SIX_EPOCHS, "--vocab", "20", "--max-len", "6"], capsys)
    assert accuracy[-1] > 3 * CHANCE
    messages = [[int(n) for n in line.split()] for line in lines]
    assert len(messages) == 5 and len({tuple(m) for m in messages}) > 1
    assert all(len(m) <= 6 and set(m) <= set(range(20)) for m in messages)


def test_the_speaker_of_colours_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    accuracy, lines = play(custom_speaker, [*SIX_EPOCHS, "--vocab", "20", "--keep", "5"], capsys)
    assert accuracy[-1] > 3 * CHANCE
    grid = [line.split() for line in lines]
    assert [len(row) for row in grid] == [4, 4, 4, 4]
    said = [int(cell) for row in grid for cell in row if cell != "."]
    assert len(said) == 5 and set(said) <= set(range(20))


def test_the_speaker_of_colours_says_the_nearest_and_prefers_contrast() -> None:
    speaker = ColourSpeaker(vocab=7)
    image = torch.zeros(3, 32, 32)
    for patch, colour in ((1, 4), (6, 2)):
        top, left = 8 * (patch // 4), 8 * (patch % 4)
        image[:, top : top + 8, left : left + 8] = speaker.palette.detach()[colour][:, None, None] + 0.01
    image[:, 8:16, 0:8:2] += 2
    image[:, 8:16, 1:8:2] -= 2
    features = speaker(image[None])
    assert features.logits.shape == (1, 16, 1, 7) and features.scores.shape == (1, 16)
    assert features.logits[0, 1].argmax() == 4 and features.logits[0, 6].argmax() == 2
    assert features.scores.argmax() == 4
