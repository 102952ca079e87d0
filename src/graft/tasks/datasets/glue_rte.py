"""RTE, recognising textual entailment: does the second sentence follow from the first?

One row: `{"sentence1": "The firm, founded in Oslo, employs 900 people.", "sentence2": "The firm has 900 employees.",
"label": 0, "idx": 0}`, 0 entailment and 1 not_entailment. Licence: not stated by its makers (RTE-1, 2, 3 and 5).
Splits: 2,490 train, 277 validation; the 3,000 test rows have no published labels. Metric: accuracy.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource
from graft.tasks.labels import ClassificationTask


class RteTask(ClassificationTask):
    """Two texts, of which the second may follow from the first."""

    card = TaskCard(
        "glue/rte",
        "Does the second sentence follow from the first?",
        "accuracy",
        "that of its source",
        "nyu-mll/glue",
        "classification",
        "2,490 train, 277 validation",
        "glue-rte",
    )
    source = HubSource("nyu-mll/glue", "rte", eval="validation", columns=("sentence1", "sentence2", "label"))
    labels = ("entailment", "not_entailment")
    template = (
        "Determine if the second sentence follows from the first (entailment) or does not (not_entailment)."
        "\n\nSentence 1: {sentence1}\nSentence 2: {sentence2}\nRelation:"
    )
