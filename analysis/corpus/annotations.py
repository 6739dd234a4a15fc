"""What is known about the images of a corpus and of their patches: from the built-in scenes, or from annotation files.

Coordinates follow an image through what happens to it: its shorter side is resized, the middle square is cut out
(`patchgame_egg.data.images.square`), and this square, whole, becomes the view of both agents. Letters in shapes: N
images, S side of a square in pixels, P patches (of several sizes, grid after grid, the finest first), K objects of an
image, A attributes of an image, C of a patch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.corpus.annotation_table import AnnotationTable, Box, Kinds, Notes, kinds_of
from analysis.corpus.captions import describe_scene
from analysis.corpus.corpus import Corpus, Names, image_numbers
from analysis.corpus.image_names import ImageNames
from patchgame_egg.data.images import ImageFiles
from patchgame_egg.data.pixels import shown_size
from patchgame_egg.data.scenes import CONCEPTS, Scene, Scenes
from patchgame_egg.patches import grid_shapes, patch_boxes

# Boxes that are drawn at once.
_AT_ONCE = 64

# Sums of shares are rounded.
_HALF = 0.5 - 1e-9

_OF_OBJECTS = ("shape", "colour", "texture")
_SCENE_PATCH = {
    "content": (*CONCEPTS["background"], "object"),
    **{name: CONCEPTS[name] for name in (*_OF_OBJECTS, "background")},
}


def annotate_scenes(corpus: Corpus, scenes: Scenes) -> Corpus:
    """Adds what is known about the built-in scenes.

    Args:
        corpus: of these scenes; ``info["index"]`` says which.
        scenes: as they were loaded.

    Returns:
        The corpus with ``attributes``, those of `Scenes.attributes`, and ``captions``, a sentence of `describe_scene`
        for each; for a speaker of patches also with ``object_area`` and ``patch_attributes``. Where objects cover at
        least half of a patch, its ``content`` is ``object``, and ``shape``, ``colour`` and ``texture`` are of the
        object that covers most of it. Elsewhere the content is the kind of the background, and so is ``background``.

    Raises:
        ValueError: the corpus does not say which images it is about.
    """
    index = image_numbers(corpus)
    drawn = [scenes.scene(i) for i in index]
    corpus = replace(
        corpus,
        captions=tuple((describe_scene(scene),) for scene in drawn),
        attributes=np.stack([scenes.attributes(i).numpy() for i in index]),
        attribute_names=tuple(CONCEPTS),
        value_names=tuple(CONCEPTS.values()),
    )
    if corpus.grid is None:
        return corpus
    patches, area = zip(*(_scene_patches(scene, corpus.grid, corpus.scales) for scene in drawn), strict=True)
    return _with_patches(corpus, np.stack(patches), _SCENE_PATCH, np.stack(area))


def annotate_files(
    corpus: Corpus, notes: Mapping[str, Notes], source: ImageFiles, root: Path, others: Iterable[Path] = ()
) -> Corpus:
    """Adds what annotation files say about image files.

    Args:
        corpus: of these images; ``info["index"]`` says which.
        notes: what is said, by image, as `analysis.corpus.annotation_files.read_notes` gives it.
        source: the images.
        root: the folder from which on images are named.
        others: further images, which the annotations may mean as well: what is said of them is given to no other.

    Returns:
        The corpus with ``attributes``: what is said of an image, the ``number of objects``, and for every value that
        objects of the corpus have, whether the image has such an object (``has blue``). For a speaker of patches also
        with ``object_area`` and, for everything that is said of objects, ``patch_attributes``. A patch shows the object
        that covers most of it, among those that cover half of it or lie in it with half of what can be seen of them.
        Of keys with more than 100 values the most frequent are kept, and the rest is ``other``; keys whose values are
        all different, which name things, are left out. ``info["annotations"]`` says what was read. Nothing is known
        about an image of which nothing is said.

    Raises:
        ValueError: nothing is said of any image, a name fits several, or the corpus does not say which images it is
            about.
    """
    paths = [source.paths[i] for i in image_numbers(corpus)]
    table = notes if isinstance(notes, AnnotationTable) else None
    names = ImageNames([*source.paths, *others], root)
    described = names.find(notes, table.path if table else root).notes
    found = [described.get(path) for path in paths]
    if not any(found):
        raise ValueError(
            f"no image is annotated: the annotations speak of {next(iter(notes))!r} and others, the first image is "
            f"{paths[0].relative_to(root)} in {root}"
        )
    of_images = _told_apart(note.values for note in notes.values())
    of_objects = _told_apart(o.values for note in notes.values() for o in note.objects or ())
    corpus = _with_attributes(corpus, found, of_images, of_objects)
    if table:
        corpus = replace(corpus, info={**corpus.info, "annotations": table.summary(list(described.values()))})
    if corpus.grid is None:
        return corpus
    patches = np.full((len(corpus), len(corpus.boxes), len(of_objects)), -1, dtype=np.int64)
    area = np.full(patches.shape[:2], np.nan, dtype=np.float32)
    for i, (path, note) in enumerate(zip(paths, found, strict=True)):
        if note is not None and note.objects is not None:
            size = shown_size(path)
            boxes = [_in_square(o.box, *size) for o in note.objects]
            shown, area[i] = _shown(boxes, corpus.grid, corpus.scales)
            numbers = [[_number(kinds, o.values.get(key)) for key, kinds in of_objects.items()] for o in note.objects]
            patches[i] = np.array([*numbers, [-1] * len(of_objects)], dtype=np.int64)[shown]
    return _with_patches(corpus, patches, {key: kinds.names for key, kinds in of_objects.items()}, area)


def patch_shares(
    maps: NDArray[np.float64], grid: tuple[int, int], scales: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much of each patch every object covers, and all of them together.

    Args:
        maps: how much of each pixel every object covers, ``[K, S, S]`` in [0, 1].
        grid: rows and columns of patches; their borders need not be those of pixels.
        scales: number of grids, of which that is the finest.

    Returns:
        ``[K, P]`` and ``[P]``, in [0, 1].
    """
    edges = np.arange(maps.shape[1] + 1) / maps.shape[1]
    every = np.concatenate([maps, maps.max(axis=0, initial=0.0)[None]])
    parts = []
    for shape in grid_shapes(grid, scales):
        rows, columns = (_overlaps(edges, count) * count for count in shape)
        parts.append((rows.T @ every @ columns).reshape(len(every), -1))
    shares = np.concatenate(parts, axis=1)
    return shares[:-1], shares[-1]


def _overlaps(edges: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The length that each interval between two edges has in common with each of ``count`` equal parts of [0, 1]."""
    low, high, parts = edges[:-1, None], edges[1:, None], np.arange(count + 1) / count
    found: NDArray[np.float64] = np.clip(np.minimum(high, parts[1:]) - np.maximum(low, parts[:-1]), 0, None)
    return found


def _scene_patches(scene: Scene, grid: tuple[int, int], scales: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    share, area = patch_shares(np.stack([o.mask for o in scene.objects]).astype(float), grid, scales)
    kinds = np.array([[getattr(o, name) for name in _OF_OBJECTS] for o in scene.objects])
    covered = area >= _HALF
    content = np.where(covered, len(CONCEPTS["background"]), scene.background)
    shown = np.where(covered[:, None], kinds[share.argmax(axis=0)], -1)
    return np.column_stack([content, shown, np.where(covered, -1, scene.background)]), area


def _in_square(box: Box, width: int, height: int) -> Box:
    """A box in pixels as shares of the middle square of its image; what lies outside is not in [0, 1]."""
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    x0, y0, x1, y1 = box
    return (x0 - left) / side, (y0 - top) / side, (x1 - left) / side, (y1 - top) / side


def _shown(
    boxes: Sequence[Box], grid: tuple[int, int], scales: int, pixels: int = 256
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which box each patch shows, -1 for none, and how much of it all boxes cover, for `annotate_files`."""
    parts, covered = [], np.zeros((1, pixels, pixels))
    # Thousands of boxes drawn at once would fill the memory.
    for first in range(0, max(len(boxes), 1), _AT_ONCE):
        maps = np.zeros((len(boxes[first : first + _AT_ONCE]), pixels, pixels))
        for drawn, (x0, y0, x1, y1) in zip(maps, boxes[first:], strict=False):
            across, down = (_overlaps(np.array(ends), pixels)[0] * pixels for ends in ((x0, x1), (y0, y1)))
            drawn[:] = down[:, None] * across
        parts.append(patch_shares(maps, grid, scales)[0])
        covered = np.concatenate([covered, maps]).max(axis=0, keepdims=True)
    share, area = np.concatenate(parts), patch_shares(covered, grid, scales)[1]
    side = patch_boxes(grid, scales)[:, 2]
    visible = share[:, side == 1].sum(axis=1, keepdims=True)
    counts = (share >= _HALF) | (share * side**2 >= _HALF * visible) & (share > 0)
    best = np.where(counts, share, 0).argmax(axis=0) if len(boxes) else np.zeros(len(area), dtype=np.int64)
    return np.where(counts.any(axis=0), best, -1), area


def _told_apart(described: Iterable[Mapping[str, str]]) -> dict[str, Kinds]:
    """The kinds of each key, without keys that name things."""
    return {key: kinds for key, kinds in kinds_of(described).items() if not kinds.left_out}


def _number(kinds: Kinds, value: str | None) -> int:
    name = kinds.name(value)
    return -1 if name is None else kinds.names.index(name)


def _with_attributes(
    corpus: Corpus, notes: Sequence[Notes | None], of_images: Mapping[str, Kinds], of_objects: Mapping[str, Kinds]
) -> Corpus:
    columns: dict[str, tuple[Names, list[int]]] = {}
    for key, kinds in of_images.items():
        columns[key] = kinds.names, [-1 if n is None else _number(kinds, n.values.get(key)) for n in notes]
    shown = [None if n is None else n.objects for n in notes]
    if any(objects is not None for objects in shown):
        (kinds,) = kinds_of({"": str(len(objects))} for objects in shown if objects is not None).values()
        counts = [-1 if objects is None else _number(kinds, str(len(objects))) for objects in shown]
        columns["number of objects"] = kinds.names, counts
    for key, kinds in of_objects.items():
        there = [None if objects is None else {kinds.name(o.values.get(key)) for o in objects} for objects in shown]
        for value in kinds.names:
            # A number alone, yes, or a value of two keys would not say what it is a value of.
            keys = sum(value in others.names for others in of_objects.values())
            unclear = keys > 1 or value in ("yes", "no") or not value[:1].isalpha()
            has = [-1 if names is None else int(value in names) for names in there]
            if max(has) > 0:
                columns[f"has {key} {value}" if unclear else f"has {value}"] = ("no", "yes"), has
    return replace(
        corpus,
        attributes=np.array([column for _, column in columns.values()], dtype=np.int64).reshape(-1, len(corpus)).T,
        attribute_names=tuple(columns),
        value_names=tuple(names for names, _ in columns.values()),
    )


def _with_patches(
    corpus: Corpus, patches: NDArray[np.int64], names: Mapping[str, Names], area: NDArray[np.floating]
) -> Corpus:
    return replace(
        corpus,
        patch_attributes=patches,
        patch_attribute_names=tuple(names),
        patch_value_names=tuple(names.values()),
        object_area=area.astype(np.float32),
    )
