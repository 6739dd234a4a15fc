#!/usr/bin/env bash
# torchvision 0.29.1 (torch 2.14.1): points that are rotated end one pixel beside those that are flipped.
#
# Half a turn is a flip left to right and one upside down; for images torchvision makes it so, pixel for pixel. For
# KeyPoints, flips take a point for a pixel's index (x to width - 1 - x), rotate and affine for a place on a plane whose
# pixels have edges (x to width - x). Expected: a point stays on its pixel. Seen: in an 8 x 8 image the point of pixel
# (0, 0) goes to (7, 7), with its pixel, by flips, and to (8, 8), outside of the image, by a rotation; all 64 are off.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys

import torch
from torchvision.transforms.v2 import functional as F
from torchvision.tv_tensors import Image, KeyPoints

ways = {
    "two flips": lambda x: F.vertical_flip(F.horizontal_flip(x)),
    "rotate": lambda x: F.rotate(x, 180),
    "affine": lambda x: F.affine(x, 180, translate=[0, 0], scale=1.0, shear=[0.0, 0.0]),
}
on_pixel = dict.fromkeys(ways, 0)
for name, turn in ways.items():
    for y, x in torch.cartesian_prod(torch.arange(8), torch.arange(8)).tolist():
        image = torch.zeros(1, 8, 8)
        image[0, y, x] = 1
        pixel = turn(Image(image))[0].nonzero().flip(1).tolist()
        point = turn(KeyPoints([[float(x), float(y)]], canvas_size=(8, 8))).round().long().tolist()
        on_pixel[name] += pixel == point
        if x == y == 0:
            print(f"{name}: the pixel (0, 0) goes to {pixel[0]}, its point to {point[0]}")
print(f"points on their pixels, of 64: {on_pixel}")
sys.exit(on_pixel != {"two flips": 64, "rotate": 0, "affine": 0})
PY
