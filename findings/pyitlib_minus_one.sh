#!/usr/bin/env bash
# pyitlib 0.3.1 (numpy 2.4.6): the symbol -1 does not exist.
#
# Entropies of pyitlib take -1 for "not measured" unless told otherwise. Where -1 is a value like others, or stands for
# "this slot is silent", its observations are left out before anything is counted, without a word.
# Expected: the entropy of [-1, -1, 0, 1] is 1.5 bits, as that of [2, 2, 0, 1] is. Seen: 1.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyitlib==0.3.1 numpy==2.4.6 pandas==3.1.1 scipy==1.17.1 scikit-learn==1.9.1
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
from pyitlib import discrete_random_variable as drv

first, second = (float(drv.entropy(np.array(values))) for values in ([-1, -1, 0, 1], [2, 2, 0, 1]))
print(f"entropy with -1: {first:.3f} bits, with 2 in its place: {second:.3f} bits")
sys.exit(not (abs(first - 1.0) < 1e-9 and abs(second - 1.5) < 1e-9))
PY
