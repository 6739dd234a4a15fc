"""Figure 3: which patches speak, as heat maps over held-out images, failures included; scored where boxes are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.corpus.corpus import Corpus
from analysis.corpus.loading import NotRecorded, load
from analysis.metrics.patch_importance import importance_scores, roc_auc
from analysis.plots.patch_maps import importance_maps
from games.reproduce.runner.setting import Setting, Training, ours
from games.reproduce.runner.tables import markdown, mean_and_spread, write_table
from games.reproduce.runner.training import train
from games.runs.folder import check_speaks

SUCCESSES, FAILURES = 12, 4


def trainings(setting: Setting) -> list[Training]:
    """One run of PatchGame for each seed, unless a run is given."""
    if setting.run is not None:
        return []
    return [ours(setting, seed) for seed in setting.seeds]


def recorded(setting: Setting) -> Iterator[tuple[int, Corpus]]:
    """The languages to draw, with their seeds.

    Raises:
        ValueError: a run has no ``corpus.npz``, or its speaker has no patches.
    """
    runs = {training.seed: train(setting, training) for training in trainings(setting)}
    for seed, folder in (runs or {0: Path(str(setting.run))}).items():
        check_speaks(folder)
        try:
            corpus = load(folder)
        except NotRecorded as error:
            raise ValueError(f"{error} (python -m games.record {folder} records it)") from error
        needed = {"patches": corpus.grid, "importance of them": corpus.keep_prob, "images": corpus.images}
        missing = [name for name, value in needed.items() if value is None]
        if missing:
            raise ValueError(f"{folder} has no {' and no '.join(missing)} to draw: give a run of a speaker of patches")
        yield seed, corpus


def run(setting: Setting) -> None:
    """Draws the heat maps of every seed and, where the images' objects are known, scores them."""
    scores = []
    for seed, corpus in recorded(setting):
        path = draw(corpus, setting.folder / ("fig3.png" if seed == setting.seeds[0] else f"fig3-{seed}.png"))
        print(f"wrote {path}")
        if corpus.object_area is not None:
            assert corpus.grid is not None
            assert corpus.keep_prob is not None
            found = importance_scores(
                corpus.keep_prob, corpus.object_area, corpus.grid, images=corpus.images, scales=corpus.scales
            )
            if (found.reason == "").any():
                scores.append(found.reset_index().assign(seed=seed))
    if scores:
        frame = pd.concat(scores, ignore_index=True)
        write_table(setting, frame, tabulate(frame))
    else:
        for old in setting.folder.glob("table.*"):
            old.unlink()
        print(
            "no boxes are known of these images that cover some patches and not others, so the maps are not scored: "
            "games.record takes --annotations FILE"
        )


def draw(corpus: Corpus, path: Path) -> Path:
    """Heat maps of 16 images: first those where it worked, then, marked, those where it did not."""
    assert corpus.images is not None
    assert corpus.keep_prob is not None
    assert corpus.grid is not None
    chosen, titles, note = choose(corpus)
    spoken = corpus.mask.reshape(len(corpus), -1, corpus.symbols_per_patch)[:, :, 0]
    return importance_maps(
        corpus.images[chosen] / 255.0,
        corpus.keep_prob[chosen],
        spoken[chosen],
        path,
        grid=corpus.grid,
        titles=titles,
        scales=corpus.scales,
        note=note,
    )


def choose(corpus: Corpus) -> tuple[NDArray[np.int64], list[str], str]:
    """Which images to show, and what to write over them.

    Where any object is known, an image is a success if its map finds them (area under the ROC curve above 1/2): twelve
    drawn from those and the four worst. Elsewhere it is one whose message was understood. Among those drawn no class is
    shown twice while there are others.

    Returns:
        Places in the corpus ``[M]``, M titles, and a line on how many images are such successes.
    """
    assert corpus.images is not None
    assert corpus.keep_prob is not None
    count = len(corpus.images)
    names = [""] * count
    # Of a folder without classes, all are called the same.
    if corpus.labels is not None and len(corpus.label_names) > 1:
        names = [corpus.label_names[label] if label >= 0 else "" for label in corpus.labels[:count]]
    order = _by_turns(names, np.random.default_rng(0).permutation(count))
    clear = np.zeros(count, dtype=bool)
    if corpus.object_area is not None:
        objects = corpus.object_area[:count] >= 0.5
        clear[:] = ~np.isnan(corpus.object_area[:count]).any(axis=1) & objects.any(axis=1) & ~objects.all(axis=1)
    if clear.any():
        area = np.full(count, np.nan)
        area[clear] = roc_auc(corpus.keep_prob[:count][clear].astype(float), objects[clear])
        good = [i for i in order if area[i] > 0.5][:SUCCESSES]
        bad = [int(i) for i in np.argsort(area) if area[i] <= 0.5][:FAILURES]
        notes = {i: f"AUC {area[i]:.2f}" for i in [*good, *bad]}
        share, mean = 100 * (area[clear] > 0.5).mean(), area[clear].mean()
        note = (
            f"{share:.0f} % of {clear.sum()} images with objects have an AUC above 0.5 (mean {mean:.2f}): "
            f"{len(good)} of these, then the {len(bad)} lowest of all"
        )
    else:
        understood = corpus.probes.get("as played", np.ones(len(corpus), dtype=bool))[:count]
        good = [i for i in order if understood[i]][:SUCCESSES]
        bad = [i for i in order if not understood[i]][:FAILURES]
        notes = {**dict.fromkeys(good, ""), **dict.fromkeys(bad, "not understood")}
        share = 100 * understood.mean()
        note = f"{share:.0f} % of {count} images were understood: {len(good)} of these, then {len(bad)} others"
    chosen = [*good, *bad]
    titles = [": ".join(part for part in (names[i], notes[i]) if part) for i in chosen]
    return np.array(chosen, dtype=np.int64), titles, note


def _by_turns(names: list[str], order: NDArray[np.int64]) -> list[int]:
    """The same images, each class once before any class comes again."""
    met: dict[str, int] = {}
    turns = []
    for i in order.tolist():
        turns.append(met.get(names[i], 0))
        met[names[i]] = turns[-1] + 1
    return [int(i) for _, i in sorted(zip(turns, order.tolist(), strict=True), key=lambda pair: pair[0])]


def tabulate(frame: pd.DataFrame) -> str:
    """Markdown: the scores of the speaker's order of patches beside others, means over seeds."""
    columns = ["pointing_game", "energy_in_box", "roc_auc", "average_precision", "top_k_iou"]
    rows = [
        [str(method), *(mean_and_spread(part[column], 3) for column in columns)]
        for method, part in frame.groupby("method", sort=False)
    ]
    return markdown(["", *(column.replace("_", " ") for column in columns)], rows)
