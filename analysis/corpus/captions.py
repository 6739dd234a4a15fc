"""What is said in words of the images of a corpus: by people, in a file; of the built-in scenes, by a rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from analysis.corpus.corpus import Corpus, image_numbers
from analysis.corpus.image_names import ImageNames
from patchgame_egg.data.images import ImageFiles
from patchgame_egg.data.scenes import CONCEPTS, Scene, SceneObject

ADJECTIVES = {
    "plain": "plain", "stripes": "striped", "checks": "checked", "dots": "dotted", "rings": "ringed",
    "marble": "marbled", "zigzag": "zigzagged",
}  # fmt: skip
"""How an object of each texture is called."""


def describe_scene(scene: Scene) -> str:
    """One English sentence with what is known of a scene: every object, where it is from the main one, the background.

    Example:
        >>> from patchgame_egg.data.scenes import Scenes
        >>> describe_scene(Scenes(10).scene(0))
        'a large marbled red circle below a small dotted white square on brick'
    """
    main, *others = scene.objects
    beside = " and".join(f" {_side(main, other)} {_in_words(other)}" for other in others)
    return f"{_in_words(main)}{beside} on {CONCEPTS['background'][scene.background]}"


def captions_of_files(
    corpus: Corpus,
    captions: Mapping[str, tuple[str, ...]],
    source: ImageFiles,
    root: Path,
    others: Iterable[Path] = (),
) -> Corpus:
    """Adds what people say of image files.

    Args:
        corpus: of these images; ``info["index"]`` says which.
        captions: sentences by the images' names, as `analysis.corpus.caption_files.read_captions` gives them.
        source: the images.
        root: the folder from which on images are named.
        others: further images, which the captions may mean as well: what is said of them is given to no other.

    Returns:
        The corpus with ``captions``; an image that is not named has none.

    Raises:
        ValueError: none of the images is named, a name fits several, or the corpus does not say which images it is
            about.
    """
    paths = [source.paths[i] for i in image_numbers(corpus)]
    said = captions_by_path(captions, [*source.paths, *others], root)
    found = tuple(said.get(path, ()) for path in paths)
    if paths and not any(found):
        raise ValueError(
            f"no image has a caption: the captions speak of {next(iter(captions), 'none')!r} and others, the first "
            f"image is {caption_name(paths[0], root)!r} in {root}"
        )
    return replace(corpus, captions=found)


def captions_by_path(
    captions: Mapping[str, tuple[str, ...]], paths: Iterable[Path], root: Path
) -> dict[Path, tuple[str, ...]]:
    """Which sentences are about which image, by the rule of `ImageNames`; names that fit no image are left out.

    Raises:
        ValueError: a name fits several images.
    """
    names, found = ImageNames(paths, root), dict[Path, tuple[str, ...]]()
    for name, sentences in captions.items():
        for path in names.of(name, "the captions"):
            found[path] = (*found.get(path, ()), *sentences)
    return found


def caption_name(path: Path, root: Path) -> str:
    """What a file of captions calls an image: its path from the root on, with forward slashes."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _in_words(thing: SceneObject) -> str:
    size, texture, colour, shape = (
        CONCEPTS[name][getattr(thing, name)] for name in ("size", "texture", "colour", "shape")
    )
    return f"a {size} {ADJECTIVES[texture]} {colour} {shape}"


def _side(main: SceneObject, other: SceneObject) -> str:
    """Where the main object is, seen from the other one."""
    right, down = (other.box[i] + other.box[i + 2] - main.box[i] - main.box[i + 2] for i in (0, 1))
    if abs(right) >= abs(down):
        return "left of" if right > 0 else "right of"
    return "above" if down > 0 else "below"
