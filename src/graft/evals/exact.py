"""Greedy exact match in one teacher-forced pass.

Greedy decoding writes the gold answer if and only if every gold token, the end of the turn included, is the arg-max
given the gold tokens before it. So one forward pass decides what generation would take as many passes as tokens for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from graft.models.forward import answer_logits, pad_rows
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def exact_match(
    model: PreTrainedModel,
    rows: Sequence[TokenRow],
    *,
    pad_id: int,
    batch_size: int,
    allowed: torch.Tensor | None = None,
    on_batch: Callable[[int], None] = lambda count: None,
) -> list[bool]:
    """Whether greedy decoding would write each row's completion, token for token, and then end the turn.

    Args:
        model: a causal language model in evaluation mode.
        rows: prompts with their gold completions.
        pad_id: token id to pad with.
        batch_size: rows per forward pass; passes take rows of similar length.
        allowed: bool of shape (V,), the tokens that may be written; all when ``None``.
        on_batch: called with the number of rows just scored.

    Returns:
        One bool per row, in the order of the rows.
    """
    right = [False] * len(rows)
    by_length = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    for start in range(0, len(rows), batch_size):
        chosen = by_length[start : start + batch_size]
        ids_BT, labels_BT = pad_rows([rows[index] for index in chosen], pad_id)
        ids_BT, labels_BT = ids_BT.to(model.device), labels_BT.to(model.device)
        with torch.inference_mode():
            logits_NV, targets_N = answer_logits(model, ids_BT, labels_BT)
        if allowed is not None:
            logits_NV = logits_NV.masked_fill(~allowed, -torch.inf)
        hits_N = logits_NV.argmax(-1) == targets_N
        per_row = (labels_BT[:, 1:] != -100).sum(1).tolist()
        for index, hits in zip(chosen, torch.split(hits_N, per_row), strict=True):
            right[index] = bool(hits.all())
        on_batch(len(chosen))
    return right
