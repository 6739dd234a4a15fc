"""The format that a device is fast in, and numbers that tie in half precision where they would decide symbols."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from patchgame_egg.agents.patch_speaker import PatchRank, PatchSpeaker, PatchSymbol
from patchgame_egg.agents.sequence_speaker import RecurrentDecoder, SequenceSpeaker, TransformerDecoder
from patchgame_egg.baselines.patch_vae import PartSender, cell_trunk
from patchgame_egg.channels.patch import PatchChannel
from patchgame_egg.channels.sequence import SequenceChannel
from patchgame_egg.training.precision import native_precision

# Between 16 and 17 bfloat16 has eight numbers; these are one.
LOW, HIGH = 16.0, 16.01
V, BEST = 8, 5


@pytest.mark.parametrize(
    ("told", "expected"),
    [({}, "fp32"), ({"avx2": True, "avx512_bf16": False}, "fp32"), ({"avx512_bf16": True}, "bf16"),
     ({"amx_bf16": True, "avx512_bf16": False}, "bf16")],
)  # fmt: skip
def test_a_processor_is_fast_in_what_it_has_instructions_for(
    told: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told)
    assert native_precision("cpu") == expected
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert native_precision("cpu") == "fp32"


@pytest.mark.parametrize(("told", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_that_emulates_bf16_is_not_fast_in_it(told: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: told or including_emulation)
    assert native_precision("cuda") == expected


def nearly_tied(layer: nn.Module) -> None:
    """Every output is the same in bfloat16, and the one of `BEST` is the largest."""
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, LOW)
    with torch.no_grad():
        layer.bias[BEST] = HIGH


def test_patches_say_the_largest_of_logits_that_tie_in_half_precision() -> None:
    for network in ("mlp", "conv"):
        symbol = PatchSymbol(16, 8, V, hidden=8, network=network)  # type: ignore[arg-type]
        nearly_tied(symbol.mlp if network == "conv" else symbol.mlp[-1])
        speaker = PatchSpeaker(symbol, PatchRank(16, 8, width=4)).eval()
        with torch.autocast("cpu", torch.bfloat16):
            message = PatchChannel().eval()(speaker(torch.randn(3, 3, 16, 16)))
        assert (message.symbols == BEST).all()


def test_patches_are_ranked_by_scores_that_tie_in_half_precision() -> None:
    rank = PatchRank(16, 8, width=4).eval()
    x = torch.randn(4, 3, 16, 16)
    # Scores of a thousandth around 16.
    with torch.no_grad():
        rank.score.weight.mul_(1e-3 / rank(x).std())
        rank.score.bias.fill_(LOW)
        with torch.autocast("cpu", torch.bfloat16):
            scores = rank(x)
    assert all(len(row.unique()) == 4 for row in scores) and all(len(row.bfloat16().unique()) == 1 for row in scores)


@pytest.mark.parametrize("decoder", [RecurrentDecoder, TransformerDecoder])
def test_sequences_say_the_largest_of_logits_that_tie_in_half_precision(decoder: type) -> None:
    speaker = SequenceSpeaker(nn.Flatten(), 12, decoder(V, 3, 12, ends=False)).eval()
    nearly_tied(speaker.decoder.out)
    with torch.autocast("cpu", torch.bfloat16):
        assert (SequenceChannel().eval()(speaker(torch.randn(3, 3, 2, 2))).symbols == BEST).all()


def test_parts_are_the_largest_of_logits_that_tie_in_half_precision() -> None:
    sender = PartSender(*cell_trunk("resnet9", 8, 4), parts=V).eval()
    nearly_tied(sender.occurrence)
    with torch.autocast("cpu", torch.bfloat16):
        assert (sender(torch.randn(2, 3, 32, 32)).logits.argmax(dim=2) == BEST).all()
