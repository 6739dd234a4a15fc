"""Number formats, and which of them a device multiplies without help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "fp16"]


def native_precision(device: torch.device | str) -> Precision:
    """The faster number format that a device has: ``bf16`` where it multiplies bfloat16 natively, else ``fp32``.

    A processor does with AVX-512 BF16 or AMX; without, bfloat16 is converted back and forth and may take many times as
    long as float32. A GPU does from compute capability 8.0 on.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # The lowest version of torch that is supported may not tell.
    told: Mapping[str, bool | int] = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return "bf16" if told.get("avx512_bf16") or told.get("amx_bf16") else "fp32"
