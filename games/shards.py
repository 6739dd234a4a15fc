"""Images to tar shards, which ``--data shards`` reads: ``python -m games.shards --root photos --out shards``."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from games.options.command_line import fail, failures
from games.options.flags import errors_with_flags
from patchgame_egg.atomic_write import making, write_text
from patchgame_egg.data.names import print_any_name

if TYPE_CHECKING:
    from patchgame_egg.data.images import ImageSource


@dataclass(frozen=True)
class Options:
    """Writes train-0000.tar, ... and val-0000.tar, ... in shuffled order, with an index beside each."""

    data: str = "folder"
    """scenes, folder, or a torchvision set, as in the game."""
    root: str = ""
    """Folder of the images; holds train/ and val/, or is split (--val-share)."""
    out: str = "shards"
    """The folder to write; must not be there yet."""
    size: int = 0
    """Write decoded squares of this side, without loss; 0: copy the files as they are, which needs --data folder."""
    per_shard: int = 8192
    """Images in a shard, or fewer where they take 3 GB."""
    class_level: int = 1
    """Folder: which folder on the way to an image names its class, as in the game."""
    val_share: float | None = None
    """How much is held out of images without a held-out part; None: 0.05."""
    limit: int | None = None
    """The most images to train on, and to hold out; None: all."""
    scenes: int = 8192
    """Number of built-in scenes to train on."""
    download: bool = False
    """Fetch a torchvision set that is missing from --root."""
    seed: int = 0
    """Of the order, of the scenes, or of a split."""


def write_shards(source: ImageSource, folder: Path, part: str, options: Options) -> list[Path]:
    """Writes a source in shuffled order; what cannot be decoded, where that is asked for, is left out and named.

    Returns:
        The shards, each with its index beside it.

    Raises:
        ValueError: files should be copied and the source has none.
    """
    import numpy as np
    from webdataset import ShardWriter

    from patchgame_egg.counted import counted
    from patchgame_egg.data.images import EncodedImages
    from patchgame_egg.data.pixels import UNREADABLE
    from patchgame_egg.data.shards import shard_index

    if not options.size and not isinstance(source, EncodedImages):
        raise ValueError(f"--data {options.data} has no files that could be copied: --size N writes squares of side N")
    order = np.random.default_rng(options.seed).permutation(len(source)).tolist()
    pattern, shards = f"{folder}/{part}".replace("%", "%%") + "-%04d.tar", list[Path]()

    def finished(name: str) -> None:
        shards.append(Path(name))
        shard_index(Path(name))

    with ShardWriter(pattern, maxcount=options.per_shard, post=finished, verbose=0, mtime=0) as writer:
        for number, index in enumerate(counted(order, f"writes {part}")):
            try:
                suffix, data, label = _sample(source, index, options.size)
            except UNREADABLE as error:
                print(f"left out {getattr(source, 'name', str)(index)}: {error}")
                continue
            writer.write({"__key__": f"{number:08d}", suffix: data, "cls": str(label)})
    return shards


def _sample(source: ImageSource, index: int, size: int) -> tuple[str, bytes, int]:
    from PIL import Image

    from patchgame_egg.data.images import EncodedImages

    if not size:
        assert isinstance(source, EncodedImages)
        return Path(source.name(index)).suffix[1:].lower(), *source.encoded(index)
    image, label = source[index]
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "png")
    return "png", file.getvalue(), label


def write_sets(options: Options) -> tuple[list[Path], list[Path]]:
    """Writes the training and the held-out images; the folder is there once it is whole.

    Raises:
        ValueError: the folder exists, or the images are not there or cannot be written in this way.
    """
    out = Path(options.out)
    if out.exists():
        raise ValueError(f"{out} exists: --out takes the name of a new folder")
    if options.size < 0 or options.per_shard < 1:
        raise ValueError(f"--size {options.size}, --per-shard {options.per_shard}: must be at least 0 and 1")
    # Only now: torch takes seconds to import, help and mistakes do without.
    from games.build.data import say_understood
    from patchgame_egg.data.sources import image_sets

    o = options
    # A size is asked for by all sources, and does not matter where files are copied.
    with errors_with_flags():
        sets = image_sets(
            o.data,
            o.root,
            o.size or 64,
            download=o.download,
            seed=o.seed,
            scenes=o.scenes,
            class_level=o.class_level,
            val_share=o.val_share,
            limit=o.limit,
        )
    say_understood(o.data, o.root, {"to train on": sets[0], "held out": sets[1]})
    with making(out, out.with_name(f"{out.name}.partial")) as partial:
        write_text("".join(f"{name}\n" for name in sets[0].classes), partial / "classes.txt")
        train, val = (write_shards(s, partial, part, o) for s, part in zip(sets, ("train", "val"), strict=True))
    return [out / path.name for path in train], [out / path.name for path in val]


def main(argv: Sequence[str] | None = None) -> int:
    """Writes shards as the given command line asks, or the process's own; returns the exit status."""
    print_any_name()
    options = tyro.cli(Options, prog="python -m games.shards", args=argv)
    with failures():
        try:
            train, val = write_sets(options)
        except ValueError as error:
            fail(error)
    pattern = train[0] if len(train) == 1 else train[0].with_name(f"train-{{0000..{len(train) - 1:04d}}}.tar")
    print(f"wrote {len(train)} shards to train on and {len(val)} held out; play on them with:")
    print(f"python -m games.patchgame --data shards --root '{pattern}'")
    return 0


if __name__ == "__main__":
    sys.exit(main())
