r"""The DeepMind mathematics dataset: generated school problems, here linear equations of one unknown.

One row: ``{"question": "b'Solve 24 = 1601*c - 1605*c for c.\\n'", "answer": "b'-6\\n'"}``; the columns hold the text of
Python bytes, which is taken out. Licence: Apache-2.0. Splits: train, and test for scoring. Metric: exact match. The
dataset is a script of 56 modules and is read from the hub's Parquet conversion; this task reads ``algebra__linear_1d``,
and a class with another `source` reads another.

Source: Saxton et al. 2019, "Analysing Mathematical Reasoning Abilities of Neural Models", section 2.
"""

from __future__ import annotations

import ast

from graft.tasks.answers.numbers import only_number
from graft.tasks.base import TaskCard
from graft.tasks.dataset import DatasetTask, HubSource, Row
from graft.types import Example, Score


class MathDatasetTask(DatasetTask):
    """Generated problems with one right answer."""

    card = TaskCard(
        "math-dataset",
        "Solve a generated school problem (linear equations of one unknown).",
        "strict",
        "Apache-2.0",
        "deepmind/math_dataset",
        "answer",
        "1,999,998 train, 10,000 test",
    )
    source = HubSource(
        "deepmind/math_dataset",
        config="algebra__linear_1d",
        eval="test",
        columns=("question", "answer"),
        converted=True,
    )

    def example(self, row: Row, index: int) -> Example:
        """Question and answer as plain text."""
        name = f"math-dataset/{index}"
        return Example(name, "math-dataset", clean(row["question"]), clean(row["answer"]), cluster=name)

    def score(self, example: Example, reply: str) -> Score:
        """Strict is the answer as written; lenient also an equal number, or other white space and case."""
        said, right = reply.strip(), example.gold
        answer, number = "".join(said.casefold().split()).rstrip("."), only_number(said)
        equal = number is not None and (gold := only_number(right)) is not None and number.value == gold.value
        lenient = equal or answer == "".join(right.casefold().split())
        return Score(strict=said == right, lenient=lenient, parsed=bool(answer), answer=answer or None)


def clean(value: object) -> str:
    r"""The text of a column that may hold bytes, or the way Python writes bytes (``b'…\n'``)."""
    text = value.decode() if isinstance(value, bytes) else str(value)
    if text[:2] in ("b'", 'b"'):
        try:
            text = ast.literal_eval(text).decode()
        except (ValueError, SyntaxError, UnicodeDecodeError):
            text = text[2:].rstrip("'\"")
    return text.strip()
