"""MoCo-v2: an encoder learns to find each image's other view among the keys of earlier batches.

He et al., "Momentum Contrast for Unsupervised Visual Representation Learning" (CVPR 2020); Chen et al., "Improved
Baselines with Momentum Contrastive Learning" (2020): the two-layer head, and the temperature of 0.2. Checked against
the authors' code, but for what follows. Nothing discrete is said here, so this is no `Game`; it is called like one.

* Momentum: theirs is 0.999 over 200 epochs of ImageNet; `momentum_for` shortens the memory of short trainings.
* Shuffled batch normalisation: theirs normalises within each of eight GPUs and shuffles the keys among them. Here the
  eight groups exist on any number of processes (`GroupBatchNorm`), so that one process learns what eight would.
* The queue may have any size, not only multiples of the batch.

Letters in shapes: B batch of this rank, N batch of all ranks, D width of a key, K keys in the queue.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.distributed.batch_norm import AllRanksBatchNorm, replace_batch_norm
from patchgame_egg.distributed.gather import gather_rows, own_rows
from patchgame_egg.distributed.processes import is_distributed, world_size
from patchgame_egg.distributed.random_module import RandomModule
from patchgame_egg.interaction import Interaction
from patchgame_egg.losses import rivals


def momentum_for(steps: int) -> float:
    """The momentum of a training: the paper's 0.999, or less, so that the average spans a twentieth of the steps.

    Args:
        steps: batches in the whole training, at least 1.

    Returns:
        Between 0.5 and 0.999; the latter from 20,000 steps on.
    """
    return min(0.999, max(0.5, 1 - 20 / steps))


class KeyQueue(nn.Module):
    """The last K keys, first in, first out. It starts out with random directions, as in the authors' code.

    A saved queue may be of another size: loading takes up its size.

    Args:
        size: K, at least 1.
        dim: D.
    """

    keys: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"a queue of {size} keys: at least 1 is needed")
        self.register_buffer("keys", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Puts new keys ``[N, D]`` in the places of the oldest; of more than K, the last K stay."""
        size = len(self.keys)
        # Of two keys for one place, a GPU would keep either.
        first = max(0, len(keys) - size)
        places = (self.position + torch.arange(first, len(keys), device=keys.device)) % size
        self.keys.index_copy_(0, places, keys[first:].to(self.keys.dtype))
        self.position.add_(len(keys)).remainder_(size)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        saved = state_dict.get(prefix + "keys")
        if saved is not None and saved.shape != self.keys.shape and saved.shape[1:] == self.keys.shape[1:]:
            self.keys = self.keys.new_empty(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)  # type: ignore[arg-type]


class GroupBatchNorm(AllRanksBatchNorm):
    """Batch normalisation within groups of consecutive images, as if each were on a GPU of its own.

    The running statistics are the mean over all groups of all ranks.

    Attributes:
        groups: in the batch of this rank.
    """

    groups = 1

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        parts, seen = [], []
        for part in input.chunk(self.groups):
            mean, var = torch.zeros_like(self.weight), torch.zeros_like(self.weight)
            parts.append(F.batch_norm(part, mean, var, self.weight, self.bias, True, 1.0, self.eps))
            seen.append(torch.stack([mean, var]))
        with torch.no_grad():
            found = torch.stack(seen).mean(dim=0)
            if is_distributed():
                dist.all_reduce(found)
                found /= world_size()
            if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
                step = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
                self.running_mean.lerp_(found[0], step)
                self.running_var.lerp_(found[1], step)
        return torch.cat(parts)


def group_batch_norm(module: nn.Module, groups: int) -> None:
    """Replaces, in place, every batch normalisation inside ``module`` by one within groups.

    Args:
        module: holds batch normalisations with weights, as residual networks do.
        groups: in the batch of all ranks; every rank has at least one.
    """
    own = max(1, groups // world_size())

    def make(old: nn.modules.batchnorm._BatchNorm) -> GroupBatchNorm:
        new = GroupBatchNorm(old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats)
        new.groups = own
        return new

    replace_batch_norm(module, make)


def queue_contrast(
    query: Tensor, key: Tensor, queue: Tensor, temperature: float = 0.2
) -> tuple[Tensor, dict[str, Tensor]]:
    """InfoNCE of each query against its own key and a queue (He et al., equation 1).

    Args:
        query: ``[B, D]``, of length 1, like the others.
        key: of the other views, ``[B, D]``.
        queue: ``[K, D]``, keys of other images.
        temperature: above 0.

    Returns:
        The loss of each query, nats, ``[B]``, ln(1 + K) where all keys look alike; and whether its own key came first
        (``acc_queue``, ``[B]``; ties are lost).
    """
    own = (query * key).sum(dim=1, keepdim=True)
    others = query @ queue.T  # [B, K]
    logits = torch.cat([own, others], dim=1) / temperature
    target = torch.zeros(len(query), dtype=torch.int64, device=query.device)
    return F.cross_entropy(logits, target, reduction="none"), {
        "acc_queue": (own > others.max(dim=1, keepdim=True).values).squeeze(1).float().detach()
    }


class MomentumContrast(RandomModule):
    """Two encoders and a queue; called like a game.

    Args:
        trunk: images to features ``[B, F]``; what is evaluated later.
        trunk_dim: F.
        dim: D, width of queries and keys.
        queue: K.
        momentum: of the key encoder, per batch, in [0, 1).
        temperature: above 0.
        seed: seed of the shuffling.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        trunk: nn.Module,
        trunk_dim: int,
        dim: int = 128,
        queue: int = 65536,
        momentum: float = 0.999,
        temperature: float = 0.2,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        if not 0 <= momentum < 1 or not temperature > 0:
            raise ValueError(f"momentum in [0, 1), temperature above 0: got {momentum} and {temperature}")
        self.trunk, self.trunk_dim = trunk, trunk_dim
        self.head = nn.Sequential(nn.Linear(trunk_dim, trunk_dim), nn.ReLU(), nn.Linear(trunk_dim, dim))
        self.key_trunk, self.key_head = copy.deepcopy(self.trunk), copy.deepcopy(self.head)
        for network in (self.key_trunk, self.key_head):
            network.requires_grad_(False)
        self.queue = KeyQueue(queue, dim)
        self.momentum, self.temperature = momentum, temperature

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the key encoder towards the query encoder: k <- m k + (1 - m) q (He et al., equation 2)."""
        for ours, theirs in ((self.key_trunk, self.trunk), (self.key_head, self.head)):
            for key, query in zip(ours.parameters(), theirs.parameters(), strict=True):
                key.lerp_(query, 1 - self.momentum)

    @torch.no_grad()
    def encode_keys(self, images: Tensor) -> Tensor:
        """The keys of all ranks, ``[N, D]``, of length 1, from this rank's images ``[B, 3, H, W]``."""
        order = None
        if self.training:
            # Within the groups of its query, a key would be told by their statistics (He et al., section 3.3).
            generator = torch.Generator().manual_seed(self.next_key())
            order = torch.randperm(len(images) * world_size(), generator=generator).to(images.device)
            images = own_rows(gather_rows(images.contiguous())[order]).contiguous(memory_format=torch.channels_last)
        keys = gather_rows(F.normalize(self.key_head(self.key_trunk(images)).float(), dim=1))
        return keys if order is None else keys[order.argsort()]

    def forward(
        self,
        sender_input: Tensor,
        labels: Tensor | None = None,
        receiver_input: Tensor | None = None,
        aux_input: dict[str, Tensor] | None = None,
    ) -> tuple[Tensor, Interaction]:
        """Plays one batch: queries from the first view, keys from the second (where there is none, from the first).

        Returns:
            The loss and a record without a message. Its ``acc`` says whose key came first among those of the batch,
            ``acc_queue`` whose came first against the queue.
        """
        query = self.head(self.trunk(sender_input))
        if self.training:
            self.follow()
        keys = self.encode_keys(sender_input if receiver_input is None else receiver_input)  # [N, D]
        with torch.autocast(sender_input.device.type, enabled=False):
            query = F.normalize(query.float(), dim=1)
            # The queue changes below, the backward pass needs it as it was.
            per_sample, aux = queue_contrast(query, own_rows(keys), self.queue.keys.clone(), self.temperature)
            cosines = query.detach() @ keys.T  # [B, N]
        aux |= {"loss": per_sample, "acc": (rivals(cosines) == 0).float()}
        if self.training:
            self.queue.push(keys)
        record = Interaction(labels=labels, aux_input=aux_input, aux=aux)
        return per_sample.mean(), record.map(Tensor.detach)
