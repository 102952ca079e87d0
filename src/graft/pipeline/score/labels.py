"""Label scoring: the further fields of each item's record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graft.evals.constrained import DIGITS
from graft.evals.items import Items
from graft.evals.labels import Way, has_labels, label_fields, token_budget
from graft.models.backends.base import Backend, no_progress
from graft.models.backends.transformers import TransformersBackend

Record = Mapping[str, Any]


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
    return label_fields(
        backend.model,
        backend.tokenizer,
        items,
        way=way,
        token_budget=token_budget(backend.model),
        allowed=backend.allowed,
        on_done=on_done,
    )


def with_labels(records: Sequence[Record], fields: Sequence[Record]) -> list[dict[str, Any]]:
    """Records with the fields of `label_records`; where labels were scored, the likeliest one is the constrained
    answer.
    """
    return [{**record, **found, **_constrained(record, found)} for record, found in zip(records, fields, strict=True)]


def _constrained(record: Record, found: Record) -> dict[str, Any]:
    if not found:
        return {}
    gold = found["option_probabilities"][found["options"].index(record["gold"])]
    return {
        "constrained": found["label_right"],
        "constrained_answer": found["label_choice"],
        "constrained_gold": round(gold, DIGITS),
    }


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
