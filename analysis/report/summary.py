"""What a table of metrics comes down to, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.evaluation.glossary import GLOSSARY
from analysis.evaluation.metric_groups import HEADLINE_DISTANCES

# Below this share of shuffled languages a result counts as more than luck.
LEVEL = 0.05
# Nor does it where luck alone gets this share of the maximum: whole messages that never repeat "explain" everything.
NEAR_MAXIMUM = 0.95
NOISE = "noise images"


def beats_chance(row: pd.Series) -> bool | None:
    """Whether shuffled languages seldom score as well, or the interval lies above a guess; None: nothing to compare."""
    if row.reason:
        return None
    if pd.notna(row.p):
        return bool(row.p <= LEVEL and not row.null_mean >= NEAR_MAXIMUM * GLOSSARY[row.metric].high)
    if pd.notna(row.chance) and pd.notna(row.low):
        return bool(row.low > row.chance)
    return None


def findings(frame: pd.DataFrame, candidates: int | None, vocab_size: int) -> list[str]:
    """The sentences at the head of a report, most important first.

    Args:
        frame: of `analysis.evaluation.table.measure`.
        candidates: among how many images each message was matched.
        vocab_size: V.
    """
    said = [
        _success(frame, candidates),
        _usage(frame, vocab_size),
        _concepts(frame),
        _structure(frame),
        _patches(frame),
        *_interventions(frame),
    ]
    return [sentence for sentence in said if sentence]


def percent(share: float) -> str:
    """A share for readers: ``26.5 %``."""
    return f"{100 * share:.{1 if share < 0.9995 else 0}f} %"


def _rows(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    return frame[(frame.metric == metric) & (frame.reason == "")]


def _success(frame: pd.DataFrame, candidates: int | None) -> str:
    found = _rows(frame, "retrieval")
    if found.empty:
        return ""
    played = found.iloc[0]
    among = f" among {candidates}" if candidates else ""
    text = (
        f"The listener finds the right image{among} for {percent(played.value)} of {played.n:,} messages "
        f"(95 % interval {percent(played.low)} to {percent(played.high)})"
    )
    if pd.isna(played.chance):
        return text + "."
    if not beats_chance(played):
        return f"{text}. This is no better than guessing, which is right in {percent(played.chance)}."
    return f"{text}, {played.value / played.chance:.3g} times as often as a guess ({percent(played.chance)})."


def _usage(frame: pd.DataFrame, vocab_size: int) -> str:
    rows = {metric: _rows(frame, metric) for metric in ("active_symbols", "perplexity", "mean_length")}
    if any(part.empty for part in rows.values()):
        return ""
    active, perplexity, length = (part.value.iloc[0] for part in rows.values())
    return (
        f"The speaker uses {active:.0f} of {vocab_size} symbols, as varied as {perplexity:.1f} equally frequent ones, "
        f"and says {length:.1f} of them per message."
    )


def _concepts(frame: pd.DataFrame) -> str:
    found = _rows(frame, "ami")
    if found.empty:
        return ""
    told = found[[beats_chance(row) is True for _, row in found.iterrows()]]
    told = told.loc[(told.value - told.null_mean).sort_values(ascending=False).index]
    silent = [name for name in found.of if name not in set(told.of)]
    nothing = f"Nothing beyond luck about {_listed(silent)}." if silent else ""
    if told.empty:
        return f"The symbols tell nothing that a shuffled language would not tell as well. {nothing}".strip()
    named = told.head(3).itertuples()
    best = [f"{r.of} (AMI {r.value:.2f}, shuffled {r.null_mean:z.2f}, p = {r.p:.2g})" for r in named]
    rest = f", and something about {_listed(list(told.of[3:]))}" if len(told) > 3 else ""
    colors = _colors(frame, list(told.of[:3]))
    return f"The symbols tell most about {_listed(best)}{rest}. {colors}{nothing}".strip()


def _structure(frame: pd.DataFrame) -> str:
    """Topographic similarity, by which distance, why by this one, and what others would have said."""
    found = _rows(frame, "topographic_similarity")
    if found.empty:
        return ""
    top = found.iloc[0]
    about, _, distance = top.of.partition(" and ")
    luck = f"shuffled {top.null_mean:z.2f}, p = {top.p:.2g}" if pd.notna(top.p) else "nothing was shuffled"
    text = f"Topographic similarity is {top.value:z.2f} for {top.of} ({luck})"
    if distance in HEADLINE_DISTANCES:
        text += f"; this distance stands first because {HEADLINE_DISTANCES[distance]}"
    others = found[found.of.str.startswith(f"{about} and ") & (found.of != top.of)].sort_values("value")
    if others.empty:
        return text + "."
    ends = [f"{row.value:z.2f} by {row.of.partition(' and ')[2]}" for row in (others.iloc[0], others.iloc[-1])]
    return f"{text}. The same meanings give {ends[0]}{f' and {ends[1]}' if len(others) > 1 else ''}."


def _colors(frame: pd.DataFrame, names: list[str]) -> str:
    """What colors alone would tell of the same concepts."""
    found = _rows(frame, "ami_of_color_codes").set_index("of").value
    each = [f"{name} {found[name]:.2f}" for name in names if name in found.index]
    return (
        f"As many codes of the colors of the same patches, which nobody learnt, have {_listed(each)}. " if each else ""
    )


def _patches(frame: pd.DataFrame) -> str:
    place = _rows(frame, "place_share")
    share = f"Where a patch lies explains {percent(place.value.iloc[0])} of who speaks." if len(place) else ""
    moved, grey = _rows(frame, "map_agreement"), _rows(frame, "map_spread")
    if len(moved):
        each = [f"{row.of}, {row.value:.2f}" for row in moved.itertuples()]
        share += (
            f" Maps of images put back agree with the maps of the images as they are ({'; '.join(each)}; 1: fully)."
        )
    if len(grey):
        share += f" On a plain grey image the probabilities of speaking spread by {grey.value.iloc[0]:.2f}."
    found = _rows(frame, "roc_auc")
    found = found[found.of == "speaker"]
    if found.empty:
        return share
    score = found.iloc[0]
    where = "lie on objects" if score.low > 0.5 else "avoid objects" if score.high < 0.5 else "do not care for objects"
    text = f"The patches that speak first {where}: one on an object ranks above one that is not in"
    return f"{text} {percent(score.value)} of pairs (by luck 50 %). {share}".strip()


def _interventions(frame: pd.DataFrame) -> list[str]:
    played, found = _rows(frame, "retrieval"), _rows(frame, "retrieval_under_intervention")
    if played.empty or found.empty or beats_chance(played.iloc[0]) is False:
        return []
    before = played.value.iloc[0]
    worst, best = found.loc[found.value.idxmin()], found.loc[found.value.idxmax()]
    said = []
    # What few images show may be luck: only where intervals part is anything said.
    if worst.high < played.low.iloc[0]:
        text = f"Tampering hurts most as “{worst.of}” ({percent(before)} falls to {percent(worst.value)})"
        said = [text + (f" and least as “{best.of}” ({percent(best.value)})." if worst.high < best.low else ".")]
    noise = found[found.of == NOISE]
    if len(noise) and beats_chance(noise.iloc[0]):
        # Bouchacourt and Baroni (2018): agents that understand each other over noise compare pixels.
        hashes = f"Over images of pure noise the agents still succeed in {percent(noise.value.iloc[0])}"
        return [*said, f"{hashes}: part of the code is about pixels, not about what is to be seen."]
    return said


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def headline(
    frame: pd.DataFrame, vocab_size: int, records: Sequence[Mapping[str, Any]] = ()
) -> list[tuple[str, str, str]]:
    """The few numbers that stand first: name, value, what to hold it against.

    Args:
        frame: of `analysis.evaluation.table.measure`.
        vocab_size: V.
        records: the run's log, whose last validation also plays the game itself, two random views.
    """
    cards = []
    played = [r["two_views_acc"] for r in records if "two_views_acc" in r]
    if played:
        cards.append(("retrieval, two views", percent(played[-1]), "at the last validation"))
    for metric in ("retrieval", "active_symbols", "mean_length", "ami", "topographic_similarity"):
        found = _rows(frame, metric)
        if found.empty:
            continue
        # Of many distances the one that was chosen beforehand; of concepts, which have one measure, the best told.
        best = (found.value - found.null_mean.fillna(0)).idxmax()
        top = found.iloc[0] if metric == "topographic_similarity" else found.loc[best]
        value = percent(top.value) if metric == "retrieval" else f"{top.value:.3g}"
        beside = f"chance {percent(top.chance)}" if pd.notna(top.chance) else top.of
        if metric == "active_symbols":
            beside = f"of {vocab_size}"
        if metric == "mean_length":
            beside = "symbols, mean"
        if pd.notna(top.null_mean):
            beside = f"{top.of}; shuffled {top.null_mean:z.2f}".lstrip("; ")
        name = "retrieval, one view" if metric == "retrieval" and played else GLOSSARY[metric].name
        cards.append((name, value, beside))
    return cards
