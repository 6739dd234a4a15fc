"""What a run's agents said: one page, or one table, for a run; one table and one figure for several.

    python -m analysis runs/first                          writes runs/first/report.html
    python -m analysis runs/first --format csv             writes runs/first/analysis.csv
    python -m analysis messages.jsonl                      writes messages.html
    python -m analysis messages runs/first                 writes runs/first/messages.csv, a row per message
    python -m analysis compare runs/first runs/second      writes comparison/table.csv and comparison/metrics.png
    python -m analysis compare a.jsonl b.csv --controls    the same beside human-like text and random messages
    python -m analysis transfer a.jsonl runs/first         writes transfer.csv, what each is worth to a language model
    python -m analysis words runs/first                    writes runs/first/glosses.csv and runs/first/dictionary.csv
    python -m analysis morphemes runs/first                writes runs/first/morphemes.csv and runs/first/segments.csv
    python -m analysis play runs/first                     serves a page on this machine that takes images

A run is a folder with a corpus.npz, which `games.record` writes. A file may be such a corpus, JSON lines, or
interactions of this library or of EGG.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from patchgame_egg import __version__
from patchgame_egg.atomic_write import replacing, write_text
from patchgame_egg.data.names import print_any_name

if TYPE_CHECKING:
    import pandas as pd

    from analysis.corpus.corpus import Corpus

VERBS = ("compare", "messages", "words", "morphemes", "transfer")
FORMATS = {"html": "report.html", "csv": "analysis.csv", "json": "analysis.json"}


class Parser(argparse.ArgumentParser):
    """Mistakes end in one line."""

    def error(self, message: str) -> NoReturn:
        fail(f"{message} (--help lists all)")


def fail(message: object, status: int = 2) -> NoReturn:
    """Ends the program with one line on stderr and an exit status: 2 for a wrong request, 1 for a failure."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(status)


def analyse(path: Path, kind: str, out: Path | None, permutations: int, seed: int) -> Path:
    """Measures one language and writes what was found.

    Args:
        path: whatever `analysis.corpus.loading.load` reads.
        kind: of file to write, a key of `FORMATS`.
        out: where to; None: into the run's folder or, of a file, beside it.
        permutations: shuffled languages behind every p.
        seed: seed of the shuffling.

    Returns:
        The file.

    Raises:
        ValueError: there is no language to read.
    """
    from analysis.corpus.loading import gone_on
    from analysis.evaluation.table import measure

    corpus = read(path)
    out = _place(path, out, FORMATS[kind], f".{kind}")
    played = corpus.probes.get("as played")
    understood = "" if played is None else f", {100 * played.mean():.1f} % of them understood"
    say(f"{path}: {len(corpus):,} messages, {int(corpus.mask.sum()):,} symbols{understood}")
    note = gone_on(corpus, path)
    if note:
        say(f"note: {note} (python -m games.record {path})")
    frame = measure(corpus, permutations=permutations, seed=seed, say=say)
    title = str(corpus.info.get("run") or path.resolve().name)
    if kind == "csv":
        from analysis.corpus.csv_export import csv_text

        text = csv_text(frame)
    elif kind == "json":
        text = to_json(corpus, frame, title, permutations, seed)
    else:
        from analysis.report.messages import files_from
        from analysis.report.page import render
        from patchgame_egg.training.log_file import CURVE_STEPS, read_log

        log = path / "log.jsonl"
        command = f"python -m analysis {path} --permutations {permutations} --seed {seed}"
        text = render(
            corpus, frame, read_log(log, CURVE_STEPS) if log.is_file() else [], title=title, command=command,
            permutations=permutations, seed=seed, note=note, files_at=files_from(corpus, out),
        )  # fmt: skip
    return _write(text, out)


def write_messages(path: Path, out: Path | None) -> Path:
    """Writes one language as a table, a row per message with what it was said of (`Corpus.to_frame`).

    Args:
        path: whatever `analysis.corpus.loading.load` reads.
        out: where to; None: ``messages.csv`` in the run's folder or, of a file, a .csv beside it. A name that ends in
            .jsonl gets JSON lines, one in .parquet Parquet, which needs the package pyarrow; both are data sets as
            Hugging Face's ``datasets`` reads them. All others get CSV.

    Returns:
        The file.

    Raises:
        ValueError: there is no language to read, or pyarrow is missing.
    """
    from analysis.corpus.csv_export import csv_text

    out = _place(path, out, "messages.csv", ".csv")
    if out.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise ValueError(f"{out}: Parquet needs the package pyarrow: pip install pyarrow, or give a name in .jsonl")
    frame = read(path).to_frame()
    if "file" in frame and out.suffix in (".parquet", ".jsonl"):
        # Names on a disk need not be text.
        frame["file"] = [name.encode("utf-8", "backslashreplace").decode() for name in frame["file"]]
    if out.suffix == ".parquet":
        with replacing(out) as file:
            frame.to_parquet(file, engine="pyarrow", index=False)
        return out
    text = frame.to_json(orient="records", lines=True, force_ascii=False) if out.suffix == ".jsonl" else csv_text(frame)
    return _write(text, out)


def read(path: Path) -> Corpus:
    """The language at a path; says so where its symbols are numbered anew.

    Raises:
        ValueError: there is no language to read.
    """
    from analysis.corpus.loading import load

    corpus = load(path)
    if corpus.symbol_ids:
        most = max(corpus.symbol_ids)
        print(f"note: {path}: symbols are numbered anew: {corpus.vocab_size} are said, with ids up to {most}")
    return corpus


def _place(path: Path, out: Path | None, in_folder: str, suffix: str) -> Path:
    out = out or (path / in_folder if path.is_dir() else path.with_suffix(suffix))
    if out.resolve() == path.resolve():
        raise ValueError(f"{out} is the file to be analysed: give another name with --out")
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder: give a file in it")
    return out


def _write(text: str, out: Path) -> Path:
    write_text(text, out)
    return out


def say(line: str) -> None:
    """Tells at once what is going on, also where what is printed goes into a file."""
    print(line, flush=True)


def to_json(corpus: Corpus, frame: pd.DataFrame, title: str, permutations: int, seed: int) -> str:
    """The table as JSON: ``metrics`` holds an object per row, with null where there is no number."""

    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    rows = [{name: plain(value) for name, value in row.items()} for row in frame.to_dict("records")]
    about = {"run": title, "messages": len(corpus), "vocab_size": corpus.vocab_size, "candidates": corpus.choices}
    return json.dumps({**about, "permutations": permutations, "seed": seed, "metrics": rows}, indent=1) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Analyses a run, writes its messages as a table, in words or in morphemes, or compares several.

    Returns:
        The exit status.
    """
    print_any_name()
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["play"]:
        # Agents are known to `games` alone, which imports this package and is imported by none of its modules: here, as
        # on the command line, it is asked for by name.
        status: int = import_module("games.serve.__main__").main(words[1:])
        return status
    several, messages, in_words, morphemes, transfer = (words[:1] == [word] for word in VERBS)
    verb = f" {words[0]}" if words[:1] and words[0] in VERBS else ""
    parser = Parser(
        prog=f"python -m analysis{verb}", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"patchgame_egg {__version__}")
    if several:
        parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="a folder or a file; two or more")
        parser.add_argument("--out", type=Path, default=Path("comparison"), help="folder for the table and the figure")
        parser.add_argument(
            "--controls", action="store_true", help="beside each, human-like text of the same size and random messages"
        )
        parser.add_argument("--text", type=Path, default=None, help="that text: captions, or a sentence a line")
    elif transfer:
        parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="a folder or a file")
        parser.add_argument("--out", type=Path, default=Path("transfer.csv"), help="the file to write")
        parser.add_argument("--text", type=Path, default=None, help="human text: captions, or a sentence a line")
        parser.add_argument("--seeds", type=int, default=3, help="how often, each time with other weights")
    elif in_words:
        parser.add_argument("run", metavar="RUN", type=Path, help="a folder or a file, with captions or named classes")
        parser.add_argument("--out", type=Path, default=None, help="the glosses; glosses.csv in the run's folder")
        parser.add_argument("--dictionary", type=Path, default=None, help="dictionary.csv beside it, if not given")
        parser.add_argument(
            "--held-out", type=float, default=0.3, help="share of the images that nothing is learnt from"
        )
    elif morphemes:
        parser.add_argument("run", metavar="RUN", type=Path, help="a folder or a file, with what is meant")
        parser.add_argument("--out", type=Path, default=None, help="the morphemes; morphemes.csv in the run's folder")
        parser.add_argument("--segments", type=Path, default=None, help="segments.csv beside it, if not given")
        parser.add_argument("--longest", type=int, default=2, help="symbols of a form at most")
        parser.add_argument("--largest", type=int, default=2, help="values or words of a meaning at most")
        parser.add_argument("--places", action="store_true", help="the same symbols at other slots are another form")
    else:
        parser.add_argument("run", metavar="RUN", type=Path, help="a folder or a file")
        if not messages:
            parser.add_argument("--format", choices=list(FORMATS), default="html", help="page, table or JSON")
        parser.add_argument("--out", type=Path, default=None, help="the file to write; the run's folder if not given")
    drawn = () if messages or morphemes or transfer else ("permutations", "seed")
    if drawn:
        parser.add_argument("--permutations", type=int, default=100, help="shuffled languages behind every p")
        parser.add_argument("--seed", type=int, default=0, help="of the shuffling")
    asked = parser.parse_args(words[1:] if verb else words)
    for name in drawn:
        if getattr(asked, name) < 0:
            fail(f"--{name} {getattr(asked, name)}: must be at least 0")
    # Only now: torch and pandas take seconds to import, help and mistakes do without.
    from analysis.corpus.loading import NotRecorded

    try:
        if messages:
            print(f"wrote {write_messages(asked.run, asked.out)}")
            return 0
        if several:
            from analysis.compare import compare_runs

            for path in compare_runs(
                asked.runs, asked.out, permutations=asked.permutations, seed=asked.seed, controls=asked.controls,
                text=asked.text, say=say,
            ):  # fmt: skip
                print(f"wrote {path}")
        elif transfer:
            from analysis.compare import compare_transfer

            for line in compare_transfer(asked.runs, asked.out, text=asked.text, seeds=asked.seeds, say=say):
                print(line)
        elif in_words or morphemes:
            from analysis.words.command import find_morphemes, put_into_words

            for line in (put_into_words if in_words else find_morphemes)(**vars(asked)):
                print(line)
        else:
            print(f"wrote {analyse(asked.run, asked.format, asked.out, asked.permutations, asked.seed)}")
    except KeyboardInterrupt:
        fail("stopped by Ctrl-C", 130)
    except NotRecorded as error:
        fail(f"{error} (of a run, python -m games.record {error.folder} records it)")
    except ValueError as error:
        fail(error)
    except OSError as error:
        fail(error, 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
