"""What the question-answering tasks share: answers that are short texts, and rows that hold several questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache

from graft.tasks.answers.spans import score_span
from graft.tasks.dataset import DatasetTask, Row, Rows
from graft.types import Example, Score


class QuestionTask(DatasetTask):
    """A task whose answers are free text, compared word by word."""

    def score(self, example: Example, reply: str) -> Score:
        """Exact match and F1 of words, normalised as in SQuAD."""
        return score_span(example.gold, reply)


def spread(rows: Rows, questions: Callable[[Row], Iterable[Row]]) -> Rows:
    """Rows with one question each, from rows that hold several.

    Args:
        rows: gives the rows of a part.
        questions: the questions of one row.

    Returns:
        Gives the questions of a part; they are taken apart when first asked, and kept.
    """

    @cache
    def part(name: str) -> Sequence[Row]:
        return [question for row in rows(name) for question in questions(row)]

    return part
