"""One way in for every language: a run, a saved corpus, JSON lines, a table, interactions of our trainer or of EGG.

Letters in shapes: N items, T message slots, V vocabulary, A attributes, D width.
"""

from __future__ import annotations

import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.corpus.corpus import Corpus
from analysis.corpus.json_lines import read_json_lines, vocabulary
from analysis.corpus.message_csv import read_message_csv
from analysis.corpus.recording import unit_length, with_labels
from patchgame_egg.egg.records import Layout, from_egg, vocabulary_of
from patchgame_egg.interaction import Interaction
from patchgame_egg.patches import square_grid
from patchgame_egg.training.loggers import iterate_log

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
        found = Corpus.load(path) if path.suffix == ".npz" else from_interaction(*_load_interaction(path, layout))
        return _checked(found, path)
    except _UNREADABLE as error:
        raise ValueError(f"{path} is not {kind}: {(str(error) or repr(error)).splitlines()[0]}") from error


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


def from_interaction(record: Interaction, vocab_size: int | None = None) -> Corpus:
    """A recorded exchange as a corpus.

    Args:
        record: whose message is ids ``[N, T]``. ``aux["message_mask"]`` says which slots speak; without it, all do.
            Labels ``[N, A]`` are taken as attributes.
        vocab_size: V; None: one more than the largest symbol that is said.

    Raises:
        ValueError: its message is something else.
    """
    record = record.map(Tensor.detach)
    message, aux, output = record.message, record.aux, record.receiver_output
    if message is None or message.dim() != 2 or message.is_floating_point():
        shape = "missing" if message is None else f"{message.dtype} of shape {tuple(message.shape)}"
        raise ValueError(f"the message is {shape}: expected ids [N, T]; what EGG wrote goes through from_egg first")
    symbols = message.cpu().numpy().astype(np.int64)
    mask = (
        aux["message_mask"].cpu().numpy().astype(bool) if "message_mask" in aux else np.ones_like(symbols, dtype=bool)
    )
    found: dict[str, Any] = {}
    if output is not None and output.dim() == 3 and output.shape[1] == 2:
        found["text"], found["image"] = unit_length(output.float()).cpu().numpy().swapaxes(0, 1)
    if "keep_prob" in aux:
        found["keep_prob"] = aux["keep_prob"].float().cpu().numpy()
        found["grid"] = square_grid(aux["keep_prob"].shape[1])
    if "acc" in aux and aux["acc"].dim() == 1:
        found["probes"] = {"as played": aux["acc"].cpu().numpy() > 0.5}
    if record.aux_input is not None and "index" in record.aux_input:
        found["info"] = {"index": record.aux_input["index"].tolist()}
    corpus = Corpus(symbols, mask, vocab_size or vocabulary(symbols, mask), **found)
    if record.labels is None or record.labels.is_floating_point() or record.labels.dim() > 2:
        return corpus
    return with_labels(corpus, record.labels.cpu().numpy())


def _load_interaction(path: Path, layout: Layout | None) -> tuple[Interaction, int | None]:
    """What a file of interactions holds, and V where its messages are vectors."""
    with torch.serialization.safe_globals([(Interaction, "egg.core.interaction.Interaction")]):
        saved = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(saved, Interaction):
        return from_egg(saved, layout), vocabulary_of(saved, layout)
    if not isinstance(saved, dict) or not saved.keys() <= vars(Interaction()).keys():
        raise ValueError("it holds something else")
    return Interaction(**saved), None
