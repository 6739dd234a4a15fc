#!/usr/bin/env bash
# torch 2.14.1: DistributedDataParallel imports torch's compiler, and sympy with it, though nothing is compiled.
#
# A program without it imports neither; wrapping a model, on gloo and a CPU, asks the compiler how it would treat DDP and
# imports both, in every rank at its start. Expected: they are imported where something is compiled. Seen: 893 modules
# more, torch._dynamo and sympy among them, 2.4 s of processor time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy
"$folder/venv/bin/python" - <<'PY'
import sys
import tempfile
import time

import torch

torch.distributed.init_process_group("gloo", init_method=f"file://{tempfile.mktemp()}", rank=0, world_size=1)
model, before, began = torch.nn.Linear(2, 1), set(sys.modules), time.process_time()
torch.nn.parallel.DistributedDataParallel(model)
seconds, new = time.process_time() - began, set(sys.modules) - before
heavy = {"torch._dynamo", "sympy"}
print(f"{len(new)} modules more, {sorted(heavy & new)} among them, {seconds:.1f} s of processor time")
torch.distributed.destroy_process_group()
sys.exit(not heavy <= new)
PY
