"""Attention whose keys have gates, with the gradient that tells a silent key what its presence would have changed.

With a gate g_j for each key, query i gives key j the weight

    w_ij = g_j exp(s_ij) / sum over k of g_k exp(s_ik),

the same as plain masking where gates are 0 and 1. With y_i for the output, the slope of a loss along a gate is

    dL/dg_j = sum over i of exp(s_ij) / (sum over k of g_k exp(s_ik)) * <dL/dy_i, v_j - y_i>,

which needs no weights of keys that are not attended to. So torch's fused attention goes forward, and the backward pass
makes the scores anew, a part of the batch at a time: nothing of the size of queries times keys is kept.

Letters in shapes: B batch, H heads, Q queries, L keys that some row attends to, R keys that no row does, d width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores of one part of the backward pass: on a CPU it stays in the cache.
_CPU_ELEMENTS, _GPU_ELEMENTS = 2**19, 2**26


class _GatedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, silent_k, silent_v, gate):  # type: ignore[no-untyped-def]
        # The logarithm of a hard gate is exactly 0 or minus infinity.
        bias = gate[:, : k.shape[2]].log().to(q.dtype)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[:, None, None])
        ctx.save_for_backward(q, k, v, silent_k, silent_v, gate, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):  # type: ignore[no-untyped-def]
        saved = ctx.saved_tensors
        (q, k, v, silent_k, _, gate, _), rows = saved, len(dy)
        per_row = q.shape[1] * q.shape[2] * (k.shape[2] + silent_k.shape[2])
        elements = _CPU_ELEMENTS if q.device.type == "cpu" else _GPU_ELEMENTS
        part = max(1, elements // per_row)
        gradients = [torch.empty_like(x) for x in (q, k, v, gate)]
        for start in range(0, rows, part):
            here = slice(start, start + part)
            for whole, of_part in zip(gradients, _gradients(dy[here], *(x[here] for x in saved)), strict=True):
                whole[here] = of_part
        dq, dk, dv, dgate = gradients
        return dq, dk, dv, None, None, dgate


def _gradients(
    dy: Tensor, q: Tensor, k: Tensor, v: Tensor, silent_k: Tensor, silent_v: Tensor, gate: Tensor, y: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of queries, keys, values and gates, in the dtypes in which they are summed."""
    heard, scale, exact = k.shape[2], q.shape[-1] ** -0.5, torch.promote_types(q.dtype, torch.float32)
    keys, values, weight = torch.cat([k, silent_k], 2), torch.cat([v, silent_v], 2), gate.to(exact)[:, None, :, None]
    scores = (q * scale @ keys.mT).to(exact)  # [B, H, Q, L + R]
    log_gate = weight[:, :, :heard].log().mT
    scores -= (scores[..., :heard] + log_gate).amax(-1, keepdim=True)
    # An absent key may score far above all present ones; its numerator only scales a gradient.
    highest = torch.where(weight > 0, torch.inf, 0.0).mT  # [B, 1, 1, L + R]
    numerators = torch.minimum(scores, highest, out=scores).exp_()
    shares = 1 / (numerators[..., :heard] @ weight[:, :, :heard])  # [B, H, Q, 1]
    dy = dy.to(exact) * shares
    slopes = dy.to(v.dtype) @ values.mT
    slopes = slopes.to(exact).sub_((dy * y).sum(-1, keepdim=True)).mul_(numerators)  # [B, H, Q, L + R]
    present = weight[:, :, :heard]
    dv = present * (numerators[..., :heard].mT @ dy)
    dk = present * (slopes[..., :heard].mT @ (q * scale).to(exact))
    dq = slopes[..., :heard] @ (present * k * scale)
    return dq, dk, dv, slopes.sum((1, 2))


def gated_attention(
    q: Tensor, k: Tensor, v: Tensor, gate: Tensor, silent_k: Tensor | None = None, silent_v: Tensor | None = None
) -> Tensor:
    """Attends to keys by their gates.

    Args:
        q: ``[B, H, Q, d]``.
        k: ``[B, H, L, d]``, of which every row attends to at least one.
        v: ``[B, H, L, d]``.
        gate: 0 or more, ``[B, L + R]``: 0 is absent, 1 is present.
        silent_k: ``[B, H, R, d]``, keys whose gates are 0; they get no gradient, their gates do. None: R = 0.
        silent_v: ``[B, H, R, d]``.

    Returns:
        ``[B, H, Q, d]``; differentiable once.

    Example:
        >>> q, k, v = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 0.0], [5.0, 2.0]]]])
        >>> gate = torch.tensor([[1.0, 0.0]], requires_grad=True)
        >>> y = gated_attention(q, k, v, gate)
        >>> y.tolist()
        [[[[1.0, 0.0]]]]
        >>> y.sum().backward()
        >>> gate.grad.tolist()  # the second key would add 5 + 2 - 1
        [[0.0, 6.0]]
    """
    if silent_k is None or silent_v is None:
        silent_k, silent_v = k[:, :, :0], v[:, :, :0]
    y: Tensor = _GatedAttention.apply(q, k, v, silent_k.detach(), silent_v.detach(), gate)
    return y
