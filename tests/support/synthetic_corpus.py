"""Corpora whose contents are known: scenes described by a rule, a sequence language, and degenerate ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.corpus.captions import describe_scene
from analysis.corpus.corpus import Corpus
from patchgame_egg.data.scenes import CONCEPTS, Scene, Scenes

GRID, SIDE, VOCAB = (6, 6), 48, 32


def scene_corpus(count: int = 200, seed: int = 0, noise: float = 0.1) -> Corpus:
    """Patches of the built-in scenes: symbols from 0 name the background, those from 12 the colour of an object."""
    rng = np.random.default_rng(seed)
    scenes = Scenes(count, SIDE, seed=seed)
    drawn = [scenes.scene(i) for i in range(count)]
    attributes = np.stack([scenes.attributes(i).numpy() for i in range(count)])
    area, patches = (np.stack(part) for part in zip(*(_patches(s) for s in drawn), strict=True))
    colour, background = patches[..., 0], patches[..., 1]
    symbols = np.where(colour >= 0, 12 + colour, background)
    symbols = np.where(rng.random(symbols.shape) < noise, rng.integers(0, VOCAB - 4, symbols.shape), symbols)
    score = 1 - 0.2 * area + 0.5 * rng.random(symbols.shape)
    keep = (score.argsort(1).argsort(1) + 1) / symbols.shape[1]
    points = np.concatenate([np.eye(10)[attributes[:, i]] for i in (1, 5)], axis=1)
    image = _unit(points + 0.3 * rng.normal(size=points.shape))
    played = rng.random(count) < 0.6
    return Corpus(
        symbols=symbols.astype(np.int64),
        mask=keep > 0.5,
        vocab_size=VOCAB,
        labels=attributes[:, 0],
        label_names=CONCEPTS["shape"],
        attributes=attributes,
        attribute_names=tuple(CONCEPTS),
        value_names=tuple(CONCEPTS.values()),
        grid=GRID,
        keep_prob=keep.astype(np.float32),
        confidence=rng.random(symbols.shape).astype(np.float32),
        patch_attributes=patches,
        patch_attribute_names=("colour", "background"),
        patch_value_names=(CONCEPTS["colour"], CONCEPTS["background"]),
        object_area=area.astype(np.float32),
        images=np.stack([s.image for s in drawn]),
        captions=tuple((describe_scene(s),) for s in drawn),
        text=_unit(image + 0.3 * rng.normal(size=points.shape)).astype(np.float32),
        image=image.astype(np.float32),
        temperature=0.1,
        candidates=min(64, count),
        changed_maps={"mirrored": keep[:, ::-1].astype(np.float32), "plain grey": keep[:1].astype(np.float32)},
        probes={
            "as played": played,
            "messages shuffled": rng.random(count) < 1 / 64,
            "symbols permuted": rng.random(count) < 0.05,
            "positions permuted": played & (rng.random(count) < 0.7),
            "noise images": rng.random(count) < 1 / 64,
        },
        info={"run": "synthetic", "config": {"speaker": {"vocab": VOCAB}}, "index": list(range(count))},
    )  # fmt: skip


def sequence_corpus(count: int = 200, seed: int = 0) -> Corpus:
    """Messages of two symbols for two attributes, the second one said only three times out of four."""
    rng = np.random.default_rng(seed)
    attributes = rng.integers(0, 4, (count, 2))
    symbols = attributes + np.array([0, 4])
    mask = np.stack([np.ones(count, dtype=bool), rng.random(count) < 0.75], axis=1)
    return Corpus(
        symbols, mask, vocab_size=8, attributes=attributes, attribute_names=("first", "second"),
        value_names=(("a", "b", "c", "d"), ("e", "f", "g", "h")),
    )  # fmt: skip


def only_messages(count: int = 50, slots: int = 5, seed: int = 0) -> Corpus:
    """What another programme's dump holds: symbols and mask."""
    rng = np.random.default_rng(seed)
    return Corpus(rng.integers(0, 10, (count, slots)), rng.random((count, slots)) < 0.8, vocab_size=10)


def degenerate_corpora() -> dict[str, Corpus]:
    """Corpora on which most metrics have no value."""
    scenes, messages = scene_corpus(6), only_messages(8)
    one = replace(scene_corpus(1), candidates=1, probes={"as played": np.ones(1, dtype=bool)})
    return {
        "empty": only_messages(0),
        "empty without slots": Corpus(np.zeros((0, 0), np.int64), np.zeros((0, 0), bool), vocab_size=4),
        "one item": one,
        "constant": replace(scenes, symbols=np.zeros_like(scenes.symbols), mask=np.ones_like(scenes.mask)),
        "all silent": replace(scenes, mask=np.zeros_like(scenes.mask)),
        "no grid": replace(scenes, grid=None, keep_prob=None, object_area=None, patch_attributes=None),
        "no labels": replace(scenes, labels=None, attributes=None, patch_attributes=None),
        "nothing known": replace(
            scenes, labels=np.full(6, -1), attributes=np.full((6, 6), -1),
            patch_attributes=np.full((6, 36, 2), -1), object_area=np.full((6, 36), np.nan, np.float32),
        ),
        "only messages": messages,
    }  # fmt: skip


def _patches(scene: Scene) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Share of each patch that objects cover, and its colour (of the object that covers most of it) and background."""
    tall, wide = SIDE // GRID[0], SIDE // GRID[1]

    def share(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        covered: NDArray[np.float64] = mask.reshape(GRID[0], tall, GRID[1], wide).mean((1, 3)).ravel()
        return covered

    shares = np.stack([share(o.mask) for o in scene.objects])
    area = shares.sum(0)
    colours = np.array([o.colour for o in scene.objects])[shares.argmax(0)]
    on_object = area > 0.5
    return area, np.stack([np.where(on_object, colours, -1), np.where(on_object, -1, scene.background)], axis=1).astype(
        np.int64
    )


def _unit(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points / np.linalg.norm(points, axis=1, keepdims=True)
