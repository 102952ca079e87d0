"""Financial reports of the SEC: sentences of annual reports with how the share price moved after the filing.

One row: ``{"cik": "0000001750", "sentence": "ITEM 1.BUSINESS General AAR CORP. and its subsidiaries are …", "section":
0, "labels": {"1d": 0, "5d": 0, "30d": 1}, "filingDate": "2010-07-13", "docID": "0000001750_10-K_2010", "sentenceID":
"0000001750_10-K_2010_section_1_0", "sentenceCount": 1}``. The label is that of the whole filing (30 days; 0 is
positive, 1 negative), so one sentence says next to nothing about it: expect the majority baseline, and use the task for
the language of filings. Licence: Apache-2.0. Splits: train, and test for scoring. Metric: accuracy. Sentences of one
filing are one cluster. The dataset is a script and is read from the hub's Parquet conversion.

Source: the dataset's card on the hub.
"""

from __future__ import annotations

from dataclasses import replace

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource, Row
from graft.tasks.labels import ClassificationTask
from graft.types import Example


class FinancialReportsSecTask(ClassificationTask):
    """Market reaction to the filing that a sentence stands in."""

    card = TaskCard(
        "financial-reports-sec",
        "Tell the market's reaction from a sentence of an annual report.",
        "accuracy",
        "Apache-2.0",
        "JanosAudran/financial-reports-sec",
        "classification",
        "200,000 train, 20,000 test (small_lite)",
    )
    source = HubSource(
        "JanosAudran/financial-reports-sec",
        config="small_lite",
        eval="test",
        columns=("sentence", "section", "labels", "docID"),
        converted=True,
    )
    labels = ("positive", "negative")
    template = (
        "Did the share price go up ('positive') or down ('negative') in the 30 days after the annual report with this "
        "sentence was filed?\n\nSentence: {sentence}\nReaction:"
    )
    label_column = "30d"

    def example(self, row: Row, index: int) -> Example | None:
        """A sentence and its filing's label, clustered by filing, with the section as a stratum.

        Raises:
            DataError: the label is not in the set, or a column is missing.
        """
        example = super().example({**self.cell(row, index, "labels"), "sentence": row["sentence"]}, index)
        if example is None:
            return None
        return replace(
            example, cluster=str(row["docID"]), strata={**example.strata, "section": str(row.get("section", ""))}
        )
