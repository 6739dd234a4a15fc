"""Figure 5: patches that say the same symbol, and what that symbol stands for where it is sure."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from analysis.corpus.corpus import Corpus
from analysis.evaluation.concepts import Concept, cells, concepts_of
from analysis.plots.patch_maps import symbol_gallery
from games.reproduce import fig3
from games.reproduce.runner.setting import Setting

trainings = fig3.trainings


def run(setting: Setting) -> None:
    """Draws the gallery of every seed."""
    for seed, corpus in fig3.recorded(setting):
        path = draw(corpus, setting.folder / ("fig5.png" if seed == setting.seeds[0] else f"fig5-{seed}.png"))
        print(f"wrote {path}")


def draw(corpus: Corpus, path: Path, num_symbols: int = 16, per_symbol: int = 6) -> Path:
    """The most used symbols: number, meaning, and the patches that say each most confidently."""
    assert corpus.images is not None
    assert corpus.confidence is not None
    assert corpus.grid is not None
    count = len(corpus.images)
    shape = (count, -1, corpus.symbols_per_patch)
    return symbol_gallery(
        corpus.images / 255.0,
        corpus.symbols[:count].reshape(shape),
        corpus.mask[:count].reshape(shape)[:, :, 0],
        corpus.confidence[:count].reshape(shape),
        path,
        grid=corpus.grid,
        scales=corpus.scales,
        num_symbols=num_symbols,
        per_symbol=per_symbol,
        names=meanings(corpus),
    )


def _said(concept: Concept, value: int) -> str:
    """A value's name, with its concept's where it says nothing alone."""
    name = concept.value_names[value]
    if name == "yes":
        return concept.name
    return f"{concept.name}: {name}" if name == "no" or name.isdigit() else name


def meanings(corpus: Corpus) -> dict[int, str]:
    """For each symbol the value that goes with it most surely, of any concept; symbols without any are left out.

    The paper's interpretations are a reader's; these are counted (`analysis.evaluation.concepts.cells`).
    """
    best: dict[int, tuple[float, str]] = {}
    for concept in concepts_of(corpus):
        found = cells(corpus, concept)
        score = np.where(found.sure, found.z, -np.inf)
        for symbol, value in enumerate(score.argmax(axis=1).tolist()):
            z = float(score[symbol, value])
            if z > best.get(symbol, (-np.inf, ""))[0]:
                best[symbol] = z, _said(concept, value)
    return {symbol: name for symbol, (_, name) in best.items()}
