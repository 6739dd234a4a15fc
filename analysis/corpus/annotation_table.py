"""What annotations say, in whatever form they are written: images, their objects in boxes, and attributes of both.

All readers fill one `AnnotationTable`, so that one set of rules holds for all of them:

- What several entries say of one image is joined; what they say differently is an error that names both.
- Numbers that are equal are one value, ``1`` and ``1.0``. What is not a number (``NaN``) or missing is not known.
- Boxes without area are left out and counted.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from patchgame_egg.data.names import listed, printable

Box = tuple[float, float, float, float]

LARGEST_PLACE = 10_000_000
"""The largest coordinate that is read, in pixels: beyond the sides of all pictures, and far from where floats end."""

KINDS = 100
"""How many values of a key are told apart."""

OTHER = "other"
"""What the values beside the most frequent ones are called."""

# What tables write where they know nothing: pandas, R, spreadsheets, SQL.
_UNKNOWN = {"", "NaN", "nan", "-nan", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null"}
_DECIMAL = re.compile(r"(-?)((?:0|[1-9][0-9]*)\.[0-9]+)")


@dataclass(frozen=True)
class NotedObject:
    """What is said of one object.

    Attributes:
        box: (x0, y0, x1, y1) in pixels of the original image, the end exclusive.
        values: what it is, by key.
    """

    box: Box
    values: dict[str, str]


@dataclass(frozen=True)
class Notes:
    """What is said of one image.

    Attributes:
        values: what it is, by key.
        objects: what it shows; None where nothing is said about that.
        file: which image is meant, in VOC's XML, beside the name of the XML file: (folder, file name).
        places: where in the annotations each value was said, and under ``""`` where the image was named first.
    """

    values: dict[str, str]
    objects: tuple[NotedObject, ...] | None = None
    file: tuple[str, str] | None = field(default=None, compare=False)
    places: dict[str, str] = field(default_factory=dict, compare=False)

    def joined(self, other: Notes, name: str, path: Path) -> Notes:
        """What both say of the image ``name``.

        Raises:
            ValueError: they contradict each other; says where.
        """
        for key, value in other.values.items():
            if self.values.get(key, value) != value:
                raise ValueError(
                    f"{path}: {key!r} of the image {name!r} is {self.values[key]!r} in {self.places.get(key, '?')} and "
                    f"{value!r} in {other.places.get(key, '?')}: an image has one value of each key"
                )
        parts = [notes.objects for notes in (self, other) if notes.objects is not None]
        objects = tuple(thing for part in parts for thing in part) if parts else None
        return Notes({**other.values, **self.values}, objects, self.file, {**other.places, **self.places})


class AnnotationTable(Mapping[str, Notes]):
    """What annotations say, by the names that they give to images.

    Args:
        path: of the annotations.

    Attributes:
        path: of the annotations.
        flat: boxes without area, which are left out.
        first_flat: where the first of them is.
        unread: keys whose values are lists or objects, which are left out, counted.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.flat, self.first_flat = path, 0, ""
        self.unread = Counter[str]()
        self._notes: dict[str, Notes] = {}
        self._boxes: dict[str, list[NotedObject]] = {}

    def __getitem__(self, name: str) -> Notes:
        return self._notes[name] if name not in self._boxes else self._with_boxes(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._notes)

    def __len__(self) -> int:
        return len(self._notes)

    def _with_boxes(self, name: str) -> Notes:
        # Lists grow in no time, tuples that are joined line by line do not.
        notes = self._notes[name]
        self._notes[name] = Notes(notes.values, tuple(self._boxes.pop(name)), notes.file, notes.places)
        return self._notes[name]

    def add(
        self,
        place: str,
        name: str,
        values: Mapping[str, object],
        objects: Iterable[tuple[Box, Mapping[str, object]]] | None = None,
        file: tuple[str, str] | None = None,
    ) -> None:
        """Takes in an entry, which may be one of several of its image.

        Args:
            place: where it stands, such as ``line 3``.
            name: of the image.
            values: what the image is; texts, numbers and booleans count.
            objects: the box of each object in pixels, and what it is; None: nothing is said about objects.
            file: see `Notes`.

        Raises:
            ValueError: it contradicts an earlier entry, or a box is beyond all pictures.
        """
        name = clean(name)
        if not name:
            raise ValueError(f"{self.path}, {place}: the image has no name")
        said = self._known(values)
        notes = Notes(said, None, file, dict.fromkeys(["", *said], place))
        boxes = None if objects is None else [o for box, what in objects if (o := self._object(place, box, what))]
        earlier = self._notes.get(name)
        if earlier is not None:
            notes = earlier.joined(notes, name, self.path)
        self._notes[name] = notes
        if boxes is not None:
            if name not in self._boxes:
                self._boxes[name] = list((earlier.objects or ()) if earlier else ())
            self._boxes[name] += boxes

    def _object(self, place: str, box: Box, values: Mapping[str, object]) -> NotedObject | None:
        if far := [number for number in box if abs(number) > LARGEST_PLACE]:
            raise ValueError(
                f"{self.path}, {place}: {far[0]:g} is no place in an image: give pixels, up to {LARGEST_PLACE:,}"
            )
        if box[2] <= box[0] or box[3] <= box[1]:
            self.flat += 1
            self.first_flat = self.first_flat or place
            return None
        return NotedObject(box, self._known(values))

    def _known(self, values: Mapping[str, object]) -> dict[str, str]:
        self.unread.update(clean(key) for key, value in values.items() if isinstance(value, list | dict) and value)
        return known_values(values)

    def check(self) -> AnnotationTable:
        """Itself, once it is read whole.

        Raises:
            ValueError: there is no image, or all boxes are shares of their images and not pixels.
        """
        if not self._notes:
            raise ValueError(f"{self.path} is empty: it names no image")
        sides = [side for notes in self.values() for o in notes.objects or () for side in o.box]
        if sides and max(sides) <= 1 and min(sides) >= 0 and not all(side == int(side) for side in sides):
            raise ValueError(
                f"{self.path}: all boxes lie within one pixel: give pixels, not shares of the image's sides"
            )
        return self

    def kinds(self) -> tuple[dict[str, Kinds], dict[str, Kinds]]:
        """What is told apart: values by key, those of images and those of objects."""
        notes = list(self.values())
        return kinds_of(n.values for n in notes), kinds_of(o.values for n in notes for o in n.objects or ())

    def summary(self, described: Sequence[Notes]) -> str:
        """What was read, in a line.

        Args:
            described: what is said of each image that was found.
        """
        parts = [k for group in self.kinds() for k in group.items()]
        boxes = sum(len(notes.objects or ()) for notes in described)
        said = [f"{len(described):,} images with {len(parts)} attributes, {boxes:,} boxes"]
        for key, kinds in parts:
            if kinds.left_out:
                said.append(f"{key!r} left out: its {kinds.total:,} values name things, each another")
            elif kinds.total > len(kinds.names):
                said.append(f"{kinds.total:,} kinds kept {KINDS} of {key!r}, the rest is {OTHER!r}")
        if self.flat:
            said.append(f"{self.flat:,} boxes without area skipped, the first in {self.first_flat}")
        if self.unread:
            keys = listed(map(printable, self.unread))
            said.append(f"{self.unread.total():,} lists and objects in the place of values skipped ({keys})")
        return ", ".join(said)


class Kinds(NamedTuple):
    """What is told apart of a key's values.

    Attributes:
        names: the values, numbers by size and before words; `OTHER` last, where there are too many.
        total: how many values there are.
        left_out: they name things and tell no kinds: there are too many, no two alike.
    """

    names: tuple[str, ...]
    total: int
    left_out: bool = False

    def name(self, value: str | None) -> str | None:
        """What a value is called here."""
        return value if value is None or value in self.names else OTHER


def kinds_of(described: Iterable[Mapping[str, str]]) -> dict[str, Kinds]:
    """The values of each key that are told apart: of too many, the most frequent.

    A key with more than `KINDS` values that are all different names things, and is left out. Where nothing else is said
    of the things, it is not: better some kinds than none.

    Args:
        described: the values of each thing, by key.
    """
    counts: dict[str, Counter[str]] = {}
    for values in described:
        for key, value in values.items():
            counts.setdefault(key, Counter())[value] += 1
    found = {}
    for key, count in counts.items():
        names = sorted(count, key=_by_size)
        if len(count) > KINDS:
            kept = set(sorted(count, key=lambda value: (-count[value], _by_size(value)))[:KINDS])
            names = [*(name for name in names if name in kept and name != OTHER), OTHER]
        alike = len(count) < count.total() or len(counts) == 1
        found[key] = Kinds(tuple(names), len(count), len(count) > KINDS and not alike)
    return found


def known_values(values: Mapping[str, object]) -> dict[str, str]:
    """The texts, numbers and booleans among values, as texts; without what is not known."""
    found = {clean(key): text for key, value in values.items() if (text := _text(value)) is not None}
    return {key: text for key, text in found.items() if key}


def clean(text: str) -> str:
    """Without white space around it; half a character, which no file can hold, is written out."""
    return text.strip().encode("utf-8", "backslashreplace").decode()


def numbers(values: Sequence[object]) -> list[float] | None:
    """Finite numbers as floats; None if there is anything else among them."""
    found = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if isinstance(value, float) and not math.isfinite(value):
            return None
        # An integer may be beyond all floats, and is then beyond all pictures.
        found.append(float(max(-1e300, min(value, 1e300))))
    return found


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return str(int(value)) if value == int(value) and abs(value) < 1e15 else str(value)
    if not isinstance(value, str | int):
        return None
    text = clean(str(value))
    if text in _UNKNOWN:
        return None
    if match := _DECIMAL.fullmatch(text):
        digits = match[2].rstrip("0").rstrip(".")
        return digits if digits == "0" else match[1] + digits
    return text


def _by_size(value: str) -> tuple[float, str]:
    try:
        number = float(value)
    except ValueError:
        number = math.inf
    return (math.inf if math.isnan(number) else number), value
