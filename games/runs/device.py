"""Where a run is played: on the device that was asked for, among the processes that torchrun has started, in which
number format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from games.build.trainer import chosen_precision
from games.options.command_line import Start, fail, failures, pick_device
from games.options.config import Config
from games.options.config_file import load_config
from games.options.resume import as_recorded
from games.runs.files import CONFIG
from patchgame_egg.distributed.processes import process_group, rank
from patchgame_egg.training.late_compiler import import_compiler_late
from patchgame_egg.training.malloc import keep_freed_memory


def on_device(config: Config, play: Callable[[torch.device], int]) -> int:
    """Plays a run in this process, or in its group of processes; returns the exit status.

    Args:
        config: the options, of which the device, the seed and what becomes of freed memory count.
        play: trains on a device and returns the exit status.

    Raises:
        SystemExit: no such device here, a file that cannot be read or written, or a process that is lost.
    """
    with failures():
        try:
            asked = pick_device(config.training.device)
        except ValueError as error:
            fail(error)
    if config.run.keep_memory:
        keep_freed_memory()
    import_compiler_late()
    with failures(), process_group(asked, config.run.timeout) as device:
        # Only dropout draws from torch's own generator; ranks must differ in it.
        torch.manual_seed(config.training.seed + 1000 * rank())
        return play(device)


def with_precision(start: Start, device: torch.device) -> Start:
    """What to start, with the number format that ``--precision auto`` is here.

    Args:
        start: after `find_run`. A run that goes on keeps the format that it has, wherever it goes on.
        device: of this process.
    """
    config = start.config
    if start.resume is not None:
        config = as_recorded(config, load_config(start.resume / CONFIG)[0])
    training = replace(config.training, precision=chosen_precision(config, device))
    return replace(start, config=replace(config, training=training))
