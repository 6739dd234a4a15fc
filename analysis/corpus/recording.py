"""A trained game, played once more and written down: what was said, of which images, and what the receiver made of it.

Everything is played as in evaluation: no noise, the speaker and the listener see the same fixed view, and messages are
matched within groups of images. Letters in shapes: B images of a group, N of all groups, T message slots, P patches, L
symbols per patch (T = P * L), V vocabulary, A attributes, D width of the receiver's embeddings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.corpus.corpus import Corpus
from patchgame_egg.agents.patch_speaker import PatchFeatures
from patchgame_egg.channels.channel import Channel
from patchgame_egg.channels.quantised import Quantised
from patchgame_egg.game import Game
from patchgame_egg.interaction import Batch, Message
from patchgame_egg.patches import square_grid
from patchgame_egg.population import Population
from patchgame_egg.views.transforms import denormalise

# Wider embeddings, such as the release's 65,536 numbers, are kept as coordinates in the space that they span.
_WIDEST = 1024

Output = Tensor | Sequence[Tensor]


def record(
    game: Game | Population,
    batches: Iterable[Batch],
    *,
    vocab_size: int,
    label_names: Sequence[str] = (),
    image_bytes: int = 2**26,
) -> Corpus:
    """Plays a game in evaluation and writes down its language.

    Args:
        game: any game whose channel says symbols; of a population, the first speaker and the first listener play.
        batches: the groups, in order. Images are normalised views, the same ones for both agents (`EvaluationView`).
        vocab_size: V.
        label_names: of the classes, by number.
        image_bytes: views of the first images are kept as long as they fit in this much memory.

    Returns:
        The language. What a game does not have is left out: ``grid`` (a square), ``scales``, ``keep_prob`` and
        ``confidence`` are of speakers of patches; ``text``, ``image``, ``temperature`` and ``candidates``, the size of
        a group, of receivers that embed both; ``distractors`` and ``in_batch`` where the batches have distractors.
        ``probes["as played"]`` says who was understood, ``info["index"]`` is
        the batches' ``aux_input["index"]``. Labels ``[B, A]`` are taken as attributes.

    Raises:
        ValueError: the channel passes numbers and not symbols, there is no batch, or groups differ in size.
    """
    game, groups, room, span = one_pair(game), [], image_bytes, _Span()
    with evaluating(game) as device:
        for batch in batches:
            groups.append(_play(game, batch.to(device), room, span))
            room -= groups[-1]["images"].nbytes if "images" in groups[-1] else 0
        tau = getattr(game.loss, "temperature", None)
        temperature = None if tau is None else float(tau())
    if not groups:
        raise ValueError("there is no batch to record: give more images, or smaller groups")
    columns: dict[str, Any] = {name: _join([g[name] for g in groups if name in g]) for name in groups[0]}
    sizes = {len(g["symbols"]) for g in groups}
    pairs = "text" in columns
    if pairs and len(sizes) > 1:
        raise ValueError(f"messages were matched among {min(sizes)} to {max(sizes)} images: give groups of one size")
    understood, index, labels = (columns.pop(name, None) for name in ("as played", "index", "labels"))
    scales, distractors = (
        int(columns.pop(name, [default])[0]) for name, default in (("scales", 1), ("distractors", 0))
    )
    corpus = Corpus(
        **columns,
        vocab_size=vocab_size,
        grid=square_grid(columns["keep_prob"].shape[1], scales) if "keep_prob" in columns else None,
        scales=scales,
        temperature=temperature if pairs else None,
        candidates=min(sizes) if pairs else None,
        distractors=distractors,
        in_batch=getattr(game.loss, "in_batch", True),
        probes={} if understood is None else {"as played": understood},
        info={} if index is None else {"index": index.tolist()},
    )
    return corpus if labels is None else with_labels(corpus, labels, label_names)


def one_pair(game: Game | Population) -> Game:
    """The game itself; of a population, that of its first speaker and its first listener."""
    return game.game(0, 0) if isinstance(game, Population) else game


@contextmanager
def evaluating(game: nn.Module) -> Iterator[torch.device]:
    """Evaluation mode without gradients; afterwards every module is in the mode that it was in.

    Yields:
        The device that the game is on.
    """
    modes = [(module, module.training) for module in game.modules()]
    game.eval()
    try:
        with torch.no_grad():
            yield next((p.device for p in game.parameters()), torch.device("cpu"))
    finally:
        for module, mode in modes:
            module.training = mode


def speak(game: Game, batch: Batch) -> tuple[Any, Message]:
    """The sender's features and its message.

    Raises:
        ValueError: the channel passes numbers and not symbols.
    """
    features = game.sender(batch.sender_input, batch.aux_input)
    message = game.channel(features)
    if ((message.vectors != 0).sum(dim=2) > 1).any():
        raise ValueError("this channel passes numbers and not symbols: there are no messages to analyse")
    return features, message


def listen(game: Game, message: Message, batch: Batch) -> tuple[Output, Tensor | None]:
    """What the receiver makes of a message, and whether it understood.

    Returns:
        The receiver's output; of a receiver that embeds message and image, both ``[B, D]``, float32, of length 1, of
        images with distractors ``[B, 1 + K, D]``. And bool ``[B]``: whether the right image came first in its group
        and among its distractors, or among these alone where the loss says so (`Corpus.choices`); of other receivers,
        what the loss records as ``acc``; None where it records none.
    """
    output = game.receiver(message, batch.receiver_input, batch.aux_input)
    with torch.autocast(batch.sender_input.device.type, enabled=False):
        if _is_pair(output):
            text, image = (unit_length(x.float()) for x in output)
            return (text, image), came_first(text, image, getattr(game.loss, "in_batch", True))
        seen = batch.sender_input, message, batch.receiver_input
        _, aux = game.loss(*seen, output, batch.labels, batch.aux_input)
    return output, aux["acc"] > 0.5 if "acc" in aux else None


def unit_length(vectors: Tensor) -> Tensor:
    """Vectors ``[..., D]`` scaled to length 1, whatever their scale; zero stays zero.

    Squares of very small or large numbers leave the range of floats, so each vector is first divided by a power of two
    near its largest entry, which rounds nothing.

    Example:
        >>> unit_length(torch.tensor([[3.0, 4.0], [3e-30, 4e-30], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    exponent = torch.frexp(vectors.abs().amax(dim=-1, keepdim=True)).exponent
    return F.normalize(torch.ldexp(vectors, -exponent), dim=-1)


def came_first(text: Tensor, image: Tensor, in_batch: bool = True) -> Tensor:
    """Whether each message is nearer to its own image than to all others; ties, and what is not a number, are lost.

    Args:
        text: of length 1, ``[B, D]``.
        image: of length 1, ``[B, D]``, or with distractors ``[B, 1 + K, D]``; in the same order.
        in_batch: whether the others are those of the group, too, or distractors alone.

    Returns:
        bool ``[B]``; 1 / B, 1 / (B + K) or 1 / (1 + K) of them is chance.
    """
    own = image[:, 0] if image.dim() == 3 else image
    cosines = text @ own.T
    if image.dim() == 3:
        beside = (image @ text[:, :, None])[:, :, 0]
        cosines = torch.cat([cosines, beside[:, 1:]], dim=1) if in_batch else beside
    right = cosines[:, :1] if image.dim() == 3 and not in_batch else cosines.diagonal()[:, None]
    return (cosines >= right).sum(dim=1) == 1


def with_labels(corpus: Corpus, labels: NDArray[np.int64], names: Sequence[str] = ()) -> Corpus:
    """Adds classes ``[N]``, whose names are given, or attributes ``[N, A]``, whose values are their own names."""
    if labels.ndim == 1:
        return replace(corpus, labels=labels.astype(np.int64), label_names=tuple(names))
    names = tuple(f"attribute {i}" for i in range(labels.shape[1]))
    corpus = replace(corpus, attributes=labels.astype(np.int64), attribute_names=names).numbered()
    assert corpus.attributes is not None
    values = [tuple(map(str, range(int(column.max(initial=0)) + 1))) for column in corpus.attributes.T]
    return replace(corpus, value_names=corpus.value_names or tuple(values))


def confidence_of(features: PatchFeatures, symbols: Tensor, channel: Channel) -> Tensor:
    """How sure a speaker is of its symbols: the largest probability or, of a codebook, how near its code lies.

    Args:
        features: of B images.
        symbols: the best ones, ``[B, P, L]``.
        channel: that found them.

    Returns:
        ``[B, P, L]``; only the order counts.
    """
    logits = features.logits.float()
    if isinstance(channel.estimator, Quantised):
        return -(logits - channel.estimator.quantiser.codebook[symbols]).square().sum(dim=-1)
    return logits.softmax(dim=-1).amax(dim=-1)


def _is_pair(output: Output) -> bool:
    return not isinstance(output, Tensor) and len(output) == 2 and output[0].dim() == 2 and output[1].dim() in (2, 3)


def _play(game: Game, batch: Batch, room: int, span: _Span) -> dict[str, NDArray[Any]]:
    """The columns of one group."""
    features, message = speak(game, batch)
    output, understood = listen(game, message, batch)
    found = {"symbols": message.symbols, "mask": message.mask}
    if isinstance(features, PatchFeatures) and message.keep_prob is not None:
        chosen = message.symbols.view(features.logits.shape[:3])
        found["keep_prob"] = message.keep_prob.float()
        found["confidence"] = confidence_of(features, chosen, game.channel).flatten(1)
        found["scales"] = torch.tensor([features.scales])
    if _is_pair(output):
        said, shown = output
        if shown.dim() == 3:
            found["distractors"] = torch.tensor([shown.shape[1] - 1])
            shown = shown[:, 0]
        text, image = span(torch.cat([said, shown])).chunk(2)
        found |= {"text": text, "image": image}
    if understood is not None:
        found["as played"] = understood
    if batch.labels is not None and not batch.labels.is_floating_point():
        found["labels"] = batch.labels
    if batch.aux_input is not None and "index" in batch.aux_input:
        found["index"] = batch.aux_input["index"]
    seen = batch.sender_input
    if seen.dim() == 4 and seen.shape[1] == 3:
        kept = seen[: room // seen[0].numel()]
        found["images"] = (denormalise(kept) * 255).round().to(torch.uint8)
    return {name: column.cpu().numpy() for name, column in found.items()}


def _join(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Stacks the groups; coordinates of an earlier group are 0 where the space has grown since."""
    if parts[0].dtype != np.float32 or parts[0].ndim != 2:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts])


class _Span:
    """Turns very wide vectors into their coordinates in the space that they span, which keeps all inner products.

    A wide projection of a narrow vector fills few of its dimensions. The basis grows with the vectors that come.
    """

    def __init__(self) -> None:
        self.basis: Tensor | None = None

    def __call__(self, vectors: Tensor) -> Tensor:
        """``[M, D]`` to ``[M, D]`` or, from more than `_WIDEST` numbers, to as many as the space has dimensions."""
        if vectors.shape[1] <= _WIDEST:
            return vectors
        basis = vectors.new_zeros(vectors.shape[1], 0) if self.basis is None else self.basis  # [D, k]
        rest = (vectors - vectors @ basis @ basis.T).double()
        # Directions from the M x M products: a decomposition of vectors this wide takes seconds.
        strength, turned = torch.linalg.eigh(rest @ rest.T)
        new = strength > 1e-6
        fresh = (rest.T @ turned[:, new] / strength[new].sqrt()).float()
        self.basis = torch.cat([basis, fresh], dim=1)
        return vectors @ self.basis
