"""FinGPT's instruction rows for financial sentiment, made from four datasets, in three shades or seven.

One row: `{"input": "Acme beats estimates and lifts its outlook", "output": "positive", "instruction": "What is the
sentiment of this news? Please choose an answer from {negative/neutral/positive}."}`; the answers to choose from stand
in the instruction. Licence: not stated by its card. Splits: 76,772 rows, all in train; one in ten is held out by its
text. Metric: accuracy.
"""

from __future__ import annotations

import re

from graft.errors import DataError
from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource, Row
from graft.tasks.labels import LabelTask, length_bucket
from graft.types import Example, Stratum

_OFFERED = re.compile(r"\{([^{}]+)\}")


class FingptSentimentTask(LabelTask):
    """Financial sentiment with the answers that each instruction offers."""

    card = TaskCard(
        "fingpt-sentiment",
        "What is the sentiment of this financial text, in the shades that the row offers?",
        "accuracy",
        "not stated",
        "FinGPT/fingpt-sentiment-train",
        "classification",
        "76,772 train, a tenth of them held out",
        "fingpt-sentiment",
    )
    source = HubSource("FinGPT/fingpt-sentiment-train", columns=("input", "instruction", "output"))
    labels = (
        "strong negative",
        "moderately negative",
        "mildly negative",
        "negative",
        "neutral",
        "positive",
        "mildly positive",
        "moderately positive",
        "strong positive",
    )

    def example(self, row: Row, index: int) -> Example | None:
        """Take the instruction as it is, and as options what it offers.

        Raises:
            DataError: the answer is none of them, or a column is missing.
        """
        text, instruction, gold = (str(self.cell(row, index, name)).strip() for name in self.source.columns)
        offered = _OFFERED.search(instruction)
        options = tuple(offered.group(1).split("/")) if offered else self.labels
        if gold not in options:
            raise DataError(f"{self.where(index)}: label {gold!r} is unknown; known: {', '.join(options)}")
        prompt = f"{instruction}\n\nText: {text}\nSentiment:"
        strata: dict[str, Stratum] = {"shades": len(options), "length": length_bucket(text)}
        return self.make(row, index, prompt=prompt, gold=gold, options=options, strata=strata)
