"""Finance Alpaca: instructions about finance and everyday matters with an answer.

One row: ``{"instruction": "For a car, what scams can be plotted with 0% financing vs rebate?", "input": "", "output":
"The car deal makes money 3 ways. …", "text": ""}``. Licence: MIT. Splits: train alone, a tenth held out. Metric: F1 of
words; the answers are long and one of many possible, so compare arms, not absolute values.

Source: the dataset's card on the hub; built from Stanford Alpaca and FiQA.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource, Row
from graft.tasks.labels import digest
from graft.tasks.question import QuestionTask
from graft.types import Example


class FinanceAlpacaTask(QuestionTask):
    """Instructions about finance."""

    card = TaskCard(
        "finance-alpaca",
        "Follow an instruction about finance.",
        "f1",
        "MIT",
        "gbharti/finance-alpaca",
        "answer",
        "68,912 train",
    )
    source = HubSource("gbharti/finance-alpaca", columns=("instruction", "input", "output"))

    def example(self, row: Row, index: int) -> Example | None:
        """Instruction and input as the prompt; a row without an output is left out."""
        parts = [str(row[name] or "").strip() for name in ("instruction", "input")]
        prompt, answer = "\n\n".join(part for part in parts if part), str(row["output"] or "").strip()
        return (
            Example(f"finance-alpaca/{index}", "finance-alpaca", prompt, answer, cluster=digest(prompt))
            if answer
            else None
        )
