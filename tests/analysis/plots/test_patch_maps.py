"""Importance maps and the gallery: what they show, and which patches they pick."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from analysis.corpus.near_duplicates import distinct, thumbnails
from analysis.plots.patch_maps import confident_patches, heat_picture, importance_maps, symbol_gallery
from patchgame_egg.data.scenes import Scenes

Record = dict[str, object]


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        picture.load()
        return picture.size


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def where(picture: np.ndarray, color: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels of a colour in [0, 1]."""
    rows, columns = np.nonzero((np.abs(picture - 255 * color) <= 1).all(-1))
    return rows, columns


# ---------------------------------------------------------------------------------------------------- importance maps


@pytest.mark.parametrize(
    ("n", "shape", "grid", "titles", "expected"),
    [
        # A page is at least 3.8 inches wide, a pair 3.04; a row is 1.5 + 0.26 (title) + 0.06, the edges 1.0.
        (1, (32, 32), (2, 2), True, (570, 423)),
        (5, (64, 64), (8, 8), True, (1941, 696)),
        (5, (64, 64), (8, 8), False, (1941, 642)),
        (2, (56, 112), (28, 28), True, (981, 310)),
        (12, (32, 32), (1, 4), True, (1941, 969)),
    ],
)
def test_maps_have_the_expected_size(
    n: int,
    shape: tuple[int, int],
    grid: tuple[int, int],
    titles: bool,
    expected: tuple[int, int],
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    importance = rng.random((n, grid[0] * grid[1]))
    names = [r"a name like $\frac$ and so long that it cannot fit " * 3] * n if titles else None
    path = tmp_path / "new" / "folder" / "maps.png"
    images = rng.random((n, 3, *shape), dtype=np.float32)
    assert importance_maps(images, importance, importance > 0.5, path, grid=grid, titles=names) == path
    assert size(path) == expected


def test_maps_put_patches_where_they_are(tmp_path: Path) -> None:
    grid, importance = (2, 3), np.array([0.0, 0.1, 0.3, 0.6, 0.8, 1.0])
    image = np.zeros((3, 20, 30))
    path = importance_maps(image[None], importance[None], np.ones((1, 6), bool), tmp_path / "maps.png", grid=grid)
    colors = heat_picture(image, importance.reshape(grid), np.ones(grid, bool))[:, 5::10, 5::10]
    picture = pixels(path)[:-128]  # above the legend
    rows, columns = np.transpose([[np.median(v) for v in where(picture, c)] for c in colors.reshape(3, 6).T])
    np.testing.assert_allclose(np.diff(rows.reshape(grid), axis=0), 75, atol=2)  # half of 1 inch at 150 dots
    np.testing.assert_allclose(np.diff(rows.reshape(grid), axis=1), 0, atol=2)
    np.testing.assert_allclose(np.diff(columns.reshape(grid), axis=1), 75, atol=2)
    assert where(picture, np.zeros(3))[1].max() < columns.min()  # the image itself is on the left


def test_heat_picture_is_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    image, importance, spoken = rng.random((3, 6, 8)), rng.random((3, 2)), rng.random((3, 2)) < 0.5
    expected = np.empty((3, 6, 8))
    for y in range(6):
        for x in range(8):
            cell = y // 2, x // 4
            heat = mpl.colormaps["RdYlBu_r"](importance[cell])[:3]
            for c in range(3):
                light = 0.6 * heat[c] + 0.4 * (0.4 + 0.6 * image[:, y, x].mean())
                expected[c, y, x] = light if spoken[cell] else 0.6 * light
    np.testing.assert_allclose(heat_picture(image, importance, spoken), expected)


def test_red_is_important_and_dark_is_silent() -> None:
    image = np.full((3, 1, 4), 0.5)
    red, _, blue = heat_picture(image, np.array([[1.0, 0.0, 1.0, 0.0]]), np.array([[True, True, False, False]]))
    assert red[0, 0] > blue[0, 0] and red[0, 2] > blue[0, 2]
    assert red[0, 1] < blue[0, 1] and red[0, 3] < blue[0, 3]
    assert red[0, 2] < red[0, 0] and blue[0, 3] < blue[0, 1]


def test_maps_of_equal_importance_and_of_silence(tmp_path: Path) -> None:
    images, even = np.zeros((2, 3, 8, 8)), np.full((2, 4), 0.5)
    for spoken in (np.zeros((2, 4), bool), np.ones((2, 4), bool)):
        importance_maps(images, even, spoken, tmp_path / "maps.png", grid=(2, 2))


def maps(path: Path, **changes: object) -> None:
    good = {
        "images": np.zeros((2, 3, 8, 12)),
        "importance": np.zeros((2, 6)),
        "spoken": np.zeros((2, 6), bool),
        "grid": (2, 3),
    }
    importance_maps(path=path, **(good | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((2, 8, 12, 3))}, r"images has shape \(2, 8, 12, 3\): expected \[N, 3, H, W\]"),
        ({"images": np.zeros((0, 3, 8, 12))}, "at least one image"),
        ({"images": np.zeros((2, 3, 8, 12), np.uint8)}, "type uint8.*divide bytes by 255"),
        ({"importance": np.zeros((2, 7))}, r"importance has shape \(2, 7\): expected \(2, 6\)"),
        ({"importance": np.zeros((2, 6), int)}, "importance is of type int64: expected floats"),
        ({"importance": np.full((2, 6), 49.0)}, r"runs from 49 to 49: give probabilities in \[0, 1\]"),
        ({"importance": np.full((2, 6), np.nan)}, "give probabilities"),
        ({"spoken": np.zeros((3, 6), bool)}, r"spoken has shape \(3, 6\): expected \(2, 6\)"),
        ({"spoken": np.zeros((2, 6), int)}, "spoken is of type int64: expected booleans"),
        ({"grid": (3, 2)}, r"grid of \(3, 2\) patches does not divide images of \(8, 12\)"),
        ({"grid": (0, 3)}, r"grid of \(0, 3\)"),
        ({"titles": ["one"]}, "1 titles for 2 images"),
    ],
)
def test_maps_say_what_is_wrong(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        maps(tmp_path / "bad.png", **changes)
    assert not (tmp_path / "bad.png").exists()


# ------------------------------------------------------------------------------------------------------ symbol gallery


def slow_selection(
    symbols: np.ndarray, spoken: np.ndarray, confidence: np.ndarray, num_symbols: int, per_symbol: int
) -> list[tuple[int, float, list[tuple[int, int]]]]:
    counts: dict[int, int] = {}
    for n, p, j in np.ndindex(*symbols.shape):
        if spoken[n, p]:
            counts[int(symbols[n, p, j])] = counts.get(int(symbols[n, p, j]), 0) + 1
    result = []
    for symbol in sorted(counts, key=lambda s: (-counts[s], s))[:num_symbols]:
        best: dict[int, tuple[float, int]] = {}
        for n, p, j in np.ndindex(*symbols.shape):
            if spoken[n, p] and symbols[n, p, j] == symbol:
                best[n] = max(best.get(n, (-1.0, -1)), (float(confidence[n, p, j]), p))
        order = sorted(best, key=lambda n: -best[n][0])[:per_symbol]
        result.append((symbol, counts[symbol] / sum(counts.values()), [(n, best[n][1]) for n in order]))
    return result


def random_language(
    n: int, patches: int, length: int, vocabulary: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    symbols = np.minimum(rng.geometric(2 / vocabulary, (n, patches, length)) - 1, vocabulary - 1)
    return symbols, rng.random((n, patches)) < 0.4, rng.random((n, patches, length))


@pytest.mark.parametrize(
    ("n", "patches", "length", "vocabulary", "num_symbols", "per_symbol"),
    [(12, 9, 1, 8, 5, 4), (6, 16, 3, 12, 16, 6), (3, 4, 1, 200, 16, 6), (1, 5, 2, 2, 2, 1), (40, 4, 1, 3, 2, 50)],
)
def test_selection_is_a_slow_loop(
    n: int, patches: int, length: int, vocabulary: int, num_symbols: int, per_symbol: int
) -> None:
    for seed in range(5):
        language = random_language(n, patches, length, vocabulary, seed)
        found = confident_patches(*language, num_symbols=num_symbols, per_symbol=per_symbol)
        plain = [(f.symbol, f.share, list(zip(f.images.tolist(), f.patches.tolist(), strict=True))) for f in found]
        assert plain == slow_selection(*language, num_symbols, per_symbol)
        assert all(len(set(f.images.tolist())) == len(f.images) for f in found)


def test_selection_with_saturated_confidence_is_not_the_first_images() -> None:
    symbols, spoken = np.zeros((500, 4, 1), int), np.ones((500, 4), bool)
    (found,) = confident_patches(symbols, spoken, np.ones((500, 4, 1)), per_symbol=6)
    (again,) = confident_patches(symbols, spoken, np.ones((500, 4, 1)), per_symbol=6)
    assert len(set(found.images.tolist())) == 6 and found.images.max() > 50
    assert found.images.tolist() == again.images.tolist() and found.patches.tolist() == [0] * 6


def test_selection_skips_near_duplicates_image_by_image() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.random((6, 3, 16, 24))
    which = rng.integers(0, 6, 40)
    images = kinds[which] + rng.normal(0, 0.001, (40, 3, 16, 24))
    symbols, spoken, confidence = random_language(40, 4, 1, 3, 1)
    plain = confident_patches(symbols, spoken, confidence, per_symbol=40)
    for most in (2, 4, 40):
        found = confident_patches(symbols, spoken, confidence, per_symbol=most, images=images)
        for with_images, without in zip(found, plain, strict=True):
            best: dict[int, tuple[int, int]] = {}
            for image, patch in zip(without.images.tolist(), without.patches.tolist(), strict=True):
                best.setdefault(int(which[image]), (image, patch))
            expected = list(best.values())[:most]
            assert list(zip(with_images.images.tolist(), with_images.patches.tolist(), strict=True)) == expected
            assert with_images.share == without.share
    with pytest.raises(ValueError, match="39 images for 40 messages"):
        confident_patches(symbols, spoken, confidence, images=images[:39])


def test_thumbnail_is_the_mean_over_areas() -> None:
    rng = np.random.default_rng(0)
    images = rng.random((300, 3, 16, 24))
    expected = images.reshape(300, 3, 8, 2, 8, 3).mean((3, 5))
    np.testing.assert_allclose(thumbnails(images), expected)
    np.testing.assert_allclose(thumbnails((255 * images).astype(np.uint8)), 255 * expected, atol=1)
    # Any size: copies of each pixel side by side change nothing but make 8 divide the sides.
    odd = rng.random((2, 3, 5, 30))
    np.testing.assert_allclose(thumbnails(odd), thumbnails(odd.repeat(8, 2).repeat(4, 3)))
    assert thumbnails(np.zeros((0, 3, 8, 8))).shape == (0, 3, 8, 8)


def test_scenes_are_all_distinct() -> None:
    scenes = Scenes(300)
    images = np.stack([scenes.scene(i).image for i in range(300)])
    assert len(distinct(thumbnails(images), 300)) == 300


def test_copies_saved_anew_count_as_one() -> None:
    # As rich in contrast as a photo is.
    scene, copies = Scenes(4, 96).scene(3).image.transpose(1, 2, 0), []
    for quality, side in ((95, 96), (60, 96), (80, 72), (90, 128)):
        file = io.BytesIO()
        Image.fromarray(scene).resize((side, side), Image.Resampling.BILINEAR).save(file, "jpeg", quality=quality)
        copies.append(thumbnails(np.asarray(Image.open(file)).transpose(2, 0, 1)[None])[0])
    assert distinct(np.stack(copies), 9).tolist() == [0]


def test_small_shapes_on_empty_grey_are_distinct() -> None:
    images = np.full((5, 3, 64, 64), 211, np.uint8)
    for n, (y, x) in enumerate([(10, 10), (10, 14), (40, 20), (40, 20)]):
        images[n, 2, y : y + 6, x : x + 6] = 0
    small = thumbnails(images)
    assert np.abs(small[0] - small[2]).mean() < 255 * 0.005  # nearly nothing, measured absolutely
    assert distinct(small, 9).tolist() == [0, 1, 2, 4]


def test_flat_images_are_the_same_only_if_equal() -> None:
    small = np.repeat([0.5, 0.5, 0.501, 0.0], 3 * 64).reshape(4, 3, 8, 8)
    assert distinct(small, 4).tolist() == [0, 2, 3]
    assert distinct(small, 2).tolist() == [0, 2] and distinct(small[:0], 2).tolist() == []


def test_selection_of_nothing() -> None:
    symbols, _, confidence = random_language(3, 4, 1, 5, 0)
    assert confident_patches(symbols, np.zeros((3, 4), bool), confidence) == []


@pytest.mark.slow
def test_gallery_shows_exactly_the_selected_patches(tmp_path: Path) -> None:
    grid, n = (2, 3), 7
    symbols, spoken, confidence = random_language(n, 6, 1, 6, 3)
    # Every patch of every image has a colour of its own.
    codes = np.random.default_rng(1).permutation(6**3)[: n * 6]
    colors = np.stack(np.unravel_index(codes, (6, 6, 6)), -1) / 8 + 0.1
    images = colors.reshape(n, *grid, 3).transpose(0, 3, 1, 2).repeat(4, 2).repeat(5, 3)
    path = tmp_path / "gallery.png"
    assert symbol_gallery(images, symbols, spoken, confidence, path, grid=grid, num_symbols=3, per_symbol=2) == path
    picture = pixels(path)
    chosen = slow_selection(symbols, spoken, confidence, 3, 2)
    middles = {}
    for code, color in enumerate(colors):
        rows, columns = where(picture, color)
        if len(rows) > 1000:
            middles[divmod(code, 6)] = np.median(rows), np.median(columns)
    assert set(middles) == {patch for _, _, patches in chosen for patch in patches}
    for _, _, patches in chosen:  # a symbol's patches stand below each other, best first
        # Versions of matplotlib place an edge up to half a pixel apart.
        assert np.ptp([middles[p][1] for p in patches]) <= 1
        assert [middles[p][0] for p in patches] == sorted(middles[p][0] for p in patches)
    across = [middles[patches[0]][1] for _, _, patches in chosen]
    assert across == sorted(across)


@pytest.mark.parametrize(
    ("vocabulary", "num_symbols", "per_symbol", "titles", "expected"),
    [
        # At least 6 inches wide; 16 columns of 0.87. High: 0.4 + blocks of 0.54 + rows of 0.81, or 0.95 with titles.
        (4, 16, 6, False, (900, 870)),
        (60, 16, 6, False, (2118, 870)),
        (60, 16, 6, True, (2118, 996)),
        (60, 20, 2, False, (2118, 708)),
    ],
)
def test_gallery_has_the_expected_size(
    vocabulary: int, num_symbols: int, per_symbol: int, titles: bool, expected: tuple[int, int], tmp_path: Path
) -> None:
    symbols, spoken, confidence = random_language(30, 16, 1, vocabulary, 0)
    path = symbol_gallery(
        np.random.default_rng(0).random((30, 3, 16, 16)),
        symbols,
        spoken,
        confidence,
        tmp_path / "gallery.png",
        grid=(4, 4),
        num_symbols=num_symbols,
        per_symbol=per_symbol,
        titles=["a long class name"] * 30 if titles else None,
    )
    assert size(path) == expected


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float, str]]:
    """What is written on pages, with its place in inches."""
    texts: list[tuple[float, float, str]] = []
    original = Axes.text

    def text(ax: Axes, x: float, y: float, s: str, **more: Any) -> object:
        texts.append((x, y, s))
        return original(ax, x, y, s, **more)

    monkeypatch.setattr(Axes, "text", text)
    return texts


def test_gallery_writes_names_between_id_and_share(tmp_path: Path, written: list[tuple[float, float, str]]) -> None:
    images, grid = np.random.default_rng(0).random((12, 3, 16, 16)), (2, 2)
    symbols, spoken, confidence = random_language(12, 4, 1, 4, 0)
    first, second, third = (f.symbol for f in confident_patches(symbols, spoken, confidence)[:3])
    names = {first: "stripes $x", second: "a name that is too long to fit", 99: "nothing says 99"}
    more: dict[str, Any] = {"grid": grid, "num_symbols": 3, "per_symbol": 2}
    plain = symbol_gallery(images, symbols, spoken, confidence, tmp_path / "plain.png", **more)
    without = [s for _, _, s in written]
    written.clear()
    named = symbol_gallery(images, symbols, spoken, confidence, tmp_path / "named.png", **more, names=names)
    assert size(named)[1] - size(plain)[1] == pytest.approx(0.15 * 150, abs=1)
    columns = {
        symbol: [s for _, _, s in sorted(w for w in written if w[0] == x and w[1] > 0.4)]
        for symbol, x in ((int(s), x) for x, _, s in written if s.isdigit())
    }
    assert columns[first][1] == "stripes $x"
    assert columns[second][1].startswith("a name") and columns[second][1].endswith("…")
    assert columns[third][1] == "" and columns[third][2].endswith("%")
    shared = [s for _, _, s in written if s and s not in (columns[first][1], columns[second][1])]
    assert shared == without and "nothing says 99" not in shared


def test_gallery_shows_near_duplicates_once(tmp_path: Path) -> None:
    images = np.zeros((6, 3, 8, 8))
    images[:3, :, :, 4:] = [[[0.8]], [[0.2]], [[0.1]]]
    images[3:, :, 4:] = [[[0.1]], [[0.7]], [[0.2]]]
    spoken, symbols = np.ones((6, 1), bool), np.zeros((6, 1, 1), int)
    confidence = np.linspace(1, 0.5, 6).reshape(6, 1, 1)
    path = symbol_gallery(images, symbols, spoken, confidence, tmp_path / "gallery.png", grid=(1, 1))
    picture = pixels(path)
    for color in ([0.8, 0.2, 0.1], [0.1, 0.7, 0.2]):  # half a cell of 0.75 inches, less its frame
        assert len(where(picture, np.array(color))[0]) == pytest.approx(112 * 56, rel=0.1)


def test_gallery_of_silence_says_so(tmp_path: Path, written: list[tuple[float, float, str]]) -> None:
    symbols, _, confidence = random_language(2, 4, 1, 5, 0)
    path = symbol_gallery(
        np.ones((2, 3, 8, 8)), symbols, np.zeros((2, 4), bool), confidence, tmp_path / "gallery.png", grid=(2, 2)
    )
    assert [s for _, _, s in written] == ["No patch speaks: there are no symbols to show."]
    assert size(path) == (900, 60)
    assert pixels(path).min() < 100


def gallery(path: Path, **changes: object) -> None:
    good = {
        "images": np.zeros((2, 3, 8, 12)),
        "symbols": np.zeros((2, 6, 2), int),
        "spoken": np.ones((2, 6), bool),
        "confidence": np.zeros((2, 6, 2)),
        "grid": (2, 3),
    }
    symbol_gallery(path=path, **(good | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((3, 3, 8, 12))}, r"symbols has shape \(2, 6, 2\): expected \(3, 6, L\)"),
        ({"symbols": np.zeros((2, 6), int)}, r"symbols has shape \(2, 6\): expected \[N, P, L\]"),
        ({"symbols": np.zeros((2, 6, 2))}, "symbols is of type float64: expected integers"),
        ({"symbols": np.zeros((2, 6, 1), int)}, r"confidence has shape \(2, 6, 2\): expected \(2, 6, 1\)"),
        ({"spoken": np.ones((2, 6, 2), bool)}, r"spoken has shape \(2, 6, 2\): expected \(2, 6\)"),
        ({"spoken": np.ones((2, 6))}, "spoken is of type float64: expected booleans"),
        ({"grid": (4, 3)}, r"symbols has shape \(2, 6, 2\): expected \(2, 12, L\)"),
        ({"num_symbols": 0}, "6 patches of 0 symbols: both must be at least 1"),
        ({"titles": ["one"]}, "1 titles for 2 images"),
    ],
)
def test_gallery_says_what_is_wrong(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        gallery(tmp_path / "bad.png", **changes)
    assert not (tmp_path / "bad.png").exists()
