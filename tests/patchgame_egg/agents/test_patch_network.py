"""PatchSymbol by convolutions: each patch alone, whatever its neighbours, and hardly moved by a shift."""

from __future__ import annotations

import pytest
import torch

from patchgame_egg.agents.patch_speaker import PatchSymbol

SIZE, SIDE = 32, 16


def images(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def test_each_patch_is_seen_alone() -> None:
    network = PatchSymbol(SIZE, SIDE, 7, symbols_per_patch=2, hidden=16, network="conv")
    seen = images()
    logits = network(seen)
    assert logits.shape == (4, 4, 2, 7)
    changed = seen.clone()
    changed[:, :, :SIDE, :SIDE] = 0
    same = (network(changed) == logits).flatten(2).all(dim=2)
    assert same.tolist() == [[False, True, True, True]] * 4
    # A patch that stands elsewhere says the same.
    torch.testing.assert_close(network(seen.roll(SIDE, 3)), logits[:, [1, 0, 3, 2]])


def test_where_in_the_patch_a_thing_lies_does_not_count() -> None:
    torch.manual_seed(0)
    dot = torch.zeros(2, 3, SIDE, SIDE)
    dot[0, :, 5, 5] = dot[1, :, 9, 7] = 1
    conv, mlp = (PatchSymbol(SIDE, SIDE, 7, hidden=16, network=name)(dot) for name in ("conv", "mlp"))  # type: ignore[arg-type]
    torch.testing.assert_close(conv[0], conv[1])
    assert (mlp[0] - mlp[1]).abs().max() > 1e-3


def test_what_does_not_go_with_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"patch size 4: .* at least 5 px"):
        PatchSymbol(SIZE, 4, 7, network="conv")
    with pytest.raises(ValueError, match=r"context .* 'conv'"):
        PatchSymbol(SIZE, SIDE, 7, context=True, network="conv")
