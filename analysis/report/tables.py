"""Rows of the table of metrics as a report shows them: grouped, with values and limits in words and places."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from analysis.evaluation.glossary import GLOSSARY
from analysis.evaluation.metric_groups import PLAYED
from analysis.report.summary import beats_chance, percent

_TITLES = {
    "concepts": "What do symbols stand for?",
    "structure": "How are messages built?",
    "meaning": "What do items with like messages share?",
    "signals": "Is something told, and is it heard?",
    "usage": "How is the vocabulary used?",
    "texts": "Is it like a text?",
}
_ENDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
# Of these, a newcomer needs none.
_MORE = {
    "v_measure", "homogeneity", "completeness", "purity", "inverse_purity", "mutual_information", "synonymy",
    "polysemy", "tree_reconstruction_error", "zipf_slope",
}  # fmt: skip


def groups(frame: pd.DataFrame) -> tuple[list[dict[str, Any]], int]:
    """The tables of metrics, and how many of their rows have a p."""
    tables, tests = [], 0
    for group, title in _TITLES.items():
        here = frame[frame.group == group]
        # Of each metric, what it is highest for comes first.
        place = here.metric.map({metric: i for i, metric in enumerate(dict.fromkeys(here.metric))})
        here = here.assign(place=place).sort_values(["place", "value"], ascending=[True, False], kind="stable")
        rows = [_cells(row) for _, row in here.iterrows()]
        tests += sum(bool(row["p"]) for row in rows)
        if rows:
            shown = [row for row in rows if row["metric"] not in _MORE]
            more = [row for row in rows if row["metric"] in _MORE]
            shuffled = any(row["place"] for row in rows)
            tables.append({"title": title, "rows": shown, "more": more, "shuffled": shuffled})
    return tables, tests


def value_text(value: float, unit: str) -> str:
    """A number for readers: counts in full, all else with three digits."""
    if unit in ("symbols", "messages", "words") and value == round(value):
        return f"{value:,.0f}"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) >= 1 else f"{value:.3f}"
    return "0.000" if text == "-0.000" else text


def _cells(row: pd.Series) -> dict[str, Any]:
    term = GLOSSARY[row.metric]
    better = beats_chance(row)
    both = pd.notna(row.low) and pd.notna(row.high)
    luck = "" if pd.isna(row.null_mean) else value_text(row.null_mean, "")
    if luck and pd.notna(row.null_std):
        luck += f" ± {value_text(row.null_std, '')}"
    return {
        "metric": row.metric, "name": term.name, "of": row.of, "unit": term.unit,
        "reason": row.reason.replace("_", " "), "n": f"{row.n:,}",
        "value": "" if row.reason else value_text(row.value, term.unit),
        "interval": f"{value_text(row.low, '')} to {value_text(row.high, '')}" if both else "",
        "luck": luck,
        "p": "" if pd.isna(row.p) else f"{row.p:.2g}",
        "place": _place(row),
        "verdict": {True: "more", False: "luck", None: "open"}[better],
    }  # fmt: skip


def _place(row: pd.Series) -> dict[str, float] | None:
    """Where value and shuffled languages lie between the least and the most, in percent of the width."""
    if row.reason or pd.isna(row.null_mean):
        return None
    term, spread = GLOSSARY[row.metric], 0.0 if pd.isna(row.null_std) else 2 * row.null_std
    least, most = min(0.0, row.value, row.null_mean - spread), max(row.value, row.null_mean + spread)
    most = term.high if math.isfinite(term.high) else 1.1 * most
    width = (most - least) or 1.0
    return {
        "value": 100 * (row.value - least) / width,
        "luck_left": 100 * (row.null_mean - spread - least) / width,
        "luck_width": 200 * spread / width,
    }


def bars(frame: pd.DataFrame) -> dict[str, Any] | None:
    """How well the game was played, then after each intervention from best to worst; None where it is not known."""
    found = frame[(frame.group == "success") & (frame.reason == "")]
    if found.empty:
        return None
    played = found[found.metric == "retrieval"].assign(of=PLAYED)
    others = found[found.metric == "retrieval_under_intervention"].sort_values("value", ascending=False, kind="stable")
    end = next(limit for limit in _ENDS if limit >= found.high.max())
    return {
        "end": percent(end),
        "chance": None if found.chance.isna().all() else 100 * found.chance.max() / end,
        "bars": [
            {
                "name": row.of, "value": percent(row.value), "interval": f"{percent(row.low)} to {percent(row.high)}",
                "width": 100 * row.value / end, "low": 100 * row.low / end, "span": 100 * (row.high - row.low) / end,
            }
            for _, row in pd.concat([played, others]).iterrows()
        ],
    }  # fmt: skip


def pivot_rivals(frame: pd.DataFrame) -> dict[str, Any] | None:
    """How well rankings of patches find objects: a line per ranking, the speaker's first; None where unknown."""
    found = frame[(frame.group == "patches") & (frame.reason == "")]
    if not (found.metric == "roc_auc").any():
        return None
    metrics = list(dict.fromkeys(found.metric))
    lines = []
    for name in dict.fromkeys(found.of):
        here = found[found.of == name].set_index("metric")
        lines.append({"name": name, "numbers": [_with_error(here, metric) for metric in metrics]})
    return {"metrics": [(GLOSSARY[m].name, m) for m in metrics], "lines": lines, "n": f"{found.n.max():,}"}


def _with_error(rows: pd.DataFrame, metric: str) -> str:
    if metric not in rows.index:
        return "-"
    value, error = rows.value[metric], (rows.high[metric] - rows.value[metric]) / 1.96
    return f"{value:.3f}" if math.isnan(error) else f"{value:.3f} ± {error:.3f}"
