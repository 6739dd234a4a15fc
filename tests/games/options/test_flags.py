"""Arguments in the library's errors become options of the command line, and nothing else does."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch

from games.build.data import build_loader, build_loaders, load_images
from games.options.command_line import parse
from games.options.flags import FLAGS, errors_with_flags, with_flags
from games.patchgame import main
from patchgame_egg.data import gpu_jpeg
from patchgame_egg.data.gpu_jpeg import NoDecoder
from patchgame_egg.data.scenes import Scenes
from patchgame_egg.data.shards import shard_sets
from patchgame_egg.data.sources import image_sets
from patchgame_egg.training.trainer import Trainer


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("name='folder' needs root='DIR', a folder", "--data folder needs --root DIR, a folder"),
        ("no folder root='my photos': give one", "no folder --root 'my photos': give one"),
        ('no folder root="it\'s"', "no folder --root 'it'\"'\"'s'"),
        ("download=True fetches it", "--download fetches it"),
        ("grad_norm=1 or precision='fp32' may help", "--grad-norm 1 or --precision fp32 may help"),
        ("pattern='a-{00..09}.tar'", "--root 'a-{00..09}.tar'"),
    ],
)
def test_arguments_become_options(said: str, shown: str) -> None:
    assert with_flags(said) == shown


@pytest.mark.parametrize(
    "text", ["runs/name='x'/root=1", "no file grad_norm=1/photos", "the root of all", "download=False"]
)
def test_all_else_stays(text: str) -> None:
    assert with_flags(text) == text


def test_both_sides_have_these_names(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {name for f in (image_sets, shard_sets, Trainer) for name in inspect.signature(f).parameters}
    assert set(FLAGS) <= arguments
    with pytest.raises(SystemExit):
        parse(["--help"])
    said = capsys.readouterr().out.split()
    assert {flag for flag in FLAGS.values() if not {flag, f"{flag}|"} & set(said)} <= {"--download"}


def test_only_wrong_values_are_told_anew() -> None:
    with pytest.raises(ValueError, match=r"^--root x$") as error, errors_with_flags():
        raise ValueError("root='x'")
    assert str(error.value.__cause__) == "root='x'"
    with pytest.raises(KeyError), errors_with_flags():
        raise KeyError("root='x'")


def test_what_the_images_lack_is_said_in_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def config(*words: str):  # type: ignore[no-untyped-def]
        return parse(words).config

    cpu = torch.device("cpu")
    with pytest.raises(ValueError, match=r"^--data shards needs --root 'DIR/train-"):
        load_images(config("--data", "shards"), 32)
    shards = ["--data", "shards", "--root", str(tmp_path / "a.tar")]
    with pytest.raises(ValueError, match=r": --val-root 'DIR/val-\{0000..0006\}.tar' says where they are$"):
        load_images(config(*shards), 32)
    with pytest.raises(ValueError, match=r"as --root 'DIR/train-\{0000..0146\}.tar'$"):
        load_images(config(*shards, "--val-root", str(tmp_path / "b.tar")), 32)
    with pytest.raises(ValueError, match=r"^--cache here: a cache keeps .* not Scenes: leave it out$"):
        build_loaders(config("--cache", "here"), cpu)

    def lacking(*_: object, **__: object) -> None:
        raise NoDecoder("torchvision cannot decode on cuda: reason")

    monkeypatch.setattr(gpu_jpeg, "GpuJpegLoader", lacking)
    with pytest.raises(ValueError, match=r"^--decode gpu: torchvision cannot decode on cuda: reason$"):
        build_loader(config("--decode", "gpu", "--workers", "0"), Scenes(64, 32), torch.device("cuda"), training=True)


def test_a_loss_that_is_not_finite_names_the_options(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*tiny, "--out", str(tmp_path), "--lr", "1e30", "--warmup", "0", "--no-tensorboard", "--no-pictures"])
    error = capsys.readouterr().err
    assert "A smaller learning rate, --grad-norm 1 or --precision fp32 may help" in error
