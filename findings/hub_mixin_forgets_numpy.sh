#!/usr/bin/env bash
# huggingface_hub 2.4.0 with numpy 2.4.6 (torch 2.13.0): a model shared with an option that is a NumPy number comes back
# with the default instead.
#
# PyTorchModelHubMixin keeps the arguments of __init__ that JSON can hold. np.float32 is none of these: config.json gets
# the default's value, with no word at saving or loading, and the model that is loaded computes something else.
# Expected: 3.0, or an error. Seen: 1.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 huggingface_hub==2.4.0 safetensors numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PY'
import sys

import numpy as np
import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn


class Scaled(nn.Module, PyTorchModelHubMixin):
    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.layer, self.scale = nn.Linear(4, 1), scale

    def forward(self, x):
        return self.scale * self.layer(x)


model = Scaled(scale=np.float32(3.0))
model.save_pretrained(sys.argv[1] + "/model")
again = Scaled.from_pretrained(sys.argv[1] + "/model")
ratio = float(model(torch.ones(1, 4)) / again(torch.ones(1, 4)))
print(f"scale 3.0 comes back as {again.scale}; outputs before are {ratio:.2f} times those after")
sys.exit(not (again.scale == 1.0 and abs(ratio - 3) < 1e-3))
PY
