"""Headlines about gold as AdaptLLM asks them: nine yes-or-no questions, with worked examples before each.

One row: `{"id": 0, "input": "Headline: Gold falls to three-week low. Does the headline talk about price going up? No
…", "options": ["No", "Yes"], "gold_index": 0, "class_id": 2}`; the prompt is used as it stands, and `class_id` says
which of the nine questions it is. Licence: not stated by its card; that of the headlines (Sinha and Khandait, 2020) is
CC BY-NC-ND 4.0. Splits: 20,547 rows, all in test; nine in ten of them are trained on and the others scored, by their
text. Metric: macro-F1; AdaptLLM reports F1 weighted by frequency, averaged over the nine questions.
"""

from __future__ import annotations

from collections.abc import Mapping

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource, Row
from graft.tasks.labels import OptionsTask
from graft.types import Stratum


class FinanceHeadlineTask(OptionsTask):
    """Yes or no to nine questions about headlines on gold."""

    card = TaskCard(
        "finance-tasks/headline",
        "Yes or no to nine questions about headlines on gold.",
        "macro_f1",
        "not stated; that of its source",
        "AdaptLLM/finance-tasks",
        "classification",
        "20,547 test, a tenth of them held out",
        "finance-tasks-headline",
    )
    source = HubSource(
        "AdaptLLM/finance-tasks", "Headline", train="test", columns=("input", "options", "gold_index", "class_id")
    )

    def strata(self, row: Row) -> Mapping[str, Stratum]:
        """Which of the nine questions it is, beside the length."""
        return {**super().strata(row), "question": str(row["class_id"])}
