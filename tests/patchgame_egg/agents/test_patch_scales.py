"""Patches of several sizes in one message: where they lie, what they say, who speaks, and what follows from it."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from analysis.__main__ import main as analyse
from analysis.corpus.annotation_table import NotedObject, Notes
from analysis.corpus.annotations import annotate_files, annotate_scenes, patch_shares
from analysis.corpus.corpus import Corpus
from analysis.corpus.json_lines import read_json_lines, write_json_lines
from analysis.corpus.loading import load
from analysis.evaluation.table import measure
from analysis.metrics.patch_importance import centre_prior, edge_density, importance_scores
from analysis.plots.patch_maps import heat_picture, importance_maps, symbol_gallery
from analysis.report.page import render
from analysis.report.thumbnails import SIDE, symbol_sheets
from games.build.agents import build_game, build_speaker
from games.options.command_line import parse
from games.patchgame import main
from patchgame_egg.agents.patch_speaker import PatchFeatures, PatchRank, PatchSymbol, PatchSymbols
from patchgame_egg.channels.patch import PatchChannel
from patchgame_egg.data.images import ImageFiles
from patchgame_egg.data.scenes import Scenes
from patchgame_egg.patches import by_grid, grid_shapes, patch_boxes, patch_sizes, square_grid
from tests.support.browser import CHROMIUM, Browser
from tests.support.synthetic_corpus import scene_corpus
from tests.support.tiny import TINY

SIZE, S, V, L = 32, 8, 7, 2
GRID = (SIZE // S, SIZE // S)
P = 16 + 4 + 1


def images(rows: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(rows, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


# Where they lie


def test_boxes_are_a_slow_loop() -> None:
    expected = [
        [row, column, side]
        for side in (1, 2, 4)
        for row in range(0, 8, side)
        for column in range(0, 4, side)
    ]  # fmt: skip
    boxes = patch_boxes((8, 4), 3)
    assert boxes.tolist() == expected and boxes.dtype == np.int64
    assert grid_shapes((8, 4), 3) == [(8, 4), (4, 2), (2, 1)]
    fine, _, coarse = by_grid(boxes[:, 1], (8, 4), 3)
    assert fine[5].tolist() == [0, 1, 2, 3] and coarse.tolist() == [[0], [0]]
    assert patch_boxes((2, 3)).tolist() == [[r, c, 1] for r in range(2) for c in range(3)]


def test_square_grids_are_found_by_their_number_of_patches() -> None:
    for side in range(1, 20):
        for scales in (1, 2, 3):
            if side % 2 ** (scales - 1) == 0:
                assert square_grid(len(patch_boxes((side, side), scales)), scales) == (side, side)
    assert square_grid(18) is square_grid(0) is square_grid(36, 2) is square_grid(46, 2) is None


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: patch_sizes(48, 8, 3), "patches of 8, 16, 32 px: 32 does not divide image size 48.*of 64 px"),
        (lambda: patch_sizes(48, 7, 2), "patch size 7 does not divide image size 48"),
        (lambda: patch_sizes(48, 8, 0), "0 sizes of patches: at least 1"),
        (lambda: patch_boxes((6, 4), 3), r"a grid of \(6, 4\) patches does not make 3 grids"),
        (lambda: PatchRank(48, 8, scales=3), "32 does not divide"),
        (lambda: parse(["--patch-scales", "3"]), "32 does not divide"),
        (lambda: parse(["--patch-scales", "0"]), "0 sizes"),
        (lambda: parse(["--speaker", "lstm", "--patch-scales", "2"]), "--patch-scales goes with --speaker patch, not"),
        (lambda: parse(["--patch-scales", "2", "--keep", "46"]), "--keep 46: an image of 48 px has 45 patches"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(ask: object, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        ask()  # type: ignore[operator]
    assert "\n" not in str(error.value)


def test_lengths_count_the_patches_of_all_sizes() -> None:
    def config(*options: str) -> SimpleNamespace:
        found = parse(options).config
        return SimpleNamespace(grid=found.grid, patches=found.patches, slots=found.slots, keep=found.keep)

    assert vars(config("--patch-scales", "2", "--symbols-per-patch", "3", "--keep-fraction", "0.2")) == {
        "grid": 6, "patches": 45, "slots": 135, "keep": 9
    }  # fmt: skip
    assert vars(config("--keep-fraction", "0.2")) == {"grid": 6, "patches": 36, "slots": 36, "keep": 7}
    assert config("--speaker", "gru", "--max-len", "5").slots == 5


# What they say, and who speaks


@pytest.mark.parametrize("channel", ["gumbel", "quantised"])
def test_logits_are_a_slow_loop_that_cuts_patches(channel: str, tiny: list[str]) -> None:
    options = ["--patch-scales", "3", "--symbols-per-patch", str(L), "--code-dim", "5", "--channel", channel]
    game = build_game(parse([*tiny, *options, "--logit-scale", "0"]).config)
    symbol = game.sender.symbol
    for part in symbol.sizes:
        part.standardise = None  # which quantised codes always have
    assert isinstance(symbol, PatchSymbols) and len({tuple(part.mlp[0].weight.shape) for part in symbol.sizes}) == 3
    x = images()
    logits = symbol(x)
    outputs = 5 if channel == "quantised" else 16
    assert logits.shape == (2, P, L, outputs)
    for image in range(2):
        for patch, (row, column, side) in enumerate((patch_boxes(GRID, 3) * S).tolist()):
            mlp = symbol.sizes[{8: 0, 16: 1, 32: 2}[side]].mlp
            pixels = x[image, :, row : row + side, column : column + side].reshape(-1).double()
            hidden = (mlp[0].weight.double() @ pixels + mlp[0].bias.double()).clamp(min=0)
            expected = mlp[2].weight.double() @ hidden + mlp[2].bias.double()
            torch.testing.assert_close(logits[image, patch].flatten().double(), expected, atol=1e-5, rtol=1e-5)


def test_symbols_of_each_size_are_standardised_on_their_own(tiny: list[str]) -> None:
    symbol = build_game(parse([*tiny, "--patch-scales", "2", "--logit-scale", "3"]).config).sender.symbol
    logits = symbol(images(64))
    for part in (logits[:, :16], logits[:, 16:]):
        flat = part.flatten(0, 1).flatten(1)
        torch.testing.assert_close(flat.std(0, correction=0), torch.full((16,), 3.0), atol=0.02, rtol=0)


def test_scores_are_means_over_each_patch_with_weights_of_its_size() -> None:
    rank = PatchRank(SIZE, S, width=4, scales=3, padding="zeros").eval()
    x = images()
    scores, features = rank(x), rank.trunk(x)  # one feature a cell of the finest grid
    assert scores.shape == (2, P) and features.shape[2:] == GRID
    above = 0
    for patch, (row, column, side) in enumerate(patch_boxes(GRID, 3).tolist()):
        scale = side.bit_length() - 1
        mean = features[:, :, row : row + side, column : column + side].mean(dim=(2, 3))
        expected = mean @ rank.score.weight[scale] + rank.score.bias[scale]
        torch.testing.assert_close(scores[:, patch], expected, atol=1e-5, rtol=1e-5)
        if side == 2:
            within = scores[:, :16].view(2, 4, 4)[:, row : row + 2, column : column + 2].flatten(1)
            above += int((scores[:, patch] > within.amax(dim=1)).sum() + (scores[:, patch] < within.amin(dim=1)).sum())
    assert above, "a patch always scores between those within it: sizes cannot compete"


def test_one_ranking_over_all_sizes_decides_who_speaks() -> None:
    scores = torch.randn(5, P, generator=torch.Generator().manual_seed(3)) * 100
    features = PatchFeatures(torch.randn(5, P, L, V), scores, scales=3)
    message = PatchChannel(rank_strength=1e-3).eval()(features)
    place = scores.argsort(dim=1).argsort(dim=1) + 1
    torch.testing.assert_close(message.keep_prob, place / P)
    assert torch.equal(message.mask.view(5, P, L).all(dim=2), place / P >= 0.5) and message.mask.shape == (5, P * L)
    alone = PatchChannel(keep=1).eval()(replace(features, scores=scores.index_fill(1, torch.tensor([18]), 1e4)))
    assert alone.mask.view(5, P, L).nonzero()[:, 1].unique().tolist() == [18]


def test_every_parameter_gets_a_gradient(tiny: list[str]) -> None:
    game = build_game(parse([*tiny, "--patch-scales", "3"]).config)
    game(images(8), None, images(8, seed=1))[0].backward()
    still = [n for n, p in game.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not still, "of several sizes even the bias of the scores matters"


def test_one_size_is_the_game_of_the_paper(tiny: list[str]) -> None:
    torch.manual_seed(0)
    symbol, rank = PatchSymbol(SIZE, S, 16, 1, 16, 6.0), PatchRank(SIZE, S, 4, padding="zeros")
    torch.manual_seed(0)
    speaker, _ = build_speaker(
        parse([*tiny, "--patch-scales", "1", "--rank-padding", "zeros", "--no-rank-mirrored"]).config, seed=0
    )
    expected = {f"symbol.{k}": v for k, v in symbol.state_dict().items()}
    expected |= {f"rank.{k}": v for k, v in rank.state_dict().items()}
    state = speaker.state_dict()
    assert list(state) == list(expected) and all(torch.equal(v, expected[k]) for k, v in state.items())
    assert not any("sizes" in name for name in state) and state["rank.score.weight"].shape == (1, 32)
    x = images()
    found = speaker(x)
    # As before there were several sizes, bit for bit.
    patches = x.reshape(2, 3, 4, S, 4, S).permute(0, 2, 4, 1, 3, 5).reshape(2, 16, -1)
    logits = F.batch_norm(symbol.mlp(patches).flatten(0, 1), None, None, training=True) * 6.0
    cells = F.adaptive_avg_pool2d(rank.trunk(x), 4)
    assert torch.equal(found.logits, logits.view(2, 16, 1, 16)) and found.scales == 1
    assert torch.equal(found.scores, rank.score(cells.flatten(2).mT).squeeze(2))


# What follows


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Scenes of 32 px and a language at random, of patches of three sizes, annotated."""
    rng, scenes = np.random.default_rng(0), Scenes(24, SIZE)
    blank = Corpus(
        rng.integers(0, V, (24, P)), rng.random((24, P)) < 0.5, V, grid=GRID, scales=3,
        keep_prob=rng.random((24, P), dtype=np.float32), confidence=rng.random((24, P), dtype=np.float32),
        images=np.stack([scenes.scene(i).image for i in range(24)]), info={"index": list(range(24))},
    )  # fmt: skip
    return annotate_scenes(blank, scenes)


def test_scenes_are_annotated_grid_by_grid(described: Corpus) -> None:
    assert described.patch_attributes is not None and described.object_area is not None
    parts = [annotate_scenes(replace(described, grid=(n, n), scales=1), Scenes(24, SIZE)) for n in (4, 2, 1)]
    for name in ("patch_attributes", "object_area"):
        expected = np.concatenate([getattr(part, name) for part in parts], axis=1)
        np.testing.assert_allclose(getattr(described, name), expected, atol=1e-6)
    fine, coarse, whole = (described.object_area[:, a:b] for a, b in ((0, 16), (16, 20), (20, 21)))
    np.testing.assert_allclose(fine.reshape(24, 2, 2, 2, 2).mean(axis=(2, 4)).reshape(24, 4), coarse, atol=1e-6)
    np.testing.assert_allclose(coarse.mean(axis=1), whole[:, 0], atol=1e-6)
    assert described.symbols_per_patch == 1


def test_a_small_box_is_shown_by_the_patches_of_each_size_that_hold_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("RGB", (80, 80)).save(tmp_path / "a" / "1.png")
    source = ImageFiles([tmp_path / "a" / "1.png"], [0], ["a"], SIZE)
    blank = np.zeros((1, P), dtype=np.int64)
    corpus = Corpus(blank, blank == 0, 2, grid=GRID, scales=3, info={"index": [0]})
    # In the patch of row 1 and column 2, a tenth of it.
    notes = {"a/1.png": Notes({}, (NotedObject((50.0, 30.0, 58.0, 35.0), {"kind": "ant"}),))}
    found = annotate_files(corpus, notes, source, tmp_path).patch_attributes
    assert found is not None and np.flatnonzero(found[0, :, 0] == 0).tolist() == [6, 17, 20]


def test_rivals_of_importance_know_the_sizes(described: Corpus) -> None:
    boxes = patch_boxes((4, 8), 3)
    middles = (boxes[:, :2] + boxes[:, 2:] / 2) / (4, 8) - 0.5
    away = np.round((middles**2).sum(axis=1), 12)
    _, order = np.unique(-centre_prior((4, 8), 3), return_inverse=True)
    np.testing.assert_array_equal(order, np.unique(away, return_inverse=True)[1])
    assert described.images is not None
    parts = [edge_density(described.images, (n, n)) for n in (4, 2, 1)]
    np.testing.assert_allclose(edge_density(described.images, GRID, 3), np.concatenate(parts, axis=1))
    scores = importance_scores(
        described.object_area, described.object_area, GRID, scales=3, images=described.images  # type: ignore[arg-type]
    )  # fmt: skip
    assert scores.loc["speaker"].roc_auc == 1 and scores.n.iloc[0] > 10 and "edge density" in scores.index
    with pytest.raises(ValueError, match=r"a grid of \(4, 4\) and 1 coarser needs \[N, 20\]"):
        importance_scores(described.keep_prob, described.object_area, GRID, scales=2)  # type: ignore[arg-type]


def counted(path: Path, color: tuple[float, ...] | np.ndarray) -> int:
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return int((np.abs(picture - np.round(np.asarray(color) * 255)).max(axis=2) <= 1).sum())


def test_maps_show_each_size_beside_the_others(tmp_path: Path) -> None:
    black = np.zeros((1, 3, 8, 8))
    importance = np.array([[0.1] * 16 + [0.7] * 4])
    path = importance_maps(black, importance, np.ones((1, 20), bool), tmp_path / "maps.png", grid=(4, 4), scales=2)
    for value in (0.1, 0.7):
        heat = heat_picture(black[0], np.array([[value]]), np.ones((1, 1), bool))[:, 0, 0]
        assert counted(path, heat) == pytest.approx(225**2, rel=0.05), "a map of 1.5 inches is of one size alone"


def test_a_gallery_shows_patches_at_their_own_size(tmp_path: Path) -> None:
    pictures = np.full((2, 3, 8, 8), 0.5)
    pictures[0, :, 2:4, 4:6] = np.array([1.0, 0, 0])[:, None, None]  # row 1 and column 2 of the fine grid
    pictures[1, :, 4:, :4] = np.array([0, 0, 1.0])[:, None, None]  # row 1 and column 0 of the coarse grid
    spoken = np.zeros((2, 20), bool)
    spoken[0, 6] = spoken[1, 16 + 2] = True
    path = symbol_gallery(
        pictures, np.zeros((2, 20, 1), int), spoken, np.zeros((2, 20, 1)), tmp_path / "gallery.png", grid=(4, 4),
        scales=2,
    )  # fmt: skip
    cell = (0.75 * 150) ** 2
    assert counted(path, (0, 0, 1)) == pytest.approx(cell, rel=0.05)
    assert counted(path, (1, 0, 0)) == pytest.approx(cell / 4, rel=0.05)


def test_sheets_show_a_patch_of_any_size_in_the_middle() -> None:
    pictures = np.full((1, 3, 64, 64), 40, dtype=np.uint8)
    pictures[0, :, 16:32, 32:48] = 220
    blank = np.zeros((1, 80), dtype=np.int64)
    said = blank > 0
    said[0, 64 + 4 * 1 + 2] = True
    corpus = Corpus(blank, said, 2, grid=(8, 8), scales=2, images=pictures, confidence=np.zeros((1, 80), np.float32))
    uri, count = symbol_sheets(corpus)[0]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("L")).astype(int)
    # Twice as much as the patch is shown.
    near, far = SIDE // 4, 3 * SIDE // 4
    assert count == 1 and sheet.shape == (SIDE, SIDE) and (sheet[near + 5 : far - 5, near + 5 : far - 5] > 200).all()
    assert (sheet[5 : near - 5, 5:-5] < 60).all() and (sheet[5:-5, far + 5 : -5] < 60).all()


def test_corpora_keep_the_sizes(described: Corpus, tmp_path: Path) -> None:
    described.save(tmp_path / "corpus.npz")
    write_json_lines(described, tmp_path / "lines.jsonl")
    for found in (Corpus.load(tmp_path / "corpus.npz"), read_json_lines(tmp_path / "lines.jsonl")):
        assert (found.grid, found.scales, len(found.boxes)) == (GRID, 3, P)
    plain = scene_corpus(3)
    assert plain.scales == 1 and plain.boxes[:, 2].tolist() == [1] * 36 and replace(plain, grid=None).boxes.size == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with patches of two sizes, from training to the report, over 16 and 8 small scenes."""
    folder = tmp_path_factory.mktemp("sizes")
    for part, count in (("train", 16), ("val", 8)):
        (folder / "photos" / part).mkdir(parents=True)
        scenes = Scenes(count, 36, split=part)
        for i in range(count):
            picture = Image.fromarray(scenes.scene(i).image.transpose(1, 2, 0))
            picture.save(folder / "photos" / part / f"{i:02d}.png")
    options = ["--data", "folder", "--root", str(folder / "photos"), "--out", str(folder), "--name", "run", "--corpus"]
    assert main([*TINY, *options, "--epochs", "1", "--no-tensorboard", "--patch-scales", "2"]) == 0
    assert analyse([str(folder / "run"), "--permutations", "9"]) == 0
    return folder / "run"


@pytest.mark.slow
def test_a_run_goes_all_the_way_to_the_report(run: Path) -> None:
    assert {p.name for p in run.iterdir()} >= {"metrics.json", "importance.png", "gallery.png", "report.html"}
    corpus = load(run)
    assert (corpus.grid, corpus.scales, corpus.symbols_per_patch) == (GRID, 2, 1)
    assert corpus.symbols.shape == (8, 20) and corpus.keep_prob is not None and corpus.keep_prob.shape == (8, 20)
    assert corpus.info["config"]["speaker"]["patch_scales"] == 2 and "positions permuted" in corpus.probes
    np.testing.assert_allclose(corpus.keep_prob.sum(axis=1), 21 / 2, rtol=1e-4)
    page = (run / "report.html").read_text()
    assert "of patches, 4 by 4 and 2 by 2" in page and "They have 2 sizes" in page


@pytest.mark.process
def test_the_page_shows_patches_of_every_size(described: Corpus, tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("the page is looked at in Chromium, which is not installed")
    (tmp_path / "page.html").write_text(render(described, measure(described, permutations=0), permutations=2))
    tab = Browser(tmp_path / "profile")
    maps, boxes = "[...document.querySelectorAll('[data-map]')].map(f => f.{})", described.boxes
    try:
        tab.open(tmp_path / "page.html")
        assert tab.run(maps.format("dataset.bright")) == list(map(str, described.mask.sum(axis=1)))
        cover = np.zeros((24, *GRID), dtype=bool)
        for item, patch in np.argwhere(described.mask):
            row, column, side = boxes[patch]
            cover[item, row : row + side, column : column + side] = True
        veils = tab.run(maps.format("querySelector('.veil').getAttribute('d').split('M').length - 1"))
        assert veils == (~cover).sum(axis=(1, 2)).tolist() and sum(veils) > 0
        # A tap finds the smallest patch that speaks there, and outlines whatever says the same, in its size.
        item = next(i for i in range(24) if described.mask[i, 16] and not described.mask[i, 0])
        tab.run(f"""(() => {{ const map = document.querySelector('[data-map="{item}"] .map');
            const box = map.getBoundingClientRect(); map.dispatchEvent(new MouseEvent('click', {{
            clientX: box.left + box.width / 8, clientY: box.top + box.height / 8 }})) }})()""")
        symbol = described.symbols[item, 16]
        assert tab.run("location.hash") == f"#symbol={symbol}"
        said = described.mask & (described.symbols == symbol)
        outlines = ["".join(f"M{c} {r}h{side}v{side}h-{side}z" for r, c, side in boxes[row]) for row in said]
        assert tab.run(maps.format("querySelector('.hit').getAttribute('d')")) == outlines
        assert tab.complaints == []
    finally:
        tab.close()


def test_shares_of_several_grids_stand_side_by_side() -> None:
    maps = np.random.default_rng(0).random((2, 16, 16))
    share, area = patch_shares(maps, (4, 8), 2)
    assert share.shape == (2, 40) and area.shape == (40,)
    np.testing.assert_allclose(share[:, 32:], maps.reshape(2, 2, 8, 4, 4).mean(axis=(2, 4)).reshape(2, 8))
