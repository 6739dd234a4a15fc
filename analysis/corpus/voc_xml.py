"""The one reader of Pascal VOC's XML: for what images show, and for detection."""

from __future__ import annotations

import codecs
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from analysis.corpus.annotation_table import LARGEST_PLACE, AnnotationTable, Box, clean
from patchgame_egg.data.names import is_system
from patchgame_egg.text_files import marked_encoding

SIDES = ("xmin", "ymin", "xmax", "ymax")
"""What VOC calls the sides of a box, in the order of a `Box`."""

_DECLARED = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
# Files that say GB2312 or GBK often hold letters that only their superset has.
_SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030"}


@dataclass(frozen=True)
class VocObject:
    """One object of an annotation in VOC's XML.

    Attributes:
        name: its class.
        box: (x0, y0, x1, y1) in pixels, the end exclusive; of a box without area, the end is not beyond the beginning.
        difficult: whether a detector is excused from finding it.
    """

    name: str
    box: Box
    difficult: bool = False

    @property
    def is_flat(self) -> bool:
        """Whether its box has no area."""
        x0, y0, x1, y1 = self.box
        return x1 <= x0 or y1 <= y0


@dataclass(frozen=True)
class VocFile:
    """One annotation in VOC's XML.

    Attributes:
        objects: what the image shows.
        folder: of the image, as the annotation names it; may be empty.
        file_name: of the image, likewise.
    """

    objects: tuple[VocObject, ...]
    folder: str = ""
    file_name: str = ""


def voc_files(folder: Path) -> list[Path]:
    """The XML files in a folder and in the folders within, sorted; hidden and system ones are left out."""
    found = []
    for above, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_system(name)]
        found += [Path(above, name) for name in names if name.lower().endswith(".xml") and not is_system(name)]
    return sorted(found)


def read_voc_folder(folder: Path) -> AnnotationTable:
    """What a folder of VOC's XML says, or one that has such files in ``Annotations``; objects have a ``class``.

    Returns:
        The table; an image's name is that of its XML file from the folder on, without the suffix.

    Raises:
        ValueError: there is no XML, or a file is broken; says which.
    """
    inner = folder / "Annotations"
    base = inner if inner.is_dir() else folder
    files = voc_files(base)
    if not files:
        raise ValueError(f"no annotations in {folder}: expected VOC's XML files there, or in {inner}")
    table = AnnotationTable(folder)
    for path in files:
        read, name = read_voc(path), path.relative_to(base)
        objects = [(thing.box, {"class": thing.name}) for thing in read.objects]
        table.add(str(name), name.with_suffix("").as_posix(), {}, objects, (read.folder, read.file_name))
    return table.check()


def read_voc(path: Path) -> VocFile:
    """Reads one annotation in VOC's XML.

    White space around texts does not count, nor do namespaces. The encoding is what the first line declares, or UTF-8.
    Boxes without area are kept; who asks decides what becomes of them.

    Raises:
        ValueError: no such file, or not an annotation; says which file, what is wrong and what is expected.
    """
    try:
        root = parse_xml(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): give a file of VOC's XML") from error
    # An unknown encoding is a LookupError, a text that is none in it a ValueError.
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise ValueError(f"{path} is not readable XML ({error}): repair it or take it away") from error
    if root.tag != "annotation":
        raise ValueError(f"{path} holds a <{root.tag}>: give a file of VOC's XML, whose root is <annotation>")
    objects = tuple(_object(element, path) for element in root.findall("object"))
    return VocFile(objects, clean(root.findtext("folder", "")), clean(root.findtext("filename", "")))


def parse_xml(data: bytes) -> ElementTree.Element:
    """The root element of an XML file, whose names are without their namespaces.

    Nothing outside the file is read, and a file that declares entities is refused: a few of them, each made of the
    one before, unfold to gigabytes.

    Raises:
        xml.parsers.expat.ExpatError: it is not XML.
        LookupError: its encoding is not known.
        ValueError: it declares or names entities, or is not in its encoding.
    """
    declared = marked_encoding(data)
    if declared is None and (match := _DECLARED.match(data)):
        declared = codecs.lookup(match[1].decode()).name
    text = data.decode(_SUPERSETS.get(declared or "", declared or "utf-8"))
    tree, parser = ElementTree.TreeBuilder(), expat.ParserCreate("utf-8")

    def refuse(name: str, *_: object) -> None:
        raise ValueError(f"it has the entity {name!r}, and entities are not read")

    def start(tag: str, attributes: dict[str, str]) -> None:
        tree.start(tag.rpartition(":")[2], attributes)

    def end(tag: str) -> None:
        tree.end(tag.rpartition(":")[2])

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, tree.data
    parser.EntityDeclHandler = parser.SkippedEntityHandler = refuse
    parser.Parse(text.encode("utf-8", "surrogatepass"), True)
    return tree.close()


def _object(element: ElementTree.Element, path: Path) -> VocObject:
    name = clean(element.findtext("name", ""))
    texts = [element.findtext(f"bndbox/{side}", "") for side in SIDES]
    box = tuple(_numbers(texts))
    if len(box) != len(SIDES):
        raise ValueError(f"{path}: the box of {name!r} is {texts}: give four numbers, {', '.join(SIDES)}")
    if not name:
        raise ValueError(f"{path}: the object at {texts} has no name: give its class")
    if max(map(abs, box)) > LARGEST_PLACE:
        raise ValueError(f"{path}: the box {texts} of {name!r} is in no image: give pixels, up to {LARGEST_PLACE:,}")
    # VOC counts pixels from 1 and includes the last one.
    x0, y0, x1, y1 = box
    difficult = element.findtext("difficult", "").strip().lower() in ("1", "true")
    return VocObject(name, (x0 - 1, y0 - 1, x1, y1), difficult)


def _numbers(texts: list[str]) -> Iterator[float]:
    for text in texts:
        try:
            number = float(text)
        except ValueError:
            continue
        if math.isfinite(number):
            yield number
