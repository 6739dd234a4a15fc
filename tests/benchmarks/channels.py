"""What a message costs: our channels, and EGG's beside them where EGG is importable.

    PYTHONPATH=path/to/EGG python tests/benchmarks/channels.py

One batch of features becomes messages of 48 symbols and a gradient comes back; in turns within one run, medians over
repeats. The features are random vectors, so that the channel alone is measured; `step.py` measures whole steps.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from patchgame_egg.agents.patch_speaker import PatchFeatures
from patchgame_egg.agents.sequence_speaker import Decoder, RecurrentDecoder, SequenceFeatures, TransformerDecoder
from patchgame_egg.channels.estimator import Estimator
from patchgame_egg.channels.gumbel import Gumbel
from patchgame_egg.channels.patch import PatchChannel
from patchgame_egg.channels.reinforce import Reinforce
from patchgame_egg.channels.sequence import SequenceChannel
from patchgame_egg.interaction import Message

Run = Callable[[], object]


def learn(message: Message, channel: PatchChannel | SequenceChannel) -> None:
    """Sends back a gradient as a loss would."""
    per_sample = message.vectors.sum(dim=(1, 2))
    (per_sample.mean() + channel.surrogate(message, per_sample)).backward()


def ours(batch: int, length: int, vocab: int, dim: int) -> dict[str, Run]:
    """A forward and a backward pass of each of our channels."""
    runs: dict[str, Run] = {}
    estimators: dict[str, type[Estimator]] = {"Gumbel": Gumbel, "REINFORCE": Reinforce}
    decoders: dict[str, Decoder] = {
        "LSTM": RecurrentDecoder(vocab, length, dim),
        "GRU": RecurrentDecoder(vocab, length, dim, "gru"),
        "transformer": TransformerDecoder(vocab, length, dim, depth=1),
    }
    for name, estimator in estimators.items():
        for kind, decoder in decoders.items():
            sequence = SequenceChannel(estimator())
            summary = torch.randn(batch, dim, requires_grad=True)
            runs[f"{kind}, {name}"] = lambda c=sequence, d=decoder, s=summary: learn(c(SequenceFeatures(s, d)), c)
        patches = PatchChannel(estimator(), rank_spread=0.29)
        head = nn.Linear(dim, vocab)
        seen, scores = torch.randn(batch, length, dim), torch.randn(batch, length, requires_grad=True)
        runs[f"patch, {name}"] = lambda c=patches, h=head, x=seen, s=scores: learn(
            c(PatchFeatures(h(x)[:, :, None], s)), c
        )
    return runs


def eggs(batch: int, length: int, vocab: int, dim: int) -> dict[str, Run]:
    """The same of EGG's recurrent senders; nothing where EGG is not installed."""
    try:
        from egg.core import RnnSenderGS, RnnSenderReinforce
    except ImportError as error:
        print(f"EGG is left out: {error}")
        return {}

    class Start(nn.Module):
        def forward(self, x: Tensor, aux_input: object = None) -> Tensor:
            return x

    def score(sender: nn.Module, x: Tensor) -> None:
        _, log_prob, entropy = sender(x)
        (log_prob.sum(dim=1).mean() - 0.01 * entropy.mean()).backward()

    runs: dict[str, Run] = {}
    for cell in ("lstm", "gru"):
        x = torch.randn(batch, dim, requires_grad=True)
        relaxed = RnnSenderGS(Start(), vocab + 1, dim, dim, length, 1.0, cell, straight_through=True)
        sampled = RnnSenderReinforce(Start(), vocab + 1, dim, dim, length, cell=cell)
        runs[f"EGG {cell.upper()}, Gumbel"] = lambda s=relaxed, x=x: s(x).sum(dim=(1, 2)).mean().backward()
        runs[f"EGG {cell.upper()}, REINFORCE"] = lambda s=sampled, x=x: score(s, x)
    return runs


def main(argv: list[str]) -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, value in (("batch", 64), ("length", 48), ("vocab", 128), ("dim", 192), ("repeats", 15)):
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--threads", type=int, default=None)
    asked = parser.parse_args(argv)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    size = (asked.batch, asked.length, asked.vocab, asked.dim)
    runs = {**ours(*size), **eggs(*size)}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(asked.repeats + 2):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if repeat >= 2:
                times[name].append(1000 * (time.perf_counter() - began))
    base = statistics.median(times["LSTM, Gumbel"])
    print(f"batch {asked.batch}, {asked.length} symbols of {asked.vocab}, width {asked.dim}, "
          f"{torch.get_num_threads()} threads, medians of {asked.repeats}")  # fmt: skip
    for name, values in times.items():
        middle = statistics.median(values)
        print(
            f"{name:26s} {middle:8.1f} ms  ({min(values):.1f} to {max(values):.1f})  x {middle / base:.2f} of our LSTM"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
