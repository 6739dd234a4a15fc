"""All trials of a search as a table, and which of them is the best."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from games.compare import Comparison, columns
from games.runs.files import LOG
from games.sweep.grid import option_words
from games.sweep.space import Search

if TYPE_CHECKING:
    import optuna

# Curves in one picture.
_DRAWN = 8


def over(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials of which all is known: finished, stopped early, or diverged."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def write_trials(setting: Comparison, wanted: Search, study: optuna.Study) -> None:
    """Writes the table of all trials and the learning curves of the best, and says which is the best of all.

    Raises:
        RuntimeError: none was finished.
    """
    import pandas as pd
    from optuna.trial import TrialState

    from games.reproduce.runner.tables import markdown, write_table
    from patchgame_egg.training.log_file import CURVE_STEPS, read_log

    known = over(study)
    lost = [
        t for t in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)) if t.params.keys() == wanted.space.keys()
    ]
    # Those that were played again are there already.
    lost = [t for i, t in enumerate(lost) if t.params not in [o.params for o in [*known, *lost[:i]]]]
    rows: list[dict[str, Any]] = []
    for number, trial in enumerate(sorted([*known, *lost], key=lambda t: t.number), start=1):
        names, training = wanted.training(trial.params)
        row = {"trial": number, **names, "seed": training.seed, "outcome": _outcome(trial), "epochs": trial.last_step}
        done = columns(setting, training) if trial.state == TrialState.COMPLETE else {"retrieval": trial.value}
        rows.append({**row, **done})
    frame = pd.DataFrame(rows)
    finished = frame[frame.outcome == "finished"]
    if finished.empty:
        raise RuntimeError(f"none of {len(rows)} trials was finished: a smaller --lr may help, with another --folder")
    lines = [
        [str(row["trial"]), *(row[name] for name in wanted.space), _number(row["retrieval"], 1),
         _number(row.get("one_view"), 1), _number(row.get("symbols"), 0), _number(row.get("length"), 1),
         _number(row["epochs"], 0), row["outcome"]]
        for row in rows
    ]  # fmt: skip
    head = ["retrieval, two views, %", "one view, %", "symbols used", "mean length", "epochs", "outcome"]
    write_table(setting, frame, markdown(["trial", *wanted.space, *head], lines))
    ranked = finished.sort_values("retrieval", ascending=False, kind="stable")
    # Plotting packages take seconds to import.
    from analysis.plots.ablations import draw_learning

    logs = {}
    for variant in list(dict.fromkeys(ranked.variant))[:_DRAWN]:
        params = next(t.params for t in known if wanted.training(t.params)[0]["variant"] == variant)
        folder = setting.folder_of(wanted.training(params)[1])
        logs[variant] = [read_log(folder / LOG, CURVE_STEPS)]
    print(f"wrote {draw_learning(logs, setting.folder / 'learning.png')}")
    best = study.best_trial
    print(f"best: {wanted.training(best.params)[0]['variant']}, {best.value:.1f} % of messages found their image")
    again = [w for name, words in wanted.words(best.params).items() for w in option_words(name, words)]
    seeds = [str(wanted.seed + 1 + i) for i in range(3)]
    command = ["python", "-m", "games.sweep", *again, "--seed", *seeds, "--folder", str(setting.folder / "best")]
    print(f"the best of many is lucky, too; to report it, play it with other seeds:\n{shlex.join(command)}")


def _outcome(trial: optuna.trial.FrozenTrial) -> str:
    if trial.user_attrs.get("diverged"):
        return "diverged"
    return {"COMPLETE": "finished", "PRUNED": "stopped early"}.get(trial.state.name, "failed")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None or value != value else f"{value:.{digits}f}"
