"""A checkpoint of the authors' release becomes a run: ``python -m games.convert checkpoint.pth --to runs/released``.

The release (kampta/PatchGame, June 2021) writes what its ``train.py`` has learnt as ``checkpoint.pth``. All of its
agents are taken over, so that `games.record`, `analysis`, the figures and the trunk's evaluations work on them. In
evaluation they compute what the release's compute without their noise, which the release leaves on.
"""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from games.options.checks import check
from games.options.command_line import fail, read_options
from games.options.config import Config
from games.options.config_file import save_config
from games.options.presets import RELEASED
from games.runs.files import CHECKPOINT, CONFIG
from patchgame_egg.atomic_write import making

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Options:
    """Turns a checkpoint that the train.py of the authors' release wrote into a run, with all of its agents."""

    checkpoint: tyro.conf.Positional[Path]
    """The file, checkpoint.pth or checkpoint0020.pth."""
    to: Path
    """The run's folder, which must not be there yet."""
    root: str = ""
    """Folder of images to play the run on, with train/ and val/; empty: where its training found them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Converts a checkpoint; returns the exit status."""
    try:
        words = sys.argv[1:] if argv is None else argv
        options = read_options(Options, words, "python -m games.convert", Options.__doc__ or "")
        config = convert(options.checkpoint, options.to, options.root)
    except ValueError as error:
        fail(error)
    s = config.speaker
    print(
        f"wrote {options.to}: {config.images.image_size} px images, {config.patches} patches of {s.patch_size} px, "
        f"{s.vocab} symbols, {config.listener.vision}"
    )
    return 0


def convert(path: Path, to: Path, root: str = "") -> Config:
    """Writes a run with the agents of a checkpoint.

    Args:
        path: the checkpoint.
        to: the run's folder.
        root: folder of the images that the run is played on; empty: where its training found them.

    Returns:
        The run's options.

    Raises:
        ValueError: the file is no such checkpoint, one whose networks are not ours, or the folder is there.
    """
    if to.exists():
        raise ValueError(f"--to {to} exists: give another folder, or delete it")
    # Only now: torch takes seconds to import, help and mistakes do without.
    from games.build.agents import build_game
    from games.build.pretrained import read_weights
    from patchgame_egg.training import checkpoint

    saved = read_weights(path)
    weights, args = _parts(saved, path)
    try:
        config = _options(weights, args, root)
        check(config)
        game = build_game(config)
        # The channel has no weights, only the position of its random numbers.
        own = {name: value for name, value in game.state_dict().items() if name.startswith("channel.")}
        game.load_state_dict({**own, **dict(_renamed(weights))})
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:300]
        raise ValueError(f"{path} cannot be converted: {why}") from error
    epoch = saved.get("epoch")
    position = {"epoch": epoch if isinstance(epoch, int) else 0, "batch": 0, "step": 0}
    try:
        with making(to, to.with_name(f".{to.name}.tmp")) as unfinished:
            checkpoint.save({"game": game.state_dict(), "position": position}, unfinished / CHECKPOINT)
            save_config(config, "released", unfinished / CONFIG)
    except OSError as error:
        raise ValueError(f"--to: {error}") from error
    return config


def _parts(saved: Any, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights by name, and the options of the training.

    Raises:
        ValueError: the file is something else.
    """
    from torch import Tensor

    what = f"{path} is not a checkpoint of the release's train.py"
    if not isinstance(saved, Mapping):
        raise ValueError(f"{what}: it holds a {type(saved).__name__}")
    model, args = saved.get("model"), saved.get("args")
    if not isinstance(model, Mapping) or not isinstance(args, Namespace):
        held = ", ".join(sorted(str(key) for key in saved)[:5]) or "nothing"
        raise ValueError(f"{what}, which holds 'model' and 'args': it holds {held}")
    # It trains in DistributedDataParallel.
    weights = {str(k).removeprefix("module."): v for k, v in model.items() if isinstance(v, Tensor)}
    if not {"sender", "gumbel", "receiver"} <= {name.split(".")[0] for name in weights}:
        raise ValueError(f"{what}: its model has {', '.join(list(weights)[:3]) or 'no weights'}, and no three agents")
    return weights, vars(args)


def _options(weights: dict[str, Tensor], args: dict[str, Any], root: str) -> Config:
    """What the networks are, by the shapes of their weights and the options of their training.

    Raises:
        ValueError: networks that are not ours.
        KeyError: an option or a weight is missing.
    """
    for name, known, why in (
        ("sender_arch", ("resnet",), "PatchRank is a ResNet-9 here"),
        ("sender_norm", ("sort",), "patches are ranked here"),
        ("hard", (True,), "symbols are discrete here"),
    ):
        if args[name] not in known:
            raise ValueError(f"it was trained with --{name} {args[name]}: {why}")
    if str(args["receiver_arch"]).startswith("vit_"):
        raise ValueError(f"it was trained with --receiver_arch {args['receiver_arch']}, a network of the release's own")
    places, width = weights["receiver.position_encoding"].shape[1:]
    vocab, per_patch, patch = len(weights["receiver.embedding.weight"]), args["max_len"], args["patch_size"]
    grid = math.isqrt((places - 1) // per_patch)
    wide, bottleneck = weights["receiver.vision_fc.last_layer.weight_v"].shape
    layers = {name.split(".")[3] for name in weights if name.startswith("receiver.encoder.layers.")}
    data, batch = Path(str(args.get("data_path", ""))), args["batch_size_per_gpu"] * args.get("world_size", 1)
    topk, epochs, t = args["topk"], args["epochs"], RELEASED.training
    return replace(
        RELEASED,
        speaker=replace(
            RELEASED.speaker, vocab=vocab, patch_size=patch, symbols_per_patch=per_patch,
            symbol_hidden=weights["gumbel.logits.weight"].shape[1], context=args["use_context"],
            rank_width=len(weights["sender.patch_rank.bn1.weight"]), rank_dropout=args["sender_dropout"],
        ),
        channel=replace(
            RELEASED.channel, gumbel_start=args["start_temperature"], gumbel_end=args["temperature"],
            # The best of its soft ranks speak, and each as loud as the others.
            gate="released" if topk is None else "rank", keep=topk,
        ),
        listener=replace(
            RELEASED.listener, vision=args["receiver_arch"], text_dim=width, text_depth=len(layers),
            text_heads=args["receiver_num_heads"], head_wide=wide, head_bottleneck=bottleneck,
            head_hidden=len(weights["receiver.vision_fc.mlp.0.weight"]),
        ),
        images=replace(
            RELEASED.images, data="folder", image_size=grid * patch,
            root=root or str(data.parent if data.name == "train" else data),
        ),
        training=replace(
            t, epochs=epochs, batch_size=batch, lr=args["lr"] * batch / 256, min_lr=args["min_lr"], seed=args["seed"],
            warmup=min(args["warmup_epochs"], epochs), weight_decay=args["weight_decay"],
            weight_decay_end=args["weight_decay_end"], freeze_epochs=args["freeze_last_layer"],
        ),
    )  # fmt: skip


def _renamed(weights: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Our name of each weight, and the weight.

    Raises:
        ValueError: there is one that has no place here.
    """
    own = dict(weights)
    # The CLS token has a place of its own there.
    places, cls = own.pop("receiver.position_encoding"), own.pop("receiver.cls_token")
    yield "receiver.text.cls", cls + places[:, :1]
    yield "receiver.text.positions", places[0, 1:]
    context = "sender.patch_symbol.cls_token" in own
    symbol_places = own.pop("sender.pe_symbol")
    # Its training hands on another temperature, so that this one is never read.
    own.pop("gumbel.temperature", None)
    if context:
        yield from _of("sender.patch_symbol.", "sender.symbol.context.", own)
        yield from _of("sender.lin_symbol.0.", "sender.symbol.mlp.0.", own)
    else:
        # A convolution that steps from patch to patch is a linear map of each.
        yield "sender.symbol.mlp.0.weight", own.pop("sender.patch_symbol.weight").flatten(1)
        yield "sender.symbol.mlp.0.bias", own.pop("sender.patch_symbol.bias")
        yield "sender.symbol.mlp.1.places", symbol_places[0]
    yield from _of("gumbel.logits.", "sender.symbol.mlp.2.", own)
    yield from _of("sender.patch_rank.conv1.", "sender.rank.trunk.stem.0.", own)
    yield from _of("sender.patch_rank.bn1.", "sender.rank.trunk.stem.1.", own)
    for block in range(4):
        yield from _of(f"sender.patch_rank.layer{block + 1}.0.", f"sender.rank.trunk.blocks.{block}.", own)
    yield from _of("sender.ranker.1.", "sender.rank.score.", own)
    yield "receiver.text.symbols", own.pop("receiver.embedding.weight")
    for name in [name for name in own if name.startswith("receiver.encoder.layers.")]:
        _, _, _, layer, part = name.split(".", 4)
        yield f"receiver.text.blocks.{layer}.{_BLOCK.get(part, part)}", own.pop(name)
    yield from _of("receiver.vision.", "receiver.vision.0.", own)
    for head, ours in (("text_fc", "text_head"), ("vision_fc", "vision_head")):
        yield from _of(f"receiver.{head}.mlp.", f"receiver.{ours}.mlp.", own)
        for part, number in (("weight_g", 0), ("weight_v", 1)):
            name = f"receiver.{ours}.wide.parametrizations.weight.original{number}"
            yield name, own.pop(f"receiver.{head}.last_layer.{part}")
    yield "loss.log_scale", own.pop("logit_scale")
    if own:
        raise ValueError(f"its networks have weights that ours have not, such as {next(iter(own))}")


_BLOCK = {
    "self_attn.in_proj_weight": "qkv.weight", "self_attn.in_proj_bias": "qkv.bias",
    "self_attn.out_proj.weight": "out.weight", "self_attn.out_proj.bias": "out.bias",
    "linear1.weight": "mlp.0.weight", "linear1.bias": "mlp.0.bias",
    "linear2.weight": "mlp.2.weight", "linear2.bias": "mlp.2.bias",
}  # fmt: skip


def _of(theirs: str, ours: str, weights: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The weights below a name, taken out, below ours."""
    for name in [name for name in weights if name.startswith(theirs)]:
        yield ours + name.removeprefix(theirs), weights.pop(name)


if __name__ == "__main__":
    sys.exit(main())
