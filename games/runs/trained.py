"""A finished run in three lines: ``run = games.load("runs/first")`` speaks of any images, and listens.

What `games.record` writes of the held-out images, this does for images in hand: they are seen in the same view, played
in evaluation and in the run's number format. One file, because whatever is asked of a run goes this one way. Letters in
shapes: N images, M messages, T slots, V vocabulary, D width.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.corpus.corpus import Corpus
from analysis.corpus.recording import evaluating, one_pair
from games.options.command_line import pick_device
from games.options.config import Config
from games.runs.files import CORPUS
from games.runs.load import in_precision, load_game
from games.runs.sharing import Shareable
from patchgame_egg.agents.listener import Listener
from patchgame_egg.counted import counted
from patchgame_egg.data.given_images import GivenImage, GivenImages
from patchgame_egg.data.pixels import UNREADABLE
from patchgame_egg.game import Game
from patchgame_egg.interaction import Message
from patchgame_egg.patches import patch_boxes
from patchgame_egg.population import Population
from patchgame_egg.views.transforms import EvaluationView

if TYPE_CHECKING:
    import pandas as pd

    from analysis.words.reading import Reader

Images = GivenImage | Sequence[GivenImage]
"""A path, a folder, a PIL image, a tensor ``[3, H, W]`` or ``[N, 3, H, W]``, or a sequence of these: `GivenImages`."""

# Images, or messages, that the networks see at a time.
_AT_ONCE = 64


# Before a name on the hub, as timm has it.
_HUB = "hf-hub:"


def load(run: Path | str, device: str = "auto") -> TrainedRun:
    """Opens a finished run.

    Args:
        run: its folder, or what ``save_pretrained`` wrote of it; or ``hf-hub:OWNER/NAME``, on the hub.
        device: auto, cpu, cuda, cuda:1, ...

    Returns:
        Its agents, ready to speak and to listen; of a population, the first pair.

    Raises:
        ValueError: it is not a run of PatchGame, its checkpoint does not fit, or there is no such device.
    """
    if str(run).startswith(_HUB):
        return TrainedRun.from_pretrained(str(run).removeprefix(_HUB), device=device)
    game, config = load_game(Path(run), pick_device(device))
    return TrainedRun(game, config, Path(run))


class TrainedRun(Shareable):
    """The agents of a run, to be asked about any images. Answers are on the CPU, a row for each image in its order.

    Images that cannot be read are left out, and named in a warning, where they lie in a folder that was given; one that
    was given by itself is a ``ValueError``, and so is whatever is no image (`GivenImages`).

    As all models of the hub's library it has ``save_pretrained(folder)``, ``push_to_hub("OWNER/NAME")`` and
    ``TrainedRun.from_pretrained``. Weights, options without the places of files, the last evaluation, the language
    without its images, the run's pictures, and a card are written. The pictures show held-out images:
    ``push_to_hub(name, ignore_patterns="*.png")`` keeps them back.

    Args:
        game: on its device; of a population, the first pair plays.
        config: the options of the run.
        folder: of the run; its ``corpus.npz``, if it has one, tells what symbols stand for. None: there is none.

    Attributes:
        agents: all of them.
        game: one speaker and one listener, for everything else.
        config: see above.
        folder: see above.
        device: where the game is.
    """

    def __init__(self, game: Game | Population, config: Config, folder: Path | None = None) -> None:
        self.agents = game
        # Weights that lie as in training and in games.record, whose sums are then the same to the last digit.
        self.game = one_pair(game).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.config, self.folder = config, folder
        self.device: torch.device = next(self.game.parameters()).device

    def speak(self, images: Images) -> Message:
        """What the speaker says of images, as in evaluation.

        Returns:
            The messages: symbols and mask ``[N, T]``, vectors ``[N, T, V]`` and so on.

        Raises:
            ValueError: see `TrainedRun`.
        """
        return Message.join([message for _, message in self._spoken(GivenImages(images, self.config.load_size))])

    def match(self, messages: Message, images: Images) -> Tensor:
        """How well each message fits each image, in the listener's eyes.

        Args:
            messages: M of them, such as `speak` gives.
            images: N of them.

        Returns:
            Cosines, float ``[M, N]`` in [-1, 1]: in its row, a message finds its image where that is the largest.

        Raises:
            ValueError: see `TrainedRun`.
        """
        return self.heard(messages) @ self.seen(images).T

    def heard(self, messages: Message) -> Tensor:
        """What the listener makes of messages: float ``[M, D]``, of length 1, to be compared with `seen`."""
        listener, texts = self._listener, []
        with self._playing():
            for rows in torch.arange(len(messages.mask)).split(_AT_ONCE):
                part = _on(messages, lambda x, rows=rows: x[rows].to(self.device))  # type: ignore[misc]
                texts.append(listener.text_head(listener.text(part)).float().cpu())
        return F.normalize(torch.cat(texts), dim=1)

    def seen(self, images: Images) -> Tensor:
        """What the listener makes of images: float ``[N, D]``, of length 1, to be compared with `heard`.

        Raises:
            ValueError: see `TrainedRun`.
        """
        listener = self._listener
        return F.normalize(self._seen(images, lambda views: listener.vision_head(listener.vision(views))), dim=1)

    def speak_of(self, views: Tensor) -> Message:
        """`speak` of what the agents themselves see: normalised views ``[N, 3, S, S]`` on the run's device."""
        with self._playing():
            message = self.game.channel(self.game.sender(views, None))
        return _on(message, lambda x: x.float().cpu() if x.is_floating_point() else x.cpu())

    def seen_of(self, views: Tensor) -> Tensor:
        """`seen` of what the agents themselves see: normalised views ``[N, 3, S, S]`` on the run's device."""
        listener = self._listener
        with self._playing():
            seen = listener.vision_head(listener.vision(views)).float().cpu()
        return F.normalize(seen, dim=1)

    def features(self, images: Images) -> Tensor:
        """What the listener's vision network gives before its head: float ``[N, D]``, for k-NN and probes.

        Raises:
            ValueError: see `TrainedRun`.
        """
        return self._seen(images, self._listener.vision)

    def describe(self, images: Images) -> pd.DataFrame:
        """What is said of images, where, and what it stands for.

        Returns:
            A row for each image: ``file``, or its number where it is no file; ``symbols``, those that were said, in
            order; ``concepts``, what each of them most surely stands for in the run's own language (``"sand
            (background)"``), empty where that is nothing, and no column without a ``corpus.npz``. Of speakers of
            patches also ``boxes``, the patch of each symbol as (x0, y0, x1, y1) in pixels of the image that was given,
            the end exclusive, and ``keep_prob``, how likely that patch was to speak. Where captions or named classes
            are known of the run's images also ``words``, the gloss of the message, the surest word first. All but
            ``file`` are tuples.

        Raises:
            ValueError: see `TrainedRun`; or the channel passes numbers and not symbols.
        """
        # Importing it takes as long as describing some images.
        import pandas as pd

        if self.config.channel.channel == "continuous":
            raise ValueError("this run's channel is continuous: it passes numbers, and no symbols to describe")
        given = GivenImages(images, self.config.load_size)
        rows: list[dict[str, Any]] = []
        for index, message in self._spoken(given):
            glosses = self.glosses(message)
            for n, item in enumerate(index):
                slots = message.mask[n].nonzero()[:, 0]
                symbols = message.symbols[n, slots].tolist()
                row: dict[str, Any] = {"file": given.name(item), "symbols": tuple(symbols)}
                if message.keep_prob is not None:
                    patches = (slots // self.config.speaker.symbols_per_patch).tolist()
                    boxes = self._boxes(*given.shape(item))
                    row["boxes"] = tuple(boxes[p] for p in patches)
                    row["keep_prob"] = tuple(message.keep_prob[n, patches].tolist())
                if self._dictionary is not None:
                    row["concepts"] = tuple(self._dictionary.get(symbol, "") for symbol in symbols)
                if glosses is not None:
                    row["words"] = glosses[n]
                rows.append(row)
        return pd.DataFrame(rows)

    def glosses(self, messages: Message) -> list[tuple[str, ...]] | None:
        """Messages in words, as `analysis.words` learns them from the run's own language, the surest first.

        Returns:
            A tuple for each message; None where the run has no language, or too little is said in words of its images.
        """
        if self._reader is None:
            return None
        # It fits curves, whose packages are slow to import.
        from analysis.words.glosses import UNKNOWN, gloss_others

        found = gloss_others(self._reader, messages.symbols.numpy(), messages.mask.numpy())
        return [tuple(gloss.word for gloss in one if gloss.word != UNKNOWN) for one in found]

    @property
    def _listener(self) -> Listener:
        assert isinstance(self.game.receiver, Listener)
        return self.game.receiver

    @cached_property
    def language(self) -> Corpus | None:
        """What the run's agents said of its held-out images; None where it was not recorded."""
        if self.folder is None or not (self.folder / CORPUS).exists():
            return None
        return Corpus.load(self.folder / CORPUS)

    @cached_property
    def _reader(self) -> Reader | None:
        if self.language is None:
            return None
        from analysis.words.study import reader_of

        try:
            return reader_of(self.language)
        except ValueError:
            # Nothing is said in words, or of too few images.
            return None

    @property
    def concepts(self) -> dict[int, str]:
        """What symbols most surely stand for in the run's own language: ``{12: "sand (background)"}``."""
        return self._dictionary or {}

    @cached_property
    def _dictionary(self) -> dict[int, str] | None:
        """What symbols stand for, as the report says it first; None: there is no language to tell."""
        corpus = self.language
        if corpus is None:
            return None
        # The report draws, which takes long to import.
        from analysis.evaluation.concepts import cells, concepts_of
        from analysis.report.dictionary import gallery

        cards = gallery(corpus, [(concept, cells(corpus, concept)) for concept in concepts_of(corpus)], {}, {})
        first = {card["symbol"]: card["chips"][0] for card in cards if card["chips"]}
        return {symbol: f"{chip['value']} ({chip['concept']})" for symbol, chip in first.items()}

    def _boxes(self, width: int, height: int) -> list[tuple[int, int, int, int]]:
        """The patches in pixels of an image, of which both agents see the middle square."""
        side = min(width, height)
        left, top, cell = (width - side) / 2, (height - side) / 2, side / self.config.grid
        grid = self.config.grid, self.config.grid
        return [
            (
                round(left + column * cell),
                round(top + row * cell),
                round(left + (column + size) * cell),
                round(top + (row + size) * cell),
            )
            for row, column, size in patch_boxes(grid, self.config.speaker.patch_scales).tolist()
        ]

    @contextmanager
    def _playing(self) -> Iterator[None]:
        with evaluating(self.game), in_precision(self.config, self.device):
            yield

    def _spoken(self, given: GivenImages) -> Iterator[tuple[list[int], Message]]:
        """Messages on the CPU, some at a time, each time with the numbers of their images."""
        for index, views in self._views(given):
            yield index, self.speak_of(views)

    def _seen(self, images: Images, network: Callable[[Tensor], Tensor]) -> Tensor:
        given, found = GivenImages(images, self.config.load_size), []
        for _, views in self._views(given):
            with self._playing():
                found.append(network(views).float().cpu())
        return torch.cat(found)

    def _views(self, given: GivenImages) -> Iterator[tuple[list[int], Tensor]]:
        """The view of evaluation, some images at a time, each time with their numbers."""
        view, left_out = EvaluationView(self.config.images.image_size), []
        for start in counted(range(0, len(given), _AT_ONCE), f"looks at {len(given):,} images, {_AT_ONCE} at a time"):
            squares: dict[int, Tensor] = {}
            for index in range(start, min(start + _AT_ONCE, len(given))):
                try:
                    squares[index] = given[index][0]
                except UNREADABLE as error:
                    if not given.found[index]:
                        why = (str(error) or repr(error)).splitlines()[0]
                        raise ValueError(f"{given.name(index)} cannot be read as an image: {why}") from error
                    left_out.append(given.name(index))
            if squares:
                yield list(squares), view(torch.stack(list(squares.values())).to(self.device))
        if len(left_out) == len(given):
            raise ValueError(f"none of {len(given)} images can be read, the first is {left_out[0]}")
        if left_out:
            more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
            names = f"{', '.join(left_out[:5])}{more}"
            warnings.warn(f"left out {len(left_out)} images that cannot be read: {names}", stacklevel=4)


def _on(message: Message, change: Callable[[Tensor], Tensor]) -> Message:
    """A message with its rows changed; a penalty is of training and has none."""
    values = {f.name: getattr(message, f.name) for f in fields(Message)}
    rows = {name: value for name, value in values.items() if value is not None and value.dim()}
    return Message(**{name: change(value) for name, value in rows.items()})
