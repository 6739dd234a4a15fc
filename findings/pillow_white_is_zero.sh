#!/usr/bin/env bash
# Pillow 12.3.0 with tifffile 2026.3.3: in a TIFF whose zero is white, 8-bit pixels are turned round and 16-bit ones are
# not.
#
# Scanners and microscopes write such files (PhotometricInterpretation 0). Expected: a pixel of value 0 is white in both.
# Seen: 255 of 255 with 8 bits, 0 of 65535, black, with 16.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==12.3.0 tifffile==2026.3.3 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PY'
import sys

import numpy as np
import tifffile
from PIL import Image

seen = {}
for kind, white in ((np.uint8, 255), (np.uint16, 65535)):
    path = f"{sys.argv[1]}/{white}.tif"
    tifffile.imwrite(path, np.array([[0, white // 4, white]], dtype=kind), photometric="miniswhite")
    with Image.open(path) as image:
        seen[white] = np.asarray(image).tolist()[0]
    print(f"values 0, a quarter and {white} of {white}, where 0 is white, are opened as {seen[white]}")
sys.exit(not (seen[255] == [255, 192, 0] and seen[65535] == [0, 16383, 65535]))
PY
