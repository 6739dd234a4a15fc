"""``--distractors``: whose images stand beside an image, what the game then is, and its chance level everywhere."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from analysis.corpus.interventions import play_probes
from analysis.corpus.loading import load
from analysis.corpus.recording import record
from analysis.evaluation.table import measure
from analysis.report.page import render
from analysis.transfer.controls import retrieval_controls
from games.build.agents import build_game
from games.build.data import build_loader, load_images
from games.options.command_line import parse
from games.options.config import Config
from games.patchgame import main
from games.runs.distractors import distractors_for, labels_of
from games.runs.load import load_trunk
from games.runs.sharing import without_paths
from patchgame_egg.interaction import Batch
from patchgame_egg.views.loader import ViewLoader
from patchgame_egg.views.transforms import EvaluationView
from tests.support.tiny import TINY

CPU = torch.device("cpu")
EPOCH = ["--epochs", "1", "--no-pictures", "--no-tensorboard"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parts of three classes, a color each, and a class of one image."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 5)):
        for name, color in (("blue", 2), ("green", 1), ("red", 0), ("white", None)):
            (folder / part / name).mkdir(parents=True)
            for i in range(1 if color is None else count):
                pixels = rng.integers(60, size=(40, 40, 3), dtype=np.uint8)
                pixels[..., slice(None) if color is None else color] += 180
                Image.fromarray(pixels).save(folder / part / name / f"{part}{i}.png")
    return folder


def options(photos: Path, *words: str) -> Config:
    folder = ["--data", "folder", "--root", str(photos), "--batch-size", "8", "--candidates", "8"]
    return parse([*TINY, *folder, *words]).config


def test_of_the_same_class_and_random_where_that_is_too_small(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = options(photos, "--distractors", "class", "--num-distractors", "4")
    held_out = load_images(config, 40)[1]
    labels = labels_of(held_out)
    beside = distractors_for(config, held_out, CPU, training=False)
    assert beside is not None and np.bincount(labels).tolist() == [5, 5, 5, 1]
    for index, row in enumerate(beside(range(16), 0)):
        same = [labels[one] == labels[index] for one in row]
        assert all(same) if labels[index] < 3 else not any(same)
    assert (
        "note: 1 of 16 images held out have fewer than 4 distractors by --distractors class" in capsys.readouterr().err
    )


def test_classes_of_the_scenes_are_found_by_looking() -> None:
    scenes = load_images(parse(TINY).config, 32)[0]
    assert labels_of(scenes).tolist() == [scenes[i][1] for i in range(len(scenes))]


@pytest.mark.slow
def test_the_nearest_by_the_features_of_a_run(photos: Path, tmp_path: Path) -> None:
    assert main([*TINY, *EPOCH, "--out", str(tmp_path), "--name", "first"]) == 0
    run = tmp_path / "first"
    config = options(photos, "--distractors", str(run), "--num-distractors", "3")
    source = load_images(config, 40)[1]
    trunk = load_trunk(run, CPU).trunk.eval()
    with torch.no_grad():
        seen = [trunk(EvaluationView(32)(source[i][0][None]))[0] for i in range(len(source))]
    beside = distractors_for(config, source, CPU, training=False)
    assert beside is not None
    for index, row in enumerate(beside(range(len(source)), 0)):
        likeness = [
            -2.0 if i == index else float(F.cosine_similarity(seen[index], x, dim=0)) for i, x in enumerate(seen)
        ]
        assert set(row) == set(np.argsort(likeness)[-3:].tolist())


def test_a_file_names_them(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "beside.jsonl"
    rows = [
        {"file": "val/red/val0.png", "distractors": ["blue/val1.png", "val/green/val2"]},
        {"file": "blue/val1.png", "distractors": ["red/val3.png", "train0.png", "nowhere.png"]},
        {"file": "train/red/train0.png", "distractors": ["train/blue/train1.png"]},
    ]
    file.write_text("\n".join(map(json.dumps, rows)).replace('train0.png", "now', 'green/train0.png", "now'))
    config = options(photos, "--distractors", str(file), "--num-distractors", "2")
    source = load_images(config, 40)[1]
    names = [str(path.relative_to(photos / "val")) for path in source.paths]  # type: ignore[attr-defined]
    beside = distractors_for(config, source, CPU, training=False)
    assert beside is not None
    first, second = beside([names.index("red/val0.png"), names.index("blue/val1.png")], 0)
    assert {names[i] for i in first} == {"blue/val1.png", "green/val2.png"}
    assert names[second[0]] == "red/val3.png"
    said = capsys.readouterr().err
    assert "2 distractors are no images held out, first 'green/train0.png'" in said
    assert "15 of 16 images held out have fewer than 2" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"file": "val0.png", "distractors": ["red/val1.png"]}', "line 1: 'val0.png' fits 4 images"),
        ('\n{"file": "val0.png"}', r'line 2: expected {"file": "a.jpg", "distractors": \["b.jpg", ...\]}, got {"file"'),
        ('{"file": 1, "distractors": []}', "line 1: expected"),
        ('{"file": "a.png", "distractors": "b.png"}', "line 1: expected"),
        ("[1]", "line 1: expected"),
        ("", "names no two images held out"),
        ('{"file": "cow.png", "distractors": ["red/val1.png"]}', "names no two images held out, the first of which is"),
    ],
)
def test_what_a_file_lacks_is_said(text: str, message: str, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "beside.jsonl").write_text(text)
    config = options(photos, "--distractors", str(tmp_path / "beside.jsonl"))
    with pytest.raises(ValueError, match=f"--distractors .*beside.jsonl.*{message}"):
        distractors_for(config, load_images(config, 40)[1], CPU, training=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--distractors", "some"], "--distractors some: give random, class, the folder of a run, or a file"),
        (["--distractors", "random", "--num-distractors", "16"], "--num-distractors 16: there are 16 images held out"),
    ],
)
def test_what_cannot_be_given_is_said(words: list[str], message: str, photos: Path) -> None:
    config = options(photos, *words)
    with pytest.raises(ValueError, match=message):
        distractors_for(config, load_images(config, 40)[1], CPU, training=False)


def test_options_that_do_not_go_together(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(ValueError, match="--no-in-batch leaves a message nothing to be matched with"):
        parse(["--no-in-batch"])
    with pytest.raises(ValueError, match="--num-distractors 0: must be at least 1"):
        parse(["--distractors", "random", "--num-distractors", "0"])
    config = options(photos, "--distractors", str(tmp_path))
    with pytest.raises(ValueError, match=f"--distractors {tmp_path}: "):
        distractors_for(config, load_images(config, 40)[1], CPU, training=False)
    plain = parse(["--data", "folder", "--root", "x"]).config
    with pytest.raises(ValueError, match="images held out have no classes; random takes any"):
        folder = options(
            photos / "val" / "red", "--distractors", "class", "--num-distractors", "1", "--val-share", "0.5"
        )
        distractors_for(folder, load_images(folder, 40)[1], CPU, training=False)
    assert distractors_for(plain, load_images(parse(TINY).config, 32)[1], CPU, training=False) is None


def test_a_shared_run_names_no_file_of_another_machine() -> None:
    for asked, shared in (("/home/me/beside.jsonl", "random"), ("class", "class"), ("", "")):
        assert without_paths(parse(["--distractors", asked]).config).loss.distractors == shared


@pytest.mark.slow
@pytest.mark.parametrize(("words", "chance"), [((), 1 / 11), (("--no-in-batch",), 1 / 4)])
def test_a_game_with_distractors_and_its_chance_everywhere(
    words: tuple[str, ...], chance: float, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*TINY, *EPOCH, "--corpus", "--data", "folder", "--root", str(photos), "--distractors", "class"]
    asked += ["--num-distractors", "3", "--out", str(tmp_path), "--name", "own", *words, "--analyse-every", "0"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert f"(chance {100 * chance:.1f} %)" in said and ("among its own 4 alone" in said) == (not words)
    last = json.loads((tmp_path / "own" / "metrics.json").read_text())
    assert 1 / last["candidates"] == pytest.approx(chance) and last["distractors"] == 3
    assert last["chance_loss"] == pytest.approx(math.log(4) if words else (math.log(11) + math.log(8)) / 2)
    corpus = load(tmp_path / "own")
    assert corpus.choices == round(1 / chance) and corpus.candidates == 8 and corpus.distractors == 3
    # The log and the language are of the same messages among the same images.
    assert corpus.probes["as played"].mean() == pytest.approx(last["acc"])
    assert {"noise images", "pixels shuffled"} <= set(corpus.probes)
    frame = measure(corpus, permutations=2)
    assert frame.set_index("metric").chance["retrieval"] == pytest.approx(chance)
    page = render(corpus, frame, permutations=2)
    assert f"chance {100 * chance:.1f} %" in page and "3 distractors)" in page


@pytest.mark.slow
def test_a_game_with_distractors_in_parts_is_the_same_game(photos: Path, tmp_path: Path) -> None:
    asked = [*TINY, *EPOCH, "--data", "folder", "--root", str(photos), "--distractors", "random"]
    asked += ["--analyse-every", "0", "--out", str(tmp_path)]
    losses = []
    for name, words in (("whole", []), ("parts", ["--micro-batch", "8"])):
        assert main([*asked, "--name", name, *words]) == 0
        lines = map(json.loads, (tmp_path / name / "log.jsonl").read_text().splitlines())
        losses.append([r["loss"] for r in lines if r["kind"] == "train"])
    assert len(losses[0]) == 3 and losses[1] == pytest.approx(losses[0], abs=1e-4)


def test_who_is_understood_among_the_images_shown(photos: Path) -> None:
    config = options(photos, "--distractors", "random", "--num-distractors", "3")
    game = build_game(config)
    source = load_images(config, 40)[1]
    beside = distractors_for(config, source, CPU, training=False)
    loader = build_loader(config, source, CPU, training=False, beside=beside)
    batches = list(ViewLoader(loader, EvaluationView(32), CPU))
    for in_batch in (True, False):
        game.loss.in_batch = in_batch  # type: ignore[assignment]
        corpus = record(game, batches, vocab_size=16)  # type: ignore[arg-type]
        expected = []
        game.eval()
        with torch.no_grad():
            for batch in batches:
                text, image = game.exchange(*[batch.sender_input, batch.receiver_input, batch.aux_input])[1]  # type: ignore[operator]
                for n in range(8):
                    shown = [image[n, 0], *image[n, 1:], *(image[m, 0] for m in range(8) if in_batch and m != n)]
                    likeness = [float(F.cosine_similarity(text[n], one, dim=0)) for one in shown]
                    expected.append(likeness[0] > max(likeness[1:]))
        assert corpus.probes["as played"].tolist() == expected
        assert corpus.image is not None and corpus.image.shape[0] == 16
        assert play_probes(game, batches, vocab_size=16)["as played"].tolist() == expected  # type: ignore[arg-type]


def test_a_judge_without_a_language_sees_the_distractors_too() -> None:
    views = torch.eye(4).reshape(4, 1, 2, 2).repeat(1, 3, 1, 1).repeat_interleave(4, 2).repeat_interleave(4, 3)
    # The two differ by more than a mirror. Beside each, a little changed, is the other one, or itself unchanged.
    own = views[[0, 2]]
    changed = own + 0.3 * views[[1, 1]]
    others, copies = torch.stack([changed, own.flip(0)], dim=1), torch.stack([changed, own], dim=1)
    assert retrieval_controls([Batch(own, None, others)])["thumbnail"] == 1
    assert retrieval_controls([Batch(own, None, others)], in_batch=False)["thumbnail"] == 1
    for in_batch in (True, False):
        assert retrieval_controls([Batch(own, None, copies)], in_batch)["thumbnail"] == 0
