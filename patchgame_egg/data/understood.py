"""What was understood of the images, in lines for their user to check before anything long begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from patchgame_egg.data.images import NOT_SAID, ImageSource, Origin
from patchgame_egg.data.names import listed, printable

# With fewer, an accuracy of a half is more than seven points wide (95 %).
FEW = 200


def understood(name: str, sources: Mapping[str, ImageSource]) -> list[str]:
    """How many images and classes there are, where the classes come from, what was left out and why.

    Args:
        name: of the images.
        sources: what they are for (``to train on``, ``held out``) -> the images.

    Example:
        >>> from patchgame_egg.data.scenes import Scenes
        >>> understood("scenes", {"to train on": Scenes(4000), "held out": Scenes(500)})
        ['scenes: 4,000 images to train on, 500 held out', '10 classes: circle, square, triangle, star, cross, ...']
    """
    return [printable(line) for line in _lines(name, sources)]


def _lines(name: str, sources: Mapping[str, ImageSource]) -> Iterator[str]:
    uses, origins = list(sources), [getattr(source, "origin", NOT_SAID) for source in sources.values()]
    counts = [f"{len(source):,} {use}" for use, source in sources.items()]
    counts[0] = counts[0].replace(" ", " images ", 1)
    if origins[0].held_out:
        counts[-1] += f" ({origins[0].held_out})"
    yield f"{name}: {', '.join(counts)}"
    yield _classes(list(sources.values()), origins[0])
    for use, origin in zip(uses, origins, strict=True):
        # Parts of one folder have one origin.
        if origin.left_out and (use == uses[0] or origin is not origins[0]):
            yield f"left out{f' of what is {use}' if use != uses[0] else ''}: {'; '.join(origin.left_out)}"
    for note in origins[0].notes:
        yield f"note: {note}"
    held_out = sources.get("held out")
    if held_out is None:
        return
    points = 98 / max(1, len(held_out)) ** 0.5  # 1.96 standard errors of a half
    # What rounds to 7 already needs no more images.
    if points >= 7.5:
        yield f"note: with {len(held_out)} images held out an accuracy is known to {points:.0f} points; {FEW} make it 7"


def _classes(sources: list[ImageSource], origin: Origin) -> str:
    classes = sources[0].classes
    labels = [int(label) for source in sources for label in getattr(source, "labels", ())]
    without = sum(label < 0 for label in labels)
    none = f"; without a class: {without:,}" if without else ""
    if (without < len(labels) and not origin.classes_from) or (labels and not classes):
        return "no classes"
    if not classes:
        return "classes without names"
    by = f" {origin.classes_from}" if origin.classes_from else ""
    return f"{len(classes):,} class{'es' * (len(classes) != 1)}{by}: {listed(classes)}{none}"
