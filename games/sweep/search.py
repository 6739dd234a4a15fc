"""A search for good options: trials by optuna, of which those are stopped early that do worse than most did.

Trials are runs like any other, and are judged by the retrieval of two views on the held-out images. What optuna knows
is kept beside them, so that a search that was stopped goes on as if it had not been.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from games.compare import Comparison, columns
from games.reproduce.runner.processes import ChildProcesses
from games.reproduce.runner.setting import Training, made_of
from games.runs.files import LOG
from games.sweep.grid import Range
from games.sweep.search_table import over, write_trials
from games.sweep.space import Search

if TYPE_CHECKING:
    import optuna

JOURNAL = "search.journal"
"""What optuna knows of the trials, in the folder of the runs."""


class _Followed:
    """Hands the validations of a run to its trial as they are logged, and says when it is enough."""

    def __init__(self, trial: optuna.Trial, log: Path, epochs: int) -> None:
        self.trial, self.log, self.epochs = trial, log, epochs
        self.epoch, self.pruned, self._read = 0, False, 0

    def __call__(self) -> bool:
        if not self.log.exists():
            return False
        with self.log.open("rb") as file:
            # A run that goes on first cuts off what came after its checkpoint.
            self._read = min(self._read, self.log.stat().st_size)
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                # Most lines are steps.
                record = json.loads(line) if b'"validation"' in line else {}
                if record.get("kind") != "validation" or record["epoch"] <= self.epoch:
                    continue
                self.epoch = record["epoch"]
                self.trial.report(100 * record[_key(record)], self.epoch)
                # After the last epoch there is nothing to be saved.
                if self.epoch < self.epochs and self.trial.should_prune():
                    self.pruned = True
                    return True
        return False


def _key(record: Mapping[str, Any]) -> str:
    from patchgame_egg.training.log_file import retrieval_key

    return retrieval_key([record])


def search(setting: Comparison, wanted: Search) -> None:
    """Plays the trials that are missing, several at a time if asked, and writes the table of all.

    Raises:
        ValueError: the folder has a search of something else.
        Stopped: a signal ended it; the same command goes on.
        RuntimeError: trials failed, after all others; or all diverged.
    """
    from games.reproduce.runner.training import Stopped
    from games.runs.lock import output_lock

    with output_lock(setting.folder / JOURNAL), ChildProcesses() as children:
        study = _open(setting, wanted)
        played = _Trials(setting, wanted, study, children)
        with ThreadPoolExecutor(setting.jobs) as pool:
            list(pool.map(lambda _: played.play_all(), range(setting.jobs)))
        if children.caught:
            raise Stopped(f"stopped by {children.caught[0].name}: the same command goes on")
        write_trials(setting, wanted, study)
    if played.failed:
        reasons = "; ".join(f"{name}: {why}" for name, why in played.failed.items())
        raise RuntimeError(f"{len(played.failed)} trials failed: {reasons}")


def _open(setting: Comparison, wanted: Search) -> optuna.Study:
    """The study in the folder, or a new one, in which every trial that was cut short is queued again.

    Raises:
        ValueError: it is one of other options.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = setting.folder / JOURNAL
    setting.folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        # A full disk may have left half a line, on which the next one must not be put.
        text = path.read_bytes()
        os.truncate(path, text.rfind(b"\n") + 1)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(path))), study_name="search", direction="maximize",
        load_if_exists=True, pruner=optuna.pruners.MedianPruner(),
    )  # fmt: skip
    searched = {name: str(part) if isinstance(part, Range) else part for name, part in wanted.space.items()}
    asked = {**made_of(setting, Training("search", wanted.seed, wanted.corners()[0].words)), "searched": searched}
    asked = json.loads(json.dumps(asked))
    kept = study.user_attrs.get("asked")
    if kept is None:
        study.set_user_attr("asked", asked)
    elif kept != asked:
        differ = [key for key in {**kept, **asked} if kept.get(key) != asked.get(key)]
        other = ", ".join(f"{key} was {kept.get(key)}, asked for is {asked.get(key)}" for key in differ)
        raise ValueError(f"{path} is a search of something else: {other}. Another --folder keeps both")
    trials = study.get_trials(deepcopy=False)
    known = [trial.params for trial in over(study)]
    known += [t.system_attrs["fixed_params"] for t in trials if t.state == TrialState.WAITING]
    for trial in trials:
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        if trial.state in (TrialState.RUNNING, TrialState.FAIL) and trial.params and trial.params not in known:
            known.append(trial.params)
            study.enqueue_trial(trial.params)
    return study


class _Trials:
    """Trials played one after the other, by several threads if wanted."""

    def __init__(self, setting: Comparison, wanted: Search, study: optuna.Study, children: ChildProcesses) -> None:
        self.setting, self.wanted, self.study, self.children = setting, wanted, study, children
        self.failed: dict[str, str] = {}
        self._lock = threading.Lock()
        self._begun = len(over(study))

    def play_all(self) -> None:
        while not self.children.caught and self._play_next():
            pass

    def _play_next(self) -> bool:
        """Plays a trial; false: there are enough."""
        import optuna
        from optuna.trial import TrialState

        from games.reproduce.runner.training import Diverged, Stopped, train

        with self._lock:
            if self._begun >= self.wanted.trials:
                return False
            # A sampler of its own for each trial: one that goes on would draw from the beginning again.
            self.study.sampler = optuna.samplers.TPESampler(seed=_seed(self.wanted.seed, self._begun))
            self._begun += 1
            trial = self.study.ask()
            names, training = self._pick(trial)
            print(f"trial {self._begun} of {self.wanted.trials}: {names['variant']}", flush=True)
        try:
            epochs = self.setting.config(training).training.epochs
            followed = _Followed(trial, self.setting.folder_of(training) / LOG, epochs)
            train(self.setting, training, self.children, followed)
        except Stopped as error:
            if self.children.caught:
                # It stays as it is in the journal, and is queued again by whoever opens that next.
                return False
            if not followed.pruned:
                self._fail(trial, names, error)
                return True
            self.study.tell(trial, state=TrialState.PRUNED)
            said = f"stopped after epoch {followed.epoch}, below the median of the trials before"
        except Diverged as error:
            # As bad as a trial can be; optuna leaves failed ones out of what it learns from.
            trial.set_user_attr("diverged", True)
            self.study.tell(trial, state=TrialState.PRUNED)
            said = str(error)
        except (RuntimeError, ValueError) as error:
            self._fail(trial, names, error)
            return True
        else:
            followed()
            value = columns(self.setting, training)["retrieval"]
            self.study.tell(trial, value)
            said = f"{value:.1f} % of messages found their image"
        print(f"{names['variant']}: {said}", flush=True)
        return True

    def _pick(self, trial: optuna.Trial) -> tuple[dict[str, str], Training]:
        for name, part in self.wanted.space.items():
            if isinstance(part, list):
                trial.suggest_categorical(name, [" ".join(value) for value in part])
            elif part.whole:
                trial.suggest_int(name, int(part.low), int(part.high), log=part.log)
            else:
                trial.suggest_float(name, float(part.low), float(part.high), log=part.log)
        return self.wanted.training(trial.params)

    def _fail(self, trial: optuna.Trial, names: Mapping[str, str], error: Exception) -> None:
        from optuna.trial import TrialState

        self.study.tell(trial, state=TrialState.FAIL)
        print(error, flush=True)
        self.failed[names["variant"]] = str(error)


def _seed(seed: int, number: int) -> int:
    import numpy as np

    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
