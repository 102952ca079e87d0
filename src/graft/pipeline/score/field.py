"""Scoring benchmarks in the field's style."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graft.evals.field import likeliest, written
from graft.evals.items import Items
from graft.models.backends.base import Backend
from graft.models.backends.transformers import TransformersBackend
from graft.pipeline.score.labels import label_records, with_labels
from graft.tasks.field import FieldTask


def field_records(
    backend: Backend, items: Items, task: FieldTask, on_done: Callable[[int], None]
) -> list[dict[str, Any]]:
    """One record per item; a model behind a server is never asked so, as the recipe's check sees to."""
    assert isinstance(backend, TransformersBackend)
    if task.written:
        return written(backend, items, task, on_done=on_done)
    fields = label_records(backend, items, way="sum", on_done=on_done)
    return with_labels(likeliest(backend, items, fields), fields)
