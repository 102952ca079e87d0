"""Staying inside a subset without touching the model: which ids are allowed, and a softmax over them alone.

Axes: N trained positions, V vocabulary, K allowed entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graft.errors import DataError
from graft.vocab.english import classify
from graft.vocab.entries import read_vocabulary
from graft.vocab.keep import choose

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


def allowed_ids(tokenizer: PreTrainedTokenizerBase, subset: str, *, rows: int | None = None) -> tuple[int, ...]:
    """The ids that trimming to a subset would keep, in ascending order.

    Single bytes are among them, as in a trimmed vocabulary, so that every text can be written.

    Args:
        tokenizer: a byte-level BPE tokenizer.
        subset: ``english``.
        rows: rows of the model's embeddings; ``None`` for a multiple of 64, as most models have.

    Raises:
        ConfigError: unknown subset.
        ModelError: the tokenizer is not byte-level BPE.
    """
    vocabulary = read_vocabulary(tokenizer)
    return tuple(sorted(choose(vocabulary, classify(vocabulary), subset=subset, rows=rows).ids))


def restrict_logits(
    logits_NV: torch.Tensor, targets_N: torch.Tensor, allowed: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits over the allowed entries alone, and the targets as positions among them.

    The cross-entropy of the two is the loss of the trimmed model.

    Args:
        logits_NV: logits over the whole vocabulary.
        targets_N: token ids that are trained.
        allowed: ids in ascending order.

    Returns:
        ``logits_NK`` and ``targets_N``.

    Raises:
        DataError: a target is not allowed, so its probability would be 0 and the loss infinite.
    """
    import torch

    index_K = torch.tensor(allowed, device=targets_N.device)
    return logits_NV[:, index_K], restrict_targets(targets_N, index_K)


def restrict_targets(targets_N: torch.Tensor, index_K: torch.Tensor) -> torch.Tensor:
    """Token ids as places among the allowed ones.

    Args:
        targets_N: token ids that are trained.
        index_K: the allowed ids in ascending order.

    Raises:
        DataError: a target is not allowed, so its probability would be 0 and the loss infinite.
    """
    import torch

    places_N = torch.searchsorted(index_K, targets_N).clamp(max=len(index_K) - 1)
    outside_N = index_K[places_N] != targets_N
    if outside_N.any():
        first = int(targets_N[outside_N][0])
        raise DataError(
            f"{int(outside_N.sum())} trained tokens lie outside the restricted vocabulary (the first has id {first}); "
            "train on text inside it or lift the restriction"
        )
    return places_N
