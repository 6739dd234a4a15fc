"""The language, looked at while it is learnt: a few metrics on the messages of every so many validations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.metrics.concept_association import association
from analysis.metrics.result import Result, undefined
from analysis.metrics.vocabulary_usage import usage
from patchgame_egg.distributed.processes import is_rank_zero
from patchgame_egg.interaction import Interaction
from patchgame_egg.training.callback import Callback


@dataclass(frozen=True, eq=False)
class Messages:
    """What was said in a validation.

    Attributes:
        symbols: int64 ``[N, T]``; at silent slots anything.
        mask: true where a symbol was said, ``[N, T]``.
        labels: class of each image, int64 ``[N]``; None where there are no classes.
    """

    symbols: NDArray[np.int64]
    mask: NDArray[np.bool_]
    labels: NDArray[np.int64] | None


Metric = Callable[[Messages], Result | float]


def ami(messages: Messages) -> Result:
    """How much symbols say about the class of the image: adjusted mutual information, beside shuffled classes."""
    if messages.labels is None:
        return undefined("no_labels", len(messages.symbols))
    return association(messages.symbols, messages.mask, messages.labels, permutations=20).ami


def collisions(messages: Messages) -> float:
    """Images whose message another image had before: N minus the number of different messages."""
    return len(messages.symbols) - usage(messages.symbols, messages.mask, _vocabulary(messages)).distinct_messages


def symbol_entropy(messages: Messages) -> float:
    """Of the symbols that were said, in bits."""
    return usage(messages.symbols, messages.mask, _vocabulary(messages)).symbol_entropy


def _vocabulary(messages: Messages) -> int:
    return int(messages.symbols[messages.mask].max(initial=0)) + 1


DEFAULT: Mapping[str, Metric] = {"ami": ami, "collisions": collisions, "symbol_entropy": symbol_entropy}
"""Name -> metric."""


class LanguageAnalysis(Callback):
    """Computes metrics on validations and logs them, in records of the kind ``analysis``.

    A `Result` is logged under its name, with ``_null`` and ``_p`` where it has them; numbers that are not finite, being
    undefined, are left out. With several processes the first one computes.

    Args:
        every: epochs from one analysis to the next.
        metrics: by name; functions of `Messages`.
        most: images; of larger validations the first ones are taken.

    Raises:
        ValueError: ``every`` or ``most`` is below 1.
    """

    in_egg = "core.MessageEntropy, or core.InteractionSaver and analysis.load on what it wrote"

    def __init__(self, every: int = 1, metrics: Mapping[str, Metric] = DEFAULT, most: int = 4096) -> None:
        if min(every, most) < 1:
            raise ValueError(f"an analysis every {every} epochs of {most} images: both must be at least 1")
        self.every, self.metrics, self.most = every, dict(metrics), most

    def on_validation_end(self, loss: float, logs: Interaction, epoch: int) -> None:
        if epoch % self.every or not is_rank_zero():
            return
        messages = _messages(logs, self.most)
        if messages is None:
            return
        record: dict[str, Any] = {"kind": "analysis", "images": len(messages.symbols)}
        for name, metric in self.metrics.items():
            found = metric(messages)
            numbers = (
                {name: found.value, f"{name}_null": found.null_mean, f"{name}_p": found.p}
                if isinstance(found, Result)
                else {name: float(found)}
            )
            record |= {key: value for key, value in numbers.items() if math.isfinite(value)}
        self.log(record)


def _messages(logs: Interaction, most: int) -> Messages | None:
    """The messages of a validation; None where they are no ids ``[N, T]``."""
    if logs.message is None or logs.message.dim() != 2 or logs.message.is_floating_point():
        return None
    symbols = logs.message[:most].cpu().numpy()
    mask = logs.aux["message_mask"][:most].cpu().numpy() if "message_mask" in logs.aux else np.ones_like(symbols, bool)
    known = logs.labels is not None and logs.labels.dim() == 1 and not logs.labels.is_floating_point()
    return Messages(symbols, mask, logs.labels[:most].cpu().numpy() if known and logs.labels is not None else None)
