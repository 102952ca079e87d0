r"""The DeepMind mathematics dataset: generated school problems, here linear equations of one unknown.

One row: ``{"question": "b'Solve 24 = 1601*c - 1605*c for c.\\n'", "answer": "b'-6\\n'"}``; the columns hold the text of
Python bytes, which is taken out. Licence: Apache-2.0. Splits: train, and test for scoring. Metric: exact match. The
dataset is a script of 56 modules and is read from the hub's Parquet conversion; this task reads ``algebra__linear_1d``,
and a class with another `source` reads another.

Source: Saxton et al. 2019, "Analysing Mathematical Reasoning Abilities of Neural Models", section 2.
"""

from __future__ import annotations

import ast
from dataclasses import replace

from graft.tasks.answers.numbers import committed_number, only_number
from graft.tasks.base import TaskCard
from graft.tasks.dataset import DatasetTask, HubSource, Row, same_text
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
        """Strict is the answer as written; lenient an equal number, or the expression in other white space and case."""
        right = only_number(example.gold)
        if right is None:
            found = super().score(example, reply)
            said, gold = ("".join(text.casefold().split()) for text in (found.answer or "", example.gold))
            return replace(found, lenient=found.strict or said == gold)
        number = committed_number(reply)
        lenient = number is not None and number.value == right.value
        answer = None if number is None else str(number.value)
        return Score(strict=same_text(reply, example.gold), lenient=lenient, parsed=number is not None, answer=answer)


def clean(value: object) -> str:
    r"""The text of a column that may hold bytes, or the way Python writes bytes (``b'…\n'``)."""
    text = value.decode() if isinstance(value, bytes) else str(value)
    if text[:2] in ("b'", 'b"'):
        try:
            text = ast.literal_eval(text).decode()
        except (ValueError, SyntaxError, UnicodeDecodeError):
            text = text[2:].rstrip("'\"")
    return text.strip()
