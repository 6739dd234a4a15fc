#!/usr/bin/env bash
# timm 1.0.31 with torchvision 0.29.1 (torch 2.14.1): one folder of class folders, two numberings of its classes.
#
# torchvision sorts class_1, class_10, class_2 as texts; timm sorts them as people count, class_1, class_2, class_10.
# Expected: what one has trained the other can judge. Seen: two of three classes change places. With zero-padded names
# both agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 timm==1.0.31
"$folder/venv/bin/python" - "$folder" <<'PY'
import sys
from pathlib import Path

from PIL import Image
from timm.data import create_dataset
from torchvision.datasets import ImageFolder


def numbers(names):
    root = Path(sys.argv[1]) / names[0]
    for name in names:
        (root / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(root / name / "1.png")
    return ImageFolder(str(root)).class_to_idx, create_dataset("", root=str(root)).reader.class_to_idx


plain, padded = numbers(["class_1", "class_2", "class_10"]), numbers(["class_01", "class_02", "class_10"])
print(f"torchvision {plain[0]}, timm {plain[1]}; padded: torchvision {padded[0]}, timm {padded[1]}")
sys.exit(not (plain[0]["class_10"] == 1 and plain[1]["class_10"] == 2 and padded[0] == padded[1]))
PY
