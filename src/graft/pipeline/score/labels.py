"""Label scoring: the further fields of each item's record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graft.evals.labels import Way, has_labels, label_fields
from graft.evals.scoring import Items
from graft.models.backends.base import Backend, no_progress
from graft.models.backends.transformers import TransformersBackend

if TYPE_CHECKING:
    import torch


Record = Mapping[str, Any]

CPU_TOKENS, ACCELERATOR_TOKENS = 1024, 32_768
"""Tokens of a label-scoring pass. Measured on a CPU: 16,384 take 1.7 times as long as 1,024, which stay in its
cache."""


def label_records(
    backend: Backend, items: Items, *, way: Way, on_done: Callable[[int], None] = no_progress
) -> list[dict[str, Any]]:
    """The further fields of each item's record, in the order of the items.

    Args:
        backend: the model; a server gives no log-likelihoods of a text that is not its own.
        items: the items.
        way: the recipe's ``eval.labels``.
        on_done: called with the number of items just finished.

    Returns:
        The fields of `graft.evals.labels.label_fields`, or an empty record for each item where labels cannot be
        scored: behind a server, with thinking, or without a closed set of answers.
    """
    if not isinstance(backend, TransformersBackend) or items.think or not has_labels(items):
        on_done(len(items))
        return [{} for _ in items.examples]
    device: torch.device = backend.model.device
    return label_fields(
        backend.model,
        backend.tokenizer,
        items,
        way=way,
        token_budget=CPU_TOKENS if device.type == "cpu" else ACCELERATOR_TOKENS,
        allowed=backend.allowed,
        on_done=on_done,
    )


def with_labels(records: Sequence[Record], fields: Sequence[Record]) -> list[dict[str, Any]]:
    """Records with the fields of `label_records`; where labels were scored, ``right`` is about the likeliest one."""
    return [
        {**record, **found, **({"right": found["label_right"]} if found else {})}
        for record, found in zip(records, fields, strict=True)
    ]


def calibration_records(
    backend: Backend, items: Items, *, way: Way, on_done: Callable[[int], None] = no_progress
) -> list[dict[str, Any]]:
    """Records of rows that only the temperature is fitted on: ``id``, ``gold`` and the fields of `label_records`."""
    scored = label_records(backend, items, way=way, on_done=on_done)
    return [
        {"id": example.id, "split": "calibration", "gold": example.gold, **fields}
        for example, fields in zip(items.examples, scored, strict=True)
        if fields
    ]
