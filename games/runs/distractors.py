"""What stands beside each image, as ``--distractors`` asks: random, of its class, nearest by a run, of a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from analysis.corpus.image_names import ImageNames
from games.options.config import RANDOM, SAME_CLASS, Config
from patchgame_egg.counted import counted
from patchgame_egg.data.distractors import Distractors
from patchgame_egg.data.images import ImageFiles, ImageSource
from patchgame_egg.data.loader import EveryImage
from patchgame_egg.data.pixels import UNREADABLE
from patchgame_egg.distributed.processes import is_rank_zero
from patchgame_egg.text_files import read_json, read_text

# Images whose distances to all others are in memory at a time.
_BLOCK = 1024


def distractors_for(config: Config, source: ImageSource, device: torch.device, training: bool) -> Distractors | None:
    """The distractors of one part of the images; None without ``--distractors``.

    Args:
        config: the options.
        source: the images of the part.
        device: where a run's network looks at them.
        training: whether they are trained on, or held out; for what is said.

    Raises:
        ValueError: the part has too few images, no classes, or the run or the file cannot be used.
    """
    asked, count = config.loss.distractors, config.loss.num_distractors
    if not asked:
        return None
    part = "to train on" if training else "held out"
    pools: Sequence[Sequence[int] | NDArray[np.int64]] | None
    if count >= len(source):
        raise ValueError(f"--num-distractors {count}: there are {len(source)} images {part}, give fewer than that")
    path = Path(asked)
    if asked == RANDOM:
        pools = None
    elif asked == SAME_CLASS:
        pools = _same_class(source, part)
    elif path.is_dir():
        pools = _nearest(config, source, device, path, count)
    elif path.is_file():
        pools = _of_file(config, source, path, part)
    else:
        raise ValueError(
            f"--distractors {asked}: give random, class, the folder of a run, or a file; there is no {asked}"
        )
    found = Distractors(len(source), count, pools, config.training.seed)
    if found.filled and is_rank_zero():
        print(
            f"note: {found.filled:,} of {len(source):,} images {part} have fewer than {count} distractors by "
            f"--distractors {asked}: random ones are added",
            file=sys.stderr,
        )
    return found


def _same_class(source: ImageSource, part: str) -> list[NDArray[np.int64]]:
    labels = labels_of(source)
    if (labels < 0).all() or len(source.classes) < 2:
        raise ValueError(f"--distractors {SAME_CLASS}: the images {part} have no classes; random takes any")
    members = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}
    nobody = np.zeros(0, dtype=np.int64)
    return [nobody if label < 0 else members[label] for label in labels]


def labels_of(source: ImageSource) -> NDArray[np.int64]:
    """The class of every image, int64 ``[N]``, -1 where there is none; decodes images where a source has no list."""
    known = getattr(getattr(source, "source", source), "labels", None)
    if known is not None:
        return np.asarray(known, dtype=np.int64)
    labels = np.full(len(source), -1, dtype=np.int64)
    for index in counted(range(len(source)), "looks for classes"):
        try:
            labels[index] = source[index][1]
        except UNREADABLE:
            continue
    return labels


def _nearest(
    config: Config, source: ImageSource, device: torch.device, run: Path, count: int
) -> list[NDArray[np.int64]]:
    """The nearest images by the cosine of what the vision network of a run makes of them."""
    from analysis.transfer.features import extract_features
    from games.runs.load import load_trunk
    from patchgame_egg.views.loader import ViewLoader
    from patchgame_egg.views.transforms import EvaluationView

    try:
        trained = load_trunk(run, device)
    except ValueError as error:
        raise ValueError(f"--distractors {run}: {error}") from error
    view = EvaluationView(trained.config.images.image_size)
    loader = ViewLoader(EveryImage(source), view, device)
    features = extract_features(trained.trunk, loader, device)
    assert features.index is not None
    values, images = F.normalize(features.values, dim=1), features.index.numpy()
    # Images that cannot be read have no features, and are nobody's neighbors.
    pools: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)] * len(source)
    for rows in torch.arange(len(values)).split(_BLOCK):
        near = (values[rows] @ values.T).topk(min(count + 1, len(values)), dim=1).indices
        for image, found in zip(images[rows.numpy()], images[near.numpy()], strict=True):
            pools[image] = found[found != image][:count]
    return pools


def _of_file(config: Config, source: ImageSource, path: Path, part: str) -> list[list[int]]:
    files = getattr(source, "source", source)
    if not isinstance(files, ImageFiles):
        raise ValueError(f"--distractors {path} names files: it goes with --data folder, not {config.images.data}")
    names = ImageNames(files.paths, Path(config.images.root))
    number = {image: index for index, image in enumerate(names.paths)}
    pools: list[list[int]] = [[] for _ in files.paths]
    lost: list[str] = []
    try:
        lines = read_text(path).split("\n")
    except OSError as error:
        raise ValueError(f"--distractors {path} cannot be read: {error.strerror}") from error
    for line, text in enumerate(lines, 1):
        if not text.strip():
            continue
        where = f"--distractors {path}, line {line}"
        try:
            row = read_json(text)
            name, beside = row["file"], row["distractors"]
            if not isinstance(name, str) or not isinstance(beside, list) or not all(isinstance(x, str) for x in beside):
                raise TypeError
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{where}: expected {{"file": "a.jpg", "distractors": ["b.jpg", ...]}}, got {text[:60]}'
            ) from error
        for own in names.of(name, where):
            for other in beside:
                found = [number[image] for image in names.of(other, where)]
                pools[number[own]] += found
                lost += [] if found else [other]
    if not any(pools):
        raise ValueError(
            f"--distractors {path} names no two images {part}, the first of which is {files.paths[0]}: both are to be "
            "of one part, named from --root on"
        )
    if lost and is_rank_zero():
        print(f"note: {path}: {len(lost):,} distractors are no images {part}, first {lost[0]!r}", file=sys.stderr)
    return pools
