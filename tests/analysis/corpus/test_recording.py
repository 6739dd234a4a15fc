"""A game written down: every kind of speaker, the numbers of the evaluation, and the command that records a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis.corpus.corpus import Corpus
from analysis.corpus.recording import came_first, evaluating, record
from games.build.agents import build_game
from games.options.command_line import parse
from games.options.config import Config, DataOptions
from games.patchgame import main
from games.record import main as record_run
from games.runs.corpus import check_annotations
from patchgame_egg.channels.patch import PatchChannel
from patchgame_egg.data.scenes import Scenes
from patchgame_egg.data.sources import folder_sets
from patchgame_egg.game import Game
from patchgame_egg.interaction import Batch, Message
from patchgame_egg.population import Population
from patchgame_egg.views.transforms import EvaluationView

GROUP, GROUPS = 8, 3


def batches(count: int = GROUPS, size: int = 32) -> list[Batch]:
    """Groups of views of the built-in scenes."""
    scenes, found = Scenes(count * GROUP, size, split="val"), []
    for group in range(count):
        index = torch.arange(group * GROUP, (group + 1) * GROUP).flip(0)
        images, labels = zip(*(scenes[i] for i in index.tolist()), strict=True)
        view = EvaluationView(size)(torch.stack(images))
        found.append(Batch(view, torch.tensor(labels), view, {"index": index}))
    return found


def built(tiny: list[str], *options: str) -> tuple[Any, int]:
    config = parse([*tiny, "--max-len", "4", "--encoder-width", "4", "--decoder-dim", "12", *options]).config
    return build_game(config), config.speaker.vocab


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--symbols-per-patch", "2"],
        ["--channel", "quantised", "--code-dim", "4"],
        ["--channel", "reinforce"],
        ["--gate", "released", "--silence", "attend"],
        ["--speaker", "lstm"],
        ["--speaker", "transformer"],
        ["--speakers", "2", "--listeners", "2"],
    ],
    ids=" ".join,
)
def test_every_kind_of_game_is_written_as_it_plays(options: list[str], tiny: list[str]) -> None:
    game, vocab = built(tiny, *options)
    corpus = record(game, batches(), vocab_size=vocab, label_names=("a", "b"))
    assert record(game, batches(), vocab_size=vocab).symbols.tolist() == corpus.symbols.tolist()
    patch = "--speaker" not in options
    game.eval()
    with torch.no_grad():
        played = [game(*batch)[1] for batch in batches()]
    whole = {k: torch.cat([p.aux[k] for p in played]).numpy() for k in ("acc", "message_mask")}
    assert (corpus.symbols == torch.cat([p.message for p in played]).numpy()).all()
    assert (corpus.mask == whole["message_mask"]).all() and corpus.vocab_size == vocab
    assert corpus.probes["as played"].tolist() == (whole["acc"] > 0.5).tolist()
    assert corpus.info["index"] == [i for b in batches() for i in b.aux_input["index"].tolist()]  # type: ignore[index]
    assert corpus.labels is not None and corpus.label_names == ("a", "b")
    assert corpus.labels.tolist() == torch.cat([b.labels for b in batches()]).tolist()  # type: ignore[misc]
    assert corpus.candidates == GROUP and corpus.temperature == pytest.approx(0.07)
    output = torch.cat([p.receiver_output for p in played])  # type: ignore[misc]
    for ours, theirs in ((corpus.text, output[:, 0]), (corpus.image, output[:, 1])):
        np.testing.assert_allclose(ours, nn.functional.normalize(theirs, dim=1).numpy(), atol=1e-6)
    assert corpus.grid == ((4, 4) if patch else None)
    assert (corpus.confidence is not None) == patch == (corpus.keep_prob is not None)
    if corpus.confidence is not None and corpus.keep_prob is not None:
        assert corpus.confidence.shape == corpus.symbols.shape and corpus.keep_prob.shape == (24, 16)
        assert corpus.symbols_per_patch == (2 if "--symbols-per-patch" in options else 1)
        if "quantised" not in options:
            assert ((corpus.confidence > 1 / vocab) & (corpus.confidence <= 1)).all()


def test_a_channel_without_symbols_is_refused(tiny: list[str]) -> None:
    for speaker in ("patch", "lstm"):
        game, vocab = built(tiny, "--channel", "continuous", "--speaker", speaker)
        with pytest.raises(ValueError, match="numbers and not symbols"):
            record(game, batches(), vocab_size=vocab)


def test_the_first_views_are_kept_as_the_speaker_saw_them(tiny: list[str]) -> None:
    game, vocab = built(tiny)
    bytes_each = 3 * 32 * 32
    corpus = record(game, batches(), vocab_size=vocab, image_bytes=10 * bytes_each + 1)
    assert corpus.images is not None and corpus.images.shape == (10, 3, 32, 32)
    scenes = Scenes(GROUPS * GROUP, 32, split="val")
    assert all((corpus.images[i] == scenes[n][0].numpy()).all() for i, n in enumerate(corpus.info["index"][:10]))
    few = record(game, batches(), vocab_size=vocab, image_bytes=5).images
    assert few is not None and len(few) == 0


def test_modes_are_as_before(tiny: list[str]) -> None:
    game, vocab = built(tiny, "--rank-dropout", "0.5")
    game.train()
    game.sender.eval()
    before = [module.training for module in game.modules()]
    record(game, batches(1), vocab_size=vocab)
    with pytest.raises(ZeroDivisionError), evaluating(game):
        assert not game.training and not torch.is_grad_enabled()
        raise ZeroDivisionError
    assert [module.training for module in game.modules()] == before and torch.is_grad_enabled()


def test_groups_are_of_one_size_and_there_is_one(tiny: list[str]) -> None:
    game, vocab = built(tiny)
    whole = batches(2)
    half = Batch(*(x[:5] if isinstance(x, Tensor) else None for x in whole[1]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="among 5 to 8 images"):
        record(game, [replace(whole[0], aux_input=None), half], vocab_size=vocab)
    with pytest.raises(ValueError, match="no batch"):
        record(game, [], vocab_size=vocab)


def test_ties_count_as_lost() -> None:
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert came_first(text, text).tolist() == [True, False, False]
    assert came_first(text[:1], text[:1]).tolist() == [True]
    assert came_first(text * torch.nan, text).tolist() == [False, False, False]


class Named(nn.Module):
    """Says the first attribute of an object, a vector, in one slot."""

    def forward(self, seen: Tensor, aux: dict[str, Tensor] | None = None) -> Tensor:
        return seen


class Spoken(nn.Module):
    def forward(self, features: Tensor) -> Message:
        symbols = features[:, :1].long()
        return Message(symbols, nn.functional.one_hot(symbols, 5).float(), torch.ones_like(symbols, dtype=torch.bool))


class Guess(nn.Module):
    def forward(self, message: Message, seen: Tensor | None, aux: dict[str, Tensor] | None) -> Tensor:
        return message.vectors[:, 0]


class FirstAttribute(nn.Module):
    def forward(self, *exchange: Any) -> tuple[Tensor, dict[str, Tensor]]:
        *_, guess, labels, _ = exchange
        return guess.sum(dim=1), {"acc": (guess.argmax(dim=1) == labels[:, 0]).float()}


def test_a_game_without_images_is_written_down() -> None:
    objects = torch.cartesian_prod(torch.arange(5), torch.arange(3))
    game = Game(Named(), Spoken(), Guess(), FirstAttribute())  # type: ignore[arg-type]
    corpus = record(game, [Batch(objects.float(), objects)], vocab_size=5)
    assert corpus.attributes is not None and corpus.attributes.tolist() == objects.tolist()
    assert corpus.value_names == (("0", "1", "2", "3", "4"), ("0", "1", "2")) and corpus.labels is None
    assert corpus.probes["as played"].all() and corpus.text is corpus.candidates is corpus.images is corpus.grid is None


def test_very_wide_embeddings_become_coordinates_with_the_same_cosines(tiny: list[str]) -> None:
    game, vocab = built(tiny, "--head-wide", "2000")
    corpus = record(game, batches(), vocab_size=vocab)
    game.eval()
    with torch.no_grad():
        wide = torch.cat([game(*batch)[1].receiver_output for batch in batches()])
    wide = nn.functional.normalize(wide.double(), dim=2).transpose(0, 1).flatten(0, 1).numpy()
    assert corpus.text is not None and corpus.image is not None and corpus.text.shape[1] <= 2 * 8
    narrow = np.concatenate([corpus.text, corpus.image]).astype(float)
    np.testing.assert_allclose(narrow @ narrow.T, wide @ wide.T, atol=1e-4)


# The command


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run over sixteen held-out photos of noise, with the corpus of its end."""
    from PIL import Image

    from tests.support.tiny import TINY

    folder, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    for part, count in (("train", 16), ("val", 16)):
        (folder / "photos" / part).mkdir(parents=True)
        for i in range(count):
            coarse = Image.fromarray(rng.integers(256, size=(4, 4, 3), dtype=np.uint8))
            coarse.resize((40, 40)).save(folder / "photos" / part / f"{i:02d}.png")
    lines = [f'{{"file": "val/{i:02d}.png", "kind": "{"ab"[i % 2]}", "objects": []}}\n' for i in range(16)]
    (folder / "notes.jsonl").write_text("".join(lines))
    options = [*TINY, "--data", "folder", "--root", str(folder / "photos"), "--epochs", "1", "--no-tensorboard"]
    options += ["--annotations", str(folder / "notes.jsonl"), "--no-pictures", "--corpus"]
    rows = [f"val/{i:02d}.png,{said}\n" for i in range(15) for said in (f"number {i}", "noise")]
    (folder / "captions.csv").write_text("".join(["file,caption\n", *rows, "val/03.png,\n"]))
    options += ["--captions", str(folder / "captions.csv")]
    options += ["--out", str(folder), "--name", "run"]
    assert main(options) == 0
    return folder / "run"


def test_a_run_ends_with_its_corpus(run: Path) -> None:
    import json

    corpus = Corpus.load(run / "corpus.npz")
    metrics = json.loads((run / "metrics.json").read_text())
    assert len(corpus) == metrics["images"] == 16 and corpus.candidates == 8 and corpus.grid == (4, 4)
    assert corpus.probes["as played"].mean() == pytest.approx(metrics["acc"])
    assert len(corpus.probes) == 11 and {"noise images", "silent patches speak"} <= corpus.probes.keys()
    assert corpus.info["run"] == "run" and corpus.info["preset"] == "small"
    assert corpus.info["config"]["speaker"]["vocab"] == corpus.vocab_size == 16
    assert corpus.attribute_names == ("kind", "number of objects")
    assert corpus.attributes is not None and corpus.attributes[:, 0].tolist() == [i % 2 for i in corpus.info["index"]]
    assert corpus.object_area is not None and not corpus.object_area.any()
    said = [() if i == 15 else (f"number {i}", "noise") for i in corpus.info["index"]]
    assert corpus.captions == tuple(said)


def test_the_command_restores_what_was_trained(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = Corpus.load(run / "corpus.npz")
    (run / "corpus.npz").unlink()
    assert record_run([str(run), "--device", "cpu"]) == 0
    understood = "annotations: 16 images with 1 attributes, 0 boxes; 16 of 16 held-out images\n"
    understood += "captions: 30 of 15 images; 15 of 16 held-out images have some; 1 rows without a sentence left out\n"
    said = capsys.readouterr().out
    assert said.startswith(understood) and said.endswith(f"\nwrote {run / 'corpus.npz'}\n")
    again = Corpus.load(run / "corpus.npz")
    assert again.captions == first.captions
    assert again.info == first.info and (again.symbols == first.symbols).all() and (again.mask == first.mask).all()
    assert all((again.probes[name] == first.probes[name]).all() for name in first.probes)
    np.testing.assert_array_equal(again.images, first.images)
    np.testing.assert_allclose(again.text, first.text, atol=1e-6)


@pytest.mark.slow
def test_other_images_have_a_file_of_their_own(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = (run / "corpus.npz").read_bytes()
    words = [str(run), "--device", "cpu"]
    assert record_run([*words, "--images", "9", "--data", "scenes", "--to", str(tmp_path / "scenes.npz")]) == 0
    assert capsys.readouterr().out.endswith(f"wrote {tmp_path / 'scenes.npz'}\n")
    scenes = Corpus.load(tmp_path / "scenes.npz")
    assert len(scenes) == 8 and scenes.attribute_names[0] == "shape"
    # A folder without parts is not split: nothing is learnt from it.
    photos = run.parent / "photos" / "train"
    count = len([path for path in photos.rglob("*") if path.is_file()])
    assert record_run([*words, "--root", str(photos), "--to", str(tmp_path / "photos.npz")]) == 0
    assert f"note: {run} was trained on {count} of these {count} images" in capsys.readouterr().out
    assert record_run([*words, "--root", str(photos.parent), "--to", str(tmp_path / "held_out.npz")]) == 0
    assert "note" not in capsys.readouterr().out
    assert len(Corpus.load(tmp_path / "photos.npz")) == count // 8 * 8
    assert (run / "corpus.npz").read_bytes() == own


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere is not a run"),
        (["RUN", "--images", "0"], "--images 0: must be at least 1"),
        (["RUN", "--to", "photos"], "--to photos: a name that ends in .npz is needed"),
        (["RUN", "--data", "scenes"], "--to FILE is needed for other images than the run's"),
        (["RUN", "--no-such"], "Unrecognized options: --no-such"),
        ([], "required"),
        (["RUN", "--data", "scenes", "--annotations", "x", "--to", "y.npz"], "it goes with --data folder, not scenes"),
        (["RUN", "--root", "nowhere", "--to", "y.npz"], "no folder --root nowhere"),
        (["RUN", "--annotations", "nowhere"], "nowhere cannot be read"),
        (["RUN", "--captions", "nowhere"], "nowhere cannot be read"),
        (["RUN", "--data", "scenes", "--captions", "x", "--to", "y.npz"], "--captions describes files: it goes with"),
        (["RUN", "--device", "cuda:99"], "--device cuda:99"),
    ],
    ids=lambda x: "",
)
def test_mistakes_end_in_one_line(words: list[str], said: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        record_run([str(run) if word == "RUN" else word for word in words])
    captured = capsys.readouterr()
    assert stop.value.code == 2 and captured.err.count("\n") == 1 and said in captured.err, captured.err


def test_a_checkpoint_of_another_game_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = (run / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"vocab": 16', '"vocab": 17'))
    (tmp_path / "checkpoint.pt").write_bytes((run / "checkpoint.pt").read_bytes())
    with pytest.raises(SystemExit):
        record_run([str(tmp_path), "--device", "cpu"])
    assert "does not fit its options" in capsys.readouterr().err


def test_annotations_that_cannot_be_used_stop_a_run_before_it_trains(
    run: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "others.jsonl").write_text('{"file": "other.png"}\n')
    options = [*tiny, "--data", "folder", "--root", str(run.parent / "photos"), "--out", str(tmp_path), "--name", "x"]
    with pytest.raises(SystemExit):
        main([*options, "--annotations", str(tmp_path / "others.jsonl")])
    assert "speaks of 'other.png'" in capsys.readouterr().err and not (tmp_path / "x").exists()
    with pytest.raises(SystemExit):
        main([*tiny, "--annotations", str(tmp_path / "others.jsonl")])
    assert "--annotations describes files" in capsys.readouterr().err
    (tmp_path / "others.csv").write_text("file,caption\nother.png,a cat\n")
    with pytest.raises(SystemExit):
        main([*options, "--captions", str(tmp_path / "others.csv")])
    assert "speaks of 'other.png'" in capsys.readouterr().err and not (tmp_path / "x").exists()
    with pytest.raises(SystemExit):
        main([*tiny, "--captions", str(tmp_path / "others.csv")])
    assert "--captions describes files" in capsys.readouterr().err


def test_what_annotations_say_is_printed_before_training(
    run: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = run.parent / "photos"
    rows = [f"val/{i:02d}.png,0,0,{9 * (i > 2)},9,k{i}\n" for i in range(16)]
    (tmp_path / "notes.csv").write_text("file,x0,y0,x1,y1,kind\n" + "".join(rows) + "test/00.png,0,0,9,9,k0\n")
    config = replace(
        Config(), images=DataOptions(data="folder", root=str(photos), annotations=str(tmp_path / "notes.csv"))
    )
    assert check_annotations(config, folder_sets(photos, 32)[1]) == (
        "annotations: 16 images with 1 attributes, 13 boxes, 3 boxes without area skipped, the first in line 2; "
        "16 of 16 held-out images; 1 names fit no image, the first is 'test/00.png'"
    )
    # Both parts have an image of this name.
    (tmp_path / "notes.csv").write_text("file,light\n07.png,dim\n")
    with pytest.raises(SystemExit) as stop:
        main([*tiny, "--data", "folder", "--root", str(photos), "--annotations", str(tmp_path / "notes.csv")])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and "line 2: '07.png' fits 2 images" in said and said.count("\n") == 1


def test_a_population_is_recorded_by_its_first_pair(tiny: list[str]) -> None:
    game, vocab = built(tiny, "--speakers", "2")
    assert isinstance(game, Population) and isinstance(game.channels[0], PatchChannel)
    pair = record(game.game(0, 0), batches(), vocab_size=vocab)
    whole = record(game, batches(), vocab_size=vocab)
    assert (pair.symbols == whole.symbols).all()
    assert (record(game.game(1, 0), batches(), vocab_size=vocab).symbols != whole.symbols).any()
