"""Annotations as people have them, read into one table: JSON lines, COCO's JSON, CSV, VOC's XML, data sets' lists.

    {"file": "a.jpg", "light": "dim", "objects": [{"box": [0, 0, 9, 9], "kind": "cat"}]}    JSON lines
    {"file": "a.jpg", "box": [0, 0, 9, 9], "kind": "cat"}                                  an object a line
    {"images": [...], "annotations": [...], "categories": [...]}                           COCO
    file,xmin,ymin,xmax,ymax,kind                                                          CSV with a header

Also read are ``metadata.jsonl`` and ``metadata.csv`` of image folders for Hugging Face's datasets, CelebA's
``list_attr_celeba.txt`` and ``list_bbox_celeba.txt``, and Tiny ImageNet's ``val_annotations.txt``. Places are pixels of
the original image from 0, the end exclusive.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from analysis.corpus.annotation_table import AnnotationTable, Box, numbers
from analysis.corpus.voc_xml import read_voc_folder
from patchgame_egg.text_files import read_json, read_text, split_lines

# What keys and columns are called, without underscores and in small letters; the first that is there counts.
_IMAGE = (
    "file", "filename", "filepath", "image", "imagename", "imagepath", "imagefile", "imageid", "img", "imgpath", "path",
)  # fmt: skip
# Where a box is: two corners, or a corner and the size.
_CORNERS = (
    ("x0", "y0", "x1", "y1"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)
_SIZED = (
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("x1", "y1", "width", "height"),
    ("xmin", "ymin", "width", "height"),
    ("left", "top", "width", "height"),
)
_SQUARE = ("x", "y", "size")
_PLACE = "give box [x0, y0, x1, y1], or the numbers x, y and size"
_KNOWN = "JSON lines, COCO's JSON, a CSV with a header, or a folder of VOC's XML"
# What pandas calls a column without a name.
_INDEX = re.compile("Unnamed: [0-9]+")


def read_notes(path: Path) -> AnnotationTable:
    """Reads annotations of any known form; which one it is, the file itself tells.

    Args:
        path: a file as in the module's list, or a folder of Pascal VOC's XML files, or one that has them in
            ``Annotations``. In JSON lines, every text, number or boolean beside the image's name and ``objects`` says
            something of the image; of an object, everything beside its place. In a line that has a place itself, it is
            said of an object. A row of a CSV is such a line.

    Returns:
        What is said, by the images' names as the file has them.

    Raises:
        ValueError: there is no such file, or it says something else; where, and what to do.
    """
    if path.is_dir():
        return read_voc_folder(path)
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: give {_KNOWN} ({error})") from error
    table, lines = AnnotationTable(path), split_lines(text)
    first = next((line for line in lines if line.strip()), "")
    if not first:
        raise ValueError(f"{path} is empty: give {_KNOWN}")
    if first.lstrip()[0] in "{[":
        _read_json(table, text, lines)
    elif first.strip().isdecimal() and len(lines) > 1:
        _read_counted(table, lines)
    elif len(first.split("\t")) == 6 and all(re.fullmatch("-?[0-9]+", cell.strip()) for cell in first.split("\t")[2:]):
        _read_tiny_imagenet(table, lines)
    else:
        _read_csv(table, text, first)
    return table.check()


def _read_json(table: AnnotationTable, text: str, lines: Sequence[str]) -> None:
    """JSON lines; or COCO's JSON, on one line or on several."""
    first = _json(next(line for line in lines if line.strip()))
    whole = None if first else _json(text)
    if isinstance(first, dict) and {"images", "annotations"} <= first.keys():
        whole = first
    if isinstance(whole, dict) and isinstance(whole.get("images"), list) and isinstance(whole.get("annotations"), list):
        return _read_coco(table, whole)
    if whole is not None:
        raise ValueError(f"{table.path} is JSON, but neither an object a line nor COCO's: give {_KNOWN}")
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                entry = read_json(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{table.path}, line {number}: {error}") from error
            _add(table, f"line {number}", entry)
    return None


def _json(text: str) -> Any:
    """What a text in JSON holds; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _read_coco(table: AnnotationTable, whole: Mapping[str, Any]) -> None:
    """COCO's JSON: every image is named, and those without annotations show nothing."""
    kinds = _by_id(table, whole.get("categories") or [], "categories", "name")
    images = _by_id(table, whole["images"], "images", "file_name")
    for number, name in images.items():
        table.add(f"image {number}", name, {}, ())
    for count, entry in enumerate(whole["annotations"], 1):
        place = f"annotation {count}"
        named = []
        for key, known in (("image_id", images), ("category_id", kinds)):
            given = entry.get(key) if isinstance(entry, dict) else None
            if not isinstance(given, int | str) or given not in known:
                raise ValueError(f"{table.path}, {place}: its {key} is {str(given)[:60]!r}, which is not in the file")
            named.append(known[given])
        extra = entry.get("attributes")
        values = {**(extra if isinstance(extra, dict) else {}), "class": named[1]}
        _add(table, place, {"file": named[0], "objects": [{**values, "bbox": entry.get("bbox")}]})


def _by_id(table: AnnotationTable, entries: object, part: str, key: str) -> dict[int | str, str]:
    """A text of each entry of one of COCO's lists, by the entry's id."""
    found: dict[int | str, str] = {}
    for count, entry in enumerate(entries if isinstance(entries, list) else [None], 1):
        number, text = (entry.get(k) if isinstance(entry, dict) else None for k in ("id", key))
        if not isinstance(number, int | str) or not isinstance(text, str) or number in found:
            what = f"{table.path}: entry {count} of {part} is {str(entry)[:60]}"
            raise ValueError(f"{what}: give an id of its own and the text {key!r}")
        found[number] = text
    return found


def _read_counted(table: AnnotationTable, lines: Sequence[str]) -> None:
    """CelebA's lists: a count, names of columns, then an image a line; where all is -1 or 1, these are no and yes."""
    header, *rows = [line.split() for line in lines[1:]]
    places = _place_keys(header)
    names = header[1:] if _image_key(header[:1]) else header
    for number, (image, *cells) in ((n, row) for n, row in enumerate(rows, 3) if row):
        if len(cells) != len(names):
            raise ValueError(f"{table.path}, line {number}: {len(cells)} values, and line 2 names {len(names)}")
        values: list[object] = [_cell(cell) for cell in cells]
        if not places and {*cells} <= {"-1", "1"}:
            values = [cell == "1" for cell in cells]
        _add(table, f"line {number}", {"file": image, **dict(zip(names, values, strict=True))})


def _read_tiny_imagenet(table: AnnotationTable, lines: Sequence[str]) -> None:
    """Tiny ImageNet's list: image, class and box, apart by tabs; the box includes its last pixels."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            cells = line.split("\t")
            if len(cells) != 6:
                raise ValueError(f"{table.path}, line {number}: {len(cells)} cells, and the first line has 6")
            x0, y0, x1, y1 = (side if isinstance(side := _cell(cell), float) else math.nan for cell in cells[2:])
            _add(table, f"line {number}", {"file": cells[0], "box": [x0, y0, x1 + 1, y1 + 1], "class": cells[1]})


def _read_csv(table: AnnotationTable, text: str, first: str) -> None:
    """A CSV with a header, apart by commas, semicolons or tabs; a row is an image, or an object with its box."""
    mark = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    try:
        header = [cell.strip() for cell in next((row for row in reader if any(row)), [])]
        image = _image_key(header)
        if image is None or len(header) < 2:
            raise ValueError(f"{table.path} is of no known form: give {_KNOWN}; its first line is {first[:60]!r}")
        if len({*header} - {""}) + header.count("") < len(header):
            raise ValueError(f"{table.path}: a column's name is there twice in {first[:60]!r}")
        places = {*_place_keys(header)}
        for row in reader:
            place = f"line {reader.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                raise ValueError(f"{table.path}, {place}: {len(row)} cells, and the header has {len(header)}")
            # Columns without a name number the rows.
            cells = {key: cell for key, cell in zip(header, row, strict=True) if key and not _INDEX.fullmatch(key)}
            _add(table, place, {key: _cell(cell) if key in places else cell for key, cell in cells.items()})
    except csv.Error as error:
        raise ValueError(f"{table.path}, line {reader.line_num}: {error}") from error


def _cell(text: str) -> object:
    """A cell that says where an object is: a number, a list of numbers, or what stands there; None if it is empty."""
    try:
        number = float(text)
    except ValueError:
        return (_json(text) or text) if text.strip() else None
    return None if math.isnan(number) else number


def _image_key(keys: Iterable[str]) -> str | None:
    """The key of an entry, or the column of a table, that names the image."""
    plain = _plain(keys)
    return next((plain[name] for name in _IMAGE if name in plain), None)


def _place_keys(keys: Iterable[str]) -> list[str]:
    """Which keys say where an object is; empty where none do."""
    plain = _plain(keys)
    for names in (("box",), ("bbox",), *_CORNERS, *_SIZED, _SQUARE):
        if all(name in plain for name in names):
            return [plain[name] for name in names]
    return []


def _plain(keys: Iterable[str]) -> dict[str, str]:
    """Keys by what is looked for: ``x_min``, ``XMin`` and ``xmin`` are the same."""
    return {_letters(key): key for key in keys}


# A file has the same few keys in every line.
@lru_cache(maxsize=1024)
def _letters(key: str) -> str:
    return re.sub(r"[\s_-]", "", key).lower()


def _add(table: AnnotationTable, place: str, entry: Any) -> None:
    """Takes in a line, whose place is said in errors."""
    try:
        key = (_image_key(entry) if isinstance(entry, dict) else None) or "file"
        if not isinstance(entry, dict) or not isinstance(entry.get(key), str):
            raise ValueError(f"expected an object with the text 'file', got {str(entry)[:60]}")
        values, objects = _said({k: value for k, value in entry.items() if k != key})
    except ValueError as error:
        raise ValueError(f"{table.path}, {place}: {error}") from error
    table.add(place, entry[key], values, objects)


def _said(entry: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[Box, dict[str, Any]]] | None]:
    """What an entry says of its image, and the objects that it shows; None where nothing is said about them."""
    objects = entry.pop("objects", None)
    if objects is None:
        keys = _place_keys(entry)
        if not keys:
            return entry, None
        # Beside a place, a size is that of the image.
        entry = {key: value for key, value in entry.items() if key in keys or key.lower() not in ("width", "height")}
        if all(entry[key] is None or entry[key] != entry[key] for key in keys):
            # A row for an image without objects.
            return {key: value for key, value in entry.items() if key not in keys}, []
        return {}, [_object(entry)]
    if isinstance(objects, dict) and objects and all(isinstance(column, list) for column in objects.values()):
        # Columns instead of rows, as in metadata.jsonl.
        if len({len(column) for column in objects.values()}) > 1:
            raise ValueError("the lists in objects differ in length: give each a value per object")
        objects = [dict(zip(objects, row, strict=True)) for row in zip(*objects.values(), strict=True)]
    if not isinstance(objects, list) or not all(isinstance(o, dict) for o in objects):
        raise ValueError(f"objects is {str(objects)[:60]}: expected a list of objects")
    return entry, [_object(o) for o in objects]


def _object(entry: dict[str, Any]) -> tuple[Box, dict[str, Any]]:
    """The box of an object, and what it is."""
    keys = _place_keys(entry)
    names = tuple(_plain(keys))
    given = entry[keys[0]] if len(keys) == 1 else [entry[key] for key in keys] or None
    if len(keys) == 1:
        # What COCO calls bbox is a corner and a size, wherever it is used.
        names = _CORNERS[0] if names == ("box",) else _SIZED[0]
    found = numbers(given) if isinstance(given, list) else None
    if found is None or len(found) != len(names):
        raise ValueError(f"the place of an object is {str(given)[:60]}: {_PLACE}")
    x, y, *ends = found
    box = (x, y, ends[0], ends[1]) if names in _CORNERS else (x, y, x + ends[0], y + ends[-1])
    return box, {key: value for key, value in entry.items() if key not in keys}
