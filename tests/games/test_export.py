"""A speaker for other programs: what onnxruntime says is what the run says, of any number of images."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from games import export
from games.build.agents import build_game
from games.build.speaker_graph import SpeakerGraph
from games.options.command_line import parse
from games.patchgame import main
from games.runs.trained import load
from patchgame_egg.views.transforms import normalise
from tests.support.tiny import TINY

SPEAKERS = [
    [], ["--keep", "5"], ["--gate", "free"], ["--channel", "quantised"], ["--channel", "reinforce"],
    ["--patch-scales", "2", "--symbols-per-patch", "2"], ["--rank-spread", "0"], ["--patch-network", "conv"],
    ["--speaker", "lstm", "--max-len", "4"], ["--speaker", "transformer", "--max-len", "4"],
    ["--preset", "released"],
]  # fmt: skip
ALL_THERE = all(map(export.find_spec, export.NEEDED))


@pytest.mark.parametrize("words", SPEAKERS, ids=lambda words: " ".join(words) or "patch")
def test_the_graph_says_what_the_game_says(words: list[str]) -> None:
    config = parse([*words[:2], *TINY] if words[:1] == ["--preset"] else [*TINY, *words]).config
    game = build_game(config)
    with torch.no_grad():
        # Statistics of a batch: networks that were never trained say the same of everything.
        for _ in range(3):
            game.channel(game.sender(torch.randn(16, 3, 32, 32)))  # type: ignore[operator]
        game.eval()
        images = torch.rand(9, 3, 32, 32)
        images[1] = 0.5
        message = game.channel(game.sender(normalise(images.clone(), images.clone())))  # type: ignore[operator]
        symbols, mask, *keep = SpeakerGraph(game, config.patches).eval()(images)  # type: ignore[arg-type]
    assert torch.equal(symbols, message.symbols) and torch.equal(mask, message.mask)
    assert bool(keep) == (message.keep_prob is not None)
    if keep:
        torch.testing.assert_close(keep[0], message.keep_prob, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    assert main([*TINY, "--epochs", "1", "--no-pictures", "--no-tensorboard", "--out", str(out), "--name", "one"]) == 0
    return out / "one"


@pytest.mark.slow
@pytest.mark.skipif(not ALL_THERE, reason="needs the extra onnx")
def test_onnxruntime_says_what_the_run_says(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx
    import onnxruntime

    assert export.main([str(run), "--onnx"]) == 0
    file = run / export.FILE
    # How large a graph is depends on the exporter's version, and what is said is the file's own size.
    size = f"{file.stat().st_size / 1e6:.1f} MB"
    assert capsys.readouterr().out.endswith(f"images of 32 px, up to 16 of 16 symbols, {size}\n")
    session, trained = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]), load(run, "cpu")
    assert {p.key: p.value for p in onnx.load(file).metadata_props}["vocab"] == "16"
    for count in (1, 2, 7):
        images = torch.rand(count, 3, 32, 32)
        message = trained.speak_of(normalise(images.clone(), images.clone()))
        symbols, mask, keep = session.run(["symbols", "mask", "keep_prob"], {"images": images.numpy()})
        assert symbols.tolist() == message.symbols.tolist() and mask.tolist() == message.mask.tolist()
        assert message.keep_prob is not None and np.allclose(keep, message.keep_prob, atol=1e-5)


@pytest.mark.slow
def test_mistakes_end_in_a_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxruntime" else object())
    for words, said in (
        ([str(run)], "in which form? --onnx writes ONNX"),
        ([str(run), "--onnx"], "--onnx needs onnxruntime: pip install 'patchgame-egg[onnx]'"),
    ):
        with pytest.raises(SystemExit) as stop:
            export.main(words)
        error = capsys.readouterr().err
        assert stop.value.code == 2 and error.startswith(f"error: {said}") and error.count("\n") == 1
    monkeypatch.setattr(export, "find_spec", lambda name: object())
    for words, said in (
        ([str(run), "--onnx", "--to", str(tmp_path)], f"--to {tmp_path} is a folder: give a file in it"),
        ([str(tmp_path), "--onnx"], str(tmp_path)),
    ):
        with pytest.raises(SystemExit) as stop:
            export.main(words)
        error = capsys.readouterr().err
        assert stop.value.code == 2 and said in error and error.count("\n") == 1
    assert not (run / export.FILE).exists() or sys.modules.get("onnx")
