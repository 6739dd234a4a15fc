"""Annotations of image files, as they are written: JSON lines, or a folder of Pascal VOC's XML."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

Box = tuple[float, float, float, float]

# Where an object is; everything else that is said of it is what it is.
_PLACE = ("box", "x", "y", "size")

VOC_SIDES = ("xmin", "ymin", "xmax", "ymax")
"""What VOC calls the sides of a box, in the order of a `Box`."""


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
    """

    values: dict[str, str]
    objects: tuple[NotedObject, ...] | None = None


@dataclass(frozen=True)
class VocObject:
    """One object of an annotation in VOC's XML.

    Attributes:
        name: its class.
        box: (x0, y0, x1, y1) in pixels, the end exclusive.
        difficult: whether a detector is excused from finding it.
    """

    name: str
    box: Box
    difficult: bool = False


def read_notes(path: Path) -> dict[str, Notes]:
    """Reads annotations.

    Args:
        path: one of two:

            - a file of JSON lines, an object each: ``file`` names an image from the data's root on, ``objects`` is a
              list, every other text, number or boolean says something of the image. Of an object, ``box`` (x0, y0,
              x1, y1), or ``x``, ``y`` (the upper left corner) and ``size``, say where it is, in pixels of the
              original image; the rest, what it is.
            - a folder of Pascal VOC's XML files, or one that has them in ``Annotations``. Objects have a ``class``.

    Returns:
        By the images' names, which VOC gives without folder and suffix.

    Raises:
        ValueError: there is no such file, or it says something else; where, and what to do.
    """
    if path.is_dir():
        return _read_voc(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: give JSON lines, or a folder of VOC's XML files ({error})") from error
    notes = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                entry = json.loads(line)
                name = _text(entry, "file")
                notes[name] = Notes(_values(entry, ("file",)), _objects(entry))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
    if not notes:
        raise ValueError(f"{path} is empty: give a JSON object a line, with the image's name as file")
    return notes


def notes_of(notes: Mapping[str, Notes], path: Path, root: Path) -> Notes | None:
    """What is said of the image file at ``path``, whose name starts at ``root``; None if nothing is."""
    name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    return notes.get(name, notes.get(path.stem))


def read_voc_objects(path: Path) -> tuple[VocObject, ...]:
    """Reads the objects of one annotation in VOC's XML; white space around texts does not count.

    Raises:
        ValueError: no such file, or not an annotation; says which file, what is wrong and what is expected.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): give a file of VOC's XML") from error
    # An unknown encoding is a LookupError, one that the parser does not take a ValueError.
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"{path} is not readable XML ({error}): repair it or take it away") from error
    if root.tag != "annotation":
        raise ValueError(f"{path} holds a <{root.tag}>: give a file of VOC's XML, whose root is <annotation>")
    return tuple(_voc_object(element, path) for element in root.findall("object"))


def _text(entry: Any, key: str) -> str:
    if not isinstance(entry, dict) or not isinstance(entry.get(key), str):
        raise ValueError(f"expected an object with the text {key!r}, got {str(entry)[:60]}")
    name: str = entry[key]
    return name


def _values(entry: dict[str, Any], besides: tuple[str, ...]) -> dict[str, str]:
    """The keys whose values are texts, numbers or booleans, as texts."""
    said = {}
    for key, value in entry.items():
        if key not in besides and isinstance(value, str | int | float):
            said[key] = ("yes" if value else "no") if isinstance(value, bool) else f"{value}"
    return said


def _objects(entry: dict[str, Any]) -> tuple[NotedObject, ...] | None:
    objects = entry.get("objects")
    if objects is None:
        return None
    if not isinstance(objects, list) or not all(isinstance(o, dict) for o in objects):
        raise ValueError(f"objects is {str(objects)[:60]}: expected a list of objects")
    return tuple(NotedObject(_box(o), _values(o, _PLACE)) for o in objects)


def _box(entry: dict[str, Any]) -> Box:
    corners = entry.get("box")
    if corners is None and all(key in entry for key in ("x", "y", "size")):
        x, y, size = _numbers([entry["x"], entry["y"], entry["size"]], 3)
        corners = [x, y, x + size, y + size]
    x0, y0, x1, y1 = _numbers(corners, 4)
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"the box {corners} has no area: expected x0 < x1 and y0 < y1")
    return x0, y0, x1, y1


def _numbers(values: Any, count: int) -> list[float]:
    numbers = isinstance(values, list) and all(isinstance(v, int | float) and math.isfinite(v) for v in values)
    if not numbers or len(values) != count:
        raise ValueError(f"the place of an object is {values}: give box [x0, y0, x1, y1], or the numbers x, y and size")
    return [float(v) for v in values]


def _read_voc(folder: Path) -> dict[str, Notes]:
    inner = folder / "Annotations"
    files = sorted((inner if inner.is_dir() else folder).glob("*.xml"))
    if not files:
        raise ValueError(f"no annotations in {folder}: expected VOC's XML files there, or in {inner}")
    return {
        file.stem: Notes({}, tuple(NotedObject(thing.box, {"class": thing.name}) for thing in read_voc_objects(file)))
        for file in files
    }


def _voc_object(element: ElementTree.Element, path: Path) -> VocObject:
    name = element.findtext("name", "").strip()
    texts = [element.findtext(f"bndbox/{side}", "") for side in VOC_SIDES]
    try:
        x0, y0, x1, y1 = map(float, texts)
    except ValueError:
        sides = ", ".join(VOC_SIDES)
        raise ValueError(f"{path}: the box of {name!r} is {texts}: give four numbers, {sides}") from None
    if not name:
        raise ValueError(f"{path}: the object at {texts} has no name: give its class")
    # VOC counts pixels from 1 and includes the last one.
    x0, y0 = x0 - 1, y0 - 1
    # Also of numbers that are none.
    if not (-math.inf < x0 < x1 < math.inf and -math.inf < y0 < y1 < math.inf):
        raise ValueError(f"{path}: the box {texts} of {name!r} has no area: give xmin <= xmax and ymin <= ymax")
    return VocObject(name, (x0, y0, x1, y1), element.findtext("difficult", "0").strip() == "1")
