"""A recorded language: messages, and all that is known about what they were said of. Arrays, in one safe file.

Letters in shapes: N items (images), T message slots, P patches (in raster order; of several sizes, grid after grid, the
finest first), L symbols per patch (T = P * L), A attributes of an item, C attributes of a patch, D width of the
embeddings.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchgame_egg.atomic_write import replacing
from patchgame_egg.patches import patch_boxes

Names = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Corpus:
    """N messages and what is known about their items; whatever is not known is None, or empty.

    Attributes:
        symbols: ids in [0, V), int64 ``[N, T]``; at silent slots anything.
        mask: true where a symbol was said, ``[N, T]``.
        vocab_size: V.
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
        probes: name -> whether the right image came first, bool ``[N]``; ``"as played"``, then interventions.
        info: more about the game, plain JSON values.
    """

    symbols: NDArray[np.int64]
    mask: NDArray[np.bool_]
    vocab_size: int
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
    probes: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def symbols_per_patch(self) -> int:
        """L; 0 for a speaker without patches."""
        return self.symbols.shape[1] // len(self.boxes) if self.grid else 0

    @property
    def boxes(self) -> NDArray[np.int64]:
        """Row, column and side of each patch, ``[P, 3]``, in cells of the finest grid; P is 0 without patches."""
        return patch_boxes(self.grid, self.scales) if self.grid else np.zeros((0, 3), dtype=np.int64)

    def save(self, path: Path | str) -> None:
        """Writes a compressed ``.npz`` of plain arrays and one JSON text."""
        arrays: dict[str, Any] = {}
        plain: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray):
                arrays[f.name] = value
            elif f.name == "probes":
                arrays |= {f"probe/{name}": correct for name, correct in value.items()}
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
        for name in ("label_names", "attribute_names", "patch_attribute_names"):
            plain[name] = tuple(plain[name])
        for name in ("value_names", "patch_value_names", "captions"):
            plain[name] = tuple(tuple(names) for names in plain.get(name, ()))
        plain["grid"] = plain["grid"] and tuple(plain["grid"])
        probes = {name.removeprefix("probe/"): arrays.pop(name) for name in list(arrays) if name.startswith("probe/")}
        return Corpus(**{**plain, **arrays, "probes": probes})


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
