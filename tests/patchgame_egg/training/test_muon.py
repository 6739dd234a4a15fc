"""Muon beside torch's own, which takes matrices alone, and beside AdamW for everything else."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from games.build.agents import build_game
from games.build.optimizer import build_optimizer
from games.options.command_line import parse
from patchgame_egg.training.muon import Muon, maps, orthogonalized

SHAPES = [(4, 4), (3, 40), (40, 3), (64, 200), (1, 7), (7, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_directions_stay_and_are_about_equally_long(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalized(matrix)
    inside = left.T @ found @ right.T
    new, large = inside.diagonal(), values > 0.018 * matrix.norm()
    assert new.min() > 0 and new.max() < 1.21 and new[large].min() > 0.68 and large.sum() > 0.9 * len(values)
    assert (inside - inside.diagonal().diag()).abs().max() < 1e-4
    torch.testing.assert_close(orthogonalized(1000 * matrix), found)
    assert not orthogonalized(torch.zeros(shape)).any()


@pytest.mark.parametrize("momentum", [0.0, 0.95])
@pytest.mark.parametrize("shape", SHAPES)
def test_steps_of_matrices_are_torch_s(shape: tuple[int, int], momentum: float) -> None:
    draw = torch.Generator().manual_seed(1)
    ours = nn.Parameter(torch.randn(shape, generator=draw))
    theirs = nn.Parameter(ours.detach().clone())
    # torch's is a fifth as long.
    options: dict[str, Any] = {"momentum": momentum, "ns_steps": 3, "adjust_lr_fn": "match_rms_adamw"}
    oracle = torch.optim.Muon([theirs], lr=0.05, weight_decay=0.02, **options)
    optimizer = Muon(
        [{"params": [ours], "muon": True, "weight_decay": 0.1}], lr=0.01, momentum=momentum, dtype=torch.bfloat16
    )
    for _ in range(4):
        ours.grad = torch.randn(shape, generator=draw)
        theirs.grad = ours.grad.clone()
        optimizer.step()
        oracle.step()
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_a_kernel_is_a_matrix_whatever_its_order_in_memory(order: torch.memory_format) -> None:
    draw = torch.Generator().manual_seed(2)
    convolution = nn.Conv2d(6, 5, 3).to(memory_format=order)
    matrix = nn.Parameter(convolution.weight.detach().flatten(1).clone())
    both = [Muon([{"params": [p], "muon": True}], lr=0.01) for p in (convolution.weight, matrix)]
    for _ in range(3):
        matrix.grad = torch.randn(matrix.shape, generator=draw)
        convolution.weight.grad = matrix.grad.view(convolution.weight.shape).to(memory_format=order)
        for optimizer in both:
            optimizer.step()
    assert convolution.weight.is_contiguous(memory_format=order)
    torch.testing.assert_close(convolution.weight.flatten(1), matrix)


def test_the_length_of_a_step_is_the_learning_rate() -> None:
    draw = torch.Generator().manual_seed(3)
    for shape in ((50, 20), (20, 50), (30, 30)):
        weight = nn.Parameter(torch.zeros(shape))
        weight.grad = torch.randn(shape, generator=draw)
        Muon([{"params": [weight], "muon": True}], lr=0.01).step()
        assert 0.0075 < weight.square().mean().sqrt() < 0.0115


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(5, 4))
        self.words = nn.Embedding(5, 4)
        self.first, self.last = nn.Conv1d(4, 4, 3, padding=1), nn.Linear(4, 2)
        self.apart, self.norm = nn.Conv1d(4, 4, 3, padding=1, groups=4), nn.LayerNorm(4)
        self.cell = nn.LSTMCell(4, 4)
        self.wide = nn.utils.parametrizations.weight_norm(nn.Linear(2, 9, bias=False))

    def forward(self, numbers: Tensor) -> Tensor:
        x = (self.table + self.words.weight)[numbers].T[None]
        return self.wide(self.last(self.cell(self.norm(self.apart(self.first(x))[0].T))[0]))


def test_tables_and_normalised_weights_map_nothing() -> None:
    net = Several()
    expected = [net.first.weight, net.last.weight, net.cell.weight_ih, net.cell.weight_hh]
    assert [id(p) for p in maps(net)] == [id(p) for p in expected]


def grouped(net: nn.Module) -> list[dict[str, Any]]:
    chosen = {id(p) for p in maps(net)}
    return [
        {"params": [p for p in net.parameters() if (id(p) in chosen) == muon], "muon": muon, "weight_decay": 0.01}
        for muon in (True, False)
    ]


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        net(torch.tensor([step % 5, 1, 3])).square().sum().backward()
        optimizer.step()


def test_all_else_learns_as_under_adamw() -> None:
    torch.manual_seed(0)
    net = Several()
    alone = copy.deepcopy(net)
    chosen = {name for name, p in net.named_parameters() if any(p is q for q in maps(net))}
    for model in (net, alone):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in chosen)
    train(net, Muon(grouped(net), lr=0.01), 4)
    train(alone, torch.optim.AdamW(alone.parameters(), 0.01, weight_decay=0.01, fused=True), 4)
    for ours, theirs in zip(net.parameters(), alone.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_what_is_saved_goes_on_to_the_last_digit() -> None:
    torch.manual_seed(0)
    net = Several()
    optimizer = Muon(grouped(net), lr=0.01)
    train(net, optimizer, 3)
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved, again = torch.load(file, weights_only=True), Several()
    again.load_state_dict(saved["net"])
    resumed = Muon(grouped(again), lr=0.5)
    resumed.load_state_dict(saved["optimizer"])
    train(net, optimizer, 3)
    train(again, resumed, 3)
    for ours, theirs in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_closure_is_called_with_gradients() -> None:
    net = Several()
    optimizer = Muon(grouped(net), lr=0.01)

    def closure() -> Tensor:
        loss = net(torch.tensor([1, 2])).square().sum()
        loss.backward()
        return loss

    before = [p.detach().clone() for p in net.parameters()]
    assert float(optimizer.step(closure).detach()) > 0
    assert not any(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True) if p.grad.any())


def test_who_is_silent_stays() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = Muon([{"params": [weight], "muon": True, "weight_decay": 0.1}], lr=0.1)
    optimizer.step()
    assert torch.equal(weight, torch.ones(2, 2)) and not optimizer.state


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"not for shape \[3\]"):
        Muon([{"params": [nn.Parameter(torch.zeros(3))], "muon": True}])
    with pytest.raises(ValueError, match=r"a momentum of 1\.0: it is 0 or more, and below 1"):
        Muon([{"params": [nn.Parameter(torch.zeros(3, 3))], "muon": True}], momentum=1.0)
    with pytest.raises(ValueError, match="learning rate"):
        Muon([{"params": [nn.Parameter(torch.zeros(3))]}], lr=-1)


def test_the_game_s_maps_learn_by_muon(tiny: list[str]) -> None:
    config = parse([*tiny, "--optimizer", "muon", "--speaker-lr", "0.1", "--head-wide", "64"]).config
    game = build_game(config)
    optimizer, _ = build_optimizer(config, game, 3, "bf16")
    assert isinstance(optimizer, Muon) and optimizer.dtype == torch.bfloat16
    names = {id(p): name for name, p in game.named_parameters()}
    by_adamw = [names[id(p)] for group in optimizer.param_groups if not group["muon"] for p in group["params"]]
    matrices = [name for name in by_adamw if dict(game.named_parameters())[name].dim() > 1]
    assert sorted(name.rsplit(".", 1)[1] for name in matrices) == [
        "cls", *["original0"] * 2, *["original1"] * 2, "positions", "symbols"
    ]  # fmt: skip
    rates = {(group["muon"], group["lr"] / config.training.lr) for group in optimizer.param_groups}
    warm = max(rate for _, rate in rates)
    assert {(muon, round(rate / warm, 6)) for muon, rate in rates} >= {(True, 1.0), (True, 0.1), (False, 1.0)}
