"""Benchmarks as lm-evaluation-harness asks and scores them, so that numbers may be set beside published ones.

Source: lm-evaluation-harness 0.4 (EleutherAI), the tasks ``mmlu`` with 5 worked examples, ``mmlu_pro``, ``gsm8k_cot``
and ``glue``. It has no task for IMDB, which is asked in the wording of its ``sst2``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graft.tasks.dataset import DatasetTask, Row
from graft.tasks.field.base import FieldTask
from graft.tasks.field.labels import GLUE, FieldGlue, FieldMmlu
from graft.tasks.field.worked import FieldGsm8k, FieldMmluPro

__all__ = ["STANDARDS", "FieldTask", "field_task"]

STANDARDS: dict[str, type[FieldTask]] = {
    "mmlu": FieldMmlu,
    "mmlu-pro": FieldMmluPro,
    "gsm8k": FieldGsm8k,
    **dict.fromkeys(GLUE, FieldGlue),
}
"""Benchmarks that the field asks in one way, by the name of their task."""


def field_task(name: str, task: DatasetTask, worked: Callable[[], Sequence[Row]]) -> FieldTask:
    """A benchmark as the field asks it.

    Args:
        name: one of `STANDARDS`.
        task: the benchmark as Graft asks it; its training rows stay so.
        worked: gives the rows of which the worked examples are taken.
    """
    standard = STANDARDS[name]
    card = standard.field_card(name, task.card)
    made: FieldTask = type(standard.__name__, (standard,), {"card": card, "source": task.source})(name, task, worked)
    return made
