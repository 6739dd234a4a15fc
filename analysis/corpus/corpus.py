"""A recorded language: messages, and all that is known about what they were said of. Arrays, in one safe file.

Letters in shapes: N items (images), T message slots, P patches (in raster order; of several sizes, grid after grid, the
finest first), L symbols per patch (T = P * L), A attributes of an item, C attributes of a patch, D width of the
embeddings.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.corpus.numbering import LARGEST, numbered
from patchgame_egg.atomic_write import replacing
from patchgame_egg.patches import patch_boxes

if TYPE_CHECKING:
    import pandas as pd

Names = tuple[str, ...]

# Fields that hold arrays by name, and what these are called in the file.
_BY_NAME = {"changed_maps": "map", "probes": "probe"}


@dataclass(frozen=True, eq=False)
class Corpus:
    """N messages and what is known about their items; whatever is not known is None, or empty.

    Attributes:
        symbols: ids in [0, V), int64 ``[N, T]``; at silent slots anything.
        mask: true where a symbol was said, ``[N, T]``.
        vocab_size: V.
        symbol_ids: what the symbols are called elsewhere, by number; empty where that is the number itself.
        files: of the N items, as their source names them: below the folder of the images, if they lie in one.
        labels: class of each item, int64 ``[N]``.
        label_names: of the classes, by number.
        attributes: values of each item's attributes, int64 ``[N, A]``; -1 where an item has none.
        attribute_names: of the A attributes.
        value_names: of each attribute's values, by number.
        grid: rows and columns of patches, for a speaker of patches; of the smallest, if there are several sizes.
        scales: number of grids of patches, each of half as many rows and columns as the one before.
        keep_prob: probability with which each patch speaks, float ``[N, P]`` in [0, 1].
        confidence: how sure the speaker is of each symbol; only the order counts. Float ``[N, T]``.
        patch_attributes: what each patch shows, int64 ``[N, P, C]``; -1 where nothing of the kind is there.
        patch_attribute_names: of the C patch attributes.
        patch_value_names: of their values, by number.
        object_area: share of each patch that objects cover, float ``[N, P]`` in [0, 1]; NaN where it is not known.
        images: of the first M <= N items as the speaker saw them, uint8 ``[M, 3, S, S]``.
        captions: what is said in words of each item, a tuple of sentences for each; empty if nothing is said of any.
        text: what the receiver made of each message, float ``[N, D]``, of length 1.
        image: what it made of each image, float ``[N, D]``, of length 1.
        temperature: of the receiver's softmax over candidates.
        candidates: among how many images, in order, each message was matched.
        distractors: how many images stood beside each image for the listener to choose among, of its own.
        in_batch: whether a message was matched among its ``candidates``, too, where there are distractors.
        changed_maps: name -> ``keep_prob`` of the same items once their image is changed, float ``[N, P]``, as
            `analysis.corpus.changed_images.play_changed_images` gives it.
        probes: name -> whether the right image came first, bool ``[N]``; ``"as played"``, then interventions.
        info: more about the game, plain JSON values.
    """

    symbols: NDArray[np.int64]
    mask: NDArray[np.bool_]
    vocab_size: int
    symbol_ids: tuple[int, ...] = ()
    files: Names = ()
    labels: NDArray[np.int64] | None = None
    label_names: Names = ()
    attributes: NDArray[np.int64] | None = None
    attribute_names: Names = ()
    value_names: tuple[Names, ...] = ()
    grid: tuple[int, int] | None = None
    scales: int = 1
    keep_prob: NDArray[np.float32] | None = None
    confidence: NDArray[np.float32] | None = None
    patch_attributes: NDArray[np.int64] | None = None
    patch_attribute_names: Names = ()
    patch_value_names: tuple[Names, ...] = ()
    object_area: NDArray[np.float32] | None = None
    images: NDArray[np.uint8] | None = None
    captions: tuple[Names, ...] = ()
    text: NDArray[np.float32] | None = None
    image: NDArray[np.float32] | None = None
    temperature: float | None = None
    candidates: int | None = None
    distractors: int = 0
    in_batch: bool = True
    changed_maps: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    probes: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def choices(self) -> int | None:
        """Among how many images a message had to find its own: a guess is right in 1 of so many."""
        if self.distractors and not self.in_batch:
            return 1 + self.distractors
        return self.candidates and self.candidates + self.distractors

    @property
    def symbols_per_patch(self) -> int:
        """L; 0 for a speaker without patches."""
        return self.symbols.shape[1] // len(self.boxes) if self.grid else 0

    @cached_property
    def boxes(self) -> NDArray[np.int64]:
        """Row, column and side of each patch, ``[P, 3]``, in cells of the finest grid; P is 0 without patches."""
        return patch_boxes(self.grid, self.scales) if self.grid else np.zeros((0, 3), dtype=np.int64)

    def numbered(self) -> Corpus:
        """The same language with nothing in it that is as large as an id.

        Ids of symbols, and numbers of classes and of attributes' values, come from files and may be of any size. Where
        there may be more than `LARGEST`, those in use are numbered from 0 in the same order: ``symbol_ids``,
        ``label_names`` and ``value_names`` say what they were.
        """
        found: dict[str, Any] = {}
        said = self.symbols[self.mask]
        if self.vocab_size > LARGEST or (said.size and said.max() >= LARGEST):
            numbers, ids = numbered(self.symbols, self.mask)
            found |= {"symbols": np.maximum(numbers, 0), "vocab_size": max(len(ids), 1)}
            found["symbol_ids"] = tuple(self.symbol_ids[i] for i in ids) if self.symbol_ids else tuple(ids)
        if self.labels is not None and self.labels.max(initial=0) >= LARGEST:
            found["labels"], found["label_names"] = _few(self.labels, self.label_names)
        for values, names in (("attributes", "value_names"), ("patch_attributes", "patch_value_names")):
            table = getattr(self, values)
            if table is not None and table.max(initial=0) >= LARGEST:
                called = getattr(self, names)
                columns = [_few(table[..., i], called[i] if i < len(called) else ()) for i in range(table.shape[-1])]
                found[values] = np.stack([column for column, _ in columns], axis=-1)
                found[names] = tuple(of for _, of in columns)
        return replace(self, **found) if found else self

    def said(self, item: int) -> list[int]:
        """The symbols of a message in order, by the ids they are called by elsewhere; silent slots are left out."""
        numbers: list[int] = self.symbols[item][self.mask[item]].tolist()
        return [self.symbol_ids[n] for n in numbers] if self.symbol_ids else numbers

    def to_frame(self) -> pd.DataFrame:
        """Messages joined with what they were said of, a row each.

        Returns:
            ``image``: its number in the source of images, or in the corpus; what is known of ``file``, ``class``, and
            each attribute by its name, empty where an item has none; ``message``: the symbols said, and ``slots``:
            where, both with spaces between; ``length``; ``understood``, where it is known.

        Example:
            >>> symbols, mask = np.array([[3, 1], [2, 2]]), np.array([[True, True], [False, True]])
            >>> labels = np.array([1, -1])
            >>> corpus = Corpus(symbols, mask, 4, files=("a.jpg", "b.jpg"), labels=labels, label_names=("cat", "dog"))
            >>> corpus.to_frame().to_dict("list")["message"]
            ['3 1', '2']
            >>> corpus.to_frame().to_dict("list")["file"]
            ['a.jpg', 'b.jpg']
        """
        # Importing it takes as long as everything else here together.
        import pandas as pd

        index = self.info.get("index")
        known = isinstance(index, list) and len(index) == len(self)
        columns: dict[str, Any] = {"image": index if known else range(len(self))}
        if self.files:
            columns["file"] = self.files
        if self.labels is not None:
            columns["class"] = _named(self.labels, self.label_names)
        messages: dict[str, Any] = {
            "message": [" ".join(map(str, self.said(i))) for i in range(len(self))],
            "slots": [" ".join(map(str, np.flatnonzero(row))) for row in self.mask],
            "length": self.mask.sum(axis=1),
        }
        if "as played" in self.probes:
            messages["understood"] = self.probes["as played"]
        taken = columns.keys() | messages.keys()
        for i, values in enumerate([] if self.attributes is None else self.attributes.T):
            name = self.attribute_names[i] if i < len(self.attribute_names) else f"attribute {i + 1}"
            name = f"attribute {name}" if name in taken else name
            columns[name] = _named(values, self.value_names[i] if i < len(self.value_names) else ())
        return pd.DataFrame(columns | messages)

    def save(self, path: Path | str) -> None:
        """Writes a compressed ``.npz`` of plain arrays and one JSON text."""
        arrays: dict[str, Any] = {}
        plain: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray):
                arrays[f.name] = value
            elif f.name in _BY_NAME:
                arrays |= {f"{_BY_NAME[f.name]}/{name}": array for name, array in value.items()}
            else:
                plain[f.name] = value
        with replacing(Path(path)) as file:
            np.savez_compressed(file, **arrays, json=np.array(json.dumps(plain)))

    @staticmethod
    def load(path: Path | str) -> Corpus:
        """Reads what `save` wrote; nothing in the file is executed."""
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name != "json"}
            plain = json.loads(str(file["json"]))
        for name in ("symbol_ids", "files", "label_names", "attribute_names", "patch_attribute_names"):
            # Languages of 0.1.0 have no names of files.
            plain[name] = tuple(plain.get(name, ()))
        for name in ("value_names", "patch_value_names", "captions"):
            plain[name] = tuple(tuple(names) for names in plain.get(name, ()))
        plain["grid"] = plain["grid"] and tuple(plain["grid"])
        named = {
            field_: {
                name.removeprefix(f"{key}/"): arrays.pop(name) for name in list(arrays) if name.startswith(f"{key}/")
            }
            for field_, key in _BY_NAME.items()
        }
        return Corpus(**{**plain, **arrays, **named})


def _few(values: NDArray[np.int64], names: Names) -> tuple[NDArray[np.int64], Names]:
    """Values numbered anew, -1 where not known, and their names."""
    numbers, ids = numbered(values, values >= 0)
    return numbers, tuple(names[i] if i < len(names) else str(i) for i in ids)


def _named(values: NDArray[np.int64], names: Names) -> list[str]:
    return ["" if v < 0 else names[v] if v < len(names) else str(v) for v in values.tolist()]


def image_numbers(corpus: Corpus) -> list[int]:
    """Which image of its source each item is, ``[N]``.

    Raises:
        ValueError: the corpus does not say so.
    """
    index: list[int] | None = corpus.info.get("index")
    if index is None or len(index) != len(corpus):
        raise ValueError('the corpus does not say which images it is about: info["index"] should hold their numbers')
    return index


def dotted(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Values in dicts within dicts, such as a corpus's ``info``, in one dict by the names on the way: ``"a.b"``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= dotted(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return flat
