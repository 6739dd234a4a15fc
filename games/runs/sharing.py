"""A run as the hub has models: weights as safetensors, options as JSON, and a card that says what was learnt.

What a folder on somebody's machine is called, and the images themselves, are left out; the pictures and the card's
figures are the run's own.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelHubMixin, snapshot_download
from safetensors.torch import save
from torch import Tensor, nn

from analysis.corpus.corpus import Corpus
from games.options.command_line import pick_device
from games.options.config import KINDS, RANDOM, Config
from games.options.config_file import load_config, save_config
from games.runs.files import CARD, CHECKPOINT, CONFIG, CORPUS, CURVES, GALLERY, IMPORTANCE, METRICS, WEIGHTS
from games.runs.load import load_game
from patchgame_egg.atomic_write import replacing, write_text
from patchgame_egg.text_files import read_text

_PICTURES = {
    GALLERY: "The patches behind the symbols said most",
    IMPORTANCE: "Held-out images, each beside its map of which patches speak",
    CURVES: "Learning curves",
}


class Shareable(ModelHubMixin):
    """What can be written and read as the hub has models.

    Attributes:
        agents: the whole game.
        config: its options.
        folder: of the run, or None.
    """

    agents: nn.Module
    config: Config
    folder: Path | None

    def save_pretrained(self, save_directory: Path | str, **how: Any) -> str | None:
        """Writes the run as the hub has models; the folder can be loaded as a run can.

        Args:
            save_directory: a folder, new or written by this before, whose card is then left as it is.
            how: see the hub's library.

        Raises:
            ValueError: the folder is a run itself, whose files would be replaced.
        """
        folder = Path(save_directory)
        # Before the hub's library takes away an earlier file of options.
        if (folder / CHECKPOINT).exists() or (self.folder is not None and folder.resolve() == self.folder.resolve()):
            raise ValueError(f"{folder} is a run, whose own files would be replaced: give another folder")
        return super().save_pretrained(folder, **how)

    def _save_pretrained(self, save_directory: Path) -> None:
        write_shared(self.agents, self.config, self.folder, save_directory)
        # One that is there may have been written by hand.
        if not (save_directory / CARD).exists():
            write_text(card_of(save_directory), save_directory / CARD)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        device: str = "auto",
        **_: Any,
    ) -> Self:
        folder = Path(model_id)
        if not folder.is_dir():
            folder = Path(
                snapshot_download(
                    model_id, revision=revision, cache_dir=cache_dir, force_download=force_download,
                    local_files_only=local_files_only, token=token,
                )
            )  # fmt: skip
        game, config = load_game(folder, pick_device(device))
        return cls(game, config, folder)  # type: ignore[call-arg]


def write_shared(game: nn.Module, config: Config, run: Path | None, folder: Path) -> None:
    """Writes the files of a run that others need, but for the card.

    Args:
        game: all of its agents.
        config: its options; paths in them are left out.
        run: its folder, whose figures, language and pictures are taken along; None: there is none.
        folder: where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    preset = load_config(run / CONFIG)[1] if run is not None and (run / CONFIG).exists() else "small"
    save_config(without_paths(config), preset, folder / CONFIG)
    weights = {name: value for name, value in game.state_dict().items() if isinstance(value, Tensor)}
    with replacing(folder / WEIGHTS) as file:
        file.write(save({name: value.cpu().contiguous() for name, value in weights.items()}))
    for name in (METRICS, *_PICTURES):
        if run is not None and (run / name).exists():
            with (run / name).open("rb") as old, replacing(folder / name) as new:
                shutil.copyfileobj(old, new)
    if run is not None and (run / CORPUS).exists():
        _without_images(Corpus.load(run / CORPUS), config).save(folder / CORPUS)


def without_paths(config: Config) -> Config:
    """Options without the places of files on the machine where they were used."""
    images = replace(config.images, root="", val_root="", cache="", annotations="", captions="")
    loss = config.loss
    if loss.distractors not in ("", *KINDS):
        loss = replace(loss, distractors=RANDOM)
    return replace(config, images=images, loss=loss, run=type(config.run)())


def _without_images(corpus: Corpus, config: Config) -> Corpus:
    """A language without the views of its images and without the places of files, whose own names stay."""
    files = tuple(Path(file).name if Path(file).is_absolute() else file for file in corpus.files)
    return replace(corpus, images=None, files=files, info={**corpus.info, "config": asdict(without_paths(config))})


def card_of(folder: Path) -> str:
    """The card of what `write_shared` wrote, in Markdown, with the hub's header."""
    config, _ = load_config(folder / CONFIG)
    s, c, i = config.speaker, config.channel, config.images
    found: dict[str, Any] = json.loads(read_text(folder / METRICS)) if (folder / METRICS).exists() else {}
    said = f"patches of {s.patch_size} px" if s.speaker == "patch" else f"a {s.speaker}, up to {s.max_len} symbols"
    rows = [("images", f"{i.data}, {i.image_size} px"), ("speaker", said), ("symbols", f"{s.vocab}")]
    rows += [("channel", c.channel), ("listener's vision network", config.listener.vision)]
    t = config.training
    rows += [("training", f"{t.epochs} epoch{'' if t.epochs == 1 else 's'}, batches of {t.batch_size} images")]
    chance = f" (chance {100 / found['candidates']:.1f} %)" if found.get("candidates") else ""
    for key, name in (("two_views_acc", "of two views"), ("acc", "of one view")):
        if key in found:
            rows.append((f"held-out messages that find their image, {name}", f"{100 * found[key]:.1f} %{chance}"))
    if "active_symbols" in found:
        rows.append(("symbols in use", f"{found['active_symbols']:.0f}"))
    if "mean_length" in found:
        rows.append(("symbols in a message, on average", f"{found['mean_length']:.1f} of {config.slots}"))
    pictures = "".join(f"![{about}]({name})\n\n" for name, about in _PICTURES.items() if (folder / name).exists())
    return f"""---
library_name: patchgame_egg
tags:
- patchgame_egg
- emergent-communication
- model_hub_mixin
---

# A language that two networks invented

A speaker says symbols for patches of an image, or for the image; a listener finds the image among others. Trained with
patchgame_egg, which plays PatchGame (Gupta et al., NeurIPS 2021, https://arxiv.org/abs/2111.01785).

```python
import games

run = games.load("hf-hub:OWNER/NAME")  # or a folder
message = run.speak("photo.jpg")
```

| | |
| --- | --- |
{"".join(f"| {name} | {value} |{chr(10)}" for name, value in rows)}
{pictures}Labels were not trained on. What symbols stand for is what `run.describe` and `python -m analysis` measure:
they name what helped this listener among these images, and may say nothing of others.
"""
