"""Cross-entropy over the head's logits without ever holding them all: chunk by chunk, with the gradient at once.

Axes: N trained positions, C positions of one chunk, D hidden size, V vocabulary, K allowed entries.

For a plain linear head the gradient of each chunk is computed in the forward pass, while its logits are there, so the
head is applied once. Other heads (adapted, of few bits, more than a layer) are computed again on the way back.
Source: Hsu et al. 2024, "Liger Kernel", section 3.2 (fused linear cross-entropy).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from graft.models.head import Head
from graft.vocab.restrict import restrict_logits, restrict_targets

CHUNK_ENTRIES = 2**24
"""Most entries of the logits of one chunk: 64 MB in float32."""


def head_loss(
    head: Head, hidden_ND: torch.Tensor, targets_N: torch.Tensor, *, allowed: Sequence[int] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of the cross-entropies and number of tokens that were the most probable ones.

    The softmax is computed in float32. Products run in the type that autocasting says, else in that of the head.

    Args:
        head: what makes logits of hidden states.
        hidden_ND: hidden states.
        targets_N: the token that each predicts.
        allowed: ascending ids that the softmax runs over; ``None`` for all.

    Returns:
        The sum in nats, a float32 scalar with a gradient, and the number right, an int64 scalar without one.

    Raises:
        DataError: a target is not allowed.
    """
    if not len(targets_N):
        return hidden_ND.float().sum() * 0.0, targets_N.new_zeros(())
    if not _is_plain(head):
        return _again(head, hidden_ND, targets_N, allowed)
    weight_VD, bias_V = head.module.weight, head.module.bias
    if allowed is not None:
        index_K = torch.tensor(allowed, device=targets_N.device)
        targets_N = restrict_targets(targets_N, index_K)
        weight_VD = weight_VD.index_select(0, index_K)
        bias_V = None if bias_V is None else bias_V.index_select(0, index_K)
    loss, right = _Fused.apply(  # type: ignore[no-untyped-call]
        hidden_ND, weight_VD, bias_V, targets_N, chunk_size(weight_VD.shape[0])
    )
    return loss, right


def chunk_size(vocabulary: int) -> int:
    """Positions whose logits are held at once."""
    return max(1, CHUNK_ENTRIES // vocabulary)


class _Fused(torch.autograd.Function):
    """Loss and gradient of a linear head, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets_N: torch.Tensor,
        chunk: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        kind = hidden_ND.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight_VD.dtype
        with torch.autocast(kind, enabled=False):
            return _forward(ctx, hidden_ND, weight_VD, bias_V, targets_N, chunk, dtype)

    @staticmethod
    def backward(ctx: Any, *outputs: Any) -> Any:
        scale = outputs[0]
        grads = (None if grad is None else (grad * scale).to(dtype)
                 for grad, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True))  # fmt: skip
        return (*grads, None, None)


def _forward(
    ctx: Any,
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    bias_V: torch.Tensor | None,
    targets_N: torch.Tensor,
    chunk: int,
    dtype: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor]:
    needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
    cast_VD = weight_VD.to(dtype)
    grad_ND = torch.empty_like(hidden_ND) if needs_hidden else None
    grad_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if needs_weight else None
    grad_V = torch.zeros_like(bias_V, dtype=torch.float32) if needs_bias and bias_V is not None else None
    loss = hidden_ND.new_zeros((), dtype=torch.float32)
    right = targets_N.new_zeros(())
    for start in range(0, len(targets_N), chunk):
        hidden_CD, targets_C = hidden_ND[start : start + chunk].to(dtype), targets_N[start : start + chunk]
        logits_CV = (hidden_CD @ cast_VD.T).float()
        if bias_V is not None:
            logits_CV += bias_V
        right += (logits_CV.argmax(-1) == targets_C).sum()
        total_C = logits_CV.logsumexp(-1)
        gold_C = logits_CV.gather(1, targets_C[:, None]).squeeze(1)
        loss += (total_C - gold_C).sum()
        if grad_ND is None and grad_VD is None and grad_V is None:
            continue
        wrong_CV = logits_CV.sub_(total_C[:, None]).exp_()  # the softmax, in the logits' memory
        wrong_CV.scatter_add_(1, targets_C[:, None], wrong_CV.new_full((len(targets_C), 1), -1.0))
        if grad_V is not None:
            grad_V += wrong_CV.sum(0)
        cast_CV = wrong_CV.to(dtype)
        if grad_ND is not None:
            grad_ND[start : start + chunk] = cast_CV @ cast_VD
        if grad_VD is not None:
            grad_VD += cast_CV.T @ hidden_CD
    ctx.save_for_backward(grad_ND, grad_VD, grad_V)
    ctx.dtypes = (hidden_ND.dtype, weight_VD.dtype, None if bias_V is None else bias_V.dtype)
    ctx.mark_non_differentiable(right)
    return loss, right


def _again(
    head: Head, hidden_ND: torch.Tensor, targets_N: torch.Tensor, allowed: Sequence[int] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The plain way, chunk by chunk; logits are computed again for the gradient."""

    def part(hidden_CD: torch.Tensor, targets_C: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits_CV = head(hidden_CD)
        if allowed is not None:
            logits_CV, targets_C = restrict_logits(logits_CV, targets_C, allowed)
        loss = torch.nn.functional.cross_entropy(logits_CV.float(), targets_C, reduction="sum")
        return loss, (logits_CV.detach().argmax(-1) == targets_C).sum()

    weight = getattr(head.module, "weight", None)
    width = int(getattr(head.module, "out_features", 0) or (2**17 if weight is None else weight.shape[0]))
    chunk = chunk_size(width)
    pieces = zip(torch.split(hidden_ND, chunk), torch.split(targets_N, chunk), strict=True)
    sums = [checkpoint(part, *piece, use_reentrant=False) for piece in pieces]
    return torch.stack([loss for loss, _ in sums]).sum(), torch.stack([right for _, right in sums]).sum()


def _is_plain(head: Head) -> bool:
    hooked = head.module._forward_hooks or head.module._forward_pre_hooks
    return type(head.module) is torch.nn.Linear and head.own is None and not hooked
