"""Financial QA 10-K: questions about a passage of a company's annual report.

One row: ``{"question": "What area did NVIDIA initially focus on before expanding to other computationally intensive
fields?", "answer": "NVIDIA initially focused on PC graphics.", "context": "Since our original focus on PC graphics, we
have expanded to …", "ticker": "NVDA", "filing": "2023_10K"}``. Licence: Apache-2.0. Splits: train alone, a tenth held
out by passage. Metric: F1 of words. Items of one filing are one cluster.

Source: the dataset's card on the hub.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource, Row
from graft.tasks.question import QuestionTask
from graft.types import Example

PROMPT = "{context}\n\nQuestion: {question}\nAnswer:"


class FinancialQa10KTask(QuestionTask):
    """Questions about a passage of an annual report."""

    card = TaskCard(
        "financial-qa-10k",
        "Answer a question about a passage of an annual report.",
        "f1",
        "Apache-2.0",
        "virattt/financial-qa-10K",
        "answer",
        "7,000 train",
    )
    source = HubSource("virattt/financial-qa-10K", columns=("context", "question", "answer", "ticker", "filing"))

    def example(self, row: Row, index: int) -> Example | None:
        """Passage and question as the prompt; a row without an answer is left out."""
        context, question, answer, ticker, filing = (str(row[name] or "").strip() for name in self.source.columns)
        if not answer:
            return None
        return Example(
            id=f"financial-qa-10k/{index}",
            task="financial-qa-10k",
            prompt=PROMPT.format(context=context, question=question),
            gold=answer,
            cluster=f"{ticker}/{filing}",
            strata={"ticker": ticker},
        )
