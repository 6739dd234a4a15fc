"""Table 1's rivals: momentum and queue in closed form, losses against slow loops and torch.distributions, codes against
cdist, and the command from end to end and interrupted."""

from __future__ import annotations

import json
import math
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from games.baselines import build, main, read_command
from games.build.baselines import METHODS, build_baseline, queue_size
from games.options.command_line import parse
from games.options.config import Config
from games.options.config_file import save_config
from patchgame_egg.agents.trunks import vision_trunk
from patchgame_egg.baselines.moco import (
    GroupBatchNorm,
    KeyQueue,
    MomentumContrast,
    group_batch_norm,
    momentum_for,
    queue_contrast,
)
from patchgame_egg.baselines.patch_vae import (
    PartChannel,
    PartFeatures,
    PartSender,
    appearance_divergence,
    cell_trunk,
    occurrence_divergence,
)
from patchgame_egg.baselines.reconstruction import laplacian_weights, reconstruction_errors
from patchgame_egg.baselines.vq_vae import HierarchyChannel, HierarchyFeatures
from patchgame_egg.data.scenes import Scenes
from patchgame_egg.training.callback import Callback
from patchgame_egg.training.log_file import read_log
from patchgame_egg.views.transforms import EvaluationView

LEARNT = [method for method in METHODS if method != "random"]


def scenes(count: int, size: int = 32) -> Tensor:
    source = Scenes(count, size)
    return EvaluationView(size)(torch.stack([source[n][0] for n in range(count)]))


def flat_moco(**options: Any) -> MomentumContrast:
    """Without batch normalisation, so that images do not depend on each other."""
    return MomentumContrast(nn.Sequential(nn.Flatten(), nn.Linear(12, 6)), 6, dim=5, queue=7, **options)


def test_the_key_encoder_follows_in_closed_form() -> None:
    moco = flat_moco(momentum=0.9)
    start = [p.clone() for p in (*moco.key_trunk.parameters(), *moco.key_head.parameters())]
    query = [*moco.trunk.parameters(), *moco.head.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(start, query, strict=True))
    with torch.no_grad():
        for p in query:
            p.add_(torch.randn_like(p))
    for _ in range(5):
        moco(torch.randn(4, 3, 2, 2), None, torch.randn(4, 3, 2, 2))
    for now, before, goal in zip(
        [*moco.key_trunk.parameters(), *moco.key_head.parameters()], start, query, strict=True
    ):
        torch.testing.assert_close(now, goal + 0.9**5 * (before - goal))
    moco.eval()(torch.randn(4, 3, 2, 2))
    torch.testing.assert_close(next(moco.key_trunk.parameters()), query[0] + 0.9**5 * (start[0] - query[0]))


@pytest.mark.parametrize("count", [2, 3, 7, 9])
def test_the_queue_is_first_in_first_out_around_its_end(count: int) -> None:
    queue, expected = KeyQueue(7, 2), deque(maxlen=7)
    expected.extend(queue.keys.tolist())
    for step in range(6):
        keys = torch.arange(2.0 * count).view(count, 2) + 100 * step
        queue.push(keys)
        expected.extend(keys.tolist())
        assert int(queue.position) == count * (step + 1) % 7
        assert queue.keys.roll(-int(queue.position), 0).tolist() == list(expected), "oldest first from its place on"


def test_a_queue_takes_up_the_size_of_a_saved_one() -> None:
    saved = KeyQueue(7, 2)
    saved.push(torch.ones(3, 2))
    other = KeyQueue(1, 2)
    other.load_state_dict(saved.state_dict())
    assert torch.equal(other.keys, saved.keys) and int(other.position) == 3
    with pytest.raises(RuntimeError):
        KeyQueue(7, 3).load_state_dict(saved.state_dict())


def test_moco_loss_and_accuracies_against_a_slow_loop() -> None:
    moco = flat_moco(momentum=0.5)
    with torch.no_grad():
        moco.head[2].weight.add_(0.3 * torch.randn_like(moco.head[2].weight))
    first, second = torch.randn(6, 3, 2, 2), torch.randn(6, 3, 2, 2)
    second[:3], second[3:] = first[:3] + 0.1 * second[:3], -first[3:]
    before = moco.queue.keys.clone()
    loss, record = moco(first, None, second)
    unit = lambda x: F.normalize(x, dim=1).tolist()  # noqa: E731
    query, keys = unit(moco.head(moco.trunk(first))), unit(moco.key_head(moco.key_trunk(second)))

    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    expected, hits, queue_hits = [], [], []
    for i, q in enumerate(query):
        own, others = dot(q, keys[i]), [dot(q, k) for k in before.tolist()]
        expected.append(-own / 0.2 + math.log(sum(math.exp(c / 0.2) for c in [own, *others])))
        hits.append(all(own > dot(q, k) for j, k in enumerate(keys) if j != i))
        queue_hits.append(own > max(others))
    assert record.aux["loss"].tolist() == pytest.approx(expected, rel=1e-5)
    assert loss.item() == pytest.approx(sum(expected) / 6, rel=1e-5)
    assert record.aux["acc"].tolist() == hits and 0 < sum(hits) < 6
    assert record.aux["acc_queue"].tolist() == queue_hits and 0 < sum(queue_hits) < 6
    torch.testing.assert_close(moco.queue.keys[:6], torch.tensor(keys))
    assert torch.equal(moco.queue.keys[6], before[6])


def test_collapsed_encoders_are_not_called_right() -> None:
    same = F.normalize(torch.ones(4, 5), dim=1)
    loss, aux = queue_contrast(same, same, same)
    assert loss.tolist() == pytest.approx([math.log(5)] * 4) and not aux["acc_queue"].any()


def test_no_gradient_reaches_keys_or_queue() -> None:
    moco = flat_moco()
    seen, shown = torch.randn(4, 3, 2, 2, requires_grad=True), torch.randn(4, 3, 2, 2, requires_grad=True)
    moco(seen, None, shown)[0].backward()
    assert seen.grad is not None and shown.grad is None
    learns = {n for n, p in moco.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert learns == {n for n, _ in moco.named_parameters() if not n.startswith("key_")}
    assert not any(p.requires_grad for n, p in moco.named_parameters() if n.startswith("key_"))


def test_shuffled_keys_come_back_in_order() -> None:
    moco = flat_moco()
    images = torch.randn(6, 3, 2, 2)
    plain = F.normalize(moco.key_head(moco.key_trunk(images)), dim=1)
    torch.testing.assert_close(moco.encode_keys(images), plain)
    seen: list[Tensor] = []
    moco.key_trunk.register_forward_hook(lambda _, given, __: seen.append(given[0].clone()))
    moco.encode_keys(images)
    assert not torch.equal(seen[0], images), "nothing was shuffled"
    moco.eval().encode_keys(images)
    assert torch.equal(seen[1], images)


def test_batch_statistics_are_those_of_each_group() -> None:
    net, plain = nn.Sequential(nn.BatchNorm2d(3)), nn.BatchNorm2d(3)
    group_batch_norm(net, 4)
    assert isinstance(net[0], GroupBatchNorm)
    x = torch.randn(8, 3, 2, 2) * 3 + torch.arange(8.0).view(8, 1, 1, 1)
    parts = [F.batch_norm(p, None, None, plain.weight, plain.bias, True) for p in x.split(2)]
    torch.testing.assert_close(net(x), torch.cat(parts))
    means = torch.stack([p.mean((0, 2, 3)) for p in x.split(2)]).mean(0)
    variances = torch.stack([p.var((0, 2, 3)) for p in x.split(2)]).mean(0)
    torch.testing.assert_close(net[0].running_mean, 0.1 * means)
    torch.testing.assert_close(net[0].running_var, 0.9 + 0.1 * variances)
    plain.load_state_dict(net[0].state_dict())
    torch.testing.assert_close(net.eval()(x), plain.eval()(x))


def test_short_trainings_have_short_memories() -> None:
    assert [momentum_for(n) for n in (1, 100, 20_000, 10**6)] == [0.5, 0.8, 0.999, 0.999]
    assert [queue_size(n, 128) for n in (100, 5888, 1_281_167)] == [128, 640, 65536]


def test_codes_are_the_nearest_and_copy_the_gradient() -> None:
    channel = HierarchyChannel(code_dim=3, vocab_size=5)
    coarse, fine = torch.randn(2, 3, 2, 2), torch.randn(2, 3, 4, 4)
    channel(HierarchyFeatures(coarse, lambda said: fine))
    channel.eval()
    coarse.requires_grad_()
    fine.requires_grad_()
    told: list[Tensor] = []
    message = channel(HierarchyFeatures(coarse, lambda said: told.append(said) or fine))
    books = [channel.estimator.quantiser.codebook, channel.fine.quantiser.codebook]
    assert message.vectors.shape == (2, 20, 3) and message.mask.all() and message.penalty is None
    for grid, book, slots, first in ((coarse, books[0], slice(0, 4), 0), (fine, books[1], slice(4, 20), 5)):
        wanted = grid.detach().flatten(2).mT
        nearest = torch.cdist(wanted, book.expand(2, -1, -1)).argmin(dim=2)
        assert torch.equal(message.symbols[:, slots], nearest + first)
        torch.testing.assert_close(message.vectors[:, slots], book[nearest])
    torch.testing.assert_close(told[0].flatten(2).mT, message.vectors[:, :4])
    weight = torch.randn(2, 20, 3)
    (message.vectors * weight).sum().backward()
    torch.testing.assert_close(coarse.grad.flatten(2).mT, weight[:, :4])
    torch.testing.assert_close(fine.grad.flatten(2).mT, weight[:, 4:])


def test_commitment_pulls_towards_the_codes() -> None:
    channel = HierarchyChannel(code_dim=3, vocab_size=5, commitment=0.25)
    features = HierarchyFeatures(torch.randn(2, 3, 2, 2), lambda said: torch.ones(2, 3, 4, 4))
    channel(features)
    book = channel.estimator.quantiser.codebook.clone()
    penalty = channel(features).penalty
    wanted = features.coarse.flatten(2).mT.flatten(0, 1)
    expected = 0.25 * torch.cdist(wanted, book).min(dim=1).values.square().mean() / 3
    torch.testing.assert_close(penalty, expected, atol=1e-6, rtol=1e-4)


def test_divergences_against_torch_distributions() -> None:
    logits, mean, log_var = torch.randn(4, 5) * 6, torch.randn(4, 5), torch.randn(4, 5)
    expected = kl_divergence(Bernoulli(logits=logits), Bernoulli(torch.tensor(0.1)))
    torch.testing.assert_close(occurrence_divergence(logits, 0.1), expected, atol=1e-5, rtol=1e-5)
    expected = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(appearance_divergence(mean, log_var), expected)


def test_parts_occur_as_often_as_they_are_likely() -> None:
    channel = PartChannel(temperature=0.5)
    logits = torch.tensor([-2.0, 0.0, 1.5]).expand(4000, 2, 3).clone().requires_grad_()
    features = PartFeatures(logits, torch.full((4000, 3, 2), 3.0), torch.full((4000, 3, 2), math.log(4)))
    message = channel(features)
    assert set(message.vectors.unique().tolist()) == {0, 1}
    torch.testing.assert_close(message.vectors.mean(dim=(0, 1)), logits[0, 0].sigmoid(), atol=0.02, rtol=0)
    assert float(message.appearance.mean()) == pytest.approx(3, abs=0.05)
    assert float(message.appearance.std()) == pytest.approx(2, abs=0.05)
    assert torch.equal(message.mask, message.vectors.bool().any(dim=2))
    message.vectors.sum().backward()
    # A sigmoid far from its middle has no slope left in float32.
    assert (logits.grad >= 0).all() and (logits.grad > 0).float().mean() > 0.95
    calm = channel.eval()(features)
    assert torch.equal(calm.vectors, (logits > 0).float()) and torch.equal(calm.appearance, features.mean)


def test_an_appearance_is_read_where_its_part_occurs() -> None:
    trunk, dim = cell_trunk("resnet9", 8, 2)
    sender = PartSender(trunk, dim, parts=3, appearance_dim=2).eval()
    images = scenes(2)
    with torch.no_grad():
        found = sender(images)
        cells = trunk[0](images)
    assert found.logits.shape == (2, 16, 3)
    torch.testing.assert_close(trunk(images), cells.mean(dim=(2, 3)))
    for b in range(2):
        for n in range(3):
            weight = found.logits[b, :, n].sigmoid()
            pooled = (cells[b].flatten(1) * weight).sum(dim=1) / weight.sum()
            read = pooled @ sender.appearance[n] + sender.shift[n]
            torch.testing.assert_close(torch.cat([found.mean[b, n], found.log_var[b, n]]), read, atol=1e-4, rtol=1e-4)


def test_detail_weighs_more() -> None:
    image = torch.randn(1, 3, 4, 6)
    image[:, :, :, 4:] = 0
    detail = np.zeros((3, 4, 6))
    pixels = np.pad(image[0].numpy(), ((0, 0), (1, 1), (1, 1)), mode="edge")
    for c, y, x in np.ndindex(3, 4, 6):
        here = pixels[c, y : y + 3, x : x + 3]
        detail[c, y, x] = abs(here[0, 1] + here[2, 1] + here[1, 0] + here[1, 2] - 4 * here[1, 1])
    sums = detail.reshape(3, 2, 2, 3, 2).sum(axis=(2, 4)).repeat(2, axis=1).repeat(2, axis=2)
    expected = sums / sums.mean(axis=(1, 2), keepdims=True)
    weights = laplacian_weights(image, 2)
    np.testing.assert_allclose(weights[0].numpy(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(laplacian_weights(torch.ones(1, 3, 4, 4), 2), torch.ones(1, 3, 4, 4))


def test_one_colour_is_chance() -> None:
    images = scenes(3)
    errors = reconstruction_errors(images.mean(dim=(2, 3), keepdim=True).expand_as(images), images)
    torch.testing.assert_close(errors["mse"], errors["mse_constant"])
    assert not reconstruction_errors(images, images)["mse"].any()


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_cells_have_the_size_that_was_asked_for(stride: int) -> None:
    for name, width in (("resnet9", 2), ("resnet18", 64)):
        trunk, dim = cell_trunk(name, stride, width)
        with torch.no_grad():
            cells = trunk.eval()[0](torch.zeros(1, 3, 32, 32))
        assert cells.shape == (1, dim, 32 // stride, 32 // stride)
        whole, _ = vision_trunk(name, 96, width)
        ours, theirs = ({k: v.shape for k, v in net.state_dict().items()} for net in (trunk, whole))
        assert ours.items() <= theirs.items(), "weights have other names or shapes than those of the whole network"


@pytest.mark.slow
@pytest.mark.parametrize("method", LEARNT)
def test_each_learns_a_tiny_set(method: str, tiny: list[str]) -> None:
    words = ["--image-size", "16", "--code-dim", "8", "--epochs", "4", "--vision-width", "8", "--patch-size", "4"]
    game = build_baseline(method, parse([*tiny, *words]).config, 256)
    adam = torch.optim.AdamW(game.parameters(), 5e-3)
    # MoCo's queue holds the two batches before: none of the images that are looked for.
    batches = scenes(64, 16).split(16) if method == "moco" else [scenes(16, 16)]
    found = []
    for step in range(60 if method == "moco" else 40):
        images = batches[step % len(batches)]
        loss, record = game(images, None, images.flip(3))
        adam.zero_grad()
        loss.backward()
        adam.step()
        found.append(float(record.aux["loss" if method == "moco" else "mse"].mean()))
    # At first the queue holds directions that nothing looks like.
    if method == "moco":
        assert np.mean(found[-4:]) < 0.8 * np.mean(found[1:4]), found
    else:
        assert found[-1] < 0.5 * found[0], found


@pytest.mark.parametrize("method", LEARNT)
def test_half_precision_and_gradients_everywhere(method: str, tiny: list[str]) -> None:
    game = build_baseline(method, parse([*tiny, "--code-dim", "8"]).config, 32).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        loss, record = game(scenes(8), None, scenes(8).flip(3))
    loss.backward()
    assert loss.isfinite() and loss.dtype == torch.float32 and record.aux["loss"].dtype == torch.float32
    missing = [n for n, p in game.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not missing
    assert game.trunk(scenes(2)).shape == (2, game.trunk_dim)


@pytest.fixture
def quick(tiny: list[str], photos: Path, tmp_path: Path) -> list[str]:
    """Four steps an epoch."""
    words = ["--code-dim", "8", "--data", "folder", "--root", str(photos), "--out", str(tmp_path), "--no-tensorboard"]
    return [*tiny, *words, "--epochs", "2"]


def log(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k != "images_per_s"} for r in read_log(run / "log.jsonl")]


@pytest.mark.parametrize("method", METHODS)
def test_the_command(method: str, quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([method, *quick]) == 0
    run = tmp_path / f"{method}-folder-1"
    assert json.loads((run / "method.json").read_text())["method"] == method
    metrics = json.loads((run / "metrics.json").read_text())
    if method in ("moco", "random"):
        assert metrics["candidates"] == 8 and 0 <= metrics["acc"] <= 1
    else:
        assert metrics["relative_error"] == pytest.approx(metrics["mse"] / metrics["mse_constant"])
        assert "error, of that of one colour" in capsys.readouterr().out
    method_again, start = read_command(["--resume", str(run)])
    assert method_again == method
    saved = torch.load(run / "checkpoint.pt", weights_only=True)["game"]
    bare = build_baseline(method, start.config)
    trunk = {k: v.clone() for k, v in bare.trunk.state_dict().items()}
    bare.load_state_dict(saved)
    changed = any(not torch.equal(v, trunk[k]) for k, v in bare.trunk.state_dict().items())
    assert changed == (method != "random")
    if method == "random":
        assert not (run / "log.jsonl").exists() or not log(run)
    else:
        assert [r["step"] for r in log(run) if r["kind"] == "train"] == list(range(1, 9))
        assert log(run)[-1] == metrics


@pytest.mark.slow
@pytest.mark.parametrize("method", LEARNT)
def test_stopped_runs_go_on_with_the_same_numbers(method: str, quick: list[str], tmp_path: Path) -> None:
    assert main([method, *quick, "--name", "whole"]) == 0
    run = tmp_path / "stopped"
    _, start = read_command([method, *quick, "--name", "stopped"])
    trainer, _ = build(method, start, torch.device("cpu"), run)

    class Stop(Callback):
        def on_batch_end(self, logs: object, loss: object, batch_id: int, is_training: bool = True) -> None:
            self.trainer.should_stop = self.trainer.step == 6

    trainer.callbacks.append(Stop())
    run.mkdir()
    save_config(start.config, start.preset, run / "config.json")
    (run / "method.json").write_text(json.dumps({"method": method}))
    trainer.train(2)
    assert [r["step"] for r in log(run)][-1] == 6
    assert main(["--resume", str(run)]) == 0
    assert log(run) == log(tmp_path / "whole")


def test_validation_is_the_same_twice(quick: list[str], tmp_path: Path) -> None:
    trainer, _ = build("moco", read_command(["moco", *quick])[1], torch.device("cpu"), tmp_path)
    first, second = trainer.eval()[1], trainer.eval()[1]
    assert torch.equal(first.aux["loss"], second.aux["loss"])


def test_random_weights_are_where_moco_starts(tiny: list[str]) -> None:
    config = parse(tiny).config
    one, other = (build_baseline(m, config, 32).trunk.state_dict() for m in ("random", "moco"))
    assert all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which baseline? Say one of moco, vqvae, patchvae, random first"),
        (["byol"], "unknown baseline 'byol': one of moco"),
        (["moco", "--resume", "nowhere"], "nowhere is not a run"),
        (["vqvae", "--image-size", "36", "--patch-size", "12"], "images of 36 px: the grids of VQ-VAE-2 need a"),
        (["patchvae", "--image-size", "36", "--patch-size", "12"], "patches of 12 px: cells of resnet9 have 2 to 32"),
        (["patchvae", "--vision", "vgg11"], "PatchVAE's trunk 'vgg11': give resnet9"),
        (["moco", "--micro-batch", "2"], "--micro-batch is PatchGame's"),
        (["vqvae", "--data", "scenes", "--ground", "scenes"], "--ground is PatchGame's"),
        (["moco", "--vocb", "2"], "did you mean --vocab?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_end_in_one_line(
    words: list[str], said: str, quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method, rest = words[:1], words[1:]
    with pytest.raises(SystemExit) as stop:
        main([*method, *([] if "--resume" in rest else quick), *rest])
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and said in error and "\n" not in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("method", "words", "said"),
    [
        ("moco", ["vqvae", "--resume"], "is a run of moco, not of vqvae"),
        ("moco", ["vqvae", "--init-from"], "is a run of moco, not of vqvae"),
        ("", ["--resume"], "is a run of games.patchgame, not of a baseline"),
    ],
)
def test_runs_of_other_methods_are_refused(
    method: str, words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save_config(Config(), "small", run / "config.json")
    torch.save({}, run / "checkpoint.pt")
    if method:
        (run / "method.json").write_text(json.dumps({"method": method}))
    with pytest.raises(SystemExit) as stop:
        main([*words, str(run)])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {'--init-from ' if '--init-from' in words else ''}{run} {said}")
