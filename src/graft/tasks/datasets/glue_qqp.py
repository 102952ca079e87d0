"""QQP, pairs of questions from Quora: do they ask the same?

One row: `{"question1": "How do I learn to swim?", "question2": "What is the best way to learn swimming?", "label": 1,
"idx": 0}`, 0 not_duplicate and 1 duplicate. Licence: Quora's terms of service. Splits: 363,846 train, 40,430
validation; the 390,965 test rows have no published labels. Metric: macro-F1, because 63 in 100 pairs are not
duplicates; the F1 that GLUE reports is that of the class `duplicate`, which stands in the table per class.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource
from graft.tasks.labels import ClassificationTask


class QqpTask(ClassificationTask):
    """Pairs of questions that people asked."""

    card = TaskCard(
        "glue/qqp",
        "Do these two questions ask the same?",
        "macro_f1",
        "that of its source",
        "nyu-mll/glue",
        "classification",
        "363,846 train, 40,430 validation",
        "glue-qqp",
    )
    source = HubSource("nyu-mll/glue", "qqp", eval="validation", columns=("question1", "question2", "label"))
    labels = ("not_duplicate", "duplicate")
    template = (
        "Determine if these two questions are duplicate or not_duplicate in meaning."
        "\n\nQuestion 1: {question1}\nQuestion 2: {question2}\nRelation:"
    )
