"""Lewis games: every object is named or picked, unseen combinations stay unseen, what is written can be analysed."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from analysis.__main__ import main as analyse
from analysis.corpus.loading import load
from games import lewis
from patchgame_egg.data.distractors import Distractors
from tests.games.test_examples import play

SMALL = ["--attributes", "2", "--values", "3"]
PICKS = ["--game", "discrimination", "--distractors", "3"]


@pytest.mark.slow
@pytest.mark.parametrize("channel", ["gumbel", "reinforce"])
def test_lewis_names_every_object(channel: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--attributes", "2", "--values", "3", "--vocab", "9", "--max-len", "3", "--epochs", "3"]
    accuracy, lines = play(lewis, [*options, "--channel", channel], capsys)
    assert len(accuracy) == 3 and accuracy[-1] == 1
    words = [line.split(" ->") for line in lines]
    objects, messages = [[[int(n) for n in part.split()] for part in column] for column in zip(*words, strict=True)]
    assert len(objects) == 5 and all(len(o) == 2 and set(o) <= {0, 1, 2} for o in objects)
    assert all(len(m) <= 3 and set(m) <= set(range(9)) for m in messages)
    # Whoever is always understood never says the same of two objects.
    assert len({tuple(m) for m in messages}) == len({tuple(o) for o in objects}) == 5


@pytest.mark.slow
def test_lewis_speaks_with_every_cell_and_channel(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--attributes", "2", "--values", "3", "--epochs", "1"]
    swaps = [["--cell", cell] for cell in ("lstm", "gru", "rnn", "transformer")] + [["--channel", "reinforce"]]
    found = [play(lewis, small + swap, capsys) for swap in swaps]
    assert all(accuracy[0] >= 0.7 for accuracy, _ in found)
    assert len({tuple(lines) for _, lines in found}) == len(swaps)


@pytest.mark.slow
def test_lewis_passes_no_more_than_fits_into_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    # With one of two symbols, or none, at most three objects of nine can be told apart.
    options = ["--attributes", "2", "--values", "3", "--vocab", "2", "--max-len", "1", "--epochs", "2"]
    accuracy, _ = play(lewis, options, capsys)
    assert 0.2 < accuracy[-1] < 0.34


@pytest.mark.slow
@pytest.mark.parametrize(("channel", "game"), [("gumbel", []), ("reinforce", PICKS)])
def test_a_receiver_that_samples_learns(channel: str, game: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    accuracy, _ = play(lewis, [*SMALL, *game, "--channel", channel, "--sample", "--epochs", "3"], capsys)
    assert accuracy[-1] > (0.5 if game else 0.25)


@pytest.mark.slow
def test_objects_are_picked_and_the_chance_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lewis.main([*SMALL, *PICKS, "--epochs", "2", "--out", str(tmp_path / "run")]) is None
    said = capsys.readouterr().out
    assert "(chance 25.0 %)" in said and "accuracy 100.0 %" in said
    corpus = load(tmp_path / "run")
    assert len(corpus) == 9 and corpus.choices == 4 and corpus.probes["as played"].all()
    assert corpus.attributes is not None and len({*map(tuple, corpus.attributes.tolist())}) == 9
    assert len({tuple(row[kept]) for row, kept in zip(corpus.symbols, corpus.mask, strict=True)}) >= 4
    assert analyse([str(tmp_path / "run"), "--permutations", "2"]) == 0
    assert "3 distractors" in (tmp_path / "run" / "report.html").read_text()
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert records[-1]["candidates"] == 4 and len(records) == 202
    with pytest.raises(SystemExit) as stop:
        lewis.main([*SMALL, "--out", str(tmp_path / "run")])
    assert stop.value.code == 2 and "has a language already: give another folder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("game", [[], PICKS], ids=["reconstruction", "discrimination"])
def test_unseen_combinations_are_understood_apart(
    game: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--attributes", "2", "--values", "4", *game, "--held-out", "0.25", "--epochs", "2"]
    lewis.main([*options, "--out", str(tmp_path / "run")])
    found = re.search(r"understood: ([\d.]+) % of 12 comb.* on, ([\d.]+) % of 4 that", capsys.readouterr().out)
    assert found and float(found[1]) > 80
    unseen = load(tmp_path / "run" / lewis.HELD_OUT)
    assert len(unseen) == 4 and float(found[2]) == pytest.approx(100 * unseen.probes["as played"].mean(), abs=0.1)


@pytest.mark.parametrize(("attributes", "values", "share"), [(2, 3, 0.5), (3, 4, 0.75), (1, 5, 0), (3, 2, 0.1)])
def test_all_values_are_trained_on_whatever_is_held_out(attributes: int, values: int, share: float) -> None:
    objects = torch.cartesian_prod(*[torch.arange(values)] * attributes).view(-1, attributes)
    trained, unseen = lewis.split(objects, values, share, seed=1)
    assert len(unseen) == round(share * len(objects))
    assert sorted([*trained.tolist(), *unseen.tolist()]) == list(range(len(objects)))
    for column in objects[trained].T:
        assert set(column.tolist()) == set(range(values))
    assert lewis.split(objects, values, share, seed=1)[1].tolist() == unseen.tolist()


def test_unseen_combinations_are_shown_to_nobody_in_training() -> None:
    objects = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    trained, unseen = lewis.split(objects, 4, 0.25, seed=0)
    beside = Distractors(16, 3, [trained.tolist()] * 16)
    batches = list(lewis.Objects(objects, 4, trained, beside, 20))
    shown = torch.cat([batch.receiver_input for batch in batches]).argmax(dim=3)  # type: ignore[misc, union-attr]
    assert len(batches) == 20 and len({*map(tuple, shown[:12, 1:].flatten(0, 1).tolist())}) > 3
    assert not {*map(tuple, objects[unseen].tolist())} & {*map(tuple, shown.flatten(0, 1).tolist())}
    # The object itself is first, and never again among its distractors.
    assert torch.equal(shown[:12, 0], objects[trained])
    assert not (shown[:, 1:] == shown[:, :1]).all(dim=2).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--held-out", "nan"], "--held-out nan: give 0, or a share"),
        (["--held-out", "1"], "--held-out 1.0: give 0, or a share of 1 to 100 of the 125 objects: 0.008 to 0.8"),
        (["--held-out", "0.9"], "--held-out 0.9: give 0, or a share"),
        (["--held-out", "0.001"], "--held-out 0.001: give 0, or a share"),
        (["--game", "discrimination", "--distractors", "125"], "--distractors 125: give 1 to 124"),
        (
            ["--game", "discrimination", "--distractors", "100", "--held-out", "0.5"],
            "--distractors 100: only 63 objects are trained on",
        ),
        (["--attributes", "1", "--held-out", "0.2"], "--held-out 0.2: objects of one attribute are no combinations"),
        (["--values", "1"], "--values 1: must be at least 2"),
        (["--max-len", "0"], "--max-len 0: must be at least 1"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        lewis.main(options)
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.startswith(f"error: {message}") and said.count("\n") == 1


def test_lewis_counts_objects_and_sums_over_attributes() -> None:
    objects = torch.tensor([[0, 1], [2, 0]])
    guess = torch.randn(2, 2, 3)
    guess[0, 0, 0] = guess[0, 1, 1] = guess[1, 0, 2] = guess[1, 1, 1] = 9.0
    loss, aux = lewis.Answer(False, 0)(None, None, None, guess, objects, None)
    assert aux["acc"].tolist() == [1, 0]
    share = guess.exp() / guess.exp().sum(dim=2, keepdim=True)
    expected = [-(share[0, 0, 0] * share[0, 1, 1]).log(), -(share[1, 0, 2] * share[1, 1, 0]).log()]
    torch.testing.assert_close(loss, torch.stack(expected))


def test_a_sampled_answer_costs_what_is_wrong_and_has_the_gradient_of_its_expectation() -> None:
    logits, objects = (
        torch.tensor([[0.3, -0.4, 0.9]]).log_softmax(dim=1).repeat(20_000, 1)[:, None],
        torch.zeros(20_000, 1),
    )
    logits.requires_grad_()
    answer = lewis.Answer(True, seed=3)
    loss, _ = answer(None, None, None, logits, objects.long(), None)
    probability = logits.detach()[0, 0].exp()
    assert set(loss.tolist()) == {0, 1}
    assert loss.mean().item() == pytest.approx(1 - probability[0].item(), abs=0.02)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    exact = -probability[0] * (F.one_hot(torch.tensor(0), 3) - probability)
    torch.testing.assert_close(gradient.mean(dim=0)[0], exact, atol=0.01, rtol=0)
    likely, _ = answer.eval()(None, None, None, logits, objects.long(), None)
    assert likely[0].item() == pytest.approx(-math.log(probability[0]))
