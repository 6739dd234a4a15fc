"""Networks that have learnt, from finished runs and from other people's checkpoints, and images to show them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from games.agents import build_game
from games.command_line import load_config
from games.config import Config
from patchgame_egg import checkpoint
from patchgame_egg.data import ImageSource, Readable
from patchgame_egg.distributed import rank, world_size
from patchgame_egg.game import Game
from patchgame_egg.interaction import Batch
from patchgame_egg.population import Population
from patchgame_egg.sources import image_sets
from patchgame_egg.trunks import vision_trunk
from patchgame_egg.views import EvaluationView, ViewLoader


@dataclass(frozen=True)
class Trained:
    """A vision trunk that has learnt.

    Attributes:
        trunk: images ``[B, 3, H, W]`` to features ``[B, dim]``.
        dim: their width.
        config: the options of the run.
        method: ``patchgame``, or a baseline of `games.baselines`.
    """

    trunk: nn.Module
    dim: int
    config: Config
    method: str


def load_game(run: Path, device: torch.device) -> tuple[Game | Population, Config]:
    """The agents of a run of PatchGame, as its last checkpoint has them.

    Raises:
        ValueError: not such a run, or its checkpoint does not fit.
    """
    config, _ = load_config(run / "config.json")
    game = build_game(config)
    _load(game, run, device)
    return game.to(device), config


def load_trunk(run: Path, device: torch.device) -> Trained:
    """What Table 1 evaluates of a run: the listener's vision trunk (of a population, the first one's) or a baseline's.

    Raises:
        ValueError: not a run, or its checkpoint does not fit.
    """
    config, _ = load_config(run / "config.json")
    method = run / "method.json"
    if method.exists():
        # That module trains, and imports much.
        from games.baselines import build_baseline

        name = json.loads(method.read_text())["method"]
        baseline: Any = build_baseline(name, config)
        _load(baseline, run, device)
        return Trained(baseline.trunk.to(device), baseline.trunk_dim, config, name)
    game, config = load_game(run, device)
    receiver: Any = game.receivers[0] if isinstance(game, Population) else game.receiver
    return Trained(receiver.vision, vision_trunk_width(config), config, "patchgame")


def vision_trunk_width(config: Config) -> int:
    """The number of features that the options' trunk gives."""
    with torch.random.fork_rng(devices=[]):
        return vision_trunk(config.listener.vision, config.images.image_size, config.listener.vision_width)[1]


def _load(module: nn.Module, run: Path, device: torch.device) -> None:
    try:
        module.load_state_dict(checkpoint.load(run / "checkpoint.pt", device)["game"])
    except RuntimeError as error:
        raise ValueError(f"{run}: its checkpoint does not fit its options: {str(error)[:300]}") from error


def load_external_trunk(name: str, path: Path | None, image_size: int) -> tuple[nn.Module, int]:
    """A vision trunk of torchvision or timm with weights that others have trained.

    Weights are found by their names, whatever stands before them (``module.encoder_q.``, ``backbone.``, ``teacher``),
    and, in a list of layers without names as lightly writes them, by order and shape. Heads are left out.

    Args:
        name: of the model, for `vision_trunk`.
        path: a file of ``torch.save``: a dict of weights, or one inside another (``state_dict``, ``model``, ...); None:
            random weights.
        image_size: side of the images, pixels.

    Returns:
        Images to features ``[B, D]``, and D.

    Raises:
        ValueError: no such model, or the file has not all of its weights.
    """
    trunk, dim = vision_trunk(name, image_size)
    if path is None:
        return trunk, dim
    try:
        saved = _weights(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as weights: {str(error).splitlines()[0]}") from error
    except Exception as error:
        # The unpickler's own error, of a file that holds more than tensors.
        raise ValueError(f"{path} holds more than weights, save its state_dict alone: {str(error)[:200]}") from error
    wanted = {key: value for key, value in trunk.state_dict().items() if not key.endswith("num_batches_tracked")}
    # A trunk is wrapped once more to flatten what it gives.
    names = {key: key.removeprefix("0.") if name != "resnet9" else key for key in wanted}
    found = _by_name(names, wanted, saved) or _by_order(wanted, saved)
    if found is None:
        missing = [
            short for key, short in names.items() if not any(_fits(k, short, v, wanted[key]) for k, v in saved.items())
        ]
        raise ValueError(
            f"{path} has not all weights of {name}: {len(missing)} of {len(wanted)} are missing, such as "
            f"{', '.join(missing[:3]) or 'those of one prefix'}; it has {', '.join(list(saved)[:3])}"
        )
    trunk.load_state_dict(found, strict=False)
    return trunk, dim


def _weights(saved: Any) -> dict[str, Tensor]:
    """The dict of tensors inside what was saved; the largest, where there are several."""
    if not isinstance(saved, Mapping):
        raise ValueError(f"it holds a {type(saved).__name__}")
    own = {str(k): v for k, v in saved.items() if isinstance(v, Tensor)}
    inner = [_weights(v) for v in saved.values() if isinstance(v, Mapping)]
    return max([own, *inner], key=lambda d: sum(v.numel() for v in d.values()))


def _fits(key: str, short: str, value: Tensor, wanted: Tensor) -> bool:
    return (key == short or key.endswith("." + short)) and value.shape == wanted.shape


def _by_name(names: dict[str, str], wanted: dict[str, Tensor], saved: dict[str, Tensor]) -> dict[str, Tensor] | None:
    first = next(iter(names.values()))
    prefixes = [key.removesuffix(first) for key in saved if key == first or key.endswith("." + first)]
    # MoCo keeps a slow copy of its encoder beside the one that learns.
    for prefix in sorted(prefixes, key=lambda prefix: "encoder_q" not in prefix):
        found = {key: saved.get(prefix + short) for key, short in names.items()}
        if all(v is not None and v.shape == wanted[k].shape for k, v in found.items()):
            return found  # type: ignore[return-value]
    return None


def _by_order(wanted: dict[str, Tensor], saved: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """Weights of a bare list of layers: the same shapes in the same order under one prefix, before any head."""
    plain = {k: v for k, v in saved.items() if not k.endswith("num_batches_tracked")}
    for prefix in dict.fromkeys(key.split(".")[0] + "." if "." in key else "" for key in plain):
        values = [v for k, v in plain.items() if k.startswith(prefix)][: len(wanted)]
        numbered = all(k.removeprefix(prefix).split(".")[0].isdigit() for k in plain if k.startswith(prefix))
        if numbered and [v.shape for v in values] == [v.shape for v in wanted.values()]:
            return dict(zip(wanted, values, strict=True))
    return None


class EveryImage:
    """All images of a source once, in order; each process has its share, and those that cannot be read are left out.

    Args:
        source: the images.
        batch_size: of each process.
        workers: processes that decode; 0 decodes in this one.
    """

    def __init__(self, source: ImageSource, batch_size: int = 256, workers: int = 0) -> None:
        mine = range(rank(), len(source), world_size())
        self.loader = DataLoader(Subset(Readable(source), mine), batch_size, num_workers=workers)
        self.mine = mine

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        done = 0
        for images, labels, index in self.loader:
            asked = torch.tensor(self.mine[done : done + len(index)])
            done += len(index)
            itself = index == asked
            if itself.any():
                yield Batch(images[itself], labels[itself], aux_input={"index": index[itself]})


def labelled_loaders(config: Config, device: torch.device, batch_size: int = 256) -> tuple[ViewLoader, ViewLoader]:
    """The training and the held-out images of a run, every one once, as evaluation shows them.

    An image's shorter side is resized to 8/7 of the image size and the middle is cut out: at 224 px, 256, as in the
    usual protocol.

    Args:
        config: the run's options.
        device: where the views are made.
        batch_size: of each process.

    Raises:
        ValueError: the images are not there.
    """
    d, size = config.images, config.images.image_size
    sources = image_sets(
        d.data, d.root, round(size * 8 / 7), val_root=d.val_root, seed=config.training.seed, scenes=d.scenes
    )
    workers = d.workers or 0
    first, second = (ViewLoader(EveryImage(s, batch_size, workers), Middle(size), device) for s in sources)
    return first, second


class Middle(EvaluationView):
    """The middle of an image, without resizing it: `EvaluationView` shows all of it, smaller."""

    def forward(self, images: Tensor) -> Tensor:
        """uint8 ``[B, 3, H, W]`` to a normalised float32 ``[B, 3, S, S]``."""
        size = self.image_size
        top, left = ((side - size) // 2 for side in images.shape[-2:])
        return super().forward(images[:, :, top : top + size, left : left + size])
