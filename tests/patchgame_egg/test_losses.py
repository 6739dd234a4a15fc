"""Equations 1 to 3 against slow loops and closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from patchgame_egg.losses import SymmetricInfoNCE, symmetric_info_nce


def slow_info_nce(text: torch.Tensor, image: torch.Tensor, tau: float) -> tuple[float, float]:
    """Equations 1 and 2 as written: sums over the batch of -log of a ratio of exponentials of dot products."""

    def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(a @ b / (a.norm() * b.norm()))

    b = len(text)
    text_loss = vision_loss = 0.0
    for j in range(b):
        own = math.exp(cosine(text[j], image[j]) / tau)
        text_loss -= math.log(own / sum(math.exp(cosine(text[j], image[k]) / tau) for k in range(b)))
        vision_loss -= math.log(own / sum(math.exp(cosine(text[k], image[j]) / tau) for k in range(b)))
    return text_loss, vision_loss


def test_equals_the_equations_written_as_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    image = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    expected = sum(slow_info_nce(text, image, 0.3)) / 2
    assert 7 * symmetric_info_nce(text, image, 0.3)[0].mean().item() == pytest.approx(expected, rel=1e-10)


def test_embeddings_that_are_no_numbers_score_nothing() -> None:
    numbers = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    for text, image in ((torch.full((8, 4), torch.nan), numbers), (numbers, torch.full((8, 4), torch.nan))):
        _, aux = symmetric_info_nce(text, image)
        assert all(not right.any() for right in aux.values()), aux


def test_embeddings_that_all_look_alike_lose_ln_b_and_score_nothing() -> None:
    same = torch.ones(512, 8)
    loss, aux = symmetric_info_nce(same, same)
    assert loss.mean().item() == pytest.approx(6.2383246250, abs=1e-5)
    assert aux["acc"].sum() == aux["acc_image_to_message_top5"].sum() == 0


def test_orthonormal_aligned_pairs_reach_the_closed_form() -> None:
    axes = torch.eye(512, dtype=torch.float64)
    loss, aux = symmetric_info_nce(axes, axes, 0.07)
    assert loss.mean().item() == pytest.approx(math.log1p(511 * math.exp(-1 / 0.07)), rel=1e-9)
    assert aux["acc"].mean() == aux["acc_image_to_message"].mean() == 1


def test_both_directions_and_top_5_are_told_apart() -> None:
    # Every message is nearest to image 0; every image is nearest to its own message.
    text = torch.eye(8) + torch.nn.functional.one_hot(torch.zeros(8, dtype=torch.int64), 8) * 3.0
    _, aux = symmetric_info_nce(text, torch.eye(8))
    assert aux["acc"].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert aux["acc_top5"].mean() == 1
    assert aux["acc_image_to_message"].mean() == 1


def test_the_right_candidate_counts_up_to_the_fifth_place() -> None:
    # Every message prefers image 0, then 1, and so on: the right one of message j comes in place j.
    _, aux = symmetric_info_nce(torch.arange(8.0, 0.0, -1.0).expand(8, 8), torch.eye(8))
    assert aux["acc"].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert aux["acc_top5"].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]


def test_negatives_carry_gradients_unless_detached() -> None:
    generator = torch.Generator().manual_seed(1)
    text, image = torch.randn(2, 4, 6, generator=generator).unbind()
    gradients = []
    for detach in (False, True):
        leaf = text.clone().requires_grad_()
        symmetric_info_nce(leaf, image, 0.5, detach)[0].sum().backward()
        gradients.append(leaf.grad)
    assert not torch.allclose(gradients[0], gradients[1])


def test_learnt_temperature_learns_and_a_constant_one_does_not() -> None:
    learnt, constant = SymmetricInfoNCE(0.07, learnt=True), SymmetricInfoNCE(0.07)
    assert not list(constant.parameters())
    assert constant.temperature() == pytest.approx(0.07)
    generator = torch.Generator().manual_seed(2)
    output = (torch.randn(4, 3, generator=generator), torch.randn(4, 3, generator=generator))
    loss, _ = learnt(None, None, None, output, None, None)
    loss.mean().backward()
    assert learnt.log_scale.grad.abs() > 0
    with torch.no_grad():
        learnt.log_scale.fill_(50.0)
    assert learnt.temperature().item() == pytest.approx(0.01)


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="one shape"):
        symmetric_info_nce(torch.zeros(2, 3), torch.zeros(3, 3))
    with pytest.raises(ValueError, match="above 0, got 0"):
        SymmetricInfoNCE(0)


@pytest.mark.parametrize("in_batch", [True, False])
def test_distractors_are_candidates_beside_the_batch_or_alone(in_batch: bool) -> None:
    torch.manual_seed(0)
    text, seen, tau = torch.randn(5, 8), torch.randn(5, 4, 8), 0.2
    loss, aux = symmetric_info_nce(text, seen, tau, in_batch=in_batch)

    def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(a @ b / a.norm() / b.norm())

    for b in range(5):
        own = [cosine(text[b], seen[b, k]) for k in range(4)]
        batch = [cosine(text[b], seen[other, 0]) for other in range(5) if other != b]
        rest = own[1:] + (batch if in_batch else [])
        to_image = -own[0] / tau + math.log(sum(math.exp(c / tau) for c in [own[0], *rest]))
        to_text = [cosine(seen[b, 0], text[other]) / tau for other in range(5)]
        expected = to_image
        if in_batch:
            expected = (to_image - to_text[b] + math.log(sum(map(math.exp, to_text)))) / 2
        assert float(loss[b]) == pytest.approx(expected, rel=1e-5)
        assert aux["acc"][b] == (own[0] > max(rest)) and aux["acc_distractors"][b] == (own[0] > max(own[1:]))
        assert aux["acc_top5"][b] == (sum(c >= own[0] for c in rest) < 5)
    assert ("acc_image_to_message" in aux) == in_batch


def test_distractors_that_look_alike_leave_chance() -> None:
    alike = torch.ones(4, 8, 3)
    assert symmetric_info_nce(torch.ones(4, 3), alike, in_batch=False)[0].mean() == pytest.approx(math.log(8))
    both = (math.log(4 + 7) + math.log(4)) / 2
    assert symmetric_info_nce(torch.ones(4, 3), alike)[0].mean() == pytest.approx(both)


def test_a_message_needs_something_to_be_matched_with() -> None:
    with pytest.raises(ValueError, match=r"needs distractors: give images \[B, 1 \+ K, D\]"):
        symmetric_info_nce(torch.ones(4, 3), torch.ones(4, 3), in_batch=False)


def test_detached_distractors_get_no_gradient() -> None:
    text, seen = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, 3, requires_grad=True)
    symmetric_info_nce(text, seen, detach_others=True)[0].sum().backward()
    assert seen.grad is not None and not seen.grad[:, 1:].any() and seen.grad[:, 0].any()
