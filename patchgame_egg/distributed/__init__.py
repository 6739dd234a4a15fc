"""The same code on one process or many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on

if TYPE_CHECKING:
    from patchgame_egg.distributed.batch_norm import (
        AllRanksBatchNorm as AllRanksBatchNorm,
        replace_batch_norm as replace_batch_norm,
        sync_batch_norm as sync_batch_norm,
    )
    from patchgame_egg.distributed.gather import (
        gather_rows as gather_rows,
        own_rows as own_rows,
        sum_ranks as sum_ranks,
    )
    from patchgame_egg.distributed.processes import (
        gather_names as gather_names,
        is_distributed as is_distributed,
        is_rank_zero as is_rank_zero,
        is_restarted as is_restarted,
        leave_process_group as leave_process_group,
        process_group as process_group,
        rank as rank,
        world_size as world_size,
    )
    from patchgame_egg.distributed.random_module import RandomModule as RandomModule

__getattr__, __dir__, __all__ = hand_on(__name__)
