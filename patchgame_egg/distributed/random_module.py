"""Modules that draw: seeded, resumable, and the same draws on any number of ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from patchgame_egg.distributed.gather import own_rows
from patchgame_egg.distributed.processes import rank, world_size


class RandomModule(nn.Module):
    """A module with random numbers of its own: draw n of a seed is the same in every run, on any number of ranks.

    Numbers are drawn for the whole batch and each rank takes its rows, so two ranks see together what one process
    sees alone. The count of draws is part of ``state_dict``, so a resumed run goes on where it stopped.

    Args:
        seed: any int; two modules that should differ need different seeds.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.draws = 0

    def uniform(self, *shape: int, device: torch.device | str = "cpu") -> Tensor:
        """Uniform numbers in [0, 1).

        Args:
            *shape: the shape of this rank's share; the first number counts its rows.
            device: where to draw; the CPU's and a GPU's numbers differ.

        Returns:
            A float32 tensor of that shape.
        """
        generator = torch.Generator(device).manual_seed(self.next_key())
        whole = torch.rand(shape[0] * world_size(), *shape[1:], generator=generator, device=device)
        return own_rows(whole)

    def next_key(self) -> int:
        """The seed of the next draw, the same on every rank."""
        self.draws += 1
        # The golden ratio's bits keep the streams of neighbouring seeds apart.
        return (self.seed * 0x9E3779B97F4A7C15 + self.draws - 1) % 2**63

    @contextmanager
    def local_randomness(self, device: torch.device, apart: bool = False) -> Iterator[None]:
        """For code of others that draws from torch's own generators: inside, they follow this module's seed.

        Args:
            device: on which it draws, beside the CPU.
            apart: whether ranks draw different numbers, for rows of their own.
        """
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            key = (self.next_key() + apart * rank()) % 2**63
            # torch.manual_seed would reseed every GPU, for good.
            torch.default_generator.manual_seed(key)
            if cuda:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(key)
            yield

    def get_extra_state(self) -> dict[str, int]:
        return {"draws": self.draws}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.draws = state["draws"]
