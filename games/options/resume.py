"""Which options a run that goes on may change, and which need a new run from its agents."""

from __future__ import annotations

import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

from games.options.config import Config

Kind = Literal["networks", "images", "counted", "place", "free"]

# Options of a section that are not of the section's own kind.
_OF_SECTION: dict[str, Kind] = {"speaker": "networks", "listener": "networks", "images": "images"}
_OTHERS: dict[Kind, set[str]] = {
    # Shapes of weights, or what the same weights compute.
    "networks": {"channel.channel", "channel.baseline", "channel.code_dim", "loss.learn_temperature",
                 "images.image_size", "loss.ground"},
    # The checkpoint's place in an epoch and the moments of its optimizer are of these.
    "counted": {"training.batch_size", "training.accumulate", "training.optimizer", "training.seed",
                "loss.ground_share"},
    "place": {"run.out", "run.name", "run.frozen_speaker", "run.init_from"},
    "free": {"speaker.rank_dropout", "images.annotations", "images.captions", "images.workers", "images.cache",
             "images.decode", "images.download", "images.load_size", "images.views", "images.min_area", "images.jitter",
             "images.grey", "images.blur", "images.solarise", "images.view_ramp"},
}  # fmt: skip


def kind_of(section: str, name: str) -> Kind:
    """What an option is to a run that goes on.

    Returns:
        ``networks``, ``images``: it shapes the agents, or what they learn from; ``counted``: the checkpoint counts by
        it; ``place``: where the run lies and comes from. None of these can change. ``free``: it changes at once, from
        the first step on; what follows from it, such as the learning rate of that step, is computed anew.
    """
    for kind, names in _OTHERS.items():
        if f"{section}.{name}" in names:
            return kind
    return _OF_SECTION.get(section, "free")


def check_resumed(asked: Config, saved: Config, run: Path) -> None:
    """Looks whether a run can go on with other options than it had.

    Raises:
        ValueError: not with these; the message says what to do.
    """
    for flag, kind, new, old in _changed(asked, saved):
        if flag == "--frozen-speaker":
            raise ValueError(f"{flag} starts a new run: leave --resume out")
        if kind == "place":
            raise ValueError(f"--resume goes on in {run}: leave {flag} {new} out")
        if kind == "networks":
            raise ValueError(
                f"{flag} is {old} in this run and shapes its networks: leave {flag} out, or start a new run"
            )
        if kind == "images":
            also = " (if they have only moved, say so in its config.json)" if flag == "--root" else ""
            raise ValueError(
                f"{flag} is {old} in this run, whose images stay what they are{also}: --init-from {run} {flag} {new} "
                "starts a new run from it"
            )
        if kind == "counted":
            raise ValueError(
                f"{flag} is {old} in this run and its checkpoint counts on that: --init-from {run} {flag} {new} starts "
                "a new run from it"
            )
    if saved.loss.learn_temperature and asked.loss.temperature != saved.loss.temperature:
        raise ValueError("--temperature is where a learnt one started: leave it out")


def as_recorded(asked: Config, saved: Config) -> Config:
    """The options asked for, with the number format that a run has where they leave it open."""
    if asked.training.precision != "auto":
        return asked
    return replace(asked, training=replace(asked.training, precision=saved.training.precision))


def check_initialised(asked: Config, taught: Config, run: Path) -> None:
    """Looks whether a new run can take over the agents of another.

    Raises:
        ValueError: an option asks for other networks.
    """
    for flag, kind, _, old in _changed(asked, taught):
        if flag == "--ground":
            # The words of its sentences are not taken over.
            continue
        if flag == "--frozen-speaker":
            raise ValueError("--init-from and --frozen-speaker each name the run to start from: leave one of them out")
        if kind == "networks":
            raise ValueError(f"{flag} is {old} in {run} and shapes its networks: leave {flag} or --init-from out")


def _changed(asked: Config, saved: Config) -> list[tuple[str, Kind, str, str]]:
    """The options that differ, as words of a command line, with their kinds."""
    found = []
    for section in fields(Config):
        ours, theirs = vars(getattr(asked, section.name)), vars(getattr(saved, section.name))
        for name, new in ours.items():
            old = theirs[name]
            if name == "root":
                # The same folder by another name.
                new, old = (value and str(Path(value).resolve()) for value in (new, old))
            if new != old:
                flag = "--" + name.replace("_", "-")
                found.append((flag, kind_of(section.name, name), _words(ours[name]), _words(theirs[name])))
    return found


def _words(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return shlex.quote(str(value)) if value != "" else "not set"
