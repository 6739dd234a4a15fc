#!/usr/bin/env bash
# datasets 5.2.0: a folder of class folders has no classes any more once a metadata.jsonl lies beside them.
#
# Expected: captions are added to the labels that the folders give, or drop_labels=False keeps both. Seen: the column
# "label" is gone either way, and nothing is said.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0 pillow==12.3.0
export HF_HOME="$folder/home" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1
"$folder/venv/bin/python" - "$folder" <<'PY'
import json
import sys
from pathlib import Path

from datasets import load_dataset
from PIL import Image

root = Path(sys.argv[1]) / "photos"
for kind in ("cat", "dog"):
    (root / "train" / kind).mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(root / "train" / kind / "1.png")


def columns(name, **options):
    cache = Path(sys.argv[1]) / name
    return load_dataset("imagefolder", data_dir=str(root), cache_dir=str(cache), split="train", **options).column_names


before = columns("before")
lines = [json.dumps({"file_name": f"{kind}/1.png", "caption": f"a {kind}"}) for kind in ("cat", "dog")]
(root / "train" / "metadata.jsonl").write_text("\n".join(lines))
after, kept = columns("after"), columns("kept", drop_labels=False)
print(f"columns without captions: {before}; with: {after}; with drop_labels=False: {kept}")
sys.exit(not (before == ["image", "label"] and after == kept == ["image", "caption"]))
PY
