"""The screening of who speaks: a balanced design, effects by least squares, and a run from photos to a judgement."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from games.reproduce import who_speaks
from patchgame_egg.agents.patch_speaker import PatchSymbol


def test_no_cause_goes_along_with_another_or_with_two() -> None:
    levels = np.array([[2 * run[cause] - 1 for cause in who_speaks.CAUSES] for run in who_speaks.design()])
    assert levels.shape == (16, 6)
    assert (levels.T @ levels == 16 * np.eye(6)).all()
    for a in range(6):
        for b in range(a):
            assert not (levels.T @ (levels[:, a] * levels[:, b])).any()


def test_effects_are_found() -> None:
    def run(causes: dict[str, bool]) -> dict[str, object]:
        auc = 0.5 + 0.2 * causes["conv"] - 0.1 * causes["views"]
        return {**causes, "speaker": [auc, 0.01], "place alone": [0.4, 0.01], "two_views": 0.3 * causes["ground"]}

    table = who_speaks.effects([run(causes) for causes in who_speaks.design()])
    found = table["AUC on objects"].tolist()
    assert found[0].startswith("-0.100") and found[2].startswith("+0.200") and found[1][1:].startswith("0.000")
    assert table["retrieval, two views"].tolist()[1].startswith("+0.300")


def test_patches_without_a_cause_are_named_as_before() -> None:
    images = torch.randn(2, 3, 16, 16)
    symbol = PatchSymbol(16, 8, 5, hidden=8, logit_scale=6.0)
    torch.testing.assert_close(who_speaks.Patches(symbol, False, False)(images), symbol(images))
    plain = images.mean((2, 3), keepdim=True).expand_as(images).contiguous()
    without = who_speaks.Patches(symbol, False, True).eval()
    torch.testing.assert_close(without(plain), without(0 * plain))
    assert who_speaks.Patches(symbol, True, False)(images).shape == (2, 4, 1, 5)


def test_a_batch_is_of_one_ground() -> None:
    order = SimpleNamespace(distractors=None, count=23, batch_size=4, seed=0, epoch=1, start=0)
    kinds = np.repeat([0, 1, 2], [9, 8, 6])
    batches = who_speaks.OfLikeGround(order, kinds)
    first = list(batches)
    assert len(first) == 5 and len({i for batch in first for i in batch}) == 20
    assert sum(len(set(kinds[batch])) == 1 for batch in first) >= 4
    batches.epoch = 2
    assert order.epoch == 2 and list(batches) != first and list(batches) == list(batches)


def _photos(root: Path, voc: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 70), ("val", 4)):
        for i in range(count):
            path = root / part / "things" / f"{part}{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(path)
    for i in range(9):
        for folder in ("JPEGImages", "Annotations"):
            (voc / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(voc / "JPEGImages" / f"{i}.jpg")
        box = "<bndbox><xmin>20</xmin><ymin>20</ymin><xmax>45</xmax><ymax>45</ymax></bndbox>"
        size = "<size><width>60</width><height>60</height><depth>3</depth></size>"
        (voc / "Annotations" / f"{i}.xml").write_text(
            f"<annotation><filename>{i}.jpg</filename>{size}<object><name>cat</name>{box}</object></annotation>"
        )


@pytest.mark.slow
def test_a_run_is_judged_and_not_played_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _photos(tmp_path / "photos", tmp_path / "voc")
    monkeypatch.setattr(who_speaks, "_WORDS", (*who_speaks._WORDS, "--epochs", "1", "--batch-size", "32"))
    words = ["--root", str(tmp_path / "photos"), "--voc", str(tmp_path / "voc"), "--out", str(tmp_path / "who")]
    words += ["--arm", "domain", "ground", "conv"]
    assert who_speaks.main(words) == 0
    kept = tmp_path / "who" / "ground+conv+domain-0" / "judged.json"
    found = json.loads(kept.read_text())
    assert found["images"] == 3 and 0 <= found["speaker"][0] <= 1 and found["conv"] and not found["views"]
    at = kept.stat().st_mtime_ns
    assert who_speaks.main(words) == 0 and kept.stat().st_mtime_ns == at
    with pytest.raises(SystemExit):
        who_speaks.main([*words[:2], "--voc", str(tmp_path), "--out", str(tmp_path / "no")])
    assert "holds no images" in capsys.readouterr().err
