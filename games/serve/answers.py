"""What a run answers about an image, as plain values: who speaks, what is said, what it stands for, what is picked."""

from __future__ import annotations

import base64
import io
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from games.runs.trained import TrainedRun
from games.serve.gallery import MOST, gallery_of
from patchgame_egg.counted import counted
from patchgame_egg.data.images import square
from patchgame_egg.data.names import printable
from patchgame_egg.interaction import Message
from patchgame_egg.patches import patch_boxes
from patchgame_egg.views.transforms import normalise

PICKS = 8
"""How many images the listener's choice is shown of."""

# Sides of pictures on the page, pixels; an image that was dropped is shown larger.
_SHOWN, _SMALL = 384, 96
_AT_ONCE = 64


class Answers:
    """A run asked by a page, one question at a time.

    Args:
        run: a trained run.
        folder: of images among which the listener chooses; None: the run's own, see `gallery_of`.

    Raises:
        ValueError: the run's channel passes numbers and not symbols, or the folder has no image.
    """

    def __init__(self, run: TrainedRun, folder: Path | None = None) -> None:
        if run.config.channel.channel == "continuous":
            raise ValueError("this run's channel is continuous: it passes numbers, and no symbols to look at")
        self.run, self.lock = run, Lock()
        self.gallery = gallery_of(run, folder)
        self.images = self.gallery.images

    def prepare(self) -> None:
        """Looks at the images among which the listener chooses, and learns what symbols and messages stand for."""
        self.of_held_out(0) if len(self.images) else self.run.concepts

    def about(self) -> dict[str, Any]:
        """What the page says of the run."""
        config, name = self.run.config, self.run.folder.resolve().name if self.run.folder else "a run"
        return {
            "run": printable(name),
            "symbols": config.speaker.vocab,
            "grid": config.grid if config.speaker.speaker == "patch" else 0,
            "slots": config.slots,
            "images": len(self.images),
            "given": self.gallery.given,
            "chance": 1 / max(len(self.images), 1),
        }

    def of_file(self, data: bytes) -> dict[str, Any]:
        """What is said of an image in a file.

        Args:
            data: the file's bytes.

        Returns:
            Plain values for JSON, see ``_answer``.

        Raises:
            OSError, SyntaxError, EOFError, ValueError: it is no image, a broken or a huge one.
        """
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            # A small file may be a huge picture.
            if width * height > 50_000_000:
                raise ValueError(f"the image has {width} x {height} pixels: give one of at most 50 million")
            if min(width, height) < 1:
                raise ValueError("the image has no pixels")
            image.load()
            shown = square(image.copy(), _SHOWN)
            with self.lock:
                message, seen = self.run.speak(image), self.run.seen(image)
                return self._answer(message, seen, shown, None)

    def of_held_out(self, number: int) -> dict[str, Any]:
        """What is said of one of the images among which the listener chooses.

        Raises:
            IndexError: there is no such image.
        """
        if not 0 <= number < len(self.images):
            raise IndexError(f"there are {len(self.images)} images, no number {number}")
        image = self.images[number]
        with self.lock:
            view = normalise(image[None].float() / 255, torch.empty(1, *image.shape)).to(self.run.device)
            return self._answer(self.run.speak_of(view), self._seen[number][None], image, number)

    @lru_cache(maxsize=MOST)  # noqa: B019 - as long as the server lives
    def picture(self, number: int) -> bytes:
        """One of the images among which the listener chooses, small, as JPEG.

        Raises:
            IndexError: there is no such image.
        """
        if not 0 <= number < len(self.images):
            raise IndexError(f"there are {len(self.images)} images, no number {number}")
        return _jpeg(self.images[number], _SMALL)

    @cached_property
    def _seen(self) -> Tensor:
        """What the listener makes of these images, ``[M, D]``."""
        found = []
        for part in counted(self.images.split(_AT_ONCE), f"shows images to the listener, {_AT_ONCE} at a time"):
            view = normalise(part.float() / 255, torch.empty(part.shape)).to(self.run.device)
            found.append(self.run.seen_of(view))
        return torch.cat(found)

    def _answer(self, message: Message, seen: Tensor, shown: Tensor, number: int | None) -> dict[str, Any]:
        """Everything that the page shows of an image.

        Returns:
            ``picture``: the square that both agents see, a data URI. ``patches``: of speakers of patches, a row for
            each, with ``box`` (row, column, side in patches of the smallest size), ``keep`` (how likely it was to
            speak), ``speaks`` and ``symbols``. ``symbols``: those said, in order. ``concepts``: what each symbol said
            most surely stands for, by its number as text. ``words``: the gloss, or None. ``picks``: the images that
            the listener finds most fitting, the best first, with ``number``, ``file``, ``class`` and ``score``, a
            cosine. ``place``: which place the image itself would have ``among`` them, from 1.
        """
        run, spoken = self.run, message.mask[0]
        said = message.symbols[0][spoken].tolist()
        found: dict[str, Any] = {
            "picture": "data:image/jpeg;base64," + base64.b64encode(_jpeg(shown, _SHOWN)).decode(),
            "number": number,
            "symbols": said,
            "length": len(said),
            "concepts": {str(symbol): run.concepts.get(symbol, "") for symbol in set(said)},
            "words": None if (words := run.glosses(message)) is None else list(words[0]),
            "picks": [],
            "place": None,
        }
        if message.keep_prob is not None:
            each = run.config.speaker.symbols_per_patch
            boxes = patch_boxes((run.config.grid, run.config.grid), run.config.speaker.patch_scales).tolist()
            found["patches"] = [
                {
                    "box": box,
                    "keep": round(float(keep), 4),
                    "speaks": bool(spoken[p * each : (p + 1) * each].any()),
                    "symbols": message.symbols[0, p * each : (p + 1) * each].tolist(),
                }
                for p, (box, keep) in enumerate(zip(boxes, message.keep_prob[0], strict=True))
            ]
        if len(self.images):
            heard = run.heard(message)
            scores = (heard @ self._seen.T)[0]
            own = float(heard @ seen[0])
            others = scores if number is None else torch.cat([scores[:number], scores[number + 1 :]])
            found["place"] = 1 + int((others >= own).sum())
            found["among"] = 1 + len(others)
            found["score"] = round(own, 4)
            best = scores.topk(min(PICKS, len(scores))).indices.tolist()
            found["picks"] = [self._pick(i, float(scores[i])) for i in best]
        return found

    def _pick(self, number: int, score: float) -> dict[str, Any]:
        return {
            "number": number,
            "file": printable(self.gallery.names[number]),
            "class": self.gallery.classes[number],
            "score": round(score, 4),
        }


def _jpeg(image: Tensor, side: int) -> bytes:
    """uint8 ``[3, S, S]`` as JPEG; small views are enlarged without being smoothed, so that pixels stay pixels."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    larger = side > picture.width
    picture = picture.resize((side, side), Image.Resampling.NEAREST if larger else Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()
