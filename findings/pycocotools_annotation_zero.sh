#!/usr/bin/env bash
# pycocotools 2.0.10, numpy 2.4.6: an object whose annotation has the id 0 is never found.
#
# Ids of COCO's format are integers, and files made by hand often count from 0. The evaluation writes, for each detection,
# the id of the object that it matches, and takes 0 for "none": a perfect detection of object 0 is a false alarm.
# Expected: AP 1.0 whatever the ids. Seen: AP 0.0 with the id 0, 1.0 with the id 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pycocotools==2.0.10 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import contextlib
import io
import sys

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def average_precision(object_id):
    truth = COCO()
    one = {"id": object_id, "image_id": 7, "category_id": 1, "bbox": [10, 10, 50, 50], "area": 2500, "iscrowd": 0}
    truth.dataset = {
        "info": {}, "images": [{"id": 7, "width": 100, "height": 100}], "annotations": [one],
        "categories": [{"id": 1, "name": "cat"}],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found = truth.loadRes([{"image_id": 7, "category_id": 1, "bbox": [10, 10, 50, 50], "score": 0.9}])
        judge = COCOeval(truth, found, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats[0]


zero, one = average_precision(0), average_precision(1)
print(f"AP with annotation id 0: {zero:.3f}, with id 1: {one:.3f}")
sys.exit(not (zero == 0 and one > 0.999))
PY
