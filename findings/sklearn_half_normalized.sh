#!/usr/bin/env bash
# scikit-learn 1.9.1 (numpy 2.4.6): normalize turns a long vector of float16 into zeros.
#
# Features are often kept in half precision. normalize leaves them so and keeps the sum of squares in float16 too: from
# a length of 256 on it is infinite, and a vector divided by infinity is 0. No warning is given, and a k-NN on what
# comes out takes all such images for the same. Expected: [0.6, 0.8] for [300, 400] as for [3, 4]. Seen: [0, 0];
# cosine_similarity is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" -W error - <<'PY'
import sys

import numpy as np
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import normalize

features = np.array([[300, 400], [3, 4]], dtype=np.float16)
half, single = normalize(features), normalize(features.astype(np.float32))
cosine = cosine_similarity(features)[0, 1]
rows = {name: table.astype(float).round(3).tolist() for name, table in (("float16", half), ("float32", single))}
print(f"{rows}; cosine of the two vectors: {cosine:.3f}")
right = np.allclose(half[1], [0.6, 0.8], atol=1e-3) and np.allclose(single, [0.6, 0.8]) and abs(cosine - 1) < 1e-3
sys.exit(not (half[0].tolist() == [0, 0] and right))
PY
