#!/usr/bin/env bash
# torchmetrics 1.9.0 (torch 2.14.1): in recall, precision, MRR and MAP, what has no score above 0 is not found.
#
# These four classes take "float predictions from a model output" and rank them, but a right answer whose score is 0 or
# less counts as wrong wherever it ranks. Log probabilities are all below 0, cosines and logits often are: a listener
# that is always right scores 0. Expected: a constant added to all scores changes no ranking, so no metric of it. Seen:
# recall, precision, MRR and MAP are 0, and 1 once 5 is added; hit rate and NDCG are 1 both times.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchmetrics==1.9.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys

import torch
from torchmetrics import retrieval

logs = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]]).log()
right = torch.tensor([[True, False, False], [False, True, False]])
query = torch.tensor([[0, 0, 0], [1, 1, 1]])
seen = {}
for name in ("Recall", "Precision", "MRR", "MAP", "HitRate", "NormalizedDCG"):
    judge = getattr(retrieval, f"Retrieval{name}")(top_k=1)
    seen[name] = float(judge(logs, right, indexes=query)), float(judge(logs + 5, right, indexes=query))
    print(f"{name} at 1 of log probabilities: {seen[name][0]:.1f}, of the same plus 5: {seen[name][1]:.1f}")
sys.exit(list(seen.values()) != [(0.0, 1.0)] * 4 + [(1.0, 1.0)] * 2)
PY
