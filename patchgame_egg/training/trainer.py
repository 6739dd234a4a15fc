"""The training loop: epochs, one step, precision, accumulation, evaluation, resume. Plain arguments, no globals.

One file, because a reader follows a step from the first batch to a resume without leaving it.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from patchgame_egg.counted import counted
from patchgame_egg.distributed.gather import gather_rows, own_rows
from patchgame_egg.distributed.processes import gather_values, is_distributed, rank, world_size
from patchgame_egg.egg.agents import SenderInEgg
from patchgame_egg.egg.trainers import own_record
from patchgame_egg.interaction import Batch, Interaction
from patchgame_egg.training.callback import Callback
from patchgame_egg.training.egg_callbacks import hosted
from patchgame_egg.training.precision import Precision

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

# On a GPU, reading a loss waits for the device; the losses of this many steps are read together.
_STEPS_PER_READING = 25


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the message says when."""


def _with_loss(interaction: Interaction, loss: Tensor) -> dict[str, Tensor]:
    """What a game recorded, with the batch's loss for every sample where it recorded none of its own."""
    return {"loss": loss.detach().expand(interaction.size), **interaction.aux}


def _means(logs: Interaction) -> dict[str, float]:
    return {k: float(v.float().mean()) for k, v in logs.aux.items() if v.dim() == 1}


class Trainer:
    """Trains a game.

    Args:
        game: ``game(*batch)`` gives (loss, `Interaction`), ours or EGG's.
        optimizer: over the game's parameters.
        train_data: an iterable of `Batch` with a length. If it has ``set_epoch(epoch, start)``, that is called before
            each epoch, and an interrupted epoch is resumed from its batch ``start``; of others, the batches before are
            passed over. If it has ``state_dict``, that is part of the checkpoint. What it draws from torch's generator
            is a stream of its own: dropout does not depend on how often it was begun anew.
        optimizer_scheduler: stepped after every optimizer step (EGG steps it once an epoch).
        validation_data: an iterable of `Batch`, or None.
        device: where to compute; by default a GPU if there is one.
        callbacks: called in this order. Hooks that one lacks are not called; those of EGG see its records
            (`patchgame_egg.training.egg_callbacks`).
        grad_norm: gradients are clipped to this norm; None leaves them.
        precision: ``bf16`` and ``fp16`` compute in half precision where that is safe; parameters stay fp32.
        accumulate: batches whose gradients make one optimizer step. Each has only its own negatives.
        metrics: further numbers for the validation record, from the epoch's `Interaction`; those that are not finite,
            being undefined, are left out.
        also_validate: further validation data by name, played after the first. Of each, the validation record has the
            means of what the game records, as ``NAME_loss``, ``NAME_acc`` and so on.

    Attributes:
        epoch: finished epochs.
        batch: finished batches of the epoch under way.
        step: optimizer steps so far.
        should_stop: set it, from a callback say, to stop after the batch under way.

    Raises:
        ValueError: an option is out of its range, the training data has no length, or a callback of EGG cannot work
            here.
    """

    def __init__(
        self,
        game: nn.Module,
        optimizer: Optimizer,
        train_data: Iterable[Batch],
        optimizer_scheduler: LRScheduler | None = None,
        validation_data: Iterable[Batch] | None = None,
        device: torch.device | str | None = None,
        callbacks: Sequence[Callback] | None = None,
        grad_norm: float | None = None,
        *,
        precision: Precision = "fp32",
        accumulate: int = 1,
        metrics: Callable[[Interaction], dict[str, float]] | None = None,
        also_validate: Mapping[str, Iterable[Batch]] | None = None,
    ) -> None:
        if accumulate < 1:
            raise ValueError(f"accumulate must be at least 1 batch, got {accumulate}")
        if grad_norm is not None and not grad_norm > 0:
            raise ValueError(f"grad_norm must be above 0, got {grad_norm}")
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if precision == "fp16" and self.device.type != "cuda":
            raise ValueError(f"fp16 needs a CUDA GPU, the device is {self.device}; bf16 works everywhere")
        self.game = game.to(self.device)
        self.optimizer, self.optimizer_scheduler = optimizer, optimizer_scheduler
        self.train_data, self.validation_data = train_data, validation_data
        self.callbacks = [hosted(callback) for callback in callbacks or []]
        self._layout = next((part.layout for part in game.modules() if isinstance(part, SenderInEgg)), None)
        self._batches_in(train_data)
        self.also_validate = dict(also_validate or {})
        self.grad_norm, self.accumulate, self.precision, self.metrics = grad_norm, accumulate, precision, metrics
        self.scaler = torch.GradScaler(self.device.type, enabled=precision == "fp16")
        self.n_epochs = self.epoch = self.batch = self.step = 0
        self.should_stop = False
        self._logs: list[Interaction] = []
        self._unread: list[tuple[dict[str, Any], Tensor]] = []
        self._clock = time.perf_counter()
        # Of the loader's own draws: now, and at the beginning of the epoch under way.
        self._loader_rng = torch.Generator().manual_seed((torch.initial_seed() + 1) % 2**63).get_state()
        self._epoch_rng = self._loader_rng
        ids = [self.device.index] if self.device.type == "cuda" else None
        self._parallel: nn.Module = game
        if is_distributed():
            turns = getattr(game, "takes_turns", False)
            self._parallel = DistributedDataParallel(game, device_ids=ids, find_unused_parameters=turns)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return math.ceil(self._batches_in(self.train_data) / self.accumulate)

    @staticmethod
    def _batches_in(data: Iterable[Batch]) -> int:
        # Loaders of EGG that draw their batches say how many, and what their length says is not true.
        said = getattr(data, "batches_per_epoch", None)
        try:
            return len(data) if said is None else said  # type: ignore[arg-type]
        except (TypeError, AttributeError) as error:
            raise ValueError(
                f"train_data, a {type(data).__name__}, has no length: a list or a DataLoader has one, of another set "
                "its batches_per_epoch"
            ) from error

    @property
    def progress(self) -> float:
        """The share of all optimizer steps that are done, 0 to 1."""
        return min(1.0, self.step / max(1, self.n_epochs * self.steps_per_epoch))

    def train(self, n_epochs: int) -> None:
        """Trains until ``n_epochs`` epochs are finished, counting those before a resume.

        Raises:
            NonFiniteLoss: at the first NaN or infinite loss of a batch or a validation.
        """
        self.n_epochs, self.should_stop = n_epochs, False
        # Also those that were added since, as is usual in EGG.
        self.callbacks = [hosted(callback) for callback in self.callbacks]
        try:
            self._train_epochs()
        finally:
            self._close()

    def _train_epochs(self) -> None:
        self._call("on_train_begin", self)
        while self.epoch < self.n_epochs and not self._agree_to_stop(wait=True):
            epoch = self.epoch + 1
            self._call("on_epoch_begin", epoch)
            if not self._train_epoch(epoch):
                break
            logs = Interaction.from_iterable(self._logs)
            loss = float(logs.aux["loss"].mean())
            self.epoch, self.batch, self._logs = epoch, 0, []
            self._call("on_epoch_end", loss, logs, epoch)
            val_loss, val_logs = None, None
            if self.validation_data is not None:
                self._call("on_validation_begin", epoch)
                val_loss, val_logs = self.eval()
                if not math.isfinite(val_loss):
                    self._diverge(f"the validation loss is {val_loss} after epoch {epoch}", self.step, epoch)
                self._log_validation(val_logs)
                self._call("on_validation_end", val_loss, val_logs, epoch)
            if self.should_stop:
                self._call("on_early_stopping", loss, logs, epoch, val_loss, val_logs)
        self._call("on_train_end")

    def eval(self) -> tuple[float, Interaction]:
        """Plays the validation data, deterministically.

        Returns:
            The mean loss and the whole epoch's `Interaction` on the CPU, over all ranks; without the receiver's
            output, which would not fit in memory at the paper's width.

        Raises:
            ValueError: there is no validation data, no batch in it, the game records no tensor, or batches record
                different fields.
            RuntimeError: what batches record differs in shape beyond the first dimension, such as messages of
                different numbers of slots.
        """
        if self.validation_data is None:
            raise ValueError("this trainer has no validation_data to evaluate on")
        return self._play(self.validation_data)

    def _play(self, data: Iterable[Batch]) -> tuple[float, Interaction]:
        self.game.eval()
        logs = []
        # A loader draws a number whenever it is begun; training is to go on as if nobody had looked.
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            for batch in counted(data, "validates, in batches", again=True):
                with self._autocast():
                    loss, interaction = self.game(*Batch.of(batch).to(self.device))
                interaction = own_record(interaction, self._layout)
                kept = replace(interaction, receiver_output=None, aux=_with_loss(interaction, loss))
                logs.append(kept.gather().to("cpu"))
        self.game.train()
        if not logs:
            raise ValueError("the validation data holds no batch: give it more images or fewer candidates")
        whole = Interaction.from_iterable(logs)
        return float(whole.aux["loss"].mean()), whole

    def _train_epoch(self, epoch: int) -> bool:
        """Whether the epoch was finished."""
        self.game.train()
        count = self._batches_in(self.train_data)
        for batch in self._batches(epoch):
            # The last group of an epoch may be smaller.
            group = min(self.accumulate, max(1, count - self.batch // self.accumulate * self.accumulate))
            self.batch += 1
            stepping = self.batch % self.accumulate == 0 or self.batch == count
            with self._no_sync(not stepping), self._autocast():
                loss, interaction = self._parallel(*Batch.of(batch).to(self.device))
            interaction = own_record(interaction, self._layout, messages=False)
            with self._no_sync(not stepping):
                self.scaler.scale(loss / group).backward()
            lr = max(group["lr"] for group in self.optimizer.param_groups)
            if stepping:
                self._optimizer_step()
            self._record(
                {"kind": "train", "step": self.step + (not stepping), "epoch": epoch, "lr": lr}, loss, interaction
            )
            self._call("on_batch_end", interaction, loss.detach(), self.batch - 1, True)
            # On a GPU every agreement between ranks waits for the device.
            if stepping and self._agree_to_stop(self.device.type == "cpu" or self.step % _STEPS_PER_READING == 0):
                self.read_losses()
                return self.batch == count
        self.read_losses()
        return True

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """What is left of an epoch."""
        self._loader_rng = self._epoch_rng if self.batch else self._loader_rng
        self._epoch_rng, skipped = self._loader_rng, self.batch
        if hasattr(self.train_data, "set_epoch"):
            self.train_data.set_epoch(epoch, self.batch)
            skipped = 0

        def following() -> Iterator[Batch]:
            yield from islice(self.train_data, skipped, None)

        batches = following()
        while True:
            games, batch = torch.get_rng_state(), None
            torch.set_rng_state(self._loader_rng)
            try:
                batch = next(batches, None)
            finally:
                self._loader_rng = torch.get_rng_state()
                torch.set_rng_state(games)
            if batch is None:
                return
            yield batch

    def _optimizer_step(self) -> None:
        if self.grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            clip_grad_norm_(self.game.parameters(), self.grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.optimizer_scheduler is not None:
            self.optimizer_scheduler.step()
        self.step += 1

    def _record(self, entry: dict[str, Any], loss: Tensor, interaction: Interaction) -> None:
        # One number per image and quantity is all that an epoch of training keeps.
        aux = {k: v for k, v in _with_loss(interaction, loss).items() if v.dim() == 1}
        self._logs.append(Interaction(message_length=interaction.message_length, aux=aux))
        values = torch.stack([loss.detach(), *(v.float().mean() for v in aux.values())])
        entry |= {"batch": self.batch, "names": list(aux), "images": interaction.size * world_size()}
        self._unread.append((entry, values))
        if self.device.type == "cpu" or len(self._unread) >= _STEPS_PER_READING:
            self.read_losses()

    def read_losses(self) -> None:
        """Reads the losses not yet read, logs them, and stops at the first that is not finite, which is logged too.

        Raises:
            NonFiniteLoss: see above.
        """
        if not self._unread:
            return
        stacked = torch.stack([v for _, v in self._unread])
        if is_distributed():
            # Every rank logs, and judges, the loss of the whole batch.
            dist.all_reduce(stacked)
            stacked /= world_size()
        values = stacked.tolist()
        entries, self._unread = [entry for entry, _ in self._unread], []
        now = time.perf_counter()
        rate = sum(entry["images"] for entry in entries) / max(now - self._clock, 1e-9)
        self._clock = now
        finite = next((i for i, row in enumerate(values) if not math.isfinite(row[0])), len(values))
        records = []
        for entry, (loss, *means) in zip(entries[:finite], values, strict=False):
            names = entry.pop("names")
            records.append({**entry, **dict(zip(names, means, strict=True)), "loss": loss, "images_per_s": rate})
        if records:
            self._call("on_log", records)
        if finite < len(values):
            step, epoch, batch = (entries[finite][name] for name in ("step", "epoch", "batch"))
            self._diverge(f"the loss is {values[finite][0]} at step {step} (epoch {epoch}, batch {batch})", step, epoch)

    def _diverge(self, what: str, step: int, epoch: int) -> NoReturn:
        self._call("on_log", [{"kind": "diverged", "step": step, "epoch": epoch}])
        raise NonFiniteLoss(
            f"{what}; the last checkpoint is kept. A smaller learning rate, grad_norm=1 or precision='fp32' may help"
        )

    def validation_record(self, logs: Interaction) -> dict[str, Any]:
        """What the log says of a validation: where training is, the means and metrics of its `Interaction`, and the
        means of ``also_validate``, which is played here."""
        record: dict[str, Any] = {"kind": "validation", "step": self.step, "epoch": self.epoch}
        record |= _means(logs)
        for name, data in self.also_validate.items():
            record |= {f"{name}_{key}": value for key, value in _means(self._play(data)[1]).items()}
        if self.metrics is not None:
            record |= {k: v for k, v in self.metrics(logs).items() if math.isfinite(v)}
        return record

    def _log_validation(self, logs: Interaction) -> None:
        self._call("on_log", [self.validation_record(logs)])
        self._clock = time.perf_counter()

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, _DTYPES[self.precision])

    def _no_sync(self, wait: bool) -> AbstractContextManager[object]:
        return self._parallel.no_sync() if wait and is_distributed() else nullcontext()  # type: ignore[operator]

    def _agree_to_stop(self, wait: bool) -> bool:
        # Signals reach processes at different steps; all must leave after the same one.
        if not is_distributed():
            return self.should_stop
        if not wait:
            return False
        flag = torch.tensor(float(self.should_stop), device=self.device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        self.should_stop = bool(flag)
        return self.should_stop

    def _call(self, hook: str, *args: Any) -> None:
        for callback in self.callbacks:
            if hasattr(callback, hook):
                getattr(callback, hook)(*args)

    def _close(self) -> None:
        """Closes every callback, also after one that cannot be, whose error is raised unless there is one already."""
        failed: Exception | None = None
        for callback in self.callbacks:
            try:
                if hasattr(callback, "close"):
                    callback.close()
            except Exception as error:
                failed = failed or error
        if failed is not None and sys.exception() is None:
            raise failed

    def state_dict(self) -> dict[str, Any]:
        """Everything that the steps to come depend on: tensors and plain values only."""
        self.read_losses()
        logs = Interaction.from_iterable(self._logs).gather() if self._logs else None
        return {
            "game": self.game.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.optimizer_scheduler is None else self.optimizer_scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "data": self.train_data.state_dict() if hasattr(self.train_data, "state_dict") else None,
            "skipped": [
                {index: name for part in gather_values(skipped) for index, name in part.items()}
                for skipped in self._skipped()
            ],
            "position": {"epoch": self.epoch, "batch": self.batch, "step": self.step},
            "logs": None if logs is None else dict(vars(logs)),
            "rng": self._of_all_ranks(torch.get_rng_state()),
            "loader_rng": self._of_all_ranks(self._epoch_rng if self.batch else self._loader_rng),
            "cuda_rng": self._of_all_ranks(torch.cuda.get_rng_state(self.device))
            if self.device.type == "cuda"
            else None,
        }

    def _skipped(self) -> list[dict[int, str]]:
        """The images that could not be read, of what is trained and validated on, where it counts them."""
        found = [getattr(data, "skipped", None) for data in (self.train_data, self.validation_data)]
        return [skipped if isinstance(skipped, dict) else {} for skipped in found]

    def _of_all_ranks(self, state: Tensor) -> Tensor:
        # Dropout draws differently on every rank.
        return gather_rows(state[None].to(self.device)).cpu()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up what `state_dict` gave; the losses that follow are those of an uninterrupted run.

        Raises:
            ValueError: the state is of another game or optimizer.
        """
        try:
            self.game.load_state_dict(state["game"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.optimizer_scheduler is not None:
                self.optimizer_scheduler.load_state_dict(state["scheduler"])
            # A run in another precision had nothing to scale.
            if state["scaler"]:
                self.scaler.load_state_dict(state["scaler"])
            if state["data"] is not None:
                self.train_data.load_state_dict(state["data"])  # type: ignore[attr-defined]
        except (RuntimeError, KeyError, ValueError) as error:
            first = " ".join(str(error).split())[:300]
            raise ValueError(f"the checkpoint does not fit this game: {first}") from error
        position = state["position"]
        self.epoch, self.batch, self.step = position["epoch"], position["batch"], position["step"]
        self._logs = [] if state["logs"] is None else [Interaction(**state["logs"]).map(own_rows).to(self.device)]
        # On more ranks than before, those that are new share a stream. Copies, since torch crashes on a view.
        torch.set_rng_state(state["rng"][rank() % len(state["rng"])].cpu().clone())
        # Version 0.1.0 has none of these.
        for known, skipped in zip(self._skipped(), state.get("skipped", []), strict=False):
            known.update(skipped)
        if "loader_rng" in state:
            own = state["loader_rng"][rank() % len(state["loader_rng"])].cpu().clone()
            self._loader_rng = self._epoch_rng = own
        if state["cuda_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"][rank() % len(state["cuda_rng"])].cpu().clone(), self.device)
