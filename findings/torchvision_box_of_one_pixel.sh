#!/usr/bin/env bash
# torchvision 0.29.1 (torch 2.14.1) with pycocotools 2.0.10: the box of a mask has two sizes, and that of one pixel none.
#
# masks_to_boxes gives the first and the last pixel; box_area takes the last as the end. A pixel has the area 0, a mask of
# n by m pixels (n - 1) (m - 1), and such boxes are what detectors refuse. Expected, and so in pycocotools: 1 and n m.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 pycocotools==2.0.10
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import torch
from pycocotools import mask as coco
from torchvision.ops import box_area, masks_to_boxes

found = {}
for name, rows, columns in (("one pixel", 1, 1), ("3 x 5 pixels", 3, 5)):
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[0, 4 : 4 + rows, 6 : 6 + columns] = True
    box = coco.toBbox(coco.encode(np.asfortranarray(mask[0].numpy().astype(np.uint8))))
    found[name] = float(box_area(masks_to_boxes(mask))[0]), float(box[2] * box[3])
    print(f"{name}: area of the box {found[name][0]} by torchvision, {found[name][1]} by pycocotools")
sys.exit(not (found["one pixel"] == (0.0, 1.0) and found["3 x 5 pixels"] == (8.0, 15.0)))
PY
