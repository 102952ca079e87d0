r"""FinanceMath: finance problems of college level, some with tables, whose answer is one number.

One row: ``{"question_id": "validation-0", "question": "In 2018, Company A had a passive equity ownership interest of
15% in Company B. …", "tables": ["|  | Amount |\n|…"], "python_solution": "def solution(): …", "ground_truth": 47.0,
"topic": "Accounting"}``. Licence: MIT, after asking for access. Splits: the 200 validation rows, a tenth of them held
out; the answers of the 1,000 test rows are not public, so they cannot be scored. Metric: share of answers within 1%.

Source: Zhao et al. 2024, "FinanceMath: Knowledge-Intensive Math Reasoning in Finance Domains".
"""

from __future__ import annotations

from graft.tasks.answers.numbers import only_number, score_number
from graft.tasks.base import TaskCard
from graft.tasks.dataset import DatasetTask, HubSource, Row
from graft.types import Example, Score


class FinanceMathTask(DatasetTask):
    """Finance problems whose answer is one number."""

    card = TaskCard(
        "finance-math",
        "Solve a finance problem, tables included.",
        "lenient",
        "MIT",
        "yale-nlp/FinanceMath",
        "answer",
        "200 validation (the 1,000 test answers are not public)",
    )
    source = HubSource(
        "yale-nlp/FinanceMath",
        train="validation",
        columns=("question_id", "question", "tables", "ground_truth", "topic"),
        gated=True,
    )

    def example(self, row: Row, index: int) -> Example | None:
        """Tables before the question; a row without a public answer is left out."""
        gold = _plain(row["ground_truth"])
        if only_number(gold) is None:
            return None
        parts = [*(str(table).strip() for table in row["tables"] or ()), str(row["question"]).strip()]
        prompt = "\n\n".join([*parts, "Answer with the number alone."])
        name = f"finance-math/{row['question_id']}"
        return Example(name, "finance-math", prompt, gold, cluster=name, strata={"topic": str(row["topic"])})

    def score(self, example: Example, reply: str) -> Score:
        """Compare the numbers, with the usual tolerance of 1%; whole ones have it too, as they are computed."""
        return score_number(example.gold, reply, exact_integers=False)


def _plain(value: object) -> str:
    """A number as text, whole numbers without a decimal point; anything that is no number is empty."""
    if isinstance(value, float):
        return f"{value:.10f}".rstrip("0").rstrip(".") if value == value and abs(value) < 1e15 else ""
    return "" if value is None else str(value)
