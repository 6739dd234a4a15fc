"""What a ViT saves that sees only k patches, once they have been ranked: the paper's first limitation, and `FastRank`.

    python tests/benchmarks/patch_subset.py --batch-size 4
    python tests/benchmarks/patch_subset.py --vit vit_base_patch16_224 --device cuda

All weights are random: this is about time alone. PatchRank is the paper's, at the ViT's resolution.
"""

from __future__ import annotations

import argparse
from functools import partial

import timm
import torch
from torch import nn

from analysis.vit.patch_subset import best_patches, classify_patches, vit_grid, vit_input
from analysis.vit.rankings import network_ranking, random_ranking
from analysis.vit.throughput import images_per_second
from games.build.agents import build_game
from games.options.command_line import parse, pick_device
from games.reproduce.vit.distillation import FastRank

SHARES = (0.25, 0.5, 0.75, 0.9)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vit", default="vit_base_patch32_384")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(argv)
    device = pick_device(args.device)
    vit = timm.create_model(args.vit).eval().to(device)
    grid = vit_grid(vit)
    size, patch = vit.patch_embed.img_size[0], vit.patch_embed.patch_size[0]
    config = parse(["--preset", "paper", "--image-size", str(size), "--patch-size", str(patch)]).config
    sender = build_game(config).sender
    networks: dict[str, nn.Module] = {"PatchRank": sender.rank, "FastRank": FastRank(grid)}
    rankings = {name: network_ranking(net.eval().to(device), grid) for name, net in networks.items()}
    rankings["random"] = random_ranking(grid, 0)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(args.batch_size, 3, size, size, generator=generator).to(device)
    kept = [round(share * grid[0] * grid[1]) for share in SHARES]
    ways = {"whole": lambda: vit(vit_input(vit, images))}
    ways |= {f"{name} alone": partial(ranking, images) for name, ranking in rankings.items()}

    def shortened(name: str, k: int) -> torch.Tensor:
        return classify_patches(vit, vit_input(vit, images), best_patches(rankings[name](images), k))

    ways |= {f"{name} {k}": partial(shortened, name, k) for name in rankings for k in kept}
    found = images_per_second(ways, len(images), device, args.rounds)
    print(f"{args.vit}, batches of {len(images)} on {device}: {found['whole']:.3g} images/s with all {grid} patches")
    for name in rankings:
        ratios = ", ".join(f"{k}: {found[f'{name} {k}'] / found['whole']:.2f}" for k in kept)
        alone = f" ({found[f'{name} alone'] / found['whole']:.3g} alone)" if name in networks else ""
        print(f"{name}{alone}, times as fast with k patches: {ratios}")


if __name__ == "__main__":
    main()
