"""Sujet Finance QA Vision: questions about a page of a financial report; the text questions only.

One row: ``{"doc_id": "…_page_12", "image": <page>, "qa_pairs": "[{'question': 'What was the total revenue in 2022?',
'answer': 'The total revenue in 2022 was $3.2 billion.'}, …]"}``; each question becomes one item. The images are left
out, and most questions cannot be known without their page: the task teaches the manner of answering, and its score says
little about knowledge. Licence: Apache-2.0. Splits: train, and test for scoring. Metric: F1 of words. Items of one page
are one cluster.

Source: the dataset's card on the hub.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator

from graft.errors import DataError
from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource, Row, Rows
from graft.tasks.question import QuestionTask, spread
from graft.types import Example


class SujetFinanceQaTask(QuestionTask):
    """Questions about pages of financial reports, without the pages."""

    card = TaskCard(
        "sujet-finance-qa",
        "Answer a question about a financial report, whose page image is left out.",
        "f1",
        "Apache-2.0",
        "sujet-ai/Sujet-Finance-QA-Vision-100k",
        "answer",
        "about 107,000 questions on 9,800 pages, train and test",
    )
    source = HubSource("sujet-ai/Sujet-Finance-QA-Vision-100k", eval="test", columns=("doc_id", "qa_pairs"))

    def __init__(self, rows: Rows) -> None:
        super().__init__(spread(rows, questions))

    def example(self, row: Row, index: int) -> Example:
        """Question and answer, clustered by page."""
        return Example(f"sujet-finance-qa/{index}", "sujet-finance-qa", row["question"], row["answer"], row["doc_id"])


def questions(row: Row) -> Iterator[Row]:
    """The questions of one page; those without an answer are left out.

    Raises:
        DataError: the column ``qa_pairs`` is no list of questions and answers.
    """
    page = str(row["doc_id"])
    for pair in _pairs(row["qa_pairs"], page):
        if not isinstance(pair, dict) or not {"question", "answer"} <= pair.keys():
            raise DataError(f"task sujet-finance-qa: page {page} has no question and answer in {str(pair)[:60]!r}")
        question, answer = (str(pair[name] or "").strip() for name in ("question", "answer"))
        if question and answer:
            yield {"doc_id": page, "question": question, "answer": answer}


def _pairs(value: object, page: str) -> list[object]:
    """The list in a column that holds it as such, as JSON or as Python writes it."""
    found = value
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except json.JSONDecodeError:
            try:
                found = ast.literal_eval(value)
            except (ValueError, SyntaxError):
                found = None
    if not isinstance(found, list):
        raise DataError(
            f"task sujet-finance-qa: qa_pairs of page {page} must be a list of questions, but is {str(value)[:60]!r}"
        )
    return found
