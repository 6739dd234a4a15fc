"""The words that arguments may be, where options have them too: options are read before torch is imported."""

from __future__ import annotations

from typing import Literal

Gate = Literal["rank", "free", "released"]
Padding = Literal["replicate", "zeros"]
RankOp = Literal["torch", "torchsort"]
Silence = Literal["skip", "gate", "attend"]
