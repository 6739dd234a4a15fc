#!/usr/bin/env bash
# editdistance 0.8.1 and rapidfuzz 3.14.6 (numpy 2.4.6): the symbols -1 and -2 are one symbol.
#
# Both compare the hashes of symbols, and Python's hash of -1 is that of -2. Where -1 is "silent" and -2 "nothing more",
# the two differ nowhere. rapidfuzz looks after lists of integers, but not after NumPy's integers, floats or pairs.
# Expected: 2 edits between [-1, 5, -1] and [-2, 5, -2]. Seen: 0 by editdistance; by rapidfuzz 2 for lists and 0 for the
# same numbers in an array.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet editdistance==0.8.1 rapidfuzz==3.14.6 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys

import editdistance
import numpy as np
from rapidfuzz.distance import Levenshtein

one, other = [-1, 5, -1], [-2, 5, -2]
found = {}
for name, kind in (("list", list), ("array", np.array), ("pairs", lambda row: [(symbol, 0) for symbol in row])):
    a, b = kind(one), kind(other)
    found[name] = editdistance.eval(a, b), Levenshtein.distance(a, b)
    print(f"{name}: {found[name][0]} edits by editdistance, {found[name][1]} by rapidfuzz")
sys.exit(found != {"list": (0, 2), "array": (0, 0), "pairs": (0, 0)})
PY
