"""Trunks from other people's checkpoints: keys are matched, and what does not fit is an error."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from patchgame_egg.agents.trunks import vision_trunk


def load_external_trunk(name: str, path: Path | None, image_size: int) -> tuple[nn.Module, int]:
    """A vision trunk of torchvision or timm with weights that others have trained.

    Weights are found by their names and shapes, whatever stands before the names (``module.encoder_q.``,
    ``backbone.``), in whichever dict of the file (``state_dict``, ``teacher``), and, in a list of layers without names
    as lightly makes them, by order and shape. Heads are left out. Of several copies, a teacher or an average over
    training (``ema``) is taken before the network that learnt, as their authors evaluate those, and that before a
    student or a slow copy which served its training (``encoder_k``, ``momentum``, ``target``).

    Args:
        name: of the model, for `vision_trunk`.
        path: a file of ``torch.save``: a dict of weights, or one inside others; or of safetensors, as timm's hub
            keeps them; None: random weights.
        image_size: side of the images, pixels.

    Returns:
        Images to features ``[B, D]``, and D.

    Raises:
        ValueError: no such model, the file cannot be read or holds objects beside weights, or has not all weights.
    """
    trunk, dim = vision_trunk(name, image_size)
    if path is None:
        return trunk, dim
    saved = read_weights(path)
    if not isinstance(saved, Mapping):
        raise ValueError(
            f"{path} holds a {type(saved).__name__}: a dict of weights is needed, as state_dict() gives it"
        )
    # A trunk that is not ours is wrapped once more, to flatten what it gives.
    outer = "" if name == "resnet9" else "0."
    wanted = {key.removeprefix(outer): value for key, value in trunk.state_dict().items() if _counts(key)}
    copies = [(where, _matching(weights, wanted)) for where, weights in _copies(saved)]
    _, found = max(copies, key=lambda copy: (len(copy[1]), _standing(copy[0])), default=("", {}))
    missing = [key for key in wanted if key not in found]
    if missing:
        has = [where + key for where, weights in _copies(saved) for key in weights]
        raise ValueError(
            f"{path} has not all weights of {name}: {len(missing)} of {len(wanted)} are missing or of another shape, "
            f"such as {', '.join(missing[:3])}; it has {', '.join(has[:3]) or 'no tensor'}"
        )
    trunk.load_state_dict({outer + key: value for key, value in found.items()}, strict=False)
    return trunk, dim


def read_weights(path: Path) -> Any:
    """What a file holds: tensors, plain values, and options as ``argparse`` has them.

    Args:
        path: of ``torch.save`` or of safetensors.

    Raises:
        ValueError: it cannot be read, or holds objects beside weights.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # DINO and others save their options beside the weights, and learning rates that NumPy computed.
        scalar: Any = np.float64(0).__reduce__()[0]
        known: list[Any] = [argparse.Namespace, np.dtype, type(np.dtype("f8"))]
        known += [(scalar, f"{core}.multiarray.scalar") for core in ("numpy.core", "numpy._core")]
        with torch.serialization.safe_globals(known):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise ValueError(
            f"{path} cannot be read as weights ({type(error).__name__}): give a file of torch.save or of safetensors; "
            "of one that holds objects beside tensors and plain values, save the state_dict alone"
        ) from error


def _counts(key: str) -> bool:
    """Whether a network computes with a weight of this name; some files lack the others."""
    return not key.endswith("num_batches_tracked")


def _copies(saved: Mapping[Any, Any], where: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """All that could be a network: of every dict of tensors, what follows every prefix, and where that is."""
    own = {str(key): value for key, value in saved.items() if isinstance(value, Tensor) and _counts(str(key))}
    prefixes = (key[: dot + 1] for key in own for dot in (-1, *(i for i, letter in enumerate(key) if letter == ".")))
    for prefix in dict.fromkeys(prefixes):
        yield where + prefix, {key[len(prefix) :]: value for key, value in own.items() if key.startswith(prefix)}
    for key, value in saved.items():
        if isinstance(value, Mapping):
            yield from _copies(value, f"{where}{key}.")


def _standing(where: str) -> int:
    words = set(re.split(r"[._]", where))
    if words & {"teacher", "ema"}:
        return 1
    return -1 if words & {"student", "k", "momentum", "target"} else 0


def _matching(weights: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights that a network wants, by name, or else by their order in a list of layers."""
    named = {key: weights[key] for key, value in wanted.items() if key in weights and weights[key].shape == value.shape}
    if len(named) < len(wanted) and all(key.split(".")[0].isdigit() for key in weights):
        # A list may end in a head.
        ordered = list(weights.items())[: len(wanted)]
        if _kinds(ordered) == _kinds(wanted.items()):
            return {key: value for key, (_, value) in zip(wanted, ordered, strict=True)}
    return named


def _kinds(weights: Iterable[tuple[str, Tensor]]) -> list[tuple[str, torch.Size]]:
    return [(key.split(".")[-1], value.shape) for key, value in weights]
