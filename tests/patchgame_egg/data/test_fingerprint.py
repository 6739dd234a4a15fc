"""Images are told from others by their order, names and sizes, wherever they lie."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from games.runs.images import check_images, write_images
from patchgame_egg.data import images
from patchgame_egg.data.fingerprint import fingerprint
from patchgame_egg.data.images import ImageFiles
from patchgame_egg.data.scenes import Scenes
from patchgame_egg.data.shards import ShardedImages


def files(root: Path, sizes: Sequence[int] = (1, 2, 3)) -> ImageFiles:
    """Files ``a/0``, ``a/1``, ... of so many bytes; what they hold is never read."""
    (root / "a").mkdir(parents=True, exist_ok=True)
    paths = [root / "a" / f"{number}.jpg" for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(bytes(size))
    return ImageFiles(paths, [0] * len(paths), ["a"], 8)


def test_folders_by_names_and_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = fingerprint(files(tmp_path / "one"))
    assert known["count"] == 3 and known == fingerprint(files(tmp_path / "elsewhere" / "two"))
    others = [files(tmp_path / "x", sizes) for sizes in ((1, 2), (1, 2, 3, 4), (1, 2, 4))]
    renamed = files(tmp_path / "y")
    renamed.paths[1] = renamed.paths[1].rename(tmp_path / "y" / "a" / "b.jpg")
    turned, gone = files(tmp_path / "one").part([2, 1, 0]), files(tmp_path / "z")
    gone.paths[2].unlink()
    for other in (*others, renamed, turned, gone):
        assert fingerprint(other) != known
    monkeypatch.chdir(tmp_path)
    assert fingerprint(files(Path("one"))) == known
    # Of many files, some are asked for their sizes.
    monkeypatch.setattr(images, "_ASKED", 2)
    assert [size for _, size in files(tmp_path / "many", (5, 6, 7, 8, 9)).sizes()] == [5, -1, -1, 8, -1]


def test_shards_and_scenes(tmp_path: Path) -> None:
    found = []
    for name, content in (("1.png", b"1"), ("1.png", b"12"), ("2.png", b"1"), ("1.png", b"1")):
        with tarfile.open(tmp_path / "0.tar", "w") as tar:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        (tmp_path / "0.index.json").unlink(missing_ok=True)
        found.append(fingerprint(ShardedImages([tmp_path / "0.tar"], 8)))
    assert found[0] == found[3] and found[0] != found[1] != found[2] != found[0]
    assert fingerprint(Scenes(9, 32)) == {"count": 9, "files": ""}


def test_a_run_refuses_other_images_in_one_line(tmp_path: Path) -> None:
    run, before = tmp_path / "run", {"to train on": files(tmp_path / "x"), "held out": files(tmp_path / "y")}
    check_images(before, "x", run)  # it does not know
    write_images(before, run, anew=True)
    check_images(before, "x", run)
    after = {**before, "held out": files(tmp_path / "y", (1, 2, 3, 4))}
    with pytest.raises(ValueError, match=r"^the images held out in x are 4 now and were 3 when .*run learnt"):
        check_images(after, "x", run)
    write_images(after, run, anew=False)
    with pytest.raises(ValueError, match=r"put back what was there, or --init-from .*run starts a new run from it$"):
        check_images(after, "x", run)
    write_images(after, run, anew=True)
    check_images(after, "x", run)
    (run / "images.json").write_text('{"held out": 3}')
    check_images(before, "x", run)
