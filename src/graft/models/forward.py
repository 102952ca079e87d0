"""One forward pass over token rows that yields hidden states where answers are predicted, and nowhere else.

Axes: B rows, T positions, D hidden size, V vocabulary, N trained positions of all rows.

Rows are padded on the right and positions are causal, so no real token ever attends to padding and no attention
mask is needed. The head is applied to N positions only; logits of shape (B, T, V) never exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def pad_rows(rows: Sequence[TokenRow], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Lay rows out as a right-padded rectangle.

    Returns:
        ``ids_BT`` (int64) and ``labels_BT`` (int64), the labels -100 wherever a token is not trained.
    """
    width = max(len(row) for row in rows)
    ids_BT = torch.full((len(rows), width), pad_id)
    labels_BT = torch.full((len(rows), width), -100)
    for index, row in enumerate(rows):
        tokens = torch.tensor(row.prompt + row.completion)
        ids_BT[index, : len(tokens)] = tokens
        labels_BT[index, len(row.prompt) : len(tokens)] = tokens[len(row.prompt) :]
    labels_BT[:, 0] = -100  # nothing precedes the first token, so nothing predicts it
    return ids_BT, labels_BT


def answer_logits(
    model: PreTrainedModel, ids_BT: torch.Tensor, labels_BT: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits at the positions that predict a trained token, and those tokens.

    Returns:
        ``logits_NV`` and ``targets_N``, row by row, left to right.
    """
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model  # adapters stay inside its layers
    hidden_BTD = bare.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state
    trained_BT = labels_BT[:, 1:] != -100
    return bare.get_output_embeddings()(hidden_BTD[:, :-1][trained_BT]), labels_BT[:, 1:][trained_BT]
