"""A folder of photos of which every tenth file is broken, each in another way: skipped, counted, named, and no more."""

from __future__ import annotations

import io
import os
import signal
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from kills import finish, wait_for_a_moment
from PIL import Image
from play import GAMES, Lost, Stage, after_a_blow, photos


def _bomb(data: bytes) -> bytes:
    """A PNG of a few bytes that says it has 900 million pixels."""
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _floats(data: bytes) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).random((8, 8), dtype=np.float32)).save(file, "tiff")
    return file.getvalue()


# What a file's bytes become; all of these are images by their names, and cannot be read.
UNREADABLE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "one byte": lambda data: data[:1],
    "half": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "text": lambda data: "caf\u00e9, no picture\n".encode("utf-16"),
    "a page of the web": lambda data: b"<!DOCTYPE html><html><body>404</body></html>",
    "an archive": lambda data: b"PK\x05\x06" + bytes(18),
    "a pointer of git": lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
    "no beginning": lambda data: data[64:],
    "a bomb": _bomb,
    "floats": _floats,
}
# What lies in a folder beside images, and is none.
BESIDE: dict[str, Callable[[Path], object]] = {
    "a folder called x.jpg": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
}


def broken_photos(stage: Stage, rng: np.random.Generator) -> None:
    """A run over such a folder, killed on the way, skips and names all that it would have skipped."""
    folder = stage.folder / "photos"
    photos(folder, 120, 40)
    files = sorted(folder.rglob("*.jpg"))
    broken = {str(files[i]) for i in rng.permutation(len(files))[: len(files) // 10]}
    for path in broken:
        Path(path).write_bytes(UNREADABLE[str(rng.choice(list(UNREADABLE)))](Path(path).read_bytes()))
    for number, (_, make) in enumerate(BESIDE.items()):
        make(folder / "train" / "cat" / f"beside{number}.jpg")
    latin = os.fsencode(folder / "train" / "dog") + b"/caf\xe9\n.jpg"
    Path(os.fsdecode(latin)).write_bytes(b"")
    play = stage.play(str(rng.choice(list(GAMES))), str(folder))
    stage.about = stage.about.replace(str(folder), "a broken folder")
    named = {line.replace("\\xe9\\n", "") for line in play.whole["skipped.txt"]}
    # Every epoch leaves some of the last images out, and two epochs others: all were met but for bad luck.
    if not named <= {*broken, str(folder / "train/dog/caf.jpg")} or len(named) < len(broken) // 2:
        raise Lost(f"skipped are {sorted(named)}, broken are {sorted(broken)}")
    words = [*play.words, "--out", str(stage.folder), "--name", "run", "--checkpoint-every", "3"]
    process = stage.start(words)
    wait_for_a_moment(stage, process, play.seconds, rng)
    stage.hit("SIGKILL", process.blow(signal.SIGKILL))
    process.ended()
    if after_a_blow(stage.folder / "run", words, rng) is None and "Traceback" in process.said():
        raise Lost(process.said()[-1500:])
    finish(stage, play, words, rng)
