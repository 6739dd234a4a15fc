"""The experiments of the paper, one command each, from training to table or figure.

    python -m games.reproduce table1 --scale photos --root photos --seeds 3
    python -m games.reproduce fig6 --scale toy

Trainings that are finished are not repeated, whichever experiment they were made for; interrupted ones go on. Words
that are not listed below are options of games.patchgame, for every training (--epochs 50, --precision bf16, ...).
"""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from games.options.command_line import fail, failures
from games.reproduce.runner.scales import SCALES
from games.reproduce.runner.setting import Setting, share_of
from patchgame_egg import __version__

EXPERIMENTS = {
    "table1": "k-NN and linear probe on the listener's features, beside MoCo-v2, VQ-VAE-2, PatchVAE, random weights",
    "table2": "detection on Pascal VOC from the same trunks",
    "fig3": "heat maps of the patches that speak",
    "fig4": "a Vision Transformer that sees only the patches that PatchRank ranks highest",
    "order": "what PatchRank's order is worth to its listener and to one that grew up with random patches",
    "fig5": "patches that say the same symbol",
    "fig6": "what learning rate, vocabulary, message length and our other choices do",
    "ground": "what human sentences for the listener do to the language, over their share",
    "bag": "classes from a bag of symbols, against the continuous features (section 2)",
}


# Options that not all experiments have.
OWN = {
    "run": ("fig3", "fig4", "fig5"),
    "voc": ("table2",),
    "rates": ("table1", "table2"),
    "vit": ("fig4",),
    "vit_checkpoint": ("fig4",),
    "fast": ("fig4",),
}


def parse_setting(argv: Sequence[str]) -> Setting:
    """Reads the command line.

    Raises:
        ValueError: an option is wrong.
        SystemExit: after ``--help``.
    """
    parser = argparse.ArgumentParser(
        prog="python -m games.reproduce", allow_abbrev=False, exit_on_error=False,
        description=__doc__ + "\nexperiments:\n" + "".join(f"  {k:8s}{v}\n" for k, v in EXPERIMENTS.items())
        + "\nscales:\n" + "".join(f"  {k:10s}{v.about}\n" for k, v in SCALES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"patchgame_egg {__version__}")
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("--scale", choices=SCALES, default="toy")
    parser.add_argument("--root", default="", help="folder of the images, with train/ and val/ (not for toy)")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each kind, with seeds 0, 1, ...")
    parser.add_argument("--out", type=Path, default=Path("runs/reproduce"), help="folder of everything that is made")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, in processes of their own")
    parser.add_argument(
        "--launcher", default="", help="starts a training on several GPUs: 'torchrun --nproc-per-node 4'"
    )
    parser.add_argument(
        "--task", default="", help="I/N: only train, every N-th training from number I on (SLURM arrays)"
    )
    parser.add_argument("--dry-run", action="store_true", help="check options and data, one step of each training")
    parser.add_argument(
        "--run", type=Path, default=None, help="fig3 to fig5: draw a finished run; fig3, fig5: or games.record's file"
    )
    parser.add_argument("--voc", default="", help="table2: folder in Pascal VOC's format")
    parser.add_argument(
        "--rates", nargs="+", default=[], metavar="LR",
        help="table1, table2: learning rates to choose from, for every method on a part of the training images",
    )  # fmt: skip
    parser.add_argument("--vit", default="", help="fig4: a ViT of timm, by name; if not given, a small one is trained")
    parser.add_argument("--vit-checkpoint", default="", help="fig4: its weights; if not given, timm's pretrained ones")
    parser.add_argument("--fast", action="store_true", help="fig4: also distil PatchRank into a smaller network")
    try:
        known, options = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from error
    taken = {"--seed": "--seeds N", "--patch-size": "the experiment itself", "--name": "--out"}
    for name in (option.split("=")[0].replace("_", "-") for option in options):
        if name in taken:
            raise ValueError(f"{name} is set by {taken[name]} here")
    for name, where in OWN.items():
        if getattr(known, name) != parser.get_default(name) and known.experiment not in where:
            raise ValueError(f"--{name.replace('_', '-')} is for {' and '.join(where)}, not for {known.experiment}")
    if known.run is not None:
        # In figure 4 the scale says which ViT looks at the patches that the run ranks.
        scale = () if known.experiment == "fig4" else ("scale",)
        others = (*scale, "root", "seeds", "out", "jobs", "launcher", "task", "dry_run")
        idle = [f"--{name}".replace("_", "-") for name in others if getattr(known, name) != parser.get_default(name)]
        if idle or options:
            raise ValueError(f"--run draws what there is, without {' '.join([*idle, *options])}")
    given: dict[str, Any] = vars(known)
    seeds, task = given.pop("seeds"), given.pop("task")
    if seeds < 1:
        raise ValueError(f"--seeds {seeds}: must be at least 1")
    if known.jobs < 1:
        raise ValueError(f"--jobs {known.jobs}: must be at least 1")
    if known.launcher and shutil.which(shlex.split(known.launcher)[0]) is None:
        raise ValueError(f"--launcher {known.launcher!r}: there is no command {shlex.split(known.launcher)[0]}")
    rates = tuple(dict.fromkeys(given.pop("rates")))
    if rates and any(option.split("=")[0] == "--lr" for option in options):
        raise ValueError("--lr and --rates both set the learning rate: leave one of them out")
    if SCALES[known.scale].needs_root and not known.root and known.run is None and not known.dry_run:
        raise ValueError(f"--scale {known.scale} needs --root DIR, the folder of the images")
    return Setting(seeds=tuple(range(seeds)), task=share_of(task), rates=rates, options=tuple(options), **given)


@failures()
def main(argv: Sequence[str] | None = None) -> int:
    """Runs an experiment; returns the exit status."""
    began, words = time.perf_counter(), sys.argv[1:] if argv is None else list(argv)
    try:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ValueError(
                "start games.reproduce once: --launcher 'torchrun --nproc-per-node N' starts its trainings on N GPUs"
            )
        setting = parse_setting(words)
        # Only now: torch takes seconds to import, help and mistakes do without.
        from games.reproduce.runner.dry_run import rehearse
        from games.reproduce.runner.tables import write_about
        from games.reproduce.runner.training import train_all
        from patchgame_egg.training.malloc import keep_freed_memory

        keep_freed_memory()
        experiment = importlib.import_module(f"games.reproduce.{setting.experiment}")
        trainings = experiment.trainings(setting)
        if setting.dry_run:
            rehearse(setting, trainings)
            # What an experiment does beside trainings.
            if hasattr(experiment, "rehearse"):
                experiment.rehearse(setting)
            return 0
        train_all(setting, trainings)
        if setting.task is None:
            # Some trainings are known only when others have been measured.
            more = experiment.run(setting) or []
            write_about(setting, [*trainings, *more], words, time.perf_counter() - began)
            print(f"everything is in {setting.folder}")
    except (ValueError, RuntimeError) as error:
        fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
