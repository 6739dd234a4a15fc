"""A language that nobody learnt: the same patches say their color, in as many codes as the vocabulary has symbols."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.corpus.corpus import Corpus
from patchgame_egg.patches import by_grid


def color_codes(corpus: Corpus, *, seed: int = 0) -> Corpus | None:
    """The control of a language of patches: what is told by the colors of the patches that speak, and no more.

    The mean colors of all patches are clustered by k-means into V codes. Every patch that speaks says its code.

    Args:
        corpus: the record of a language.
        seed: seed of k-means.

    Returns:
        A language of the items whose images are kept, one code a patch; of patches of several sizes too. None without
        patches, or without images.

    Example:
        >>> images = np.repeat(np.array([[[[0]], [[9]], [[0]]], [[[200]], [[0]], [[0]]]], dtype=np.uint8), 4, axis=2)
        >>> images = np.repeat(images, 4, axis=3)
        >>> said = np.ones((2, 4), dtype=bool)
        >>> one_word = Corpus(np.zeros((2, 4), dtype=int), said, vocab_size=2, grid=(2, 2), images=images)
        >>> control = color_codes(one_word)
        >>> len(np.unique(control.symbols[0])), bool((control.symbols[0] != control.symbols[1]).all())
        (1, True)
    """
    # It takes a second to import, and most languages of other people's have no images.
    from sklearn.cluster import KMeans

    if corpus.grid is None or corpus.images is None or not len(corpus.images):
        return None
    count, patches = len(corpus.images), len(corpus.boxes)
    colors = _mean_colors(corpus.images, corpus)
    flat = colors.reshape(-1, 3)
    # More codes than colors cannot be told apart.
    codes = min(corpus.vocab_size, len(np.unique(flat, axis=0)))
    found = KMeans(codes, n_init=1, max_iter=50, random_state=seed).fit_predict(flat)

    def rows(values: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
        return None if values is None else values[:count]

    return replace(
        Corpus(found.reshape(count, patches).astype(np.int64), _patches_that_speak(corpus)[:count], codes),
        labels=rows(corpus.labels),
        label_names=corpus.label_names,
        attributes=rows(corpus.attributes),
        attribute_names=corpus.attribute_names,
        value_names=corpus.value_names,
        grid=corpus.grid,
        scales=corpus.scales,
        patch_attributes=rows(corpus.patch_attributes),
        patch_attribute_names=corpus.patch_attribute_names,
        patch_value_names=corpus.patch_value_names,
    )


def _patches_that_speak(corpus: Corpus) -> NDArray[np.bool_]:
    return np.asarray(corpus.mask.reshape(len(corpus), len(corpus.boxes), -1).any(axis=2))


def _mean_colors(images: NDArray[np.uint8], corpus: Corpus) -> NDArray[np.float64]:
    """Bytes ``[M, 3, S, S]`` to the mean color of each patch, ``[M, P, 3]``."""
    assert corpus.grid is not None
    found = []
    for cells in by_grid(np.arange(len(corpus.boxes)), corpus.grid, corpus.scales):
        rows, columns = cells.shape
        count, bands, height, width = images.shape
        parts = images.reshape(count, bands, rows, height // rows, columns, width // columns)
        found.append(parts.mean(axis=(3, 5)).reshape(count, bands, -1).transpose(0, 2, 1))
    return np.concatenate(found, axis=1)
