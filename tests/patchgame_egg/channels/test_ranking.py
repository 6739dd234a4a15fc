"""The soft rank against scikit-learn's isotonic regression, published values, and torchsort where it is installed."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
import torch
from sklearn.isotonic import isotonic_regression

from patchgame_egg.channels import ranking
from patchgame_egg.channels.ranking import soft_rank

# Metric sheet, P6 (torchsort issue 60).
PUBLISHED = {
    1.0: [3.875, 1, 4.875, 5.875, 3.375, 2],
    0.1: [4, 1, 5, 6, 3, 2],
    10.0: [3.5416667, 3.2416667, 3.6416667, 3.7416667, 3.4916667, 3.3416667],
}


def oracle(scores: np.ndarray, strength: float) -> np.ndarray:
    """Blondel et al.: z - the isotonic fit of sorted z minus (K, ..., 1), put back in the order of the scores."""
    order = np.argsort(-scores, kind="stable")
    z = scores[order] / strength
    fit = isotonic_regression(z - np.arange(len(z), 0, -1), increasing=False)
    out = np.empty_like(z)
    out[order] = z - fit
    return out


def draw(rows: int, items: int, spread: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(items)
    return torch.randn(rows, items, generator=generator, dtype=torch.float64) * spread


@pytest.mark.parametrize("strength", PUBLISHED)
def test_published_values(strength: float) -> None:
    ranks = soft_rank(torch.tensor([[1.0, -2.0, 2.0, 3.0, 0.5, -1.0]]), strength)
    torch.testing.assert_close(ranks[0], torch.tensor(PUBLISHED[strength], dtype=torch.float32), atol=1e-6, rtol=0)


@pytest.fixture(params=["by a table, as on a GPU", "by pooling, as on a CPU"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_LONG", 0 if "pooling" in request.param else math.inf)


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("items", [1, 2, 16, 49, 196])
@pytest.mark.parametrize("spread", [0.01, 1.0, 20.0, 50.0])
def test_equals_isotonic_regression(items: int, spread: float) -> None:
    scores = draw(4, items, spread)
    expected = np.stack([oracle(row, 1.0) for row in scores.numpy()])
    np.testing.assert_allclose(soft_rank(scores).numpy(), expected, atol=1e-10)
    np.testing.assert_allclose(soft_rank(scores.float()).numpy(), expected, atol=2e-5)


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("strength", [0.3, 1.0, 4.0])
def test_gradient_equals_finite_differences_of_the_oracle(strength: float) -> None:
    scores = draw(1, 12, 3.0).requires_grad_()
    weight = torch.linspace(-1, 2, 12, dtype=torch.float64).square()
    (gradient,) = torch.autograd.grad((soft_rank(scores, strength)[0] * weight).sum(), scores)
    for i in range(12):
        step = np.zeros(12)
        step[i] = 1e-6
        base = scores.detach().numpy()[0]
        rise = (oracle(base + step, strength) - oracle(base - step, strength)) @ weight.numpy()
        assert gradient[0, i].item() == pytest.approx(rise / 2e-6, abs=1e-6)


@pytest.mark.usefixtures("either")
def test_gradcheck() -> None:
    assert torch.autograd.gradcheck(lambda s: soft_rank(s, 0.7), draw(3, 9, 2.0).requires_grad_())


@pytest.mark.skipif(importlib.util.find_spec("torchsort") is None, reason="torchsort is not installed")
@pytest.mark.parametrize("spread", [0.5, 20.0])
def test_equals_torchsort(spread: float) -> None:
    ours = draw(8, 49, spread).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    weight = torch.linspace(-1, 1, 49, dtype=torch.float64)
    mine, other = soft_rank(ours, 2.0), soft_rank(theirs, 2.0, op="torchsort")
    torch.testing.assert_close(mine, other, atol=1e-9, rtol=0)
    (mine * weight).sum().backward()
    (other * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-9, rtol=0)


@pytest.mark.skipif(importlib.util.find_spec("torchsort") is not None, reason="torchsort is installed")
def test_missing_torchsort_says_how_to_get_it() -> None:
    with pytest.raises(ValueError, match="pip install torchsort"):
        soft_rank(torch.zeros(1, 3), op="torchsort")


def test_sum_and_range_hold_for_any_scores() -> None:
    ranks = soft_rank(draw(32, 49, 7.0))
    torch.testing.assert_close(ranks.sum(1), torch.full((32,), 49 * 50 / 2, dtype=torch.float64))
    assert ranks.min() >= 1 - 1e-9
    assert ranks.max() <= 49 + 1e-9


def test_stays_exact_in_float32_under_autocast() -> None:
    scores = draw(4, 49, 50.0).float()
    expected = np.stack([oracle(row, 1.0) for row in scores.double().numpy()])
    with torch.autocast("cpu", torch.bfloat16):
        ranks = soft_rank(scores)
    assert ranks.dtype == torch.float32
    np.testing.assert_allclose(ranks.numpy(), expected, atol=2e-5)


@pytest.mark.usefixtures("either")
def test_large_batches_are_fitted_in_chunks_with_the_same_result() -> None:
    scores = draw(300, 196, 3.0)
    torch.testing.assert_close(soft_rank(scores)[290:], soft_rank(scores[290:]), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (torch.zeros(3), {}, r"\[batch, items\]"),
        (torch.zeros(1, 3), {"strength": 0.0}, "strength above 0, got 0.0"),
        (torch.zeros(1, 3), {"op": "quick"}, "'quick'"),
    ],
)
def test_errors_say_what_is_wrong(scores: torch.Tensor, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        soft_rank(scores, **options)


INF = math.inf


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize(
    ("scores", "ranks"),
    [
        ([1e18, 0.0, -1e18, 3.0], [4, 2, 1, 3]),
        ([3e38, -3e38, 0.0, 1.0], [4, 1, 2, 3]),
        ([0.0, -INF, 1.0, 2.0], [2, 1, 3, 4]),
        # Equal ones share the mean of their ranks.
        ([-INF, -INF, INF, INF], [1.5, 1.5, 3.5, 3.5]),
        ([-INF, -INF, -INF, -INF], [2.5] * 4),
        ([1e18, 1e18, 1e18, 1e18], [2.5] * 4),
        # The two in the middle are as far apart as they would be alone: 2.5 -+ 0.1.
        ([INF, 0.2, 0.0, -1e30], [4, 2.6, 2.4, 1]),
    ],
)
def test_very_large_and_infinite_scores_have_ranks_from_1_to_k(scores: list[float], ranks: list[float]) -> None:
    found = soft_rank(torch.tensor([scores, [1.0, 2.0, 3.0, 4.0]]))
    torch.testing.assert_close(found, torch.tensor([ranks, [1.0, 2.0, 3.0, 4.0]]))
    assert ((found >= 1) & (found <= 4)).all()


def test_scores_moved_together_keep_their_ranks_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for large in (1e6, 0.0):
        monkeypatch.setattr(ranking, "_LARGE", large)
        scores = draw(4, 49, 3.0).requires_grad_()
        ranks = soft_rank(scores)
        (ranks * torch.arange(49)).sum().backward()
        results.append((ranks.detach(), scores.grad))
    torch.testing.assert_close(*results)


@pytest.mark.usefixtures("either")
def test_no_rows_have_no_ranks() -> None:
    assert soft_rank(torch.zeros(0, 49)).shape == (0, 49)


@pytest.mark.usefixtures("either")
def test_nan_has_no_rank() -> None:
    scores = torch.tensor([[1.0, math.nan, 2.0], [1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match="1 of 2 rows of scores hold NaN"):
        soft_rank(scores)
    # In training it must reach the loss, which stops the run.
    found = ranking.ranks_of(scores, 1.0, "torch")
    assert found[0].isnan().all()
    assert found[1].tolist() == [1, 2, 3]
