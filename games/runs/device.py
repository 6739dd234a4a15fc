"""Where a run is played: on the device that was asked for, among the processes that torchrun has started."""

from __future__ import annotations

from collections.abc import Callable

import torch

from games.options.command_line import fail, failures, pick_device
from games.options.config import Config
from patchgame_egg.distributed.processes import process_group, rank
from patchgame_egg.training.late_compiler import import_compiler_late
from patchgame_egg.training.malloc import keep_freed_memory


def on_device(config: Config, play: Callable[[torch.device], int]) -> int:
    """Plays a run in this process, or in its group of processes; returns the exit status.

    Args:
        config: the options, of which the device and the seed count.
        play: trains on a device and returns the exit status.

    Raises:
        SystemExit: no such device here, a file that cannot be read or written, or a process that is lost.
    """
    with failures():
        try:
            asked = pick_device(config.training.device)
        except ValueError as error:
            fail(error)
    keep_freed_memory()
    import_compiler_late()
    with failures(), process_group(asked, config.run.timeout) as device:
        # Only dropout draws from torch's own generator; ranks must differ in it.
        torch.manual_seed(config.training.seed + 1000 * rank())
        return play(device)
