"""A ViT on some of its patches, the curve over their number, and the orders in which they are kept."""

from __future__ import annotations

import math

import numpy as np
import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from analysis.vit import throughput as patch_speed
from analysis.vit.patch_subset import (
    area_under_curve,
    best_patches,
    classify_patches,
    patches_for,
    recognised,
    subset_curve,
    vit_grid,
    vit_input,
)
from analysis.vit.rankings import (
    attention_ranking,
    centre_ranking,
    grad_cam_ranking,
    network_ranking,
    occlusion_ranking,
    on_grid,
    random_ranking,
    reversed_ranking,
    saliency_ranking,
)
from analysis.vit.throughput import images_per_second
from patchgame_egg.agents.patch_speaker import PatchRank
from patchgame_egg.views.transforms import IMAGENET_MEAN, IMAGENET_STD

TINY = {"img_size": 12, "patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2, "num_classes": 5}


def tiny_vit(**options: object) -> VisionTransformer:
    vit = VisionTransformer(**{**TINY, **options})
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return vit.eval()


VARIANTS: dict[str, dict[str, object]] = {
    "plain": {},
    "mean": {"global_pool": "avg"},
    "mean, norm before it": {"global_pool": "avg", "fc_norm": False},
    "mean, no class token": {"global_pool": "avg", "class_token": False},
    "registers": {"reg_tokens": 2},
    "registers without positions": {"reg_tokens": 2, "no_embed_class": True},
    "norm first": {"pre_norm": True},
    "norms of queries, layer scale": {"qk_norm": True, "init_values": 0.1},
    "no positions": {"pos_embed": "none"},
    "any image size": {"dynamic_img_size": True},
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=list(VARIANTS))
def test_all_patches_are_the_untouched_vit_bit_for_bit(options: dict[str, object]) -> None:
    vit, images = tiny_vit(**options), torch.randn(3, 3, 12, 12)
    everything = torch.arange(9).expand(3, -1)
    assert torch.equal(classify_patches(vit, images), vit(images))
    assert torch.equal(classify_patches(vit, images, everything), vit(images))


@pytest.mark.parametrize(("name", "patches"), [("vit_base_patch32_384", 144), ("vit_base_patch16_224", 196)])
def test_the_vits_of_the_paper(name: str, patches: int) -> None:
    vit = timm.create_model(name, embed_dim=16, depth=2, num_heads=2).eval()
    images = torch.randn(2, 3, *vit.patch_embed.img_size)
    assert math.prod(vit_grid(vit)) == patches
    assert torch.equal(classify_patches(vit, images, torch.arange(patches).expand(2, -1)), vit(images))
    assert classify_patches(vit, images, torch.randperm(patches)[None, :75].expand(2, -1)).shape == (2, 1000)


def slow_logits(vit: VisionTransformer, image: Tensor, keep: list[int], pool: str) -> Tensor:
    """One image, patch after patch, from the ViT's weights and the definition of attention."""
    tokens = [vit.cls_token[0, 0] + vit.pos_embed[0, 0]]
    for number in keep:
        row, column = divmod(number, 3)
        pixels = image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        feature = (vit.patch_embed.proj.weight * pixels).sum(dim=(1, 2, 3)) + vit.patch_embed.proj.bias
        tokens.append(feature + vit.pos_embed[0, 1 + number])
    x = torch.stack(tokens)
    for block in vit.blocks:
        normed, mixed = block.norm1(x), []
        qkv = normed @ block.attn.qkv.weight.T + block.attn.qkv.bias
        for head in range(2):
            q, k, v = (qkv[:, 8 * part + 4 * head : 8 * part + 4 * head + 4] for part in range(3))
            weights = (q @ k.T / 2).exp()
            mixed.append(weights / weights.sum(dim=1, keepdim=True) @ v)
        x = x + torch.cat(mixed, dim=1) @ block.attn.proj.weight.T + block.attn.proj.bias
        x = x + block.mlp(block.norm2(x))
    pooled = vit.norm(x)[0] if pool == "token" else vit.fc_norm(x[1:].mean(dim=0))
    return vit.head(pooled)


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_some_patches_against_a_slow_vit(pool: str) -> None:
    vit, images = tiny_vit(global_pool=pool).double(), torch.randn(2, 3, 12, 12, dtype=torch.float64)
    keep = torch.tensor([[0, 4, 7], [8, 1, 3]])
    wanted = torch.stack([slow_logits(vit, image, row.tolist(), pool) for image, row in zip(images, keep, strict=True)])
    torch.testing.assert_close(classify_patches(vit, images, keep), wanted)
    torch.testing.assert_close(classify_patches(vit, images, keep.flip(1)), wanted)


def test_dropped_patches_are_not_seen_and_not_paid_for() -> None:
    vit, images = tiny_vit(), torch.randn(2, 3, 12, 12)
    lengths: list[int] = []
    vit.blocks[0].register_forward_hook(lambda module, args, out: lengths.append(out.shape[1]))
    keep = torch.tensor([[0, 1], [0, 2]])
    first = classify_patches(vit, images, keep)
    other = images.clone()
    other[:, :, 4:] = 7.0
    assert torch.equal(classify_patches(vit, other, keep), first)
    assert lengths == [3, 3]


@pytest.mark.parametrize("options", [{"global_pool": "max"}, {"global_pool": "map"}, {"global_pool": ""}])
def test_other_pooling_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="only 'token' and 'avg'"):
        classify_patches(tiny_vit(**options), torch.randn(1, 3, 12, 12))


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "test_resnet"])
def test_other_models_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"not timm's plain VisionTransformer"):
        classify_patches(timm.create_model(name), torch.randn(1, 3, 224, 224))


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (torch.zeros(2, 1), "float32"),
        (torch.zeros(1, 1, dtype=torch.int64), r"expected int64 \[2, k\]"),
        (torch.zeros(2, 0, dtype=torch.int64), "from 1 to 9"),
        (torch.tensor([[0, 9], [0, 1]]), "outside 0 to 8"),
        (torch.tensor([[-1, 2], [0, 1]]), "outside 0 to 8"),
        (torch.tensor([[0, 1], [2, 2]]), "the same one twice"),
    ],
)
def test_bad_numbers_of_patches(keep: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classify_patches(tiny_vit(), torch.randn(2, 3, 12, 12), keep)


def test_images_are_normalised_as_the_vit_was_trained() -> None:
    vit, images = tiny_vit(), torch.rand(2, 3, 12, 12)
    vit.pretrained_cfg = {"mean": (0.5, 0.25, 0.0), "std": (0.5, 2.0, 1.0)}
    seen = vit_input(vit, images)
    torch.testing.assert_close(seen[:, 0], 2 * images[:, 0] - 1)
    torch.testing.assert_close(seen[:, 1], (images[:, 1] - 0.25) / 2)
    torch.testing.assert_close(seen[:, 2], images[:, 2])


def test_area_of_the_metric_sheet() -> None:
    kept, accuracy = [0, 4, 8, 12, 16], [0, 0.4, 0.6, 0.7, 0.75]
    assert area_under_curve(kept, accuracy) == pytest.approx(0.51875)
    assert area_under_curve(kept, accuracy) / accuracy[-1] == pytest.approx(0.6916667, abs=1e-7)
    assert area_under_curve([0, 3, 9], [0, 1 / 3, 1]) == pytest.approx(0.5)


@pytest.mark.parametrize("kept", [[1, 2], [0, 0], [0, 2, 1], [0]])
def test_area_needs_a_whole_curve(kept: list[int]) -> None:
    with pytest.raises(ValueError, match="from 0 up, ascending"):
        area_under_curve(kept, [0.0] * len(kept))


def test_patches_for_ninety_percent() -> None:
    assert patches_for([0, 10, 20], [0.0, 0.5, 1.0]) == pytest.approx(18)
    assert patches_for([0, 10, 20, 30], [0.0, 0.9, 0.2, 1.0]) == 10
    assert patches_for([0, 10], [0.5, 0.5]) == 0


def test_curve_of_named_images() -> None:
    named = np.array([[True, False, False, False], [True, True, False, True]])
    curve = subset_curve(named, [2, 4], classes=10)
    assert curve.kept.tolist() == [0, 2, 4]
    assert curve.accuracy.tolist() == pytest.approx([0.1, 0.25, 0.75])
    assert curve.area == pytest.approx(0.5 * (0.1 + 0.25) / 2 + 0.5 * (0.25 + 0.75) / 2)
    assert curve.area_of_image.mean() == pytest.approx(curve.area)
    assert curve.area_of_image[0] == pytest.approx(0.5 * 0.55 + 0.5)
    assert curve.normalised_area == pytest.approx(curve.area / 0.75)
    assert curve.k90 == pytest.approx(2 + 2 * (0.675 - 0.25) / 0.5)


def test_recognised_against_a_loop() -> None:
    vit, images = tiny_vit(), torch.rand(7, 3, 12, 12)
    labels = torch.randint(5, (7,))
    scores = torch.rand(7, 9)
    scores[0, 3] = scores[0, 5] = 2.0
    place = {image.sum().item(): row for image, row in zip(images, scores, strict=True)}
    given = {"given": lambda part: torch.stack([place[image.sum().item()] for image in part])}
    batches = list(zip(images.split(3), labels.split(3), strict=True))
    found = recognised(vit, batches, given, [1, 4, 9])["given"]
    for i in range(7):
        order = sorted(range(9), key=lambda patch: (-scores[i, patch].item(), patch))
        for row, k in enumerate([1, 4, 9]):
            logits = classify_patches(vit, vit_input(vit, images[i : i + 1]), torch.tensor([sorted(order[:k])]))
            assert found[row, i] == (logits.argmax().item() == labels[i])
    assert best_patches(scores[:1], 1).tolist() == [[3]]
    assert best_patches(torch.tensor([[0.1, 0.9, 0.2, 0.8]]), 3).tolist() == [[1, 2, 3]]
    with pytest.raises(ValueError, match="no image"):
        recognised(vit, [], given, [1])


def test_rank_network_at_the_size_of_the_vit() -> None:
    rank = PatchRank(24, 8, width=4, padding="zeros").eval()
    images = torch.rand(2, 3, 24, 24)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        own = rank((images - mean) / std)
        torch.testing.assert_close(network_ranking(rank, (3, 3))(images), own)
        larger = torch.rand(2, 3, 48, 48)
        features = rank.trunk((larger - mean) / std)  # [2, C, 6, 6]
        found = network_ranking(rank, (6, 6))(larger)
        torch.testing.assert_close(found, rank.score(features.permute(0, 2, 3, 1)).flatten(1))
    assert rank.grid == 3, "the network itself was changed"
    with pytest.raises(ValueError, match="square"):
        network_ranking(rank, (2, 3))


def test_rank_network_of_two_sizes_gives_the_finest() -> None:
    rank = PatchRank(32, 8, width=4, scales=2).eval()
    images = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        torch.testing.assert_close(network_ranking(rank, (4, 4))(images), rank((images - mean) / std)[:, :16])


def test_any_other_network_has_its_own_size() -> None:
    sizes: list[int] = []

    class Brightness(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            sizes.append(images.shape[-1])
            return nn.functional.adaptive_avg_pool2d(images.mean(dim=1, keepdim=True), 2).flatten(1)

    images = torch.zeros(1, 3, 16, 16)
    images[:, :, :8, :8] = 1.0
    scores = network_ranking(Brightness(), (4, 4), image_size=8)(images)
    assert sizes == [8]
    assert scores.shape == (1, 16)
    assert scores.argmax() == 0
    assert scores[0, 0] > scores[0, 1] > scores[0, 2]
    with pytest.raises(ValueError, match="square grid"):
        on_grid(torch.zeros(1, 6), (4, 4))


def test_orders_that_look_at_nothing() -> None:
    images = torch.rand(5, 3, 12, 12)
    first, again, other = (random_ranking((3, 3), seed) for seed in (0, 0, 1))
    whole = first(images)
    assert torch.equal(torch.cat([again(part) for part in images.split(2)]), whole)
    assert not torch.equal(other(images), whole)
    assert len(set(map(tuple, whole.argsort(dim=1).tolist()))) > 1
    assert centre_ranking((3, 3))(images).argsort(dim=1, descending=True, stable=True)[4].tolist() == [
        *(4, 1, 3, 5, 7),
        *(0, 2, 6, 8),
    ]
    assert torch.equal(reversed_ranking(centre_ranking((3, 3)))(images), -centre_ranking((3, 3))(images))


@pytest.mark.parametrize("options", [{}, {"reg_tokens": 2}, {"qk_norm": True}])
def test_attention_is_what_the_last_block_does(options: dict[str, object]) -> None:
    vit, images = tiny_vit(**options), torch.rand(2, 3, 12, 12)
    found = attention_ranking(vit)(images)
    # Attention that is not fused shows its weights to its dropout.
    last, weights = vit.blocks[-1].attn, []
    last.fused_attn = False
    last.attn_drop.register_forward_hook(lambda module, args, out: weights.append(args[0]))
    vit(vit_input(vit, images))
    torch.testing.assert_close(found, weights[0].mean(dim=1)[:, 0, vit.num_prefix_tokens :])
    assert found.shape == (2, 9)


def test_attention_needs_a_class_token() -> None:
    with pytest.raises(ValueError, match="no class token"):
        attention_ranking(tiny_vit(global_pool="avg", class_token=False))


@torch.no_grad()
def test_saliency_against_finite_differences() -> None:
    vit, images = tiny_vit(img_size=8).double(), torch.rand(2, 3, 8, 8, dtype=torch.float64)
    seen, step = vit_input(vit, images), 1e-5
    top = vit(seen).argmax(dim=1)
    slope = torch.zeros(2, 192, dtype=torch.float64)
    for i in range(192):
        nudge = torch.zeros(192, dtype=torch.float64)
        nudge[i] = step
        up, down = (vit(seen + sign * nudge.view(3, 8, 8)).gather(1, top[:, None])[:, 0] for sign in (1, -1))
        slope[:, i] = (up - down) / (2 * step)
    largest = slope.view(2, 3, 8, 8).abs().amax(dim=1)
    wanted = torch.stack([largest[:, r : r + 4, c : c + 4].mean(dim=(1, 2)) for r in (0, 4) for c in (0, 4)], dim=1)
    torch.testing.assert_close(saliency_ranking(vit)(images), wanted, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("pool", ["token", "avg"])
@torch.no_grad()
def test_grad_cam_against_finite_differences(pool: str) -> None:
    vit, images = tiny_vit(img_size=8, global_pool=pool).double(), torch.rand(1, 3, 8, 8, dtype=torch.float64)
    block, step = vit.blocks[-1], 1e-5
    stream = vit.blocks[:-1](vit._pos_embed(vit.patch_embed(vit_input(vit, images))))
    read = block.norm1(stream)

    def logits(tokens: Tensor) -> Tensor:
        x = stream + block.attn(tokens)
        return vit.forward_head(vit.norm(x + block.mlp(block.norm2(x))))[0]

    top = logits(read).argmax()
    slope = torch.zeros_like(read)
    for place in np.ndindex(*read.shape):
        nudge = torch.zeros_like(read)
        nudge[place] = step
        slope[place] = (logits(read + nudge)[top] - logits(read - nudge)[top]) / (2 * step)
    weight = slope[0, 1:].mean(dim=0)
    wanted = torch.stack([(weight * patch).sum() for patch in read[0, 1:]])[None]
    torch.testing.assert_close(grad_cam_ranking(vit)(images), wanted, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("options", [{}, {"global_pool": "avg", "class_token": False}], ids=["token", "mean"])
@torch.no_grad()
def test_occlusion_against_a_loop(options: dict[str, object]) -> None:
    vit, images = tiny_vit(**options), torch.rand(2, 3, 12, 12)
    wanted = torch.zeros(2, 9)
    for b, image in enumerate(vit_input(vit, images)):
        whole = vit(image[None])[0].softmax(0)
        for patch in range(9):
            tokens = vit._pos_embed(vit.patch_embed(image[None]))
            kept = [t for t in range(tokens.shape[1]) if t != patch + vit.num_prefix_tokens]
            left = vit.forward_head(vit.norm(vit.blocks(tokens[:, kept])))[0].softmax(0)
            wanted[b, patch] = math.log(whole.max() / left[whole.argmax()])
    torch.testing.assert_close(occlusion_ranking(vit)(images), wanted, rtol=1e-4, atol=1e-5)


def test_gradients_of_rankings_leave_the_vit_alone() -> None:
    vit, images = tiny_vit(), torch.rand(2, 3, 12, 12)
    before = vit(images)
    for ranking in (saliency_ranking(vit), grad_cam_ranking(vit), attention_ranking(vit)):
        ranking(images)
    assert all(p.grad is None and p.requires_grad for p in vit.parameters())
    assert torch.equal(vit(images), before)


def test_speeds_are_medians_of_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0.0], []

    class Clock:
        @staticmethod
        def perf_counter() -> float:
            return now[0]

    monkeypatch.setattr(patch_speed, "time", Clock)

    def slow() -> None:
        # One turn in seven is disturbed.
        now[0] += 50.0 if len([c for c in calls if c == "slow"]) == 4 else 2.0
        calls.append("slow")

    def fast() -> None:
        now[0] += 0.5
        calls.append("fast")

    found = images_per_second({"slow": slow, "fast": fast}, images=8, rounds=7, seconds=1.0)
    assert found == {"slow": 4.0, "fast": 16.0}
    assert calls[4:10] == ["slow", "fast", "fast"] * 2

    calls[:] = ["slow"] * 2
    # Now the first turn is the disturbed one.
    assert images_per_second({"slow": slow}, images=8, rounds=1, seconds=1.0) == {"slow": 4.0}

    def cold() -> None:
        now[0] += 0.1 if "cold" in calls else 10.0
        calls.append("cold")

    images_per_second({"cold": cold}, images=8, rounds=1, seconds=1.0)
    assert calls.count("cold") == 2 + 2 * 10, "a slow first call must not shorten the turns"
