"""Images with boxes, as a folder in Pascal VOC's format: ``JPEGImages``, ``Annotations`` and ``ImageSets/Main``."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import SupportsIndex
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from analysis.corpus.voc_xml import SIDES, VocObject, read_voc, voc_files
from analysis.detection.boxes import BoxedImage, Objects
from patchgame_egg.atomic_write import replacing, write_text
from patchgame_egg.data.pixels import UnreadableImage, read_rgb
from patchgame_egg.text_files import read_lines

_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


class VocImages(Dataset[BoxedImage]):
    """Images of a folder in VOC's format with their objects.

    Args:
        annotations: XML files; the images lie in ``JPEGImages`` beside ``Annotations``, by the same name, or the one
            that the annotation gives.
        classes: all classes in order; None: those of the annotations, sorted.

    Attributes:
        classes: the classes' names; the label of the first is 1.
        flat: boxes without area, which are left out.
        first_flat: the annotation with the first of them.

    Raises:
        ValueError: an annotation is broken, or names a class that is not in ``classes``; says which file and why.
    """

    def __init__(self, annotations: Sequence[Path], classes: Sequence[str] | None = None) -> None:
        self.annotations = list(annotations)
        self._files = [read_voc(path) for path in self.annotations]
        self.objects = [tuple(o for o in file.objects if not o.is_flat) for file in self._files]
        flat = [p for p, f in zip(self.annotations, self._files, strict=True) for o in f.objects if o.is_flat]
        self.flat, self.first_flat = len(flat), next(iter(flat), None)
        self.classes = sorted({o.name for found in self.objects for o in found}) if classes is None else list(classes)
        self._numbers = {name: number for number, name in enumerate(self.classes, 1)}
        for path, found in zip(self.annotations, self.objects, strict=True):
            for thing in found:
                if thing.name not in self._numbers:
                    raise ValueError(f"{path}: unknown class {thing.name!r}; there are {', '.join(self.classes)}")

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: SupportsIndex) -> BoxedImage:
        """Reads one image.

        Raises:
            ValueError: the image is missing or broken, or a box lies outside it.
        """
        path, found = self.annotations[operator.index(index)], self.objects[operator.index(index)]
        image = _read_image(path, self._files[operator.index(index)].file_name)
        height, width = image.shape[1:]
        boxes = torch.tensor([thing.box for thing in found]).reshape(-1, 4)
        # Annotations that count from 0 put a border object one pixel outside.
        boxes = boxes.minimum(torch.tensor([width, height] * 2)).clamp(min=0)
        for thing, box in zip(found, boxes, strict=True):
            if bool((box[2:] <= box[:2]).any()):
                about = f"the box {thing.box} of {thing.name!r}"
                raise ValueError(f"{path}: {about} is outside its {width} x {height} image")
        labels = torch.tensor([self._numbers[thing.name] for thing in found], dtype=torch.int64)
        difficult = torch.tensor([thing.difficult for thing in found], dtype=torch.bool)
        return BoxedImage(image, Objects(boxes, labels, difficult))


def _read_image(annotation: Path, file_name: str) -> Tensor:
    above = next((folder for folder in annotation.parents if folder.name == "Annotations"), annotation.parent)
    stem = above.with_name("JPEGImages") / annotation.relative_to(above).with_suffix("")
    named = [stem.with_name(Path(file_name.replace("\\", "/")).name)] if file_name else []
    path = next((p for p in (*(stem.with_name(stem.name + s) for s in _SUFFIXES), *named) if p.is_file()), None)
    if path is None:
        raise ValueError(f"{annotation} has no image {stem}.jpg (nor .jpeg, .png)")
    try:
        return read_rgb(path)
    except UnreadableImage as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def voc_sets(root: Path | str, seed: int = 0) -> tuple[VocImages, VocImages]:
    """The images of a folder in VOC's format, as (training, held out).

    Where ``ImageSets/Main`` has a ``test.txt`` whose images are there, that is held out and ``trainval.txt`` (or train
    and val together) trained on; else ``val.txt`` is held out and ``train.txt`` trained on; else whatever there is, a
    list or all annotations, is split 80 to 20.

    Args:
        root: a folder with ``Annotations`` and ``JPEGImages``; or one that torchvision's ``VOCDetection`` has filled,
            with ``VOCdevkit/VOC2007`` and perhaps further years: all are trained on, what is held out is of the first.
        seed: seed of the random split.

    Raises:
        ValueError: no such folder, nothing in it, a list names an image that is not there or names one twice, an image
            is in both lists, or an annotation is broken.
    """
    years = _years(Path(root))
    train, held_out = _split(years[0], seed)
    if len(years) > 1 and not _annotations_in_list(years[0], "test"):
        raise ValueError(f"{years[0]} has no images of ImageSets/Main/test.txt: with several years, they are held out")
    for year in years[1:]:
        train += _annotations_in_list(year, "trainval") or _all(year)
    _check_lists(train, held_out)
    whole = VocImages([*train, *held_out])
    return VocImages(train, whole.classes), VocImages(held_out, whole.classes)


def check_voc_images(*parts: VocImages) -> str:
    """Reads all images with their boxes once, in threads: what is broken is better known before hours of work.

    Returns:
        What is there, in a line.

    Raises:
        ValueError: an image is missing or broken, or a box lies outside it.
    """
    with ThreadPoolExecutor() as threads:
        for part in parts:
            for _ in threads.map(lambda index, part=part: part[index].image.shape, range(len(part))):  # type: ignore[misc]
                pass
    counts = (
        f"{len(parts[0])} images with boxes to train on, {', '.join(str(len(part)) for part in parts[1:])} held out"
    )
    boxes = sum(len(found) for part in parts for found in part.objects)
    flat = sum(part.flat for part in parts)
    first = next((part.first_flat for part in parts if part.flat), None)
    left_out = f", {flat:,} boxes without area skipped, the first in {first}" if flat else ""
    return f"{counts}, {boxes:,} boxes of {len(parts[0].classes)} classes{left_out}"


def _check_lists(train: list[Path], held_out: list[Path]) -> None:
    both = sorted({path.resolve() for path in train} & {path.resolve() for path in held_out})
    if both:
        raise ValueError(
            f"{len(both)} images are trained on and held out, the first is that of {both[0]}: take them out of one list"
        )
    for part in (train, held_out):
        twice = [path for path, count in Counter(part).items() if count > 1]
        if twice:
            raise ValueError(
                f"{len(twice)} images are in a list twice, the first is that of {twice[0]}: name each once"
            )


def _years(root: Path) -> list[Path]:
    found = [root, *sorted((root / "VOCdevkit").glob("VOC*")), *sorted(root.glob("VOC20*"))]
    years = [folder for folder in found if (folder / "Annotations").is_dir()]
    if not years:
        raise ValueError(
            f"{root} is not in VOC's format: expected Annotations, JPEGImages and ImageSets there, or "
            f"VOCdevkit/VOC2007, as torchvision.datasets.VOCDetection(root, '2007', download=True) leaves it"
        )
    return years


def _split(year: Path, seed: int) -> tuple[list[Path], list[Path]]:
    train, val = _annotations_in_list(year, "train"), _annotations_in_list(year, "val")
    both = _annotations_in_list(year, "trainval") or train + val
    if both and (test := _annotations_in_list(year, "test")):
        return both, test
    if train and val:
        return train, val
    everything = both or _all(year)
    if len(everything) < 2:
        raise ValueError(f"{len(everything)} annotations in {year}: at least 2 are needed, to train on and to hold out")
    order = np.random.default_rng(seed).permutation(len(everything)).tolist()
    count = max(1, round(0.2 * len(everything)))
    return [everything[i] for i in sorted(order[count:])], [everything[i] for i in sorted(order[:count])]


def _all(year: Path) -> list[Path]:
    return voc_files(year / "Annotations")


def _annotations_in_list(year: Path, part: str) -> list[Path]:
    """The annotations that a list names; none if there is no list, or, as of VOC's withheld test sets, none of them."""
    path = year / "ImageSets" / "Main" / f"{part}.txt"
    if not path.exists():
        return []
    # Lists of a single class have a second column.
    names = [line.split()[0] for line in read_lines(path) if line.strip()]
    found = [year / "Annotations" / f"{name}.xml" for name in names]
    missing = [file for file in found if not file.exists()]
    if missing and (part != "test" or len(missing) < len(found)):
        raise ValueError(f"{path} names {len(missing)} images without annotations, the first is {missing[0]}")
    return [] if missing else found


def write_voc(root: Path, parts: dict[str, Iterable[tuple[np.ndarray, Sequence[VocObject]]]]) -> None:
    """Writes images and their objects as a folder in VOC's format.

    Args:
        root: the folder, which is made.
        parts: name of a list (train, val, test) -> uint8 images ``[3, H, W]`` and the objects of each, in whole pixels.
    """
    annotations, images, lists = root / "Annotations", root / "JPEGImages", root / "ImageSets" / "Main"
    for folder in (annotations, images, lists):
        folder.mkdir(parents=True, exist_ok=True)
    for part, pairs in parts.items():
        names = []
        for number, (image, objects) in enumerate(pairs):
            names.append(f"{part}-{number:06d}")
            pixels = image.transpose(1, 2, 0)
            with replacing(images / f"{names[-1]}.jpg") as file:
                Image.fromarray(pixels).save(file, "JPEG", quality=95)
            with replacing(annotations / f"{names[-1]}.xml") as file:
                ElementTree.ElementTree(_annotation(names[-1], pixels, objects)).write(file)
        write_text("".join(f"{name}\n" for name in names), lists / f"{part}.txt")


def _annotation(name: str, pixels: np.ndarray, objects: Sequence[VocObject]) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = f"{name}.jpg"
    size = ElementTree.SubElement(root, "size")
    for key, value in zip(("height", "width", "depth"), pixels.shape, strict=True):
        ElementTree.SubElement(size, key).text = str(value)
    for thing in objects:
        element = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(element, "name").text = thing.name
        ElementTree.SubElement(element, "difficult").text = str(int(thing.difficult))
        box = ElementTree.SubElement(element, "bndbox")
        x0, y0, x1, y1 = thing.box
        for side, value in zip(SIDES, (x0 + 1, y0 + 1, x1, y1), strict=True):
            ElementTree.SubElement(box, side).text = f"{value:g}"
    return root
