"""FiQA 2018, aspect-based sentiment: is a headline or post good or bad for the company it is about?

One row: `{"_id": "12", "sentence": "Shares of Acme drop 5% after profit warning", "target": "Acme", "aspect":
"['Stock/Price Action']", "score": -0.62, "type": "headline"}`, the score from -1 to 1. As in FinGPT's benchmark, below
-0.1 is negative, from 0.1 on positive, and between them neutral. Licence: MIT. Splits: 822 train, 117 valid, 234 test,
of which test is scored. Metric: macro-F1, because few rows are neutral.
"""

from __future__ import annotations

import math

from graft.errors import DataError
from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource, Row
from graft.tasks.labels import ClassificationTask

THRESHOLD = 0.1


class FiqaSentimentTask(ClassificationTask):
    """FiQA's scores as three labels, for one target each: a sentence about two companies is two rows."""

    card = TaskCard(
        "fiqa-sentiment",
        "Is this text positive, neutral or negative for the company it is about?",
        "macro_f1",
        "MIT",
        "TheFinAI/fiqa-sentiment-classification",
        "classification",
        "822 train, 234 test",
        "fiqa-sentiment",
    )
    source = HubSource(
        "TheFinAI/fiqa-sentiment-classification", eval="test", columns=("sentence", "target", "type", "score")
    )
    labels = ("negative", "neutral", "positive")
    template = (
        "Classify the financial sentiment of this {type} towards {target} as 'negative', 'neutral' or 'positive'."
        "\n\nText: {sentence}\nSentiment:"
    )
    label_column = "score"

    def label(self, row: Row, index: int) -> str | None:
        """The label of a score.

        Raises:
            DataError: the score is not a number from -1 to 1.
        """
        value = self.cell(row, index, self.label_column)
        try:
            score = float(value)
        except (TypeError, ValueError):
            score = math.nan
        if not -1 <= score <= 1:
            raise DataError(f"{self.where(index)}: score {value!r} must be a number from -1 to 1")
        if score < -THRESHOLD:
            return "negative"
        return "positive" if score >= THRESHOLD else "neutral"
