"""Text as other systems write it: byte order marks, and characters that only some take for the end of a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchgame_egg.text_files import read_lines, read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_marks_are_read_and_left_out(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("café 猫\n".encode(encoding))
    assert read_text(tmp_path / "a.txt") == "café 猫\n"


def test_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("a\u2028b\u0085c\x0b\x0c\x1cd\r\n\ne\n".encode())
    assert read_lines(tmp_path / "a.txt") == ["a\u2028b\u0085c\x0b\x0c\x1cd", "", "e"]
    (tmp_path / "a.txt").write_bytes(b"a\nb")
    assert read_lines(tmp_path / "a.txt") == ["a", "b"]
    (tmp_path / "a.txt").write_bytes(b"")
    assert read_lines(tmp_path / "a.txt") == []


@pytest.mark.parametrize("data", ["猫狗".encode("gbk"), b"\xff\xfea"])
def test_other_encodings_are_refused_with_the_file_s_name(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(ValueError, match=r"a.txt is not text in UTF-8 \(at byte .*\): save it in this encoding"):
        read_text(tmp_path / "a.txt")
