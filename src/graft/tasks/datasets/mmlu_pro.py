"""MMLU-Pro: harder multiple choice with up to ten options over 14 subjects.

One row: `{"question_id": 70, "question": "Which of these is a fixed cost?", "options": ["Wages by the hour", "Rent",
…], "answer": "B", "answer_index": 1, "cot_content": "", "category": "business", "src": "…"}`. Licence: MIT (Wang et
al., 2024). Splits: 12,032 test rows are scored; the 70 of validation, from which the field takes its worked examples,
are all there is to train on. A few rows have one option only and are left out. Metric: accuracy.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource
from graft.tasks.labels import ChoiceTask


class MmluProTask(ChoiceTask):
    """Questions with two to ten options."""

    card = TaskCard(
        "mmlu-pro",
        "Multiple choice with up to ten options over 14 subjects.",
        "accuracy",
        "MIT",
        "TIGER-Lab/MMLU-Pro",
        "choice",
        "70 validation (trained on), 12,032 test",
        "mmlu-pro",
    )
    source = HubSource(
        "TIGER-Lab/MMLU-Pro",
        train="validation",
        eval="test",
        columns=("question", "options", "answer_index", "category"),
        worked_columns=("cot_content",),
    )
    subject_column = "category"
    options_column = "options"
    answer_column = "answer_index"
