"""FiQA question answering: questions about personal finance with an answer from a forum.

One row: ``{"question": "What is considered a business expense on a business trip?", "answer": "The IRS Guidance
pertaining to the subject. …"}``. Licence: CC BY 3.0 (Stack Exchange). Splits: train, and test for scoring. Metric: F1
of words; the answers are long and one of many possible, so compare arms, not absolute values.

Source: Maia et al. 2018, "WWW'18 Open Challenge: Financial Opinion Mining and Question Answering", task 2.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource, Row
from graft.tasks.labels import digest
from graft.tasks.question import QuestionTask
from graft.types import Example


class FiqaTask(QuestionTask):
    """Questions about personal finance."""

    card = TaskCard(
        "fiqa", "Answer a question about personal finance.", "f1", "CC-BY-3.0", "LLukas22/fiqa", "answer", "train, test"
    )
    source = HubSource("LLukas22/fiqa", eval="test", columns=("question", "answer"))

    def example(self, row: Row, index: int) -> Example | None:
        """Question and answer; a row without an answer is left out. Answers to one question are one cluster."""
        question, answer = (str(row[name] or "").strip() for name in ("question", "answer"))
        return Example(f"fiqa/{index}", "fiqa", question, answer, cluster=digest(question)) if answer else None
