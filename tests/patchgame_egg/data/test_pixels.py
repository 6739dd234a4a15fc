"""Every kind of picture becomes the bytes that are to be seen, wherever it is opened; what has no range is refused."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, TiffImagePlugin

from analysis.detection.voc import VocImages
from games.shards import main as write_shards
from patchgame_egg.data.gpu_jpeg import is_plain
from patchgame_egg.data.images import ImageFiles
from patchgame_egg.data.loader import ImageLoader
from patchgame_egg.data.names import image_suffixes
from patchgame_egg.data.pixels import BACKGROUND, UnreadableImage, read_rgb, shown_size, to_rgb
from patchgame_egg.data.shards import shard_sets

NOISE = np.random.default_rng(0).integers(0, 65536, (64, 64)).astype(np.uint16)
TURNS = {
    1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud,
    5: lambda x: np.transpose(x, (1, 0, 2)), 6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(np.transpose(x, (1, 0, 2)), 2), 8: lambda x: np.rot90(x, 1),
}  # fmt: skip


def stored(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def grey(data: bytes) -> np.ndarray:
    pixels = read_rgb(data)
    assert pixels.dtype == torch.uint8 and pixels.shape[0] == 3
    assert torch.equal(pixels[0], pixels[1]) and torch.equal(pixels[0], pixels[2])
    return pixels[0].numpy()


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG2000"])
def test_sixteen_bits_are_scaled_by_their_range(format: str) -> None:
    options = {"irreversible": False} if format == "JPEG2000" else {}
    found = grey(stored(Image.fromarray(NOISE), format, **options))
    assert np.array_equal(found, np.round(NOISE / 257)) and abs(found.mean() - 127.5) < 1.5
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    assert np.abs(grey(stored(Image.fromarray(ramp), format, **options)).ravel().astype(int) - np.arange(256)).max() < 2


def test_dark_grey_of_sixteen_bits_stays_dark() -> None:
    assert grey(stored(Image.fromarray(np.full((8, 8), 3000, np.uint16)), "PNG"))[0, 0] == 12
    pgm = b"P5 2 1 65535\n" + struct.pack(">2H", 3000, 65535)
    assert grey(pgm).tolist() == [[12, 255]]
    assert grey(b"P5 2 1 4095\n" + struct.pack(">2H", 3000, 4095)).tolist() == [[187, 255]]
    big = Image.fromarray(np.full((8, 8), 3000, np.uint16)).tobytes("raw", "I;16B")
    assert to_rgb(Image.frombytes("I;16B", (8, 8), big)).unique().tolist() == [12]


def test_colors_of_sixteen_bits_are_scaled() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        import zlib

        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    import zlib

    row = b"\0" + struct.pack(">6H", 3000, 65535, 0, 32768, 257, 514)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", 2, 1, 16, 2, 0, 0, 0))
    png += chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    found = read_rgb(png)[:, 0].T.int()
    assert (found - torch.tensor([[12, 255, 0], [128, 1, 2]])).abs().max() <= 1


def tiff(image: Image.Image, tags: dict[int, tuple[int, Any]]) -> bytes:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, (kind, value) in tags.items():
        info.tagtype[tag] = kind
        info[tag] = value
    return stored(image, "TIFF", tiffinfo=info)


def test_white_may_be_zero_and_a_float_tiff_may_state_its_range() -> None:
    deep = Image.fromarray(np.array([[0, 65535, 3000]], np.uint16))
    data = bytearray(stored(deep, "TIFF"))
    at = data.find(struct.pack("<HHI", 262, 3, 1)) + 8
    data[at : at + 2] = struct.pack("<H", 0)
    assert grey(bytes(data)).tolist() == [[255, 0, 243]]
    floats = Image.fromarray(np.array([[0.0, 0.5, 2.0, np.nan]], np.float32))
    assert grey(tiff(floats, {340: (11, 0.0), 341: (11, 1.0)})).tolist() == [[0, 128, 255, 0]]


@pytest.mark.parametrize(
    "values", [np.random.default_rng(0).random((8, 8), np.float32), NOISE.astype(np.int32)], ids=["float", "int"]
)
def test_numbers_without_a_range_are_skipped_and_named(values: np.ndarray, tmp_path: Path) -> None:
    data = stored(Image.fromarray(values), "TIFF")
    with pytest.raises(UnreadableImage, match="without a known range: save it with 8 or 16 bits"):
        read_rgb(data)
    with pytest.raises(UnreadableImage, match="without a known range"):
        to_rgb(Image.fromarray(values))
    (tmp_path / "a.tif").write_bytes(data)
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    loader = ImageLoader(ImageFiles([tmp_path / "a.tif", tmp_path / "b.png"], [0, 0], ["image"], 8), 2)
    assert [len(batch.labels) for batch in loader] == [2] and list(loader.skipped.values()) == [str(tmp_path / "a.tif")]


def clear_images() -> dict[str, Image.Image]:
    """One pixel of (200, 100, 50) or the grey 90, and one that is wholly transparent and black underneath."""
    rgba = Image.fromarray(np.array([[[200, 100, 50, 255], [0, 0, 0, 0]]], np.uint8))
    la = Image.fromarray(np.array([[[90, 255], [0, 0]]], np.uint8), "LA")
    palette = rgba.convert("RGB").quantize(2)
    palette.info["transparency"] = palette.getpixel((1, 0))
    rgb, one = rgba.convert("RGB"), Image.fromarray(np.array([[90, 0]], np.uint8))
    rgb.info["transparency"], one.info["transparency"] = (0, 0, 0), 0
    return {"RGBA": rgba, "LA": la, "P": palette, "RGB": rgb, "L": one, "PA": palette.convert("PA"),
            "RGBa": rgba.convert("RGBa"), "La": la.convert("La")}  # fmt: skip


@pytest.mark.parametrize("mode", list(clear_images()))
def test_what_is_transparent_shows_the_background(mode: str) -> None:
    image = clear_images()[mode]
    found = to_rgb(image)[:, 0].T.tolist()
    assert found == [[90] * 3 if mode.startswith("L") else [200, 100, 50], list(BACKGROUND)]
    if mode not in ("PA", "RGBa", "La"):
        assert read_rgb(stored(image, "PNG"))[:, 0].T.tolist() == found


def test_half_transparent_is_half_background() -> None:
    image = Image.fromarray(np.array([[[100, 0, 200, 128]]], np.uint8))
    assert to_rgb(image).flatten().tolist() == pytest.approx([(100 + 255) / 2, 127, (200 + 255) / 2], abs=2)


def test_sixteen_bits_with_a_transparent_grey() -> None:
    image = Image.fromarray(np.array([[3000, 500]], np.uint16))
    data = stored(image, "PNG", transparency=500)
    assert read_rgb(data)[:, 0].T.tolist() == [[12] * 3, list(BACKGROUND)]


def test_other_modes_keep_their_colors() -> None:
    color = Image.new("RGB", (8, 8), (200, 100, 50))
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    modes = {m: color.convert(m) for m in ("CMYK", "YCbCr", "HSV", "RGBX", "P", "RGBA")}
    modes["LAB"] = ImageCms.profileToProfile(color, *profiles, outputMode="LAB")
    for mode, image in modes.items():
        gap = to_rgb(image).int()[:, 4, 4] - torch.tensor([200, 100, 50])
        assert image.mode == mode and gap.abs().max() <= (40 if mode == "P" else 3), mode
    for mode in ("1", "L"):
        assert to_rgb(Image.new(mode, (4, 4), 255)).unique().tolist() == [255]
    assert read_rgb(stored(modes["CMYK"], "JPEG"))[:, 4, 4].tolist() == pytest.approx([200, 100, 50], abs=6)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_photos_are_turned_as_shown(format: str, turn: int) -> None:
    pixels = np.zeros((48, 80, 3), np.uint8)
    pixels[:24, :40] = 255, 0, 0
    pixels[24:, :40] = 0, 0, 255
    exif = Image.Exif()
    exif[0x0112] = turn
    data = stored(Image.fromarray(pixels), format, exif=exif)
    shown = TURNS[turn](pixels)
    found = read_rgb(data).permute(1, 2, 0).numpy()
    assert found.shape == shown.shape and shown_size(data) == (shown.shape[1], shown.shape[0])
    assert np.abs(found.astype(int) - shown).mean() < 8
    assert format != "JPEG" or is_plain(data) == (turn == 1)


@pytest.mark.parametrize("value", [0, 9, 6000])
def test_what_exif_says_wrongly_turns_nothing(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    data = stored(Image.new("RGB", (20, 10)), "JPEG", exif=exif)
    assert read_rgb(data).shape == (3, 10, 20)
    broken = data.replace(b"Exif\0\0", b"Exif\0\0\xff\xff")
    assert read_rgb(broken).shape == (3, 10, 20)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_picture_of_several_counts(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ((255, 0, 0), (0, 0, 255))]
    found = read_rgb(stored(frames[0], format, save_all=True, append_images=frames[1:]))
    assert found[0].min() > 240 and found[2].max() < 15


def test_the_same_pixels_from_a_folder_a_shard_and_voc(tmp_path: Path) -> None:
    files = tmp_path / "photos" / "JPEGImages"
    files.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(np.repeat(np.repeat(NOISE[:2, :3], 8, 0), 8, 1))
    for name in ("a", "b"):
        picture.save(files / f"{name}.png", exif=exif)
    xml = tmp_path / "photos" / "Annotations" / "a.xml"
    xml.parent.mkdir()
    xml.write_text("<annotation></annotation>")
    ours = ImageFiles([files / "a.png"], [0], ["image"], 16)[0][0]
    assert write_shards(["--root", str(files), "--out", str(tmp_path / "shards")]) == 0
    packed, _ = shard_sets(str(tmp_path / "shards" / "train-0000.tar"), "", 16)
    assert torch.equal(packed[0][0], ours)
    boxed = VocImages([xml])[0].image
    assert boxed.shape == (3, 24, 16) and torch.equal(boxed[:, 4:20], ours)
    assert boxed[0, 0, 0].item() == round(NOISE[1, 0] / 257), "the lower left corner is turned to the upper left"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "TGA", "JPEG2000"])
def test_broken_files_are_unreadable_and_nothing_else(format: str) -> None:
    data = stored(Image.fromarray(NOISE.view(np.uint8).reshape(64, 128)[:, :96].reshape(32, 64, 3)), format)
    rng = np.random.default_rng(1)
    for _ in range(40):
        bad = bytearray(data[: rng.integers(1, len(data))])
        for at in rng.integers(0, len(bad), 8):
            bad[at] = rng.integers(256)
        try:
            read_rgb(bytes(bad))
        except UnreadableImage as error:
            assert str(error)


def test_a_machine_at_its_limits_is_no_broken_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Image, "open", exhausted)
    with pytest.raises(OSError, match="Too many open files") as error:
        read_rgb(Path("x.png"))
    assert not isinstance(error.value, UnreadableImage)


def test_photos_of_phones_are_read_where_the_package_is(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    (tmp_path / "x.HEIC").write_bytes(stored(Image.new("RGB", (80, 48), (200, 100, 50)), "HEIF"))
    assert ".heic" in image_suffixes()
    assert read_rgb(tmp_path / "x.HEIC").float().mean((1, 2)).tolist() == pytest.approx([200, 100, 50], abs=4)
