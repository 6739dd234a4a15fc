"""A finished run asked about images: what `games.record` wrote, from whatever an image is given as."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import games
import patchgame_egg
from analysis.corpus.corpus import Corpus
from games.build.agents import build_game
from games.options.command_line import parse
from games.record import main as record
from games.runs.load import in_precision, load_game, load_trunk
from games.runs.trained import TrainedRun, load
from patchgame_egg.data.images import square
from patchgame_egg.data.scenes import Scenes
from patchgame_egg.data.sources import folder_sets
from patchgame_egg.views.transforms import EvaluationView
from tests.support.photo_run import photo_run
from tests.support.tiny import TINY

SIDE = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of 60 x 40 pixels with two classes, and a run of a tiny game on them, with its language."""
    return photo_run(tmp_path_factory.mktemp("home"), height=SIDE)


@pytest.fixture(scope="module")
def run(folder: Path) -> TrainedRun:
    return games.load(folder / "run", device="cpu")


@pytest.fixture(scope="module")
def corpus(folder: Path) -> Corpus:
    return Corpus.load(folder / "run" / "corpus.npz")


@pytest.fixture(scope="module")
def paths(folder: Path, corpus: Corpus) -> list[Path]:
    """The held-out files in the order of the language."""
    held_out = folder_sets(folder / "photos", 8)[1].paths
    return [held_out[i] for i in corpus.info["index"]]


def check_spoken(run: TrainedRun, images: object, corpus: Corpus) -> None:
    message = run.speak(images)  # type: ignore[arg-type]
    np.testing.assert_array_equal(message.mask.numpy(), corpus.mask)
    np.testing.assert_array_equal(message.symbols.numpy()[corpus.mask], corpus.symbols[corpus.mask])
    assert message.keep_prob is not None and message.vectors.shape == (*corpus.mask.shape, corpus.vocab_size)
    np.testing.assert_allclose(message.keep_prob.numpy(), corpus.keep_prob, atol=1e-5)


@pytest.mark.slow
def test_it_says_what_the_recorded_language_says(run: TrainedRun, corpus: Corpus, paths: list[Path]) -> None:
    assert len(corpus) == 12 and len(np.unique(corpus.symbols)) > 1
    check_spoken(run, paths, corpus)
    check_spoken(run, [str(path) for path in paths], corpus)
    opened = [Image.open(path) for path in paths]
    check_spoken(run, opened, corpus)
    assert all(image.size == (60, SIDE) for image in opened)
    squares = torch.stack([square(Image.open(path), run.config.load_size) for path in paths])
    check_spoken(run, squares, corpus)
    check_spoken(run, squares.double() / 255, corpus)
    check_spoken(run, [paths[0], Image.open(paths[1]), squares[2], squares[3:]], corpus)


@pytest.mark.slow
def test_a_folder_is_its_held_out_images_by_name(folder: Path, run: TrainedRun, corpus: Corpus) -> None:
    backward = np.argsort(corpus.info["index"])
    whole = run.speak(folder / "photos")
    np.testing.assert_array_equal(whole.symbols.numpy(), corpus.symbols[backward])
    one = run.speak(str(folder / "photos/val/dog/000.png"))
    first = run.describe(folder / "photos/val")
    names = [str(Path(name).relative_to(folder / "photos/val")) for name in first.file]
    assert names == sorted(names) and len(names) == 12
    np.testing.assert_array_equal(one.symbols[0], whole.symbols[names.index("dog/000.png")])


@pytest.mark.slow
def test_messages_are_matched_as_the_listener_did(run: TrainedRun, corpus: Corpus, paths: list[Path]) -> None:
    assert corpus.text is not None and corpus.image is not None
    found = run.match(run.speak(paths), paths[:5])
    assert found.shape == (12, 5)
    np.testing.assert_allclose(found, corpus.text @ corpus.image[:5].T, atol=1e-5)


@pytest.mark.slow
def test_features_are_those_of_the_frozen_trunk(folder: Path, run: TrainedRun, paths: list[Path]) -> None:
    trained = load_trunk(folder / "run", torch.device("cpu"))
    squares = torch.stack([square(Image.open(path), run.config.load_size) for path in paths])
    # As the run was trained, which is in bfloat16 where the processor multiplies it.
    with torch.no_grad(), in_precision(run.config, torch.device("cpu")):
        expected = trained.trunk.eval()(EvaluationView(32)(squares))
    torch.testing.assert_close(run.features(paths), expected.float(), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_description_points_into_the_image_that_was_given(
    run: TrainedRun, corpus: Corpus, paths: list[Path], tmp_path: Path
) -> None:
    # A language in which a symbol is the class.
    told = TrainedRun(run.game, run.config, tmp_path)
    labels = np.arange(60) % 2
    known = Corpus(
        np.repeat(labels[:, None], 3, 1), np.ones((60, 3), bool), 16, labels=labels, label_names=("cat", "dog")
    )
    known.save(tmp_path / "corpus.npz")
    table = told.describe(paths)
    assert list(table) == ["file", "symbols", "boxes", "keep_prob", "concepts", "words"]
    assert table.file.tolist() == [str(path) for path in paths]
    assert corpus.keep_prob is not None
    for i, row in enumerate(table.itertuples()):
        slots = np.flatnonzero(corpus.mask[i])
        assert row.symbols == tuple(corpus.symbols[i, slots])
        # Of 60 x 40 pixels the middle 40 are seen, in 4 x 4 patches.
        expected = [(10 + 10 * (s % 4), 10 * (s // 4), 20 + 10 * (s % 4), 10 + 10 * (s // 4)) for s in slots]
        assert list(row.boxes) == expected
        np.testing.assert_allclose(row.keep_prob, corpus.keep_prob[i, slots], atol=1e-5)
        assert row.concepts == tuple({0: "cat (class)", 1: "dog (class)"}.get(s, "") for s in row.symbols)
    assert not {"concepts", "words"} & set(TrainedRun(run.game, run.config).describe(paths))
    assert run.describe(torch.zeros(2, 3, 8, 8)).file.tolist() == ["image 0", "image 1"]


@pytest.mark.slow
def test_what_is_no_image_is_one_line(run: TrainedRun, paths: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "photos" / "broken.png"
    broken.parent.mkdir()
    broken.write_bytes(paths[0].read_bytes()[:200])
    for given, said in (
        (tmp_path / "none.png", "there is no file .*none.png: give"),
        (np.zeros((8, 8, 3), np.uint8), "not ndarray; of an array, PIL.Image.fromarray"),
        ([], "there are no images"),
        (torch.zeros(0, 3, 8, 8), "there are no images"),
        (torch.zeros(3, 8, 8) - 1, r"floats of images are in \[0, 1\], got -1 to -1"),
        (torch.full((3, 8, 8), float("nan")), r"floats of images are in \[0, 1\]"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "got torch.int64"),
        (torch.zeros(1, 8, 8), r"got one of shape \(1, 8, 8\)"),
        (broken, "broken.png cannot be read as an image"),
        ([paths[0], broken], "broken.png cannot be read as an image"),
    ):
        with pytest.raises(ValueError, match=said):
            run.speak(given)  # type: ignore[arg-type]
    (tmp_path / "photos" / "whole.png").write_bytes(paths[0].read_bytes())
    with pytest.warns(UserWarning, match=r"left out 1 images that cannot be read: .*broken\.png$"):
        table = run.describe(tmp_path / "photos")
    assert [Path(name).name for name in table.file] == ["whole.png"]
    (tmp_path / "photos" / "whole.png").write_bytes(b"")
    with pytest.raises(ValueError, match="none of 2 images can be read"):
        run.features(tmp_path / "photos")


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        (["--speaker", "lstm"], ["file", "symbols"]),
        (["--patch-scales", "2", "--symbols-per-patch", "2"], ["file", "symbols", "boxes", "keep_prob"]),
        (["--speakers", "2", "--listeners", "2"], ["file", "symbols", "boxes", "keep_prob"]),
        (["--channel", "quantised"], ["file", "symbols", "boxes", "keep_prob"]),
    ],
)
def test_other_agents_are_asked_alike(options: list[str], columns: list[str]) -> None:
    config = parse([*TINY, *options]).config
    game = build_game(config)
    run = TrainedRun(game, config)
    images = Scenes(3, 40)
    pixels = torch.stack([images[i][0] for i in range(3)])
    table = run.describe(pixels)
    assert list(table) == columns and len(table) == 3
    for row in table.itertuples():
        assert all(len(value) == len(row.symbols) for value in row[2:])
        for box in getattr(row, "boxes", ()):
            assert box[2] - box[0] == box[3] - box[1] in (10, 20)
            assert min(box) >= 0 and max(box) <= 40
    assert run.match(run.speak(pixels), pixels).shape == (3, 3)
    assert run.features(pixels).shape[0] == 3
    again = run.speak(pixels)
    assert torch.equal(again.symbols, run.speak(pixels).symbols)


def test_many_images_go_through_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse(TINY).config
    run = TrainedRun(build_game(config), config)
    pixels = torch.stack([Scenes(5, 40)[i][0] for i in range(5)])
    whole = run.speak(pixels), run.features(pixels), run.match(run.speak(pixels), pixels)
    monkeypatch.setattr("games.runs.trained._AT_ONCE", 2)
    parts = run.speak(pixels), run.features(pixels), run.match(run.speak(pixels), pixels)
    assert torch.equal(whole[0].symbols, parts[0].symbols)
    torch.testing.assert_close(whole[1:], parts[1:], atol=1e-5, rtol=1e-4)


def test_a_continuous_run_speaks_and_has_nothing_to_describe() -> None:
    config = parse([*TINY, "--channel", "continuous"]).config
    run = TrainedRun(build_game(config), config)
    pixels = torch.zeros(2, 3, 40, 40, dtype=torch.uint8)
    assert run.match(run.speak(pixels), pixels).shape == (2, 2)
    with pytest.raises(ValueError, match="no symbols to describe"):
        run.describe(pixels)


def test_training_modes_and_gradients_stay_out(tmp_path: Path) -> None:
    config = parse(TINY).config
    run = TrainedRun(build_game(config), config)
    assert not run.game.training
    message = run.speak(torch.zeros(1, 3, 40, 40))
    assert not message.vectors.requires_grad and not run.match(message, torch.zeros(1, 3, 40, 40)).requires_grad
    with pytest.raises(ValueError, match="is not a run"):
        load(tmp_path)
    with pytest.raises(AttributeError, match=r"patchgame_egg has no 'load': use games\.load"):
        _ = patchgame_egg.load  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_shared_run_is_the_same_run(
    folder: Path, run: TrainedRun, corpus: Corpus, paths: list[Path], tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    assert run.save_pretrained(shared) is None
    assert {p.name for p in shared.iterdir()} == {
        "README.md", "config.json", "corpus.npz", "metrics.json", "model.safetensors",
    }  # fmt: skip
    language = Corpus.load(shared / "corpus.npz")
    assert language.images is None and np.array_equal(language.symbols, corpus.symbols)
    # Nothing says where the run was made.
    said = [(shared / name).read_text() for name in ("README.md", "config.json", "metrics.json")]
    assert not any(str(folder) in text for text in [*said, repr(language.info)])
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert f"| {100 * metrics['acc']:.1f} % (chance 25.0 %) |" in said[0]
    for again in (games.load(shared, "cpu"), TrainedRun.from_pretrained(shared, device="cpu")):
        assert torch.equal(again.speak(paths).vectors, run.speak(paths).vectors)
        pd.testing.assert_frame_equal(again.describe(paths), run.describe(paths))
        assert torch.equal(again.match(run.speak(paths), paths), run.match(run.speak(paths), paths))
    trunk = load_trunk(shared, torch.device("cpu")).trunk.state_dict()
    for name, value in load_trunk(folder / "run", torch.device("cpu")).trunk.state_dict().items():
        assert torch.equal(value, trunk[name])
    words = [str(shared), "--data", "folder", "--root", str(folder / "photos"), "--to", str(tmp_path / "a.npz")]
    assert record([*words, "--device", "cpu"]) == 0
    played = Corpus.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(played.symbols[played.mask], corpus.symbols[corpus.mask])


@pytest.mark.slow
def test_a_run_is_not_replaced_by_what_is_shared_of_it(folder: Path, run: TrainedRun, tmp_path: Path) -> None:
    before = (folder / "run" / "config.json").read_bytes()
    with pytest.raises(ValueError, match="is a run, whose own files would be replaced"):
        run.save_pretrained(folder / "run")
    assert (folder / "run" / "config.json").read_bytes() == before and not (folder / "run" / "README.md").exists()
    (tmp_path / "README.md").write_text("mine")
    run.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    (tmp_path / "model.safetensors").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read as weights"):
        load(tmp_path, "cpu")


@pytest.mark.slow
def test_the_hub_is_asked_and_given_what_lies_in_the_folder(
    run: TrainedRun, paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, object] = {}

    class Api:
        def __init__(self, token: str | None = None) -> None: ...

        def create_repo(self, repo_id: str, **_: object) -> object:
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, repo_id: str, folder_path: Path, **how: object) -> str:
            given.update(how, repo_id=repo_id, names=sorted(p.name for p in Path(folder_path).iterdir()))
            shutil.copytree(folder_path, tmp_path / "hub")
            return "done"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    assert run.push_to_hub("owner/name", ignore_patterns="*.png") == "done"
    assert given["repo_id"] == "owner/name" and given["ignore_patterns"] == "*.png"
    assert given["names"] == ["README.md", "config.json", "corpus.npz", "metrics.json", "model.safetensors"]
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.hub_mixin.hf_hub_download", lambda repo_id, filename, **_: tmp_path / "hub" / filename
    )
    monkeypatch.setattr(
        "games.runs.sharing.snapshot_download", lambda name, **_: (asked.append(name), tmp_path / "hub")[1]
    )
    again = load("hf-hub:owner/name", "cpu")
    assert asked == ["owner/name"]
    assert torch.equal(again.speak(paths).symbols, run.speak(paths).symbols)


@pytest.mark.parametrize("options", [["--speakers", "2", "--listeners", "2"], ["--channel", "quantised"]])
def test_all_agents_are_shared(options: list[str], tmp_path: Path) -> None:
    config = parse([*TINY, *options]).config
    game = build_game(config)
    TrainedRun(game, config).save_pretrained(tmp_path / "shared")
    again, found = load_game(tmp_path / "shared", torch.device("cpu"))
    assert found.speaker == config.speaker and found.images.root == ""
    for name, value in game.state_dict().items():
        assert not isinstance(value, torch.Tensor) or torch.equal(again.state_dict()[name], value), name


def test_messages_are_put_into_the_words_of_the_runs_captions(folder: Path, corpus: Corpus) -> None:
    rng, slots = np.random.default_rng(0), corpus.symbols.shape[1]
    run = games.load(folder / "run", device="cpu")
    assert run.glosses(run.speak(folder / "photos")) is None
    assert "words" not in run.describe(folder / "photos")
    # A language in which every symbol has its word.
    symbols = rng.integers(16, size=(400, slots))
    mask = rng.random((400, slots)) < 0.3
    captions = tuple((" ".join(f"word{s}" for s in row[said]),) for row, said in zip(symbols, mask, strict=True))
    Corpus(symbols, mask, 16, captions=captions).save(folder / "said.npz")
    run = games.load(folder / "run", device="cpu")
    run.__dict__["language"] = Corpus.load(folder / "said.npz")
    table = run.describe(folder / "photos")
    assert any(table.words)
    for symbols_said, words in zip(table.symbols, table.words, strict=True):
        assert set(words) <= {f"word{s}" for s in symbols_said}
    assert run.glosses(run.speak(folder / "photos")) == table.words.tolist()
