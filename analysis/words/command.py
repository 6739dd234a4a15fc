"""``python -m analysis words`` and ``morphemes``: a language in words, written into files."""

from __future__ import annotations

from pathlib import Path

from patchgame_egg.atomic_write import write_text


def put_into_words(
    run: Path, out: Path | None, dictionary: Path | None, held_out: float, permutations: int, seed: int
) -> list[str]:
    """Puts a language into words and writes its glosses and its dictionary, as CSV.

    Args:
        run: whatever `analysis.corpus.loading.load` reads.
        out: the file of glosses; None: ``glosses.csv`` in the run's folder or beside the file.
        dictionary: the file of the dictionary; None: ``dictionary.csv`` beside the glosses.
        held_out: share of the images that nothing is learnt from.
        permutations: shuffled languages behind every p.
        seed: of the split and the shuffling.

    Returns:
        What to say.

    Raises:
        ValueError: there is no language to read, or nothing is known of it in words.
    """
    from analysis.corpus.csv_export import csv_text
    from analysis.corpus.loading import load
    from analysis.words.study import study_words, summary

    corpus = load(run)
    files = _two_files(run, out, "glosses.csv", dictionary, "dictionary")
    try:
        found = study_words(corpus, held_out=held_out, permutations=permutations, seed=seed)
    except ValueError as error:
        raise ValueError(f"{run}: {error} (python -m games.record takes --captions FILE)") from error
    for path, frame in zip(files, (found.glosses, found.dictionary), strict=True):
        write_text(csv_text(frame), path)
    return [*summary(found), *(f"wrote {path}" for path in files)]


def find_morphemes(
    run: Path, out: Path | None, segments: Path | None, longest: int, largest: int, places: bool
) -> list[str]:
    """Finds the morphemes of a language and writes them, and all messages cut into them, as CSV.

    Args:
        run: whatever `analysis.corpus.loading.load` reads.
        out: the file of morphemes; None: ``morphemes.csv`` in the run's folder or beside the file.
        segments: the file of messages; None: ``segments.csv`` beside it.
        longest: symbols of a form at most.
        largest: atoms of a meaning at most.
        places: whether the same symbols at other slots are another form.

    Returns:
        What to say.

    Raises:
        ValueError: there is no language to read, or nothing is known of what is meant.
    """
    from analysis.corpus.csv_export import csv_text
    from analysis.corpus.loading import load
    from analysis.words.morphemes import in_lines, induce_morphemes, inventory_table, meanings_of, segment_table
    from analysis.words.study import with_its_own_ids

    corpus = with_its_own_ids(load(run))
    files = _two_files(run, out, "morphemes.csv", segments, "segments")
    try:
        found = induce_morphemes(corpus, meanings_of(corpus), longest=longest, largest=largest, places=places)
    except ValueError as error:
        raise ValueError(f"{run}: {error}") from error
    for path, frame in zip(files, (inventory_table(found), segment_table(corpus, found)), strict=True):
        write_text(csv_text(frame), path)
    return [*in_lines(found), *(f"wrote {path}" for path in files)]


def _two_files(run: Path, out: Path | None, name: str, second: Path | None, flag: str) -> list[Path]:
    """Where two tables go: into the run's folder, or beside the file, unless other names are given."""
    out = out or (run if run.is_dir() else run.parent) / name
    if folders := [path for path in (out, second) if path is not None and path.is_dir()]:
        raise ValueError(f"{folders[0]} is a folder: give a file in it")
    files = [out, second or out.with_name(f"{flag}.csv")]
    if len({path.resolve() for path in [*files, run]}) < 3:
        raise ValueError(f"{out} is named twice: give other names with --out and --{flag}")
    return files
