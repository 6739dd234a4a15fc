"""The baselines by name: what ``python -m games.baselines --help`` says of them."""

from __future__ import annotations

METHODS = {
    "moco": """MoCo-v2 (He et al., 2020; Chen et al., 2020). Counts: --vision, --vision-width. Queries are first views,
    keys second ones; head to 128, temperature 0.2, a queue of an eighth of the images (at most 65536), momentum 0.999
    or 1 - 20 / steps where that is less. Held-out images are matched by two random views, the same in every epoch.""",
    "vqvae": """VQ-VAE-2 (Razavi et al., 2019). Counts: --vocab (codes in each of two codebooks), --code-dim,
    --commitment, --vision-width (half the width of its networks; 64 unless --vision is resnet9). Rebuilds first
    views.""",
    "patchvae": """PatchVAE (Gupta et al., 2020). Counts: --vision (resnet9 or a residual network of torchvision),
    --vision-width, --patch-size (2 to 32), --vocab (parts), --gumbel-start, --gumbel-end, --anneal. Rebuilds first
    views.""",
    "random": """An untrained vision trunk: nothing is learnt. Counts: --vision, --vision-width.""",
}  # fmt: skip

"""The baselines, and which options beside images, training and run they heed."""
