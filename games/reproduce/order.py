"""What the trained order of patches is worth to a listener, and how much of that is habit: a control of Figure 4.

A listener that grew up with PatchRank has only ever heard the patches that it puts first. A second one is trained on
patches that are drawn at random for every message, as many on average. Both then hear the same three orders:
PatchRank's own, random patches, and PatchRank's last ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.corpus.interventions import let_speak
from analysis.corpus.recording import evaluating, listen, one_pair, speak
from games.build.data import build_loader, build_views, load_images
from games.options.command_line import pick_device
from games.reproduce.runner.results import measured
from games.reproduce.runner.setting import Setting, Training, made_of, ours
from games.reproduce.runner.tables import markdown, mean_and_spread, write_table
from games.reproduce.runner.training import train
from games.runs.load import load_game
from patchgame_egg.game import Game
from patchgame_egg.interaction import Batch
from patchgame_egg.views.loader import RepeatedViews

LISTENERS = ("PatchRank's patches", "random patches")
"""What a listener heard in its training."""

ORDERS = ("PatchRank", "random", "PatchRank, reversed")
"""Which patches speak when it is asked."""


def trainings(setting: Setting) -> list[Training]:
    """Two runs for each seed.

    Raises:
        ValueError: the speaker ranks no patches, or as many as it likes speak.
    """
    config = setting.config(ours(setting, 0))
    if config.speaker.speaker != "patch":
        raise ValueError(
            f"--speaker {config.speaker.speaker} has no PatchRank, and order is about its order of patches"
        )
    if config.channel.gate != "rank":
        raise ValueError(f"--gate {config.channel.gate}: order needs as many patches in every message, --gate rank")
    return [training for seed in setting.seeds for training in (ours(setting, seed), at_random(setting, seed))]


def at_random(setting: Setting, seed: int) -> Training:
    """The training in which every patch is as likely to speak as any other.

    A soft rank of so large a strength is the mean of all ranks whatever the scores, so that the number of patches that
    speak has the mean that it has in the game.
    """
    words = (*ours(setting, seed).words, "--gate", "rank", "--rank-spread", "0", "--rank-strength", "1e6")
    return Training("order-random", seed, words)


def run(setting: Setting) -> None:
    """Asks both listeners of each seed, and writes the table."""
    rows = []
    for seed in setting.seeds:
        made_with = {**made_of(setting, ours(setting, seed)), "control": made_of(setting, at_random(setting, seed))}
        found = measured(setting.folder / "parts" / f"order-{seed}.json", partial(measure, setting, seed), made_with)
        rows += [{"seed": seed, **row} for row in found["rows"]]
    frame = pd.DataFrame(rows)
    cells = []
    for heard in LISTENERS:
        part = frame[frame.trained_on == heard]
        cells.append([heard, *(mean_and_spread(part[part.order == order].top1) for order in ORDERS)])
    first = frame.iloc[0]
    note = (
        f"\nTwo random views among {first.candidates:.0f} images, {first.spoken:.0f} of {first.patches:.0f} patches "
        "speak; percent, mean and standard deviation over seeds. Each speaker says its own symbols; PatchRank is that "
        "of the first.\n"
    )
    write_table(setting, frame, markdown(["listener trained on", *ORDERS], cells) + note)


def measure(setting: Setting, seed: int) -> dict[str, Any]:
    """How often each listener finds the image of a message, by who speaks."""
    device = pick_device(setting.device)
    (first, config), (second, _) = (
        load_game(train(setting, training), device) for training in (ours(setting, seed), at_random(setting, seed))
    )
    held_out = build_loader(config, load_images(config, config.load_size)[1], device, training=False)
    views = RepeatedViews(held_out, build_views(config, held_out=True), device)
    return {"rows": ask(one_pair(first), one_pair(second), views, seed)}


def ask(first: Game, second: Game, batches: Iterable[Batch], seed: int = 0) -> list[dict[str, Any]]:
    """How often two listeners find the image of a message when the first speaker's order decides who speaks.

    Args:
        first: the game of `LISTENERS`' first, whose speaker ranks the patches.
        second: the game of the other; as many of its patches speak.
        batches: groups of candidates with both views, normalised.
        seed: of the random patches.

    Returns:
        A row for each listener and order: ``top1`` in percent, ``candidates`` of a group, ``spoken`` of ``patches``.
    """
    right: dict[tuple[str, str], list[Tensor]] = {(heard, order): [] for heard in LISTENERS for order in ORDERS}
    sizes: dict[str, int] = {}
    rng = np.random.default_rng(seed)
    with evaluating(first) as device, evaluating(second):
        for group in batches:
            batch = group.to(device)
            messages = [speak(game, batch)[1] for game in (first, second)]
            ranks = messages[0].keep_prob
            assert ranks is not None
            last = ranks.double().cpu().numpy()
            keys = dict(zip(ORDERS, (-last, rng.random(last.shape), last), strict=True))
            for heard, game, message in zip(LISTENERS, (first, second), messages, strict=True):
                for order in ORDERS:
                    found = listen(game, let_speak(message, keys[order]), batch)[1]
                    assert found is not None
                    right[heard, order].append(found)
            spoken = round(float(messages[0].mask.float().mean()) * last.shape[1])
            sizes = {"candidates": len(last), "spoken": spoken, "patches": last.shape[1]}
    return [
        {"trained_on": heard, "order": order, "top1": 100 * float(torch.cat(parts).float().mean()), **sizes}
        for (heard, order), parts in right.items()
    ]
