"""Do symbols become more like words if the listener also learns from human sentences? A curve over their share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.corpus.corpus import Corpus
from analysis.transfer.language_model import mean_interval
from analysis.words.study import study_words
from games.reproduce.runner.results import measured_run
from games.reproduce.runner.setting import Setting, Training
from games.reproduce.runner.tables import fate, markdown, table_rows, write_table
from games.reproduce.runner.training import train
from games.runs.files import CORPUS, LOG
from patchgame_egg.training.log_file import read_log

SHARES = (0.0, 0.01, 0.1, 1.0)
"""Of the captioned images, those whose sentences are read."""

# What is measured: heading and factor.
_MEASURES: Mapping[str, tuple[str, int, int]] = {
    "bits": ("bits of a caption told", 1, 2),
    "caption_found": ("caption found, %", 100, 1),
    "word_auc": ("AUC of words", 1, 3),
    "pairs": ("sure pairs", 1, 0),
    "retrieval": ("two views found, %", 100, 1),
}


def trainings(setting: Setting) -> list[Training]:
    """A run for each share and seed; a folder's captions are those of ``--captions``.

    Raises:
        ValueError: there are no captions.
    """
    return [of_share(setting, share, seed) for share in SHARES for seed in setting.seeds]


def of_share(setting: Setting, share: float, seed: int) -> Training:
    """The training of a share of the sentences.

    Raises:
        ValueError: there are no captions.
    """
    plain = Training(f"ground-{share:g}", seed, ("--corpus",))
    images = setting.config(plain).images
    ground = "scenes" if images.data == "scenes" else images.captions
    if not ground:
        raise ValueError("grounding needs sentences: give --captions FILE, or the built-in scenes (--scale toy)")
    words = () if not share else ("--ground", ground, "--ground-share", f"{share:g}")
    return Training(plain.name, seed, (*plain.words, *words))


def run(setting: Setting) -> None:
    """Puts every language into words, and writes the table."""
    wanted = [({"share": f"{share:g}"}, of_share(setting, share, seed)) for share in SHARES for seed in setting.seeds]
    frame = table_rows(wanted, lambda training: _numbers(measured_run(setting, training, measure)))
    alone = frame[frame.share == "0"].set_index("seed")
    cells = []
    for share, part in frame.groupby("share", sort=False):
        cells.append([f"{100 * float(str(share)):g} %{fate(part)}"])
        for name, (_, factor, digits) in _MEASURES.items():
            cells[-1].append(in_words(factor * part[name].dropna(), digits))
        gained = part.set_index("seed").bits - alone.bits
        cells[-1].append("" if share == "0" else in_words(gained.dropna(), 2))
    heads = [head for head, _, _ in _MEASURES.values()]
    write_table(setting, frame, markdown(["sentences read", *heads, "bits more than without"], cells))


def in_words(values: pd.Series, digits: int) -> str:
    """A mean and, of several values, its 95 % interval."""
    if values.empty:
        return ""
    mean, low, high = mean_interval(values.to_numpy(dtype=float))
    return f"{mean:.{digits}f}" + (f" ({low:.{digits}f} to {high:.{digits}f})" if len(values) > 1 else "")


def measure(setting: Setting, training: Training) -> dict[str, Any]:
    """What the messages of held-out images tell of their captions, and how well the game is played."""
    folder = train(setting, training)
    study = study_words(Corpus.load(folder / CORPUS), seed=training.seed)
    told = study.told
    last = [record for record in read_log(folder / LOG) if record["kind"] == "validation"][-1]
    return {
        "bits": told.bits.value, "bits_p": told.bits.p, "bits_of_caption": told.bits_of_caption,
        "caption_found": told.caption_found.value, "word_auc": told.word_auc.value, "pairs": len(study.dictionary),
        "retrieval": last["two_views_acc"], "best": " ".join(told.words.word.head(10)),
    }  # fmt: skip


def _numbers(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "made_with"}
