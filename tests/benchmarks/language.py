"""What topographic similarity costs: ours, EGG's where EGG is importable, and a plain loop; then a large corpus.

    PYTHONPATH=path/to/EGG python tests/benchmarks/language.py --json FILE

Messages of 49 symbols out of 128 about 5 attributes; Hamming distances of meanings, edit distances over the mean length
(EGG's). What all can do is timed in turns within one run, medians over repeats, and must have one value. The script is
not named like the package `analysis`, which it would hide from every script beside it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
from beside import compared
from rapidfuzz.distance import Levenshtein
from scipy.stats import spearmanr

from analysis.metrics.topsim import topographic_similarity

Corpus = tuple[np.ndarray, np.ndarray, np.ndarray]
Run = Callable[[Corpus], float]


def corpus(items: int, slots: int, vocab: int, attributes: int = 5, values: int = 8) -> Corpus:
    """Attributes, symbols and mask; half of the slots say an attribute, the others anything."""
    rng = np.random.default_rng(0)
    meanings = rng.integers(0, values, (items, attributes))
    symbols = rng.integers(0, vocab, (items, slots))
    about = np.arange(slots // 2)
    symbols[:, about] = meanings[:, about % attributes] + values * (about % attributes)
    return meanings, symbols, np.ones_like(symbols, dtype=bool)


def ours(language: Corpus, permutations: int = 0) -> float:
    """The value, and with permutations its null, p and interval, of 1,000 items at most."""
    meanings, symbols, mask = language
    found = topographic_similarity(
        symbols, mask, meanings=meanings, message_distance="edit_mean", permutations=permutations
    )
    return found.value


def loop(language: Corpus) -> float:
    """Pair by pair, with the same compiled edit distance, and SciPy's ranks."""
    meanings, rows = language[0].tolist(), language[1].tolist()
    pairs = list(combinations(range(len(rows)), 2))
    apart = [sum(a != b for a, b in zip(meanings[i], meanings[j], strict=True)) for i, j in pairs]
    edits = [2 * Levenshtein.distance(rows[i], rows[j]) / (len(rows[i]) + len(rows[j])) for i, j in pairs]
    return float(spearmanr(apart, edits).statistic)


def rivals() -> dict[str, Run]:
    """A loop, and EGG's metric if it is there."""
    runs: dict[str, Run] = {"loop": loop}
    try:
        from egg.core.language_analysis import TopographicSimilarity
    except ImportError as error:
        print(f"EGG is left out: {error}")
    else:
        runs["EGG"] = lambda language: float(TopographicSimilarity.compute_topsim(*language[:2]))
    return runs


def side_by_side(language: Corpus, runs: dict[str, Run], repeats: int) -> dict[str, dict[str, float]]:
    """Median, fastest and slowest seconds of each, in turns, and the value each found."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    values: dict[str, float] = {}
    for _ in range(repeats):
        for name, run in runs.items():
            began = time.perf_counter()
            values[name] = run(language)
            times[name].append(time.perf_counter() - began)
    return {
        name: {"value": values[name], "s": statistics.median(t), "fastest_s": min(t), "slowest_s": max(t)}
        for name, t in times.items()
    }


def main(argv: list[str]) -> None:
    """Measures and prints a table; ``--json FILE`` writes the numbers."""
    if compared(__file__, argv):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, value in (("items", 1000), ("corpus", 10_000), ("length", 49), ("vocab", 128), ("repeats", 3)):
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--permutations", type=int, default=200)
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args(argv)
    alone: dict[str, Run] = {
        "ours, value": ours,
        "ours, value, p and interval": lambda language: ours(language, asked.permutations),
    }
    few, many = (corpus(n, asked.length, asked.vocab) for n in (asked.items, asked.corpus))
    ours(corpus(50, asked.length, asked.vocab), asked.permutations)
    large = side_by_side(many, alone, asked.repeats)
    # Before the others are loaded.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    small = side_by_side(few, {**alone, **rivals()}, asked.repeats)
    result = {f"{asked.items} items": small, f"{asked.corpus} items": large}
    print(f"messages of {asked.length} symbols of {asked.vocab}, {asked.permutations} permutations, "
          f"medians of {asked.repeats}")  # fmt: skip
    for size, rows in result.items():
        for name, row in rows.items():
            print(
                f"{size:14s} {name:28s} {row['s']:9.3f} s  ({row['fastest_s']:.3f} to {row['slowest_s']:.3f})  "
                f"x {row['s'] / rows['ours, value']['s']:.1f} of our value  {row['value']:.12f}"
            )
    print(f"peak memory of ours, libraries included: {peak:.2f} GiB")
    if asked.json:
        asked.json.write_text(json.dumps({"seconds": result, "peak_memory_gib": peak}, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
