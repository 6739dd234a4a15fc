"""One way in for every language: a run, a saved corpus, JSON lines, a table, interactions of our trainer or of EGG.

Letters in shapes: N items, T message slots, V vocabulary, A attributes, D width.
"""

from __future__ import annotations

import pickle
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.corpus.corpus import Corpus
from analysis.corpus.json_lines import read_json_lines
from analysis.corpus.message_csv import read_message_csv
from patchgame_egg.training.log_file import iterate_log

if TYPE_CHECKING:
    from patchgame_egg.egg.records import Layout

CORPUS = "corpus.npz"
"""What the language of a run is called in its folder."""

LINES = "corpus.jsonl"
"""What the language of a system is called in its folder in ELCC."""

# What readers raise on files that are not what they seem.
_UNREADABLE = (
    OSError, KeyError, TypeError, ValueError, EOFError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


class NotRecorded(ValueError):
    """A folder holds no language.

    Attributes:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} holds no {CORPUS}: give the folder of a run whose language was recorded")
        self.folder = folder


def gone_on(corpus: Corpus, path: Path) -> str:
    """Says in a sentence if a run has learnt on since its language was recorded.

    Args:
        corpus: the language; those recorded by version 0.1.0 do not know of which step they are.
        path: where it was loaded from.

    Returns:
        The sentence, empty if there is nothing to say.
    """
    learnt, log = corpus.info.get("learnt"), path / "log.jsonl"
    if not isinstance(learnt, dict) or not log.is_file():
        return ""
    last = max((record["step"] for record in iterate_log(log)), default=0)
    if last <= learnt["step"]:
        return ""
    return (
        f"this language is of step {learnt['step']:,} (epoch {learnt['epoch']:,}), and {path} has gone on to step "
        f"{last:,} since: recorded anew, it would be another"
    )


def load(path: Path | str, *, layout: Layout | None = None) -> Corpus:
    """Reads a language, whatever holds it.

    Args:
        path: a folder with a ``corpus.npz``, such as a run's, or a ``corpus.jsonl``, such as ELCC's; a corpus
            (``.npz``); JSON lines (``.jsonl``) or a JSON array (``.json``), see `analysis.corpus.json_lines`; a table
            (``.csv``), see `analysis.corpus.message_csv`. Any other file is taken for interactions, written by
            `Interaction.save` or by EGG's InteractionSaver.
        layout: how EGG's messages are laid out, ``symbol``, ``slots`` or ``ended`` (`patchgame_egg.egg.records`);
            None: found by their dimensions.

    Raises:
        NotRecorded: a folder without a corpus.
        ValueError: there is no such file, or it holds something else.

    Symbols whose ids are 65,536 or more are numbered anew (`Corpus.numbered`).
    """
    path = Path(path)
    if path.is_dir():
        there = [path / name for name in (CORPUS, LINES) if (path / name).is_file()]
        if not there:
            raise NotRecorded(path)
        path = there[0]
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.suffix in (".jsonl", ".json"):
        return _checked(read_json_lines(path), path)
    if path.suffix == ".csv":
        return _checked(read_message_csv(path), path)
    kind = "a corpus" if path.suffix == ".npz" else "a file of interactions"
    try:
        return _checked(Corpus.load(path) if path.suffix == ".npz" else _of_interactions(path, layout), path)
    except _UNREADABLE as error:
        raise ValueError(f"{path} is not {kind}: {(str(error) or repr(error)).splitlines()[0]}") from error


def _of_interactions(path: Path, layout: Layout | None) -> Corpus:
    # Loaded late: no other language needs torch, which takes seconds to import.
    from analysis.corpus.interactions import from_interaction, load_interaction

    return from_interaction(*load_interaction(path, layout))


def _checked(corpus: Corpus, path: Path) -> Corpus:
    """The corpus with its ids numbered; numbers from a file must not become sizes before they are looked at."""
    if corpus.grid is not None:
        slots, (rows, columns) = corpus.symbols.shape[1], corpus.grid
        # Of several grids the coarsest has one patch at least.
        fits = 1 <= corpus.scales <= 32 and min(rows, columns) >= 1 and rows * columns <= slots
        if not fits or slots % len(corpus.boxes):
            raise ValueError(
                f"{path}: messages of {slots} slots are not those of {corpus.scales} grid(s) of {rows} x {columns} "
                "patches"
            )
    return corpus.numbered()
