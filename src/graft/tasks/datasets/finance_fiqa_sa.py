r"""FiQA's sentiment as AdaptLLM asks it: worked examples before each question.

One row: `{"id": 0, "input": "Acme lifts its outlook\nQuestion: what is the sentiment on Acme?\nAnswer: Positive …",
"options": ["Positive", "Negative", "Neutral"], "gold_index": 0}`; the prompt is used as it stands. Licence: not stated
by its card. Splits: 235 rows, all in test; nine in ten of them are trained on and the others scored, by their text, so
few that a difference must be large to show. Metric: macro-F1; AdaptLLM reports F1 weighted by frequency.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource
from graft.tasks.labels import OptionsTask


class FinanceFiqaSaTask(OptionsTask):
    """Sentiment on a company, with worked examples in the prompt."""

    card = TaskCard(
        "finance-tasks/fiqa-sa",
        "Sentiment on a company, as AdaptLLM asks it.",
        "macro_f1",
        "not stated; that of its source",
        "AdaptLLM/finance-tasks",
        "classification",
        "235 test, a tenth of them held out",
        "finance-tasks-fiqa-sa",
    )
    source = HubSource("AdaptLLM/finance-tasks", "FiQA_SA", train="test", columns=("input", "options", "gold_index"))
