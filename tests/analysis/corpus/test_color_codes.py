"""The language of colors: the same patches speak, like colors have one code, and nothing else is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.corpus.color_codes import color_codes
from analysis.metrics.concept_association import association
from tests.support.synthetic_corpus import scene_corpus, sequence_corpus


def test_patches_of_one_color_say_one_code() -> None:
    scenes = scene_corpus(20)
    assert scenes.images is not None and scenes.patch_attributes is not None
    side = scenes.images.shape[2] // 6
    plain = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])[scenes.patch_attributes[:, :, 1] % 3]
    images = plain.reshape(20, 6, 6, 3).transpose(0, 3, 1, 2).repeat(side, axis=2).repeat(side, axis=3)
    control = color_codes(replace(scenes, images=images.astype(np.uint8)))
    assert control is not None and control.vocab_size == 3
    assert (control.mask == scenes.mask).all() and control.labels is not None and len(control.labels) == 20
    found = association(control.symbols, control.mask, scenes.patch_attributes[:, :, 1] % 3, permutations=0)
    assert found.ami.value == 1


def test_of_the_items_whose_images_are_kept() -> None:
    scenes = scene_corpus(20)
    assert scenes.images is not None
    control = color_codes(replace(scenes, images=scenes.images[:5]))
    assert control is not None and len(control) == 5 and control.attributes is not None
    assert len(control.attributes) == 5 and control.vocab_size == scenes.vocab_size
    # Two symbols a patch: it says one code if it says anything.
    double = replace(scenes, symbols=scenes.symbols.repeat(2, 1), mask=scenes.mask.repeat(2, 1))
    twice = color_codes(double)
    assert twice is not None and (twice.mask == scenes.mask).all()


def test_without_patches_or_images_there_are_none() -> None:
    assert color_codes(sequence_corpus()) is None
    assert color_codes(replace(scene_corpus(3), images=None)) is None
