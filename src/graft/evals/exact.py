"""Greedy exact match in one teacher-forced pass.

Greedy decoding writes the gold answer if and only if every gold token, the end of the turn included, is the arg-max
given the gold tokens before it. So one forward pass decides what generation would take as many passes as tokens for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from graft.models.forward import answer_hidden, head_of, rows_batch, trained_tokens
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
        model: a causal language model or an encoder-decoder, in evaluation mode.
        rows: prompts with their gold completions.
        pad_id: token id to pad with.
        batch_size: rows per forward pass; passes take rows of similar length.
        allowed: bool of shape (V,), the tokens that may be written; all when ``None``.
        on_batch: called with the number of rows just scored.

    Returns:
        One bool per row, in the order of the rows.
    """
    right = [False] * len(rows)
    head, seq2seq = head_of(model), bool(model.config.is_encoder_decoder)
    by_length = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    for start in range(0, len(rows), batch_size):
        chosen = by_length[start : start + batch_size]
        group = [rows[index] for index in chosen]
        batch = rows_batch(model, group, pad_id)
        with torch.inference_mode():
            logits_NV = head(answer_hidden(model, batch))
        if allowed is not None:
            logits_NV = logits_NV.masked_fill(~allowed, -torch.inf)
        hits_N = logits_NV.argmax(-1) == batch.targets_N
        per_row = [trained_tokens(row, seq2seq=seq2seq) for row in group]
        for index, hits in zip(chosen, torch.split(hits_N, per_row), strict=True):
            right[index] = bool(hits.all())
        on_batch(len(chosen))
    return right
