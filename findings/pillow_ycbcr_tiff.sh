#!/usr/bin/env bash
# pillow 12.3.0: a TIFF in YCbCr that Pillow saves, and that Pillow cannot read again.
#
# Expected: what is saved as TIFF opens with the same pixels, as it does in RGB. Seen: the file opens, and reading its
# pixels ends in "OSError: image file is truncated", at every size that was tried, 16 x 16 among them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==12.3.0
"$folder/venv/bin/python" - <<'PY'
import io
import sys

from PIL import Image


def back(mode, width, height):
    image = Image.new("RGB", (width, height), (200, 100, 50)).convert(mode)
    file = io.BytesIO()
    image.save(file, "TIFF")
    file.seek(0)
    try:
        return "the same" if Image.open(file).convert(mode).tobytes() == image.tobytes() else "other pixels"
    except OSError as error:
        return f"{type(error).__name__}: {error}"


sizes = [(16, 16), (12, 10), (11, 7), (8, 8), (13, 13)]
found = {(mode, *size): back(mode, *size) for mode in ("RGB", "YCbCr") for size in sizes}
for key, result in found.items():
    print(*key, "->", result)
sys.exit(any((key[0] == "RGB") != (result == "the same") for key, result in found.items()))
PY
