"""The base of corpora: rows of plain text that are trained whole and measured by perplexity."""

from __future__ import annotations

from typing import ClassVar

from graft.tasks.dataset import DatasetTask, Row
from graft.types import Example, Score


class CorpusTask(DatasetTask):
    """A corpus: every row is one text, without a prompt and without a right answer."""

    text: ClassVar[str] = "text"
    """Column that holds the text."""

    def example(self, row: Row, index: int) -> Example | None:
        """One text, white space around it left off; an empty row is left out."""
        text = str(row[self.text] or "").strip()
        name = f"{self.card.name}/{index}"
        return Example(id=name, task=self.card.name, prompt=None, gold=text, cluster=name) if text else None

    def score(self, example: Example, reply: str) -> Score:
        """Exact match; a text has no other right continuation, so perplexity and bits per byte are what counts."""
        same = reply.strip() == example.gold
        return Score(strict=same, lenient=same, parsed=bool(reply.strip()), answer=reply.strip() or None)
