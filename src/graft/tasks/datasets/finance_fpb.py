r"""Financial PhraseBank as AdaptLLM asks it: worked examples before each question.

One row: `{"id": 0, "input": "Profit fell to EUR 2 mn .\nQuestion: what is the sentiment?\nAnswer: Negative …",
"options": ["Positive", "Negative", "Neutral"], "gold_index": 1}`; the prompt is used as it stands. Licence: not stated
by its card; that of Financial PhraseBank is CC BY-NC-SA 3.0. Splits: 970 rows, all in test; nine in ten of them are
trained on and the others scored, by their text. Metric: macro-F1; AdaptLLM reports F1 weighted by frequency.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource
from graft.tasks.labels import OptionsTask


class FinanceFpbTask(OptionsTask):
    """Sentiment of financial news, with worked examples in the prompt."""

    card = TaskCard(
        "finance-tasks/fpb",
        "Sentiment of financial news, as AdaptLLM asks it.",
        "macro_f1",
        "not stated; that of its source",
        "AdaptLLM/finance-tasks",
        "classification",
        "970 test, a tenth of them held out",
        "finance-tasks-fpb",
    )
    source = HubSource("AdaptLLM/finance-tasks", "FPB", train="test", columns=("input", "options", "gold_index"))
