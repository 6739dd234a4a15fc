"""The runs of a grid as an array of SLURM jobs, submitted through submitit; one run a job."""

from __future__ import annotations

import importlib.util
import io
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from games.reproduce.runner.processes import ChildProcesses
from games.reproduce.runner.setting import Setting, Training
from patchgame_egg.text_files import read_text

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

FOLDER = "slurm"
"""In the folder of the runs: what submitit keeps of its jobs, and their output."""
_JOBS = "jobs.json"

# What a job is here, and what submitit sets.
_OURS = ("array", "chdir", "error", "export", "nodes", "ntasks", "ntasks_per_node", "open_mode", "output", "signal")


@dataclass(frozen=True)
class Cluster:
    """Where jobs go and what each may take.

    Attributes:
        name: submitit's name of the cluster: ``slurm``, or ``local``, this machine, to try it.
        minutes: after which a job that has not ended is stopped, and put back into the queue.
        options: of sbatch, by their long names with underscores.
    """

    name: str
    minutes: int
    options: Mapping[str, str] = field(default_factory=dict)


def read_cluster(words: Sequence[str]) -> Cluster:
    """Reads the words behind ``--slurm``: options of sbatch as KEY=VALUE, and ``cluster=local``.

    Raises:
        ValueError: one is something else, given twice, or set here; or no time is given.

    Example:
        >>> read_cluster(["time=1-12:00:00", "partition=gpu", "gpus-per-node=1"])
        Cluster(name='slurm', minutes=2160, options={'partition': 'gpu', 'gpus_per_node': '1'})
    """
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key.replace("-", "_")
        if not (key and equals and value):
            raise ValueError(f"--slurm {word}: give KEY=VALUE, with an option of sbatch, such as partition=gpu")
        if key in given:
            raise ValueError(f"--slurm gives {key} twice")
        if key in _OURS:
            raise ValueError(f"--slurm {word}: {key} is set here, as every run is one task of an array")
        given[key] = value
    name = given.pop("cluster", "slurm")
    if name not in ("slurm", "local"):
        raise ValueError(f"--slurm cluster={name}: it is slurm, or local to try the jobs on this machine")
    if "time" not in given:
        raise ValueError("--slurm needs time=MINUTES, or time=HOURS:MINUTES:SECONDS: the most that one job may take")
    minutes = _minutes(given.pop("time"))
    return Cluster(name, minutes, given)


def _minutes(text: str) -> int:
    """A time as sbatch takes it, in minutes, rounded up.

    Example:
        >>> [_minutes(text) for text in ("90", "90:01", "2:00:00", "1-0", "1-02:30")]
        [90, 91, 120, 1440, 1590]
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    seconds = 0
    if found:
        days, *parts = [int(part) if part else 0 for part in found.groups()]
        # Hours come first behind days, or where there are three parts; else minutes.
        first, second, third = parts if found[1] or found[4] else (0, *parts[:2])
        seconds = 86400 * days + 3600 * first + 60 * second + third
    if not seconds:
        raise ValueError(f"--slurm time={text}: give minutes, or a time as sbatch takes it, HOURS:MINUTES:SECONDS")
    return -(-seconds // 60)


def _check_installed(who: str) -> None:
    if importlib.util.find_spec("submitit") is None:
        raise ValueError(f"{who} needs submitit: pip install 'patchgame-egg[slurm]'")


class Play:
    """What a job does: it finishes a training. Its time at an end, it stops that cleanly and is queued once more."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._children = ChildProcesses()

    def __call__(self, training: Training) -> None:
        # Only now: torch takes seconds to import.
        from games.reproduce.runner.training import train

        # In a process of its own: submitit hears of the end of the job's time here, and the training gets to its end.
        with self._children:
            train(self.setting, training, self._children)

    def checkpoint(self, training: Training) -> DelayedSubmission:
        """Called by submitit before the job's time is up: the training writes its checkpoint and stops."""
        from submitit.core.utils import DelayedSubmission

        self._children.stop()
        return DelayedSubmission(Play(self.setting), training)


def submit(setting: Setting, trainings: Sequence[Training], cluster: Cluster, at_once: int | None) -> None:
    """Submits a job for each training; on this machine, waits for their ends.

    Args:
        setting: of the trainings.
        trainings: those that are to be finished.
        cluster: where to, and what a job may take.
        at_once: how many may run at a time; None: as many as the cluster lets, on this machine one.

    Raises:
        ValueError: submitit is not installed, there is no SLURM here, it refused the jobs, or the images are not there.
        RuntimeError: on this machine, a job failed.
    """
    _check_installed("--slurm")
    import submitit

    from games.reproduce.runner.dry_run import check_images
    from patchgame_egg.counted import counted

    try:
        executor = submitit.AutoExecutor(setting.folder / FOLDER, cluster=cluster.name)
    except RuntimeError as error:
        raise ValueError(
            "--slurm: there is no SLURM here, as srun is not found; cluster=local tries the jobs on this machine"
        ) from error
    check_images(setting, trainings)
    cores = cluster.options.get("cpus_per_task")
    executor.update_parameters(
        name=setting.folder.name,
        timeout_min=cluster.minutes,
        slurm_additional_parameters=dict(cluster.options),
        # Since SLURM 22.05, srun does not take it over from sbatch.
        slurm_srun_args=[f"--cpus-per-task={cores}"] if cores else [],
        slurm_array_parallelism=at_once,
    )
    play = Play(setting)
    if cluster.name == "local":
        step = at_once or 1
        parts = [trainings[start : start + step] for start in range(0, len(trainings), step)]
        failed = []
        for part in counted(parts, f"plays runs, {step} at a time"):
            ends = [job.exception() for job in executor.map_array(play, part)]
            failed += [setting.folder_of(t).name for t, end in zip(part, ends, strict=True) if end]
        if failed:
            raise RuntimeError(
                f"{len(failed)} of {len(trainings)} jobs failed: {', '.join(failed)} (their output is in "
                f"{setting.folder / FOLDER} and {setting.runs}/NAME.txt)"
            )
        return
    try:
        # What sbatch says of its refusal is in the error, too.
        with redirect_stderr(io.StringIO()):
            jobs = executor.map_array(play, trainings)
    except (RuntimeError, OSError) as error:
        raise ValueError(f"--slurm: the jobs were not taken: {str(error).strip().splitlines()[-1]}") from error
    print(f"{len(jobs)} jobs submitted, as {jobs[0].job_id.split('_')[0]}; their output goes to {executor.folder}")
    _write_jobs(setting, {setting.folder_of(t).name: job.job_id for t, job in zip(trainings, jobs, strict=True)})


def _write_jobs(setting: Setting, jobs: Mapping[str, str]) -> None:
    from patchgame_egg.atomic_write import write_json

    write_json({**_read_jobs(setting), **jobs}, setting.folder / FOLDER / _JOBS)


def _read_jobs(setting: Setting) -> dict[str, str]:
    path = setting.folder / FOLDER / _JOBS
    return dict(json.loads(read_text(path))) if path.exists() else {}


def jobs_of(setting: Setting, trainings: Sequence[Training]) -> tuple[dict[str, str], dict[str, str]]:
    """What became of the jobs of trainings that are not over.

    Returns:
        Names of runs and ids of jobs: those that are queued or running, and those that have ended all the same.

    Raises:
        ValueError: submitit, which submitted them, is not installed.
    """
    names = [setting.folder_of(training).name for training in trainings]
    known = {name: job for name, job in _read_jobs(setting).items() if name in names}
    if not known:
        return {}, {}
    _check_installed(f"{setting.folder / FOLDER / _JOBS}, by which jobs are known,")
    from submitit import SlurmJob

    # All of them first: the watcher of submitit then asks for all at once.
    jobs: dict[str, SlurmJob[None]] = {name: SlurmJob(setting.folder / FOLDER, job) for name, job in known.items()}
    ended = {name for name, job in jobs.items() if job.done()}
    return (
        {name: job for name, job in known.items() if name not in ended},
        {name: job for name, job in known.items() if name in ended},
    )
