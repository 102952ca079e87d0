"""Held-out loss, token accuracy and exact match from the same teacher-forced pass.

Axes: D hidden size, V vocabulary, N predicted tokens of all rows of a pass, n of them at once.

Every pass is reduced to a few numbers before the next one begins; logits are never collected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from graft.models.forward import answer_hidden, head_of, rows_batch, trained_tokens
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS_AT_ONCE = 2**27
"""Most logits that exist at once: 512 MB in float32."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Sums over rows; sums of parts are sums of the whole, so they add up with ``+``.

    Attributes:
        rows: rows read.
        exact: rows whose completion greedy decoding would write, token for token, the end of the turn included.
        tokens: predicted tokens.
        right: those that were the most probable ones.
        nats: cross-entropy of all predicted tokens together.
    """

    rows: int = 0
    exact: int = 0
    tokens: int = 0
    right: int = 0
    nats: float = 0.0

    def __add__(self, other: HeldOut) -> HeldOut:
        return HeldOut(
            self.rows + other.rows,
            self.exact + other.exact,
            self.tokens + other.tokens,
            self.right + other.right,
            self.nats + other.nats,
        )

    @property
    def loss(self) -> float:
        """Mean cross-entropy per predicted token in nats; NaN without any."""
        return self.nats / self.tokens if self.tokens else math.nan

    @property
    def accuracy(self) -> float:
        """Share of the predicted tokens that were the most probable ones; NaN without any."""
        return self.right / self.tokens if self.tokens else math.nan

    @property
    def exact_match(self) -> float:
        """Share of rows that greedy decoding would write as they are; NaN without any."""
        return self.exact / self.rows if self.rows else math.nan


def measure_rows(
    model: PreTrainedModel,
    rows: Sequence[TokenRow],
    *,
    pad_id: int,
    batch_size: int,
    allowed: torch.Tensor | None = None,
    trained: torch.Tensor | None = None,
) -> HeldOut:
    """Read rows once and sum up how well their completions are predicted.

    Args:
        model: a model in evaluation mode.
        rows: prompts with their gold completions.
        pad_id: token id to pad with.
        batch_size: rows of one pass; passes take rows of similar length.
        allowed: bool of shape (V,), the tokens that greedy decoding may write; all when ``None``.
        trained: bool of shape (V,), the tokens that the softmax of the loss runs over; all when ``None``. The loss of
            a token outside it is infinite.

    Returns:
        The sums.
    """
    total = HeldOut()
    ordered = sorted(rows, key=len)
    for start in range(0, len(ordered), batch_size):
        total += _measure_pass(model, ordered[start : start + batch_size], pad_id, allowed, trained)
    return total


def _measure_pass(
    model: PreTrainedModel,
    rows: Sequence[TokenRow],
    pad_id: int,
    allowed: torch.Tensor | None,
    trained: torch.Tensor | None,
) -> HeldOut:
    """The sums of one pass; the head is applied to a part of the tokens at a time."""
    seq2seq = model.config.is_encoder_decoder
    nats, hits = 0.0, []
    with torch.inference_mode():
        batch = rows_batch(model, rows, pad_id)
        hidden_ND, head = answer_hidden(model, batch), head_of(model)
        at_once = max(1, LOGITS_AT_ONCE // model.get_input_embeddings().weight.shape[0])
        for part_nD, targets_n in zip(
            torch.split(hidden_ND, at_once), torch.split(batch.targets_N, at_once), strict=True
        ):
            logits_nV = head(part_nD).float()
            scored_nV = logits_nV if trained is None else logits_nV.masked_fill(~trained, -torch.inf)
            nats += torch.nn.functional.cross_entropy(scored_nV, targets_n, reduction="none").double().sum().item()
            written_nV = logits_nV if allowed is None else logits_nV.masked_fill(~allowed, -torch.inf)
            hits.append(written_nV.argmax(-1) == targets_n)
        hits_N = torch.cat(hits)
        per_row = [trained_tokens(row, seq2seq=seq2seq) for row in rows]
        exact = sum(bool(part.all()) for part in torch.split(hits_N, per_row))
    return HeldOut(len(rows), exact, len(hits_N), int(hits_N.sum()), nats)
