"""MMLU: multiple choice over 57 subjects, from elementary mathematics to law.

One row: `{"question": "Which gas do plants take in for photosynthesis?", "subject": "high_school_biology", "choices":
["Oxygen", "Carbon dioxide", "Nitrogen", "Helium"], "answer": 1}`, the answer counted from 0. Licence: MIT (Hendrycks et
al., 2021). Splits: 14,042 test rows are scored; trained is on the 99,842 of auxiliary_train, which are of other exams
and name no subject; the field's worked examples are the 285 of dev. Metric: accuracy.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource
from graft.tasks.labels import ChoiceTask


class MmluTask(ChoiceTask):
    """Questions with four options."""

    card = TaskCard(
        "mmlu",
        "Multiple choice with four options over 57 subjects.",
        "accuracy",
        "MIT",
        "cais/mmlu",
        "choice",
        "99,842 train (other exams), 14,042 test",
        "mmlu",
    )
    source = HubSource(
        "cais/mmlu",
        "all",
        train="auxiliary_train",
        eval="test",
        columns=("question", "subject", "choices", "answer"),
        worked="dev",
    )
    subject_column = "subject"
    options_column = "choices"
    answer_column = "answer"
