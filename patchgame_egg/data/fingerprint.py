"""Whether images are still those that something was learnt from: told by names and sizes, without reading them."""

from __future__ import annotations

import hashlib

from patchgame_egg.data.images import ImageSource


def fingerprint(source: ImageSource) -> dict[str, int | str]:
    """Plain values that are equal for the same images in the same order, wherever they lie.

    Args:
        source: the images. Where it has ``sizes()``, pairs of a name and a number of bytes, these count; else only how
            many there are.

    Returns:
        ``count`` and ``files``, a digest, empty without ``sizes()``.
    """
    source = getattr(source, "source", source)
    digest = hashlib.sha256()
    for name, size in source.sizes() if hasattr(source, "sizes") else ():
        digest.update(f"{size} {len(name)} {name}\n".encode(errors="surrogateescape"))
    return {"count": len(source), "files": digest.hexdigest() if hasattr(source, "sizes") else ""}
