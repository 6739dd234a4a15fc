"""Which image an annotation means: one rule for the names in all kinds of annotation files.

A name means the image whose path ends with it, folder by folder: ``1.jpg``, ``cat/1.jpg`` and ``photos/val/cat/1.jpg``
all mean ``photos/val/cat/1.jpg``. The suffix may be missing. An image whose path from the root on is the name goes
before others. Names that fit several images are an error: nothing is given to an image by guess.

VOC's XML means the image of its own name. A folder that it lies in, or that it names as ``<folder>``, counts where
images lie in a folder of that name; of images that only differ in their suffix, ``<filename>`` tells which.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.corpus.annotation_table import Notes

_Parts = tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """Which images are described.

    Attributes:
        notes: what is said of each of them.
        lost: the names that fit no image.
    """

    notes: dict[Path, Notes]
    lost: list[str]


class ImageNames:
    """Image files by their names.

    Args:
        paths: of the images.
        root: the folder from which on they are named.
    """

    def __init__(self, paths: Iterable[Path], root: Path) -> None:
        self.paths, self.root = list(dict.fromkeys(paths)), root
        above = _parts(root.absolute().as_posix())
        self._inside: list[_Parts] = []
        self._whole: list[_Parts] = []
        self._by_name: dict[str, list[int]] = {}
        self._by_stem: dict[str, list[int]] = {}
        for number, path in enumerate(self.paths):
            below = path.is_relative_to(root)
            parts = _parts((path.relative_to(root) if below else path.absolute()).as_posix())
            self._inside.append(parts)
            self._whole.append((*above, *parts) if below else parts)
            self._by_name.setdefault(parts[-1], []).append(number)
            self._by_stem.setdefault(_stem(parts[-1]), []).append(number)
        self._folders = {folder for parts in self._inside for folder in parts[:-1]}

    def find(self, table: Mapping[str, Notes], path: Path) -> Found:
        """Gives each image what is said of it.

        Args:
            table: what is said, by the names that it gives to images.
            path: of the annotations, for errors.

        Raises:
            ValueError: a name fits several images, or what is said of an image under several names contradicts itself.
        """
        found: dict[Path, Notes] = {}
        lost = []
        for name, notes in table.items():
            where = f"{path}, {notes.places['']}" if "" in notes.places else str(path)
            numbers = self._of_name(name) if notes.file is None else self._of_voc(name, notes.file)
            fitting = self._one(numbers, name, where)
            for image in fitting:
                found[image] = found[image].joined(notes, name, path) if image in found else notes
            lost += [] if fitting else [name]
        return Found(found, lost)

    def of(self, name: str, where: str) -> list[Path]:
        """The image that a name means; none if it fits none.

        Args:
            name: see above.
            where: it stands, for errors.

        Raises:
            ValueError: it fits several images.
        """
        return self._one(self._of_name(name), name, where)

    def _one(self, fitting: list[int], name: str, where: str) -> list[Path]:
        if len(fitting) > 1:
            first, second = (self.paths[i] for i in fitting[:2])
            raise ValueError(
                f"{where}: {name!r} fits {len(fitting)} images, {str(first)!r} and {str(second)!r}: name the image "
                f"with its folders, from {str(self.root)!r} on"
            )
        return [self.paths[i] for i in fitting]

    def _of_name(self, name: str) -> list[int]:
        *folders, last = _parts(name) or ("",)
        for known in (self._by_name, self._by_stem):
            fitting = [i for i in known.get(last, []) if _is_end(folders, self._whole[i][:-1])]
            if fitting:
                return [i for i in fitting if self._inside[i][:-1] == tuple(folders)] or fitting
        return []

    def _of_voc(self, name: str, file: tuple[str, str]) -> list[int]:
        (folder, file_name), (*above, stem) = (" ".join(_parts(text)[-1:]) for text in file), _parts(name)
        wanted = {*above, folder} & self._folders
        for known, last in ((self._by_stem, stem), (self._by_name, file_name), (self._by_stem, file_name)):
            fitting = [i for i in known.get(last, []) if wanted <= set(self._inside[i][:-1])]
            fitting = [i for i in fitting if _is_end(above, self._inside[i][:-1])] or fitting
            fitting = [i for i in fitting if self._inside[i][-1] == file_name] or fitting
            if fitting:
                return fitting
        return []


def _parts(name: str) -> _Parts:
    """A path's folders and its last name, however it is written: ``\\`` of Windows, ``./``, accents in one or two."""
    whole = unicodedata.normalize("NFC", name.replace("\\", "/"))
    return tuple(stripped for part in whole.split("/") if (stripped := part.strip()) not in ("", "."))


def _is_end(parts: Sequence[str], of: Sequence[str]) -> bool:
    return len(parts) <= len(of) and tuple(of[len(of) - len(parts) :]) == tuple(parts)


def _stem(name: str) -> str:
    return Path(name).stem
