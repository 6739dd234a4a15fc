"""Exact differentiable ranking in plain torch (Blondel et al., 2020, "Fast differentiable sorting and ranking").

The soft rank of scores s with strength e is the Euclidean projection of s/e onto the convex hull of all permutations
of (1, ..., K). Sorting turns the projection into an isotonic regression, solved here in closed form:

    v_i = min over j <= i of max over k >= i of mean(y_j, ..., y_k)         (decreasing fit v of y)

There is no data-dependent loop, hence no host synchronisation. A CPU has nothing to wait for, and pools neighbours
that are out of order (Ayer et al., 1955), in K steps a row where the closed form takes K * K. The Jacobian is the
identity minus the average within each block of equal v, divided by e.
"""

from __future__ import annotations

import torch
from torch import Tensor

from patchgame_egg.choices import RankOp

# Rows are fitted in chunks so that the [rows, K, K] table stays near 64 MiB however large the batch.
_TABLE_ELEMENTS = 2**23
# Rows as long as this are fitted sooner by a loop in Python, on a CPU: of 784 items 100 times as soon, of 36 4 times.
_LONG = 25
# From here on sums of scores lose the digits that ranks need.
_LARGE = 1e6


def _isotonic(y: Tensor) -> Tensor:
    """The non-increasing least-squares fit of each row: ``[B, K] -> [B, K]``."""
    k = y.shape[1]
    if y.device.type == "cpu" and k >= _LONG:
        return _pooled(y)
    return torch.cat([_from_table(part) for part in y.split(max(1, _TABLE_ELEMENTS // (k * k)))])


def _pooled(y: Tensor) -> Tensor:
    """`_isotonic` by a loop: blocks from the left of a row, each merged into the one before while it is not below."""
    sums: list[float] = []
    sizes: list[int] = []
    for row in y.tolist():
        first = len(sums)
        for total in row:
            size = 1
            while len(sums) > first and sums[-1] * size <= total * sizes[-1]:
                total, size = total + sums.pop(), size + sizes.pop()
            sums.append(total)
            sizes.append(size)
    count = torch.tensor(sizes, dtype=torch.int64)
    return (torch.tensor(sums, dtype=y.dtype) / count).repeat_interleave(count).view_as(y)


def _from_table(y: Tensor) -> Tensor:
    """`_isotonic` in closed form, from the means of all runs."""
    rows, k = y.shape
    total = torch.cat([y.new_zeros(rows, 1), y.cumsum(1)], dim=1)  # [B, K+1]
    start = torch.arange(k, device=y.device)
    count = (start[None, :] - start[:, None] + 1).to(y.dtype)  # [K, K], of the run j..k
    mean = (total[:, None, 1:] - total[:, :-1, None]) / count.clamp(min=1)  # [B, K, K]
    mean = mean.masked_fill(count < 1, -torch.inf)
    best = mean.flip(2).cummax(2).values.flip(2)  # max over k >= i
    return best.masked_fill(count < 1, torch.inf).amin(1)  # min over j <= i


def _near(z: Tensor) -> Tensor:
    """The same ranks from small numbers: rows ``[B, K]`` that hold large ones, or infinity, are moved together.

    Scores that are K apart have hard ranks between them, and are no nearer to each other if they lie further apart.
    """
    k = z.shape[1]
    down, order = z.sort(dim=1, descending=True)
    # Infinity less infinity: equal scores.
    gaps = (down[:, :-1] - down[:, 1:]).nan_to_num(nan=0.0, posinf=2 * k).clamp(max=2 * k)
    moved = torch.cat([z.new_zeros(len(z), 1), -gaps.cumsum(dim=1)], dim=1)
    moved = torch.empty_like(z).scatter_(1, order, moved)
    moved = moved.masked_fill(z.isnan().any(dim=1, keepdim=True), torch.nan)
    return torch.where(z.abs().amax(dim=1, keepdim=True) < _LARGE, z, moved)


class _SoftRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores: Tensor, strength: float) -> Tensor:  # type: ignore[no-untyped-def]
        # Differences of nearly equal sums: float32 would leave errors of 1e-3 in the ranks. MPS has no float64.
        exact = torch.float32 if scores.device.type == "mps" else torch.float64
        k = scores.shape[1]
        z, order = _near(scores.to(exact) / strength).sort(dim=1, descending=True)
        y = z - torch.arange(k, 0, -1, device=z.device, dtype=exact)
        fit = _isotonic(y)
        new_block = torch.ones_like(fit, dtype=torch.int64)
        new_block[:, 1:] = fit[:, 1:] != fit[:, :-1]
        ctx.save_for_backward(order, new_block.cumsum(1) - 1)
        ctx.strength = strength
        return torch.empty_like(z).scatter_(1, order, z - fit).clamp_(1, k).to(scores.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        order, block = ctx.saved_tensors
        g = grad.to(torch.promote_types(grad.dtype, torch.float32)).gather(1, order)
        zeros = torch.zeros_like(g)
        size = zeros.scatter_add(1, block, torch.ones_like(g)).clamp(min=1)
        mean = (zeros.scatter_add(1, block, g) / size).gather(1, block)
        out = torch.empty_like(g).scatter_(1, order, (g - mean) / ctx.strength)
        return out.to(grad.dtype), None


def soft_rank(scores: Tensor, strength: float = 1.0, op: RankOp = "torch") -> Tensor:
    """Differentiable ranks in ascending order: the largest score gets a rank near K (equation 7 of the paper).

    Args:
        scores: ``[B, K]``; half precision is ranked in float32. Infinite ones are first and last, equal ones of them
            share the mean of their ranks.
        strength: regularisation e > 0. Scores whose gaps exceed it get hard ranks 1 .. K; scores that lie
            close together get ranks near the mean (K+1)/2.
        op: ``torch``, or ``torchsort`` where that package is installed.

    Returns:
        Ranks in [1, K], ``[B, K]``, at least float32. Every row sums to K(K+1)/2.

    Raises:
        ValueError: wrong shape, a score that is not a number, strength not positive, or torchsort asked for and not
            installed.

    Example:
        >>> scores = torch.tensor([[1.0, -2.0, 2.0, 3.0, 0.5, -1.0]])
        >>> soft_rank(scores, strength=0.1).tolist()
        [[4.0, 1.0, 5.0, 6.0, 3.0, 2.0]]
        >>> soft_rank(scores, strength=1.0).tolist()
        [[3.875, 1.0, 4.875, 5.875, 3.375, 2.0]]
        >>> [round(rank, 3) for rank in soft_rank(scores, strength=10.0)[0].tolist()]
        [3.542, 3.242, 3.642, 3.742, 3.492, 3.342]
    """
    if scores.isnan().any():
        bad = int(scores.isnan().any(dim=-1).sum())
        raise ValueError(f"{bad} of {len(scores)} rows of scores hold NaN, which has no rank: leave them out")
    return ranks_of(scores, strength, op)


def ranks_of(scores: Tensor, strength: float, op: RankOp) -> Tensor:
    """`soft_rank` that does not wait for the device to look for NaN: of a row that holds one, all ranks are NaN.

    Args:
        scores: ``[B, K]``.
        strength: regularisation e > 0.
        op: what computes it.

    Raises:
        ValueError: wrong shape, strength not positive, or torchsort asked for and not installed.
    """
    if scores.dim() != 2:
        raise ValueError(f"soft_rank takes scores of shape [batch, items], got {tuple(scores.shape)}")
    if not strength > 0:
        raise ValueError(f"soft_rank needs a strength above 0, got {strength}")
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if op == "torch":
        return _SoftRank.apply(scores, strength)
    if op != "torchsort":
        raise ValueError(f"rank_op must be 'torch' or 'torchsort', got {op!r}")
    try:
        import torchsort
    except ImportError as error:
        raise ValueError("the ranking 'torchsort' needs a package: pip install torchsort") from error
    return torchsort.soft_rank(scores, regularization_strength=strength)
