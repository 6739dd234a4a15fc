#!/usr/bin/env bash
# faiss-cpu 1.15.1 with scipy 1.17.1 (numpy 2.4.6): METRIC_JensenShannon never finds a histogram with an empty bin.
#
# faiss takes 0 log 0 for NaN, and an index leaves out what is NaN. How often a message has each symbol, or a picture
# each color, is such a histogram, mostly zeros: one zero in the query and all rows are lost, one in a row and that row
# is. (The zeros of METRIC_Canberra are known, as facebookresearch/faiss#5557.) Expected: a row finds itself first and
# then the others, as in SciPy. Seen: -1, "no neighbor", in every place; with no bin empty the right ones.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet faiss-cpu==1.15.1 scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys

import faiss
import numpy as np
from scipy.spatial.distance import cdist

found = {}
for name, rows in (
    ("an empty bin", [[0.5, 0.5, 0.0], [0.25, 0.75, 0.0], [0.0, 1.0, 0.0]]),
    ("no empty bin", [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.125, 0.625, 0.25]]),
):
    histograms = np.array(rows, dtype=np.float32)
    index = faiss.IndexFlat(3, faiss.METRIC_JensenShannon)
    index.add(histograms)
    found[name] = index.search(histograms[:1], 3)[1][0].tolist()
    expected = np.argsort(cdist(rows[:1], rows, "jensenshannon")[0]).tolist()
    print(f"{name}: the neighbors of row 0 are {found[name]} by faiss, {expected} by SciPy")
sys.exit(found != {"an empty bin": [-1, -1, -1], "no empty bin": [0, 1, 2]})
PY
