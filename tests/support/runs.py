"""What tests ask of a run's folder, and a run that was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from games.options.command_line import parse
from games.options.config_file import save_config
from games.patchgame import build
from patchgame_egg.training.callback import Callback
from patchgame_egg.training.log_file import read_log


def metrics(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text())


def losses(run: Path) -> list[tuple[int, float]]:
    return [(r["step"], r["loss"]) for r in read_log(run / "log.jsonl") if r["kind"] == "train"]


def stop_at(step: int, options: list[str]) -> Path:
    """A run that was stopped after some step."""
    start = parse(options)
    run = Path(start.config.run.out) / start.config.run.name
    # Dropout draws from here, as the command has it.
    torch.manual_seed(start.config.training.seed)
    trainer, _, _ = build(start, torch.device("cpu"), run)

    class Stop(Callback):
        def on_batch_end(self, logs: object, loss: object, batch_id: int, is_training: bool = True) -> None:
            self.trainer.should_stop = self.trainer.step == step

    trainer.callbacks.append(Stop())
    run.mkdir()
    save_config(start.config, start.preset, run / "config.json")
    trainer.train(start.config.training.epochs)
    return run
