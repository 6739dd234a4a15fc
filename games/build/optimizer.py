"""Options become an optimizer, its learning rate over time, and schedules of other numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from games.options.config import Config
from patchgame_egg.channels.channel import Channel
from patchgame_egg.channels.gumbel import Gumbel
from patchgame_egg.channels.reinforce import Reinforce
from patchgame_egg.training.callback import Callback, Schedule
from patchgame_egg.training.muon import Muon, maps
from patchgame_egg.training.optimizer import cosine, linear_warmup
from patchgame_egg.training.precision import Precision


def build_optimizer(
    config: Config, game: nn.Module, steps_per_epoch: int, precision: Precision = "fp32"
) -> tuple[Optimizer, LambdaLR]:
    """The optimizer, and the schedule of its learning rate: linear warm-up, then a cosine.

    The game's loss is a mean over the batch of B images. A step of SGD at rate r on the sum, with weight decay d, is a
    step on the mean at rate B r with decay d / B; AdamW and Muon divide by the size of the gradient, so that their step
    is the same for both.

    Args:
        config: the options.
        game: what learns.
        steps_per_epoch: optimizer steps.
        precision: what the networks compute in. Where that is bfloat16, so does Muon.
    """
    t = config.training
    summed = _summed(config)
    lr, weight_decay = t.lr * summed, t.weight_decay / summed
    groups: list[dict[str, Any]] = []
    orthogonal = {id(p) for p in maps(game)} if t.optimizer == "muon" else set()
    for name, parameter in game.named_parameters():
        if parameter.requires_grad:
            share = config.speaker_lr if name.startswith("sender") else 1.0
            matrix = parameter.dim() > 1
            decay = weight_decay if matrix else 0.0
            kind = {"lr": share * lr, "weight_decay": decay, "wide": "_head.wide." in name}
            if t.optimizer == "muon":
                kind["muon"] = id(parameter) in orthogonal
            if t.weight_decay_end is not None:
                # What will decay, also where it does not yet.
                kind["decays"] = matrix
            group = next((g for g in groups if all(g[k] == v for k, v in kind.items())), None)
            if group is None:
                groups.append(group := {"params": [], **kind})
            group["params"].append(parameter)
    optimizer: Optimizer
    if t.optimizer == "muon":
        optimizer = Muon(groups, lr, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    elif t.optimizer == "adamw":
        optimizer = AdamW(groups, lr, fused=True)
    else:
        optimizer = SGD(groups, lr, 0.9)
    warmup, total = round(t.warmup * steps_per_epoch), t.epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < warmup:
            return linear_warmup(step, warmup)
        low = t.min_lr / t.lr
        return low + (1 - low) * cosine((step - warmup) / max(1, total - warmup))

    def factor_when_thawed(step: int) -> float:
        return factor(step) if step >= t.freeze_epochs * steps_per_epoch else 0.0

    return optimizer, LambdaLR(optimizer, [factor_when_thawed if g["wide"] else factor for g in groups])


def with_rates_of(state: dict[str, Any], game: nn.Module, optimizer: Optimizer, scheduler: LambdaLR) -> dict[str, Any]:
    """A trainer's state, as a run goes on from it: its moments, and the rates and decays of the options now.

    Args:
        state: of a checkpoint.
        game: whose parameters they are.
        optimizer: from `build_optimizer`, with the options now. They may put the parameters into other groups.
        scheduler: likewise.

    Returns:
        The state with ``optimizer`` and ``scheduler`` for these two; unchanged where it is of other parameters.
    """
    saved, own, schedule = state["optimizer"], optimizer.state_dict(), scheduler.state_dict()
    sizes = [len(group["params"]) for group in saved["param_groups"]]
    apart = len({group.get("initial_lr") for group in saved["param_groups"]}) > 1
    decays = any(group["weight_decay"] for group in saved["param_groups"])
    orthogonal = {id(p) for group in optimizer.param_groups if group.get("muon") for p in group["params"]}
    # What the checkpoint's own groups tell of, first; a decay that has ended at 0 does not tell.
    for speaker, matrices in ((apart, decays), (apart, True), (True, True), (False, True)):
        groups: dict[tuple[bool, ...], list[nn.Parameter]] = {}
        for name, parameter in game.named_parameters():
            if parameter.requires_grad:
                kind = speaker and name.startswith("sender"), matrices and parameter.dim() > 1, "_head.wide." in name
                groups.setdefault((*kind, id(parameter) in orthogonal), []).append(parameter)
        if [len(group) for group in groups.values()] == sizes:
            break
    else:
        return state
    places = {id(p): i for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    before = [number for group in saved["param_groups"] for number in group["params"]]
    ordered = [parameter for group in groups.values() for parameter in group]
    own["state"] = {
        places[id(parameter)]: saved["state"][number]
        for number, parameter in zip(before, ordered, strict=True)
        if number in saved["state"]
    }
    step = state["position"]["step"]
    rates = [base * factor(step) for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
    for group, rate in zip(own["param_groups"], rates, strict=True):
        group["lr"] = rate
    schedule |= {"last_epoch": step, "_step_count": step + 1, "_last_lr": rates}
    return {**state, "optimizer": own, "scheduler": schedule}


def _summed(config: Config) -> int:
    """How many times the gradient of the mean that of the loss is, as far as the optimizer can tell."""
    return config.training.batch_size if config.loss.reduction == "sum" and config.training.optimizer == "sgd" else 1


def schedules(config: Config, game: nn.Module, optimizer: Optimizer) -> list[Callback]:
    """What changes during training beside the learning rate: temperature, weight of the entropy, weight decay."""
    c, t = config.channel, config.training

    def between(start: float, end: float) -> Callable[[float], float]:
        return lambda done: start + (end - start) * min(1.0, done / max(c.anneal, 1e-9))

    def set_temperature(value: float) -> None:
        for module in game.modules():
            if isinstance(module, Gumbel):
                module.temperature = value

    def set_entropy(value: float) -> None:
        for module in game.modules():
            if isinstance(module, Reinforce):
                module.entropy = value

    def set_price(value: float) -> None:
        for module in game.modules():
            if isinstance(module, Channel):
                module.speak_cost = value

    found: list[Callback] = [
        Schedule(set_temperature, between(c.gumbel_start, c.gumbel_end)),
        Schedule(set_entropy, between(c.entropy_start, c.entropy_end)),
        # At full price from the start, a speaker that nobody understands yet learns to say nothing.
        Schedule(set_price, between(0.0, c.speak_cost)),
    ]
    end = t.weight_decay_end
    if end is not None:
        decayed = [number for number, group in enumerate(optimizer.param_groups) if group["decays"]]

        def set_decay(value: float) -> None:
            # An optimizer that takes up a checkpoint has new groups.
            for number in decayed:
                optimizer.param_groups[number]["weight_decay"] = value / _summed(config)

        found.append(Schedule(set_decay, lambda done: end + (t.weight_decay - end) * cosine(done)))
    return found
