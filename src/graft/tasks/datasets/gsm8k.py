r"""GSM8K: grade-school word problems with worked solutions.

One row: ``{"question": "A robe takes 2 bolts of blue fiber and half that much white fiber.  How many bolts in total
does it take?", "answer": "It takes 2/2=<<2/2=1>>1 bolt of white fiber\nSo the total amount of fabric is 2+1=<<2+1=3>>3
bolts of fabric\n#### 3"}``. The whole solution is trained, calculator notes and final line included. Licence: MIT.
Splits: train, and test for scoring. Metric: share of right final numbers.

Source: Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems".
"""

from __future__ import annotations

from graft.errors import DataError
from graft.tasks.answers.numbers import MARKER, final_number, score_final_number
from graft.tasks.base import TaskCard
from graft.tasks.dataset import DatasetTask, HubSource, Row
from graft.types import Example, Score

PROMPT = "{question}\n\nSolve it step by step. End with a line that holds #### and the final number."


class Gsm8kTask(DatasetTask):
    """Word problems whose answer is one number."""

    card = TaskCard(
        "gsm8k",
        "Solve a grade-school word problem step by step.",
        "lenient",
        "MIT",
        "openai/gsm8k",
        "answer",
        "7,473 train, 1,319 test",
    )
    source = HubSource("openai/gsm8k", config="main", eval="test", columns=("question", "answer"))

    def example(self, row: Row, index: int) -> Example:
        """The question, and the whole solution as gold.

        Raises:
            DataError: the solution has no final number.
        """
        answer = str(row["answer"]).strip()
        if MARKER not in answer or final_number(answer) is None:
            raise DataError(
                f"task gsm8k: row {index} must end with '{MARKER} number', but ends with {answer[-20:]!r}; mend the row"
            )
        name = f"gsm8k/{index}"
        return Example(name, "gsm8k", PROMPT.format(question=str(row["question"]).strip()), answer, cluster=name)

    def score(self, example: Example, reply: str) -> Score:
        """Compare the final numbers."""
        return score_final_number(example.gold, reply)
