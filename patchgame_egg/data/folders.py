"""Folders of images: what lies in them, which class it belongs to, what is trained on and what is held out.

Links to folders are followed, each real folder once, so that a loop ends and no image is there twice. Hidden and system
names are left out (`patchgame_egg.data.names`); what else is no image is counted by suffix.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from patchgame_egg.data.images import ImageFiles, Origin
from patchgame_egg.data.names import PICTURES, image_suffixes, is_system, listed, printable

HELD_OUT = ("val", "valid", "validation", "test")
"""What a folder of held-out images may be called."""

VAL_SHARE = 0.05
"""How much of images without a held-out part is held out (section 3.4)."""


@dataclass
class Listing:
    """What lies below a folder.

    Attributes:
        files: all files, hidden and system ones apart.
        system: names of hidden and system files and folders -> files of that name, or in a folder of that name.
        broken: links that lead nowhere, links to folders that were listed already, and folders that may not be read.
        folders: device and number of each folder.
        linked: device and number of each file that is a link's goal.
    """

    files: list[Path] = field(default_factory=list)
    system: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    folders: set[tuple[int, int]] = field(default_factory=set)
    linked: set[tuple[int, int]] = field(default_factory=set)

    def images(self) -> list[Path]:
        """The files that Pillow reads, by their suffix."""
        images = (path for path in self.files if path.suffix.lower() in image_suffixes())
        # As paths are sorted, but each is taken apart once.
        return sorted(images, key=lambda path: path.parts)

    def left_out(self) -> tuple[str, ...]:
        """What is no image, counted, with the reason."""
        return left_out(Counter(p.suffix.lower() for p in self.files), self.system, self.broken)


def listing(root: Path | str) -> Listing:
    """Everything below a folder, through links to folders as well."""
    found = Listing()
    # Folders that really lie here come first: an image belongs to its own place before a link's.
    real, linked = deque([os.fspath(root)]), deque[str]()
    while real or linked:
        folder = real.popleft() if real else linked.popleft()
        try:
            if (place := _place(folder)) in found.folders:
                found.broken["links to folders that were read already"] += 1
                continue
            found.folders.add(place)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            found.broken[f"folders that cannot be read ({error.strerror})"] += 1
            continue
        here = Path(folder)
        for entry in entries:
            link = entry.is_symlink()
            is_folder = os.path.isdir(entry.path) if link else entry.is_dir(follow_symlinks=False)
            if is_system(entry.name):
                found.system[entry.name] += sum(len(names) for *_, names in os.walk(entry.path)) if is_folder else 1
            elif is_folder:
                (linked if link else real).append(entry.path)
            elif os.path.isfile(entry.path) if link else entry.is_file(follow_symlinks=False):
                found.files.append(here / entry.name)
                if link:
                    found.linked.add(_place(entry.path))
            else:
                found.broken["links that lead nowhere" if link else "that are no files"] += 1
    return found


def _place(path: str | Path) -> tuple[int, int]:
    """What tells a file or folder from all others, through links."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _shared(first: Listing, second: Listing) -> int:
    """How many files of the second are in the first as well, by links; files are asked only where there are any."""
    folders = first.folders & second.folders
    if not folders and not first.linked and not second.linked:
        return 0
    places = set(map(_place, first.images()))
    return sum(_place(path) in places for path in second.images())


def left_out(suffixes: Counter[str], system: Counter[str], broken: Counter[str]) -> tuple[str, ...]:
    """What is no image, counted, with the reason.

    Args:
        suffixes: of all files, in lower case and with their dot; those of images are passed over.
        system: hidden and system names.
        broken: other reasons.

    Example:
        >>> left_out(Counter({".jpg": 9, ".txt": 2}), Counter({"._x.jpg": 1}), Counter())
        ('2 .txt (no images)', '1 with hidden or system names (._x.jpg)')
    """
    rest = {s: n for s, n in suffixes.most_common() if s not in image_suffixes()}
    pictures, others = ({s: n for s, n in rest.items() if (s in PICTURES) == wanted} for wanted in (True, False))
    said = [f"{_counted(pictures)} (pictures that Pillow does not read here)"] if pictures else []
    said += [f"{_counted(others)} (no images)"] if others else []
    if system:
        names = listed(printable(name) for name, _ in system.most_common())
        said.append(f"{system.total()} with hidden or system names ({names})")
    return (*said, *(f"{n} {reason}" for reason, n in broken.items()))


def _counted(suffixes: dict[str, int], most: int = 8) -> str:
    every = [f"{n} {printable(s) if s else 'without a suffix'}" for s, n in suffixes.items()]
    rest = sum(list(suffixes.values())[most:])
    return ", ".join([*every[:most], *([f"{rest} others"] if rest else [])])


def split(count: int, share: float | None = None) -> tuple[list[int], list[int]]:
    """What is trained on and what is held out of ``count`` items, each at least one: drawn, but always the same.

    Args:
        count: at least 2.
        share: how much is held out; None: `VAL_SHARE`.

    Raises:
        ValueError: a share that is not between 0 and 1.
    """
    share = VAL_SHARE if share is None else share
    if not 0 < share < 1:
        raise ValueError(f"val_share={share}: a share of the images is above 0 and below 1")
    order = np.random.default_rng(0).permutation(count)
    held_out = min(count - 1, max(1, round(share * count)))
    return sorted(order[held_out:].tolist()), sorted(order[:held_out].tolist())


def refuse_split(val_share: float | None, held_out: object) -> None:
    """Refuses to hold out a share of images whose held-out part is there.

    Raises:
        ValueError: a share was asked for.
    """
    if val_share is not None:
        raise ValueError(f"val_share={val_share} is for images without a held-out part, which is {held_out} here")


def _parts(root: Path | str) -> tuple[Path | None, Path | None]:
    """The folders of a folder's training and held-out images; (all of it, None) where it has no parts.

    Raises:
        ValueError: no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"no folder root={str(root)!r}: give a folder of images, one sub-folder per class")
    train = root / "train"
    held_out = next((root / name for name in HELD_OUT if (root / name).is_dir()), None)
    if train.is_dir():
        return train, held_out
    # A class may be called test.
    folders = [p.name for p in root.iterdir() if p.is_dir() and not is_system(p.name)]
    alone = held_out is not None and all(name in HELD_OUT for name in folders)
    return (None, held_out) if alone else (root, None)


def _beside(root: Path, *parts: Path | None) -> list[str]:
    """Says which folders lie beside the parts of a folder, and are not read."""
    read = {part.name for part in parts if part is not None and part != root}
    names = sorted(path.name for path in root.iterdir() if path.is_dir()) if read else []
    rest = [printable(name) for name in names if name not in read and not is_system(name)]
    return [f"folders beside {' and '.join(sorted(read))} are not read: {listed(rest)}"] if rest else []


def _files(parts: Sequence[Path], size: int, level: int, held_out: str, notes: Sequence[str] = ()) -> list[ImageFiles]:
    """The images below each folder; classes are numbered over all of them.

    Raises:
        ValueError: fewer than two images in a folder, or none lies as deep as classes should.
    """
    if level < 1:
        raise ValueError(f"class_level={level}: the folders on the way to an image are counted from 1")
    found = [listing(part) for part in parts]
    paths = [one.images() for one in found]
    for part, one, images in zip(parts, found, paths, strict=True):
        if len(images) < 2:
            there = "".join(f"; left out: {reason}" for reason in one.left_out())
            raise ValueError(f"{len(images)} images in {part}: at least 2 are needed{there}")
    ways = [[p.parts[len(part.parts) : -1] for p in images] for part, images in zip(parts, paths, strict=True)]
    names = [[way[level - 1] if len(way) >= level else None for way in part] for part in ways]
    classes = sorted({name for part in names for name in part if name is not None})
    if not classes and level > 1:
        depth = max(len(way) for part in ways for way in part)
        raise ValueError(f"class_level={level}: no image in {parts[0]} lies so deep, the deepest in {depth} folders")
    # Loose images beside folders of classes belong to none of these.
    number: dict[str | None, int] = {name: i for i, name in enumerate(classes)} if classes else {None: 0}
    shown, notes = [printable(name) for name in classes] or ["image"], [*notes, *_notes(parts, ways, names, level)]
    if len(found) == 2 and (shared := _shared(*found)):
        notes.insert(0, f"{shared:,} of the held-out images are trained on, too, by links")
    by = f"by folder, class_level={level}" if classes else ""
    return [
        ImageFiles(
            images,
            [number.get(name, -1) for name in part],
            shown,
            size,
            Origin(held_out, by, one.left_out(), tuple(notes)),
        )
        for images, part, one in zip(paths, names, found, strict=True)
    ]


def _notes(
    parts: Sequence[Path], ways: list[list[tuple[str, ...]]], names: list[list[str | None]], level: int
) -> Iterator[str]:
    """What makes one doubt that the folders mean what they were taken for."""
    if len(parts) == 2 and (new := sorted({n for n in names[1] if n} - set(names[0]))):
        yield f"classes that are held out and never trained on: {listed(map(printable, new))}"
    if len(parts) == 1:
        tops = {way[0].casefold(): way[0] for way in ways[0] if way}
        if "train" in tops and (held_out := next((name for name in HELD_OUT if name in tops), None)):
            yield f"{tops['train']} and {tops[held_out]} are classes here: call them train and {held_out} to tell parts"
        for inner in sorted({way[0] for way in ways[0] if way[1:] and way[1] == "train"}):
            folder = parts[0] / inner
            if any((folder / name).is_dir() for name in HELD_OUT):
                yield f"root={str(folder)!r} has parts to train on and to hold out, which are mixed here"
    below: dict[str, set[str]] = {}
    for way in ways[0]:
        if len(way) > level:
            below.setdefault(way[level - 1], set()).add(way[level])
    deeper = Counter(name for inside in below.values() for name in inside)
    if len(deeper) > 1 and (len(set(names[0])) == 1 or max(deeper.values()) > 1):
        yield f"class_level={level + 1} takes the next folders for classes: {listed(map(printable, sorted(deeper)))}"


def folder_sets(
    root: Path | str, size: int, *, class_level: int = 1, val_share: float | None = None
) -> tuple[ImageFiles, ImageFiles]:
    """Images in folders named after their classes, as (training, held out).

    Args:
        root: holds ``train`` and one of ``val``, ``valid``, ``validation``, ``test``, each with a folder per class;
            or ``train`` alone, or a folder per class, or images, which are split, always in the same way.
        size: side of the squares handed out, pixels.
        class_level: which of the folders on the way to an image, from the part on, names its class: 2 of
            ``train/sketch/dog/1.jpg`` is dog.
        val_share: how much is held out of images without a held-out part; None: `VAL_SHARE`.

    Raises:
        ValueError: no such folder, too few images in it, or held-out ones alone; or an option does not fit it.
    """
    train, held_out = _parts(root)
    if train is None:
        raise ValueError(
            f"{root} has {held_out} and no train/ beside it: root={str(held_out)!r} splits those images 95 to 5"
        )
    if held_out is not None:
        refuse_split(val_share, held_out)
        beside = _beside(Path(root), train, held_out)
        first, second = _files([train, held_out], size, class_level, str(held_out), beside)
        return first, second
    drawn = f"drawn, val_share={VAL_SHARE if val_share is None else val_share:g}"
    (whole,) = _files([train], size, class_level, drawn, _beside(Path(root), train))
    kept, held = split(len(whole), val_share)
    return whole.part(kept), whole.part(held)


def unseen_folder(root: Path | str, size: int, class_level: int = 1) -> ImageFiles:
    """Images in folders named after their classes, of which none is to be trained on.

    Args:
        root: as for `folder_sets`; of its parts the held-out one counts, and all images where it has none.
        size: side of the squares handed out, pixels.
        class_level: as for `folder_sets`.

    Raises:
        ValueError: no such folder, or too few images in it.
    """
    train, held_out = _parts(root)
    part = held_out or train
    assert part is not None
    return _files([part], size, class_level, "")[0]
