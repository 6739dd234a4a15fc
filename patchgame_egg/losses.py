"""Symmetric InfoNCE over the batch of all ranks (equations 1 to 3 of the paper).

The paper sums over the batch; here every sample has its own value and the game averages them, so the paper's number
is B times ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.distributed.gather import gather_rows
from patchgame_egg.distributed.processes import rank
from patchgame_egg.fit import check_pair
from patchgame_egg.interaction import Message


def rivals(similarity: Tensor, first: bool = False) -> Tensor:
    """How many wrong candidates are at least as similar as the right one; 0 where that is found.

    Equals count as rivals, so that agents who embed everything alike find nothing; so does what is not a number.

    Args:
        similarity: of this rank's B rows to the N candidates of all ranks, ``[B, N]``; the right ones are in the order
            of the rows. More columns may follow.
        first: the right one is in the first column of each row.

    Returns:
        int64 ``[B]``, 0 to N - 1.

    Example:
        >>> rivals(torch.tensor([[0.9, 0.1, 0.3], [0.5, 0.5, 0.1], [0.2, 0.4, 0.1]])).tolist()
        [0, 1, 2]
    """
    own = torch.zeros(len(similarity), dtype=torch.int64, device=similarity.device)
    if not first:
        own = torch.arange(len(similarity), device=similarity.device) + rank() * len(similarity)
    return (~(similarity < similarity.gather(1, own[:, None]))).sum(dim=1) - 1


def symmetric_info_nce(
    text: Tensor,
    image: Tensor,
    temperature: float | Tensor = 0.07,
    detach_others: bool = False,
    in_batch: bool = True,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The contrastive loss of every (message, image) pair against all others of the batch.

    With K distractors of its own, a message is matched among N + K images, and an image among N messages. Without the
    batch's, a message is matched among 1 + K images, and that is all: EGG's discrimination game.

    Args:
        text: embeddings of the messages, ``[B, D]``, this rank's; scaled to length 1 here.
        image: embeddings of the images, ``[B, D]``, or of the images and their distractors, ``[B, 1 + K, D]``.
        temperature: tau > 0, the cosines are divided by it.
        detach_others: give the gathered side, and distractors, no gradient, as the authors' release does.
        in_batch: whether the batch's other images are candidates, too.

    Returns:
        The loss of each pair, ``[B]``, nats: the mean of both directions, ln(N) for N candidates that all look
        alike, ln(1 + K) without the batch's; and, each ``[B]``, whether the right candidate was first (``acc``:
        message to image, ``acc_image_to_message``) or among the first five (``..._top5``). With distractors also
        ``acc_distractors``: whether it was first among these alone, by chance in 1 / (1 + K).

    Raises:
        ValueError: shapes do not fit, or there are neither distractors nor the batch's images.

    Example:
        >>> loss, aux = symmetric_info_nce(torch.eye(4), torch.eye(4))
        >>> round(loss.mean().item(), 3), aux["acc"].tolist()
        (0.0, [1.0, 1.0, 1.0, 1.0])
        >>> loss, aux = symmetric_info_nce(torch.ones(4, 8), torch.ones(4, 8))
        >>> round(loss.mean().item(), 3), aux["acc"].tolist()  # ln 4: all candidates look alike
        (1.386, [0.0, 0.0, 0.0, 0.0])
    """
    own = image[:, 0] if image.dim() == 3 else image
    if text.shape != own.shape or text.dim() != 2:
        raise ValueError(f"expected two [batch, width] embeddings of one shape, got {text.shape} and {image.shape}")
    if not in_batch and image.dim() == 2:
        raise ValueError("without the batch's images a message needs distractors: give images [B, 1 + K, D]")
    exact = torch.promote_types(text.dtype, torch.float32)
    text, image, seen = F.normalize(text.to(exact), dim=1), F.normalize(own.to(exact), dim=1), image
    aux: dict[str, Tensor] = {}
    among = None
    if seen.dim() == 3:
        others = F.normalize(seen[:, 1:].to(exact), dim=2)
        among = torch.cat([image[:, None], others.detach() if detach_others else others], dim=1)
        among = (among @ text[:, :, None])[:, :, 0] / temperature  # [B, 1 + K]
        aux["acc_distractors"] = (rivals(among.detach(), first=True) < 1).float()
        if not in_batch:
            better = rivals(among.detach(), first=True)
            aux |= {"acc": (better < 1).float(), "acc_top5": (better < 5).float()}
            return F.cross_entropy(among, torch.zeros_like(better), reduction="none"), aux
    others_text, others_image = gather_rows(text), gather_rows(image)  # [N, D]
    if detach_others:
        others_text, others_image = others_text.detach(), others_image.detach()
    target = torch.arange(len(text), device=text.device) + rank() * len(text)
    to_image = text @ others_image.T / temperature  # [B, N]
    if among is not None:
        to_image = torch.cat([to_image, among[:, 1:]], dim=1)  # [B, N + K]
    to_text = image @ others_text.T / temperature
    loss = (
        F.cross_entropy(to_image, target, reduction="none") + F.cross_entropy(to_text, target, reduction="none")
    ) / 2
    for suffix, logits in (("", to_image), ("_image_to_message", to_text)):
        better = rivals(logits.detach())
        aux["acc" + suffix] = (better < 1).float()
        aux["acc" + suffix + "_top5"] = (better < 5).float()
    return loss, aux


class SymmetricInfoNCE(nn.Module):
    """`symmetric_info_nce` as a game's loss, in EGG's calling order.

    Args:
        temperature: tau, constant as in the paper, or where a learnt one starts.
        learnt: learn log(1/tau), kept below 100 as in CLIP, so that it cannot run away.
        detach_others: give the gathered side, and distractors, no gradient, as the authors' release does.
        in_batch: whether the batch's other images are candidates. Without, the receiver needs distractors.

    Example:
        >>> contrast = SymmetricInfoNCE(temperature=0.1, learnt=True)
        >>> round(contrast.temperature().item(), 3)
        0.1
        >>> text, image = torch.eye(4), torch.eye(4).roll(1, dims=0)  # each message fits another image
        >>> loss, aux = contrast(None, None, None, (text, image), None, None)
        >>> round(loss.mean().item(), 3), aux["acc"].mean().item()
        (10.0, 0.0)
    """

    def __init__(
        self, temperature: float = 0.07, learnt: bool = False, detach_others: bool = False, in_batch: bool = True
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"the loss's temperature must be above 0, got {temperature}")
        start = torch.tensor(math.log(1 / temperature))
        self.log_scale = nn.Parameter(start) if learnt else start.item()
        self.detach_others, self.in_batch = detach_others, in_batch

    def temperature(self) -> float | Tensor:
        """tau now."""
        if isinstance(self.log_scale, Tensor):
            return (-self.log_scale.clamp(max=math.log(100))).exp()
        return math.exp(-self.log_scale)

    def forward(
        self,
        sender_input: Tensor,
        message: Message,
        receiver_input: Tensor | None,
        receiver_output: Sequence[Tensor],
        labels: Tensor | None,
        aux_input: dict[str, Tensor] | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss ``[B]`` of each pair in ``receiver_output``, (text, image), and the retrieval accuracies."""
        text, image = check_pair(receiver_output)
        return symmetric_info_nce(text, image, self.temperature(), self.detach_others, self.in_batch)


class GroundedInfoNCE(SymmetricInfoNCE):
    """`SymmetricInfoNCE` of messages, and in training that of human sentences with their images added.

    The sum is the loss: its mean over a batch is that of the messages, plus the mean over the images of the batch that
    have a sentence, each against these images alone. A sentence that fits several of them is wrong for all but one.

    Example:
        >>> contrast = GroundedInfoNCE(temperature=0.1)
        >>> eye, sentences = torch.eye(4), torch.eye(4).roll(1, dims=1) * torch.tensor([[1], [1], [0], [0]])
        >>> loss, aux = contrast(None, None, None, (eye, eye, sentences), None, None)
        >>> round(loss.mean().item(), 2), [round(x, 2) for x in aux["ground_loss"].tolist()]
        (5.35, [10.69, 10.69, 0.0, 0.0])
    """

    def forward(
        self,
        sender_input: Tensor,
        message: Message,
        receiver_input: Tensor | None,
        receiver_output: Sequence[Tensor],
        labels: Tensor | None,
        aux_input: dict[str, Tensor] | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss ``[B]`` of (text, image) or (text, image, sentence), a row of zeros being no sentence."""
        pair = receiver_output[:2] if len(receiver_output) == 3 else receiver_output
        loss, aux = super().forward(sender_input, message, receiver_input, pair, labels, aux_input)
        if len(receiver_output) != 3:
            return loss, aux
        ground = grounding(receiver_output[2], pair[1], self.temperature(), self.detach_others)
        return loss + ground, aux | {"ground_loss": ground.detach()}


def grounding(
    sentence: Tensor, image: Tensor, temperature: float | Tensor = 0.07, detach_others: bool = False
) -> Tensor:
    """Symmetric InfoNCE of sentences and their images, among the images of all ranks that have one.

    Args:
        sentence: ``[B, D]``, this rank's; all zeros where an image has none.
        image: ``[B, D]``.
        temperature: tau > 0.
        detach_others: give the gathered side no gradient.

    Returns:
        ``[B]``, 0 where there is no sentence, and everywhere if fewer than two images have one; the mean over the
        batch of all ranks is the mean over the images that have one.
    """
    exact = torch.promote_types(sentence.dtype, torch.float32)
    text, seen = F.normalize(sentence.to(exact), dim=1), F.normalize(image.to(exact), dim=1)
    others_text, others_seen = gather_rows(text), gather_rows(seen)  # [N, D]
    if detach_others:
        others_text, others_seen = others_text.detach(), others_seen.detach()
    there, others_there = sentence.detach().any(dim=1), others_text.detach().any(dim=1)
    (rows,) = there.nonzero(as_tuple=True)
    total = int(others_there.sum())
    # The graph is the same in every batch.
    nothing = (text.sum() + seen.sum() + others_text.sum() + others_seen.sum()) * 0
    found = nothing.expand(len(sentence))
    if total < 2 or not len(rows):
        return found
    target = rows + rank() * len(sentence)

    def one_way(asked: Tensor, candidates: Tensor) -> Tensor:
        logits = (asked[rows] @ candidates.T / temperature).masked_fill(~others_there, -torch.inf)
        return F.cross_entropy(logits, target, reduction="none")

    each = (one_way(text, others_seen) + one_way(seen, others_text)) / 2 * (len(others_there) / total)
    return found.index_put((rows,), found[rows] + each)
