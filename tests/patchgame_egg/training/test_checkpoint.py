"""Checkpoints are whole, and show when they were damaged; files that cannot be written say so in one line."""

from __future__ import annotations

import errno
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from patchgame_egg.atomic_write import NotWritten, replacing, write_text
from patchgame_egg.training import checkpoint


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path, state = tmp_path / "c.pt", {"a": torch.arange(20.0), "b": [1, {"c": "x"}]}
    checkpoint.save(state, path)
    whole = path.read_bytes()
    # All of the parts of an archive: headers, padding, numbers, the directory, the checksum itself.
    for place in (*range(0, len(whole), 7), *range(len(whole) - 100, len(whole))):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is not a readable checkpoint: ") as error:
            checkpoint.load(path)
        assert "\n" not in str(error.value)
    path.write_bytes(whole)
    assert torch.equal(checkpoint.load(path)["a"], state["a"])
    # Whoever knows nothing of the checksum reads the file as before.
    assert torch.equal(torch.load(path, weights_only=True, mmap=True)["a"], state["a"])
    assert zipfile.ZipFile(path).testzip() is None


def test_files_without_a_checksum_are_read_and_their_numbers_checked(tmp_path: Path) -> None:
    path, state = tmp_path / "c.pt", {"a": torch.arange(200.0)}
    torch.save(state, path)
    assert torch.equal(checkpoint.load(path)["a"], state["a"])
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(state["a"].numpy().tobytes()) + 300] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="damaged after it was written, in c/data/0"):
        checkpoint.load(path)


@pytest.mark.parametrize("length", [0, 3, 4, 200, -1])
def test_what_is_cut_off_is_no_checkpoint(length: int, tmp_path: Path) -> None:
    checkpoint.save({"a": torch.zeros(50)}, tmp_path / "c.pt")
    (tmp_path / "c.pt").write_bytes((tmp_path / "c.pt").read_bytes()[:length])
    with pytest.raises(ValueError, match="is not a readable checkpoint"):
        checkpoint.load(tmp_path / "c.pt")


def test_a_text_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "c.pt").write_text("hello\nworld")
    with pytest.raises(ValueError, match=r"^\S+ is not a readable checkpoint: it does not begin as a file of torch"):
        checkpoint.load(tmp_path / "c.pt")


class FullDisk:
    """A file on a disk that is full after so many bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: bytes) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(self.file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.mark.parametrize("room", [0, 100, 3000])
def test_a_full_disk_is_one_line_and_the_old_file_stays(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save({"a": torch.ones(2)}, path)

    def full(target: Path) -> Any:
        from contextlib import contextmanager

        @contextmanager
        def opened() -> Any:
            with replacing(target) as file:
                yield FullDisk(file, room)

        return opened()

    monkeypatch.setattr(checkpoint, "replacing", full)
    with pytest.raises(NotWritten, match=r"c\.pt cannot be written \(No space left on device\): [\d,.]+ MiB are free"):
        checkpoint.save({"a": torch.zeros(2000)}, path)
    monkeypatch.undo()
    assert checkpoint.load(path)["a"].tolist() == [1, 1] and [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_a_file_where_a_folder_belongs_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotWritten, match=r"file/a\.txt cannot be written \((Not a directory|File exists)\)"):
        write_text("x", tmp_path / "file" / "a.txt")


def test_a_name_that_is_no_text_is_written_escaped(tmp_path: Path) -> None:
    write_text("caf\udcff", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == b"caf\\udcff"
