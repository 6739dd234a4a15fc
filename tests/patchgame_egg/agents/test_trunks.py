"""Image networks of our own: what they compute, at any width."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from patchgame_egg.agents.trunks import ResNet9


@pytest.mark.parametrize("width", [1, 3, 4, 7, 8, 12])
@pytest.mark.parametrize("size", [32, 37])
def test_shortcuts_are_strided_convolutions_forward_and_backward(width: int, size: int) -> None:
    network = ResNet9(width, stride=32)
    for block in network.blocks:
        if block.downsample is None:
            continue
        ours = block.downsample[0]
        step = block.conv1.stride
        oracle = nn.Conv2d(ours.in_channels, ours.out_channels, 1, step, bias=False).double()
        oracle.load_state_dict(ours.state_dict())  # same names, so that runs of earlier versions load
        images = torch.randn(2, ours.in_channels, size, size)
        seen, expected = images.clone().requires_grad_(), images.double().requires_grad_()
        out, goal = ours(seen), oracle(expected)
        upstream = torch.randn_like(out)
        out.backward(upstream)
        goal.backward(upstream.double())
        assert seen.grad is not None and expected.grad is not None
        torch.testing.assert_close(out, goal.float())
        torch.testing.assert_close(seen.grad, expected.grad.float())
        torch.testing.assert_close(ours.weight.grad, oracle.weight.grad.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_blocks_are_those_of_torchvision(stride: int) -> None:
    block = ResNet9(8, stride=32).blocks[int(stride > 1)]
    shortcut = block.downsample
    oracle = BasicBlock(8, block.conv2.out_channels, stride, shortcut)
    assert list(oracle.state_dict()) == list(block.state_dict())  # in the order in which weights are drawn, too
    oracle.load_state_dict(block.state_dict())
    images = torch.randn(4, 8, 9, 9)
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    out, goal = block(ours), oracle(theirs)
    assert torch.equal(out, goal)
    out.square().sum().backward()
    goal.square().sum().backward()
    assert ours.grad is not None and theirs.grad is not None and torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("width", [4, 6])
def test_narrow_networks_train_in_the_layout_of_the_games(width: int) -> None:
    network = ResNet9(width, stride=32).to(memory_format=torch.channels_last)
    for _ in range(20):
        network(torch.randn(32, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
